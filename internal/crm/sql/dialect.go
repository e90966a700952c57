package sql

import (
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/crm"
)

// dialect is where the databases differ.
type dialect struct {
	postgres      bool
	newline, find string // functions
}

func sqliteDialect() dialect {
	return dialect{newline: "char(10)", find: "instr"}
}

func postgresDialect() dialect {
	return dialect{postgres: true, newline: "chr(10)", find: "strpos"}
}

// mark returns the n-th placeholder, from 1.
func (d dialect) mark(n int) string {
	if d.postgres {
		return "$" + strconv.Itoa(n)
	}
	return "?"
}

// quote makes an identifier of the name.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// value turns a field's value into the driver's.
func (d dialect) value(value any) any {
	switch value := value.(type) {
	case time.Time:
		if d.postgres {
			return value
		}
		return stamp(value)
	case []string:
		return strings.Join(value, "\n")
	case bool:
		if !d.postgres {
			if value {
				return int64(1)
			}
			return int64(0)
		}
	}
	return value
}

// stampForm has the same length for all times, so that texts compare as times
// do.
const stampForm = "2006-01-02T15:04:05.000Z"

// stamp writes the time for SQLite.
func stamp(at time.Time) any {
	if at.IsZero() {
		return nil
	}
	return at.UTC().Format(stampForm)
}

// time returns the driver's form of a time that may be zero.
func (d dialect) time(at time.Time) any {
	if at.IsZero() {
		return nil
	}
	if d.postgres {
		return at.UTC()
	}
	return stamp(at)
}

// set returns the assignment of a column by its rule, in a DO UPDATE of the
// table t.
func (d dialect) set(name string, rule crm.Rule, text bool) string {
	column := quote(name)
	mine, theirs := "t."+column, "excluded."+column
	none := mine + " IS NULL"
	if text {
		none = "(" + mine + " IS NULL OR " + mine + " = '')"
	}
	switch rule {
	case crm.IfEmpty:
		return column + " = CASE WHEN " + none + " THEN " + theirs + " ELSE " + mine + " END"
	case crm.NeverOverwriteNewer:
		return column + " = CASE WHEN " + none + " OR t.updated_at IS NULL OR t.updated_at <= excluded.updated_at THEN " + theirs + " ELSE " + mine + " END"
	case crm.Append:
		around := func(text string) string { return d.newline + " || " + text + " || " + d.newline }
		return column + " = CASE WHEN " + none + " THEN " + theirs +
			" WHEN " + theirs + " IS NULL OR " + d.find + "(" + around(mine) + ", " + around(theirs) + ") > 0 THEN " + mine +
			" ELSE " + mine + " || " + d.newline + " || " + theirs + " END"
	case crm.Always:
	}
	return column + " = " + theirs
}
