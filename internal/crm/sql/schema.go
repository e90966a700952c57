package sql

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

//go:embed migrations/*.sql
var migrations embed.FS

// versions is the table that says which migrations were made.
const versions = "parley_crm_migrations"

// Pending returns the statements of the migrations that were not made yet.
func (c *Connector) Pending(ctx context.Context) ([]string, error) {
	have, err := c.version(ctx)
	if err != nil {
		return nil, err
	}
	all, err := c.migrations()
	if err != nil {
		return nil, err
	}
	return all[min(have, len(all)):], nil
}

// Migrate makes the migrations that were not made yet and returns how many those
// were. It may be called from several processes.
func (c *Connector) Migrate(ctx context.Context) (int, error) {
	all, err := c.migrations()
	if err != nil {
		return 0, err
	}
	made := 0
	err = c.attempt(ctx, func(tx *sql.Tx) error {
		made = 0
		if c.dialect.postgres {
			const lock = "SELECT pg_advisory_xact_lock(7277236)" // Ours; the number says nothing.
			if _, err := tx.ExecContext(ctx, lock); err != nil {
				return err //nolint:wrapcheck // attempt classifies it.
			}
		}
		if _, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+versions+" (version INTEGER PRIMARY KEY, made_at TEXT NOT NULL)"); err != nil {
			return err //nolint:wrapcheck // attempt classifies it.
		}
		var have int
		if err := tx.QueryRowContext(ctx, "SELECT COALESCE(MAX(version), 0) FROM "+versions).Scan(&have); err != nil {
			return err //nolint:wrapcheck // attempt classifies it.
		}
		if have > len(all) {
			return fault.New(fault.BadConfig, "the database was made by a newer version: it has migration %d", have).WithFix("use the newer version")
		}
		for i := have; i < len(all); i++ {
			if _, err := tx.ExecContext(ctx, all[i]); err != nil {
				return err //nolint:wrapcheck // attempt classifies it.
			}
			note := "INSERT INTO " + versions + " (version, made_at) VALUES (" + c.dialect.mark(1) + ", " + c.dialect.mark(2) + ")" //nolint:gosec // Names of ours.
			if _, err := tx.ExecContext(ctx, note, i+1, time.Now().UTC().Format(time.RFC3339)); err != nil {
				return err //nolint:wrapcheck // attempt classifies it.
			}
			made++
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("bringing the tables up to date: %w", err)
	}
	return made, nil
}

// migrations returns the migrations of the database's kind, the first one first.
func (c *Connector) migrations() ([]string, error) {
	text, err := migrations.ReadFile("migrations/" + c.kind + ".sql")
	if err != nil {
		return nil, fault.New(fault.InternalError, "reading the migrations").Because(err)
	}
	parts := strings.Split(string(text), "-- migration ")
	for i := range parts {
		parts[i] = "-- migration " + parts[i]
	}
	return parts[1:], nil
}

// version returns how many migrations were made.
func (c *Connector) version(ctx context.Context) (int, error) {
	var have int
	err := c.db.QueryRowContext(ctx, "SELECT COALESCE(MAX(version), 0) FROM "+versions).Scan(&have)
	if err == nil {
		return have, nil
	}
	if f := classify(err); !errors.Is(f, fault.New(fault.BadConfig, "")) {
		return 0, f
	}
	return 0, nil
}

// Prepare makes the tables that are missing.
func (c *Connector) Prepare(ctx context.Context, dry bool) ([]crm.Preparation, error) {
	pending, err := c.Pending(ctx)
	if err != nil {
		return nil, err
	}
	if len(pending) == 0 {
		return []crm.Preparation{{What: "the tables contacts and chat_sessions", There: true}}, nil
	}
	out := make([]crm.Preparation, len(pending))
	for i, statement := range pending {
		out[i] = crm.Preparation{What: strings.TrimSpace(statement), Made: !dry}
	}
	if dry {
		return out, nil
	}
	_, err = c.Migrate(ctx)
	return out, err
}

// Schema returns the columns of the tables that are free to be filled.
func (c *Connector) Schema(ctx context.Context) (crm.Schema, error) {
	var s crm.Schema
	for _, of := range []struct {
		table    string
		fields   *[]crm.FieldSchema
		reserved []string
	}{
		{"contacts", &s.Contact, []string{"contact_key", "seq", "updated_at", changeColumn}},
		{"chat_sessions", &s.Activity, append([]string{"session_key"}, chatColumns()...)},
	} {
		query := "SELECT name, type FROM pragma_table_info(" + c.dialect.mark(1) + ")"
		if c.dialect.postgres {
			query = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = $1 AND table_schema = ANY (current_schemas(false)) ORDER BY ordinal_position"
		}
		list, err := c.columns(ctx, query, of.table)
		if err != nil {
			return s, err
		}
		if len(list) == 0 {
			return s, fault.New(fault.BadConfig, "the database has no table %s", of.table).WithFix("`publisher crm setup` makes it")
		}
		for i := range list {
			list[i].ReadOnly = slices.Contains(of.reserved, list[i].Name)
		}
		*of.fields = list
	}
	return s, nil
}

func (c *Connector) columns(ctx context.Context, query, table string) ([]crm.FieldSchema, error) {
	rows, err := c.db.QueryContext(ctx, query, table)
	if err != nil {
		return nil, classify(err)
	}
	defer func() { _ = rows.Close() }() // Its errors are those of Err.
	var out []crm.FieldSchema
	for rows.Next() {
		var name, kind string
		if err := rows.Scan(&name, &kind); err != nil {
			return nil, classify(err)
		}
		out = append(out, crm.FieldSchema{Name: name, Type: typeOf(name, strings.ToLower(kind))})
	}
	if err := rows.Err(); err != nil {
		return nil, classify(err)
	}
	return out, nil
}

// typeOf returns the type of a column. SQLite keeps times as texts, in columns
// whose names say so.
func typeOf(name, kind string) crm.FieldType {
	switch {
	case strings.Contains(kind, "timestamp"), strings.HasPrefix(kind, "datetime"), strings.HasSuffix(name, "_at") && kind == "text":
		return crm.Time
	case kind == "date":
		return crm.Date
	case strings.Contains(kind, "bool"):
		return crm.Bool
	case strings.Contains(kind, "int"), strings.Contains(kind, "real"), strings.Contains(kind, "double"), strings.Contains(kind, "numeric"), strings.Contains(kind, "float"):
		return crm.Number
	}
	return crm.Text
}

// contactOf makes a contact of a row.
func contactOf(names []string, values []any) crm.Contact {
	var c crm.Contact
	for i, name := range names {
		value := plain(name, values[i])
		switch name {
		case "contact_key":
			c.Key, _ = value.(string)
			c.ID = c.Key
		case "seq":
			if n, ok := value.(float64); ok && n > 0 {
				c.Seq = uint64(n)
			}
		case "updated_at":
			c.UpdatedAt, _ = value.(time.Time)
		case changeColumn: // It is the trigger's.
		default:
			c.Fields = append(c.Fields, crm.Field{Name: name, Value: value, Rule: crm.Always})
		}
	}
	slices.SortFunc(c.Fields, func(a, b crm.Field) int { return strings.Compare(a.Name, b.Name) })
	return c
}

// plain turns the driver's value into a field's.
func plain(name string, value any) any {
	switch value := value.(type) {
	case int64:
		return float64(value)
	case []byte:
		return string(value)
	case time.Time:
		return value.UTC()
	case string:
		if strings.HasSuffix(name, "_at") {
			if at, err := time.Parse(stampForm, value); err == nil {
				return at
			}
		}
	}
	return value
}
