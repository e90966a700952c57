package salesforce

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/parley-chat/parley/internal/fault"
)

// record is a record on the wire, or back.
type record map[string]any

// text returns the field as a text, "" when it is none.
func (r record) text(name string) string {
	text, _ := r[name].(string)
	return text
}

// row is one record of a write.
type row struct {
	// id is the record to change; "" writes by the key.
	id, key string
	fields  record
}

// wrote is what became of a row. Without an error it was written.
type wrote struct {
	id      string
	created bool
	told    problems
}

// write writes rows of one object, all by id or all by key, and returns what
// became of each, in order. The error says that nothing is known of any.
func (c *Connector) write(ctx context.Context, object, keyField string, rows []row) ([]wrote, error) {
	switch len(rows) {
	case 0:
		return nil, nil
	case 1:
		return c.writeOne(ctx, object, keyField, rows[0])
	}
	path := "/composite/sobjects"
	if rows[0].id == "" {
		path += "/" + object + "/" + keyField
	}
	records := make([]record, len(rows))
	for i, r := range rows {
		records[i] = record{"attributes": map[string]string{"type": object}}
		maps.Copy(records[i], r.fields)
		if r.id == "" {
			records[i][keyField] = r.key
		} else {
			records[i]["id"] = r.id
		}
	}
	name := "the collection of " + object
	var got []struct {
		ID      string   `json:"id"`
		Success bool     `json:"success"`
		Created bool     `json:"created"`
		Errors  problems `json:"errors"`
	}
	in := map[string]any{"allOrNone": false, "records": records}
	if err := c.do(ctx, call{method: http.MethodPatch, path: path, name: name, in: in, out: &got}); err != nil {
		return nil, err
	}
	if len(got) != len(rows) {
		return nil, fault.New(fault.EffectUnknown, "Salesforce answers %d of %d records of %s", len(got), len(rows), name).WithAfter(afterFailure)
	}
	all := make([]wrote, len(rows))
	for i, g := range got {
		all[i] = wrote{id: g.ID, created: g.Created}
		if !g.Success {
			all[i].told = append(g.Errors, problem{})[:max(len(g.Errors), 1)] // A failure without a reason is one, too.
		}
	}
	return all, nil
}

// writeOne writes one row by itself, which tells more when the key is ambiguous.
func (c *Connector) writeOne(ctx context.Context, object, keyField string, r row) ([]wrote, error) {
	path := "/sobjects/" + object + "/" + r.id
	if r.id == "" {
		path = "/sobjects/" + object + "/" + keyField + "/" + url.PathEscape(r.key)
	}
	var got struct {
		ID      string `json:"id"`
		Created bool   `json:"created"`
	}
	var told problems
	err := c.do(ctx, call{method: http.MethodPatch, path: path, name: "a record of " + object, in: r.fields, out: &got, told: &told})
	if err != nil {
		switch e := fault.From(err); {
		case e.Reason == fault.VendorConflict && len(told) == 0: // 300: several records have the key.
			return []wrote{{told: problems{{Code: "DUPLICATE_EXTERNAL_ID"}}}}, nil
		case e.Reason == fault.VendorNotFound && r.id != "":
			return []wrote{{told: append(told, problem{Code: "ENTITY_IS_DELETED"})}}, nil
		case len(told) > 0 && (e.Code == fault.Invalid || e.Reason == fault.VendorConflict || told.ofOne()):
			return []wrote{{told: told}}, nil
		}
		return nil, err
	}
	if got.ID == "" {
		got.ID = r.id // A 204 says nothing, so the id is that which is known.
	}
	if got.ID == "" { // An upsert says the id. This is something else's answer.
		return nil, fault.New(fault.EffectUnknown, "Salesforce's answer to a record of %s names none", object).WithAfter(afterFailure)
	}
	return []wrote{{id: got.ID, created: got.Created}}, nil
}

// ofOne reports whether a refusal that looks like one of the org is about the
// record.
func (all problems) ofOne() bool {
	return all.has("UNABLE_TO_LOCK_ROW", "INSUFFICIENT_ACCESS_OR_READONLY", "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY") ||
		all.says("UNABLE_TO_LOCK_ROW") || all.says("Too many SOQL queries")
}

// quoted returns the text as a literal of SOQL.
func quoted(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`, "\r", `\r`).Replace(text) + "'"
}

// find returns the records of the object whose field has one of the values. It is
// no search: what was written is there at once.
func (c *Connector) find(ctx context.Context, object, fields, by string, values []string, more string) ([]record, error) {
	var all []record
	for len(values) > 0 {
		n, size := 0, 0
		var list strings.Builder
		for n < len(values) && n < maxBatch && (n == 0 || size < maxList) {
			if n > 0 {
				list.WriteByte(',')
			}
			list.WriteString(quoted(values[n]))
			size = len(url.QueryEscape(list.String()))
			n++
		}
		values = values[n:]
		q := "SELECT " + fields + " FROM " + object + " WHERE " + by + " IN (" + list.String() + ")" + more
		if fields == "FIELDS(ALL)" {
			q += " LIMIT 200"
		}
		found, err := c.ask(ctx, object, q)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}
