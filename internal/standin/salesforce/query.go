package salesforce

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxFound is how many records one answer of a query holds.
const maxFound = 2000

// query is GET /query?q=: the part of SOQL that has one object, conditions that
// all hold, an order and a limit. Without an order records come as they were made.
func (c *call) query() *problem {
	q, p := parse(c.r.URL.Query().Get("q"))
	if p != nil {
		return p
	}
	of := c.org.objects[q.from]
	if of == nil || of.event {
		return wrong("INVALID_TYPE", "sObject type '%s' is not supported.", q.from)
	}
	if q.all {
		if q.limit == 0 || q.limit > maxRecords {
			return wrong("MALFORMED_QUERY", "The SOQL FIELDS function must have a LIMIT of at most 200")
		}
		q.fields = slices.Sorted(maps.Keys(of.fields))
	}
	for _, name := range slices.Concat(q.fields, q.named(), q.order) {
		if _, ok := of.fields[name]; !ok {
			return wrong("INVALID_FIELD", "No such column '%s' on entity '%s'.", name, q.from)
		}
	}
	if p := q.fits(of); p != nil {
		return p
	}
	found := []any{}
	for _, r := range q.sorted(of) {
		id := r.ID()
		row := map[string]any{"attributes": map[string]any{"type": q.from, "url": "/services/data/v62.0/sobjects/" + q.from + "/" + id}}
		for _, name := range q.fields {
			row[name] = r[name]
		}
		found = append(found, row)
		if len(found) == maxFound || q.limit > 0 && len(found) == q.limit {
			break
		}
	}
	return c.say(http.StatusOK, map[string]any{"totalSize": len(found), "done": true, "records": found})
}

// query is one SELECT.
type query struct {
	fields []string
	all    bool
	from   string
	where  []condition
	order  []string
	limit  int
}

// condition is one comparison. No values stand for null.
type condition struct {
	field  string
	by     string // IN, =, !=, <, >
	values []string
	at     time.Time // of a comparison with a time
}

var (
	selectForm = regexp.MustCompile(`(?is)^SELECT (.+?) FROM ([A-Za-z_0-9]+)(?: WHERE (.+?))?(?: ORDER BY (.+?))?(?: LIMIT ([0-9]+))?$`)
	condForm   = regexp.MustCompile(`^([A-Za-z_0-9]+) (IN|=|!=|<|>) (.+)$`)
	timeForm   = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z$`)
)

func parse(text string) (query, *problem) {
	m := selectForm.FindStringSubmatch(text)
	if m == nil {
		return query{}, wrong("MALFORMED_QUERY", "unexpected token")
	}
	q := query{from: m[2], all: m[1] == "FIELDS(ALL)"}
	if !q.all {
		for name := range strings.SplitSeq(m[1], ",") {
			q.fields = append(q.fields, strings.TrimSpace(name))
		}
	}
	for _, name := range outside(m[4], ",") {
		q.order = append(q.order, strings.TrimSuffix(strings.TrimSpace(name), " ASC"))
	}
	q.limit, _ = strconv.Atoi(m[5])
	for _, part := range outside(m[3], " AND ") {
		cond := condForm.FindStringSubmatch(strings.TrimSpace(part))
		if cond == nil {
			return query{}, wrong("MALFORMED_QUERY", "unexpected token in the condition")
		}
		one := condition{field: cond[1], by: cond[2]}
		if timeForm.MatchString(cond[3]) {
			at, err := time.Parse(time.RFC3339, cond[3])
			if err != nil {
				return query{}, wrong("MALFORMED_QUERY", "line 1: no viable alternative at character")
			}
			one.at = at
			q.where = append(q.where, one)
			continue
		}
		list := cond[3]
		if cond[2] == "IN" {
			inner, opens := strings.CutPrefix(list, "(")
			inner, closes := strings.CutSuffix(inner, ")")
			if !opens || !closes {
				return query{}, wrong("MALFORMED_QUERY", "IN wants a list")
			}
			list = inner
		}
		for _, literal := range outside(list, ",") {
			literal = strings.TrimSpace(literal)
			if literal == "null" && cond[2] != "IN" {
				continue
			}
			value, ok := unquote(literal)
			if !ok {
				return query{}, wrong("MALFORMED_QUERY", "a text stands in single quotes")
			}
			one.values = append(one.values, value)
		}
		q.where = append(q.where, one)
	}
	return q, nil
}

// outside splits the text where the separator stands outside of quotes.
func outside(text, by string) []string {
	if text == "" {
		return nil
	}
	var parts []string
	start, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch {
		case quoted && text[i] == '\\':
			i++
		case text[i] == '\'':
			quoted = !quoted
		case !quoted && strings.HasPrefix(text[i:], by):
			parts = append(parts, text[start:i])
			i += len(by) - 1
			start = i + 1
		}
	}
	return append(parts, text[start:])
}

// unquote reads a literal. A quote inside it has a backslash.
func unquote(literal string) (string, bool) {
	if len(literal) < 2 || literal[0] != '\'' || literal[len(literal)-1] != '\'' {
		return "", false
	}
	var b strings.Builder
	inner := literal[1 : len(literal)-1]
	for i := 0; i < len(inner); i++ {
		switch {
		case inner[i] == '\'':
			return "", false
		case inner[i] == '\\' && i+1 == len(inner):
			return "", false
		case inner[i] == '\\':
			i++
		}
		b.WriteByte(inner[i])
	}
	return b.String(), true
}

func (q query) named() []string {
	names := make([]string, len(q.where))
	for i, cond := range q.where {
		names[i] = cond.field
	}
	return names
}

// fits refuses comparisons that the fields do not take: times stand without
// quotes, and all else with them.
func (q query) fits(of *object) *problem {
	for _, cond := range q.where {
		timed := of.fields[cond.field].Type == "datetime"
		if timed && len(cond.values) > 0 || !timed && !cond.at.IsZero() {
			return wrong("INVALID_FIELD", "value of filter criterion for field '%s' must be of another type and should not be enclosed in quotes", cond.field)
		}
	}
	return nil
}

// sorted returns the records that the query finds, in its order.
func (q query) sorted(of *object) []Record {
	var all []Record
	for _, id := range of.order {
		if r, ok := of.records[id]; ok && q.takes(r) {
			all = append(all, r)
		}
	}
	slices.SortStableFunc(all, func(a, b Record) int {
		for _, name := range q.order {
			if by := strings.Compare(a.text(name), b.text(name)); by != 0 {
				return by
			}
		}
		return 0
	})
	return all
}

func (q query) takes(r Record) bool {
	return !slices.ContainsFunc(q.where, func(cond condition) bool { return !cond.holds(r) })
}

// holds reports whether the record meets the condition.
func (c condition) holds(r Record) bool {
	value := r.text(c.field)
	if !c.at.IsZero() {
		at, err := time.Parse("2006-01-02T15:04:05.000Z0700", value)
		return err == nil && compares(c.by, at.Compare(c.at))
	}
	if c.by == "<" || c.by == ">" {
		return len(c.values) == 1 && compares(c.by, strings.Compare(value, c.values[0]))
	}
	found := slices.ContainsFunc(c.values, func(want string) bool { return strings.EqualFold(want, value) })
	if len(c.values) == 0 {
		found = r[c.field] == nil
	}
	return found != (c.by == "!=")
}

// compares reports whether two values that compare so meet the comparison.
func compares(by string, order int) bool {
	switch by {
	case "<":
		return order < 0
	case ">":
		return order > 0
	}
	return order == 0
}
