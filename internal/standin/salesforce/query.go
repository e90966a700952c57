package salesforce

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxFound is how many records one answer of a query holds.
const maxFound = 2000

// query is GET /query?q=: the part of SOQL that has one object, conditions that
// all hold, an order and a limit.
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
	for _, name := range slices.Concat(q.fields, q.named()) {
		if _, ok := of.fields[name]; !ok {
			return wrong("INVALID_FIELD", "No such column '%s' on entity '%s'.", name, q.from)
		}
	}
	found := []any{}
	for _, id := range of.order {
		r, ok := of.records[id]
		if !ok || !q.takes(r) {
			continue
		}
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
	limit  int
}

// condition is one comparison. No values stand for null.
type condition struct {
	field  string
	not    bool
	values []string
}

var (
	selectForm = regexp.MustCompile(`(?is)^SELECT (.+?) FROM ([A-Za-z_0-9]+)(?: WHERE (.+?))?(?: LIMIT ([0-9]+))?$`)
	condForm   = regexp.MustCompile(`^([A-Za-z_0-9]+) (IN|=|!=) (.+)$`)
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
	q.limit, _ = strconv.Atoi(m[4])
	for _, part := range outside(m[3], " AND ") {
		cond := condForm.FindStringSubmatch(strings.TrimSpace(part))
		if cond == nil {
			return query{}, wrong("MALFORMED_QUERY", "unexpected token in the condition")
		}
		one := condition{field: cond[1], not: cond[2] == "!="}
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

func (q query) takes(r Record) bool {
	for _, cond := range q.where {
		value := r.text(cond.field)
		found := slices.ContainsFunc(cond.values, func(want string) bool { return strings.EqualFold(want, value) })
		if len(cond.values) == 0 {
			found = r[cond.field] == nil
		}
		if found == cond.not {
			return false
		}
	}
	return true
}
