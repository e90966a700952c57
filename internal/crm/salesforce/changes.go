package salesforce

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

const (
	// settling is how old a change is when it is told: until then one may be stored
	// that is older.
	settling = 10 * time.Second
	// mostChanges is how many changed records are read at once, of each object.
	mostChanges = 200
	// stampField is when a record was changed last, by whomever, and stampForm how it
	// stands in a query.
	stampField = "SystemModstamp"
	stampForm  = "2006-01-02T15:04:05.000Z"
)

// mark is how far the changes of an object were told: all before the time, and of
// those at that time the records up to the id. "" is all of them.
type mark struct {
	At time.Time `json:"at"`
	ID string    `json:"id,omitempty"`
}

// Changes implements crm.ChangeReader by queries for what was modified, of records
// with a key of ours. A record that changes all the time is told when it rests.
func (c *Connector) Changes(ctx context.Context, text string, fields []string) ([]crm.Change, string, error) {
	until := c.o.Now().UTC().Add(-settling)
	marks := map[Object]mark{}
	if text != "" {
		if err := json.Unmarshal([]byte(text), &marks); err != nil {
			return nil, text, fault.New(fault.Malformed, "the cursor of Salesforce's changes cannot be read").Because(err)
		}
	}
	var all []crm.Change
	for _, object := range Objects() {
		from, known := marks[object]
		if !known {
			marks[object] = mark{At: until}
			continue
		}
		changes, next, err := c.changed(ctx, object, from, until, fields)
		if err != nil {
			return nil, text, err
		}
		all, marks[object] = append(all, changes...), next
	}
	slices.SortStableFunc(all, func(a, b crm.Change) int { return a.At.Compare(b.At) })
	next, err := json.Marshal(marks)
	return all, string(next), err //nolint:wrapcheck // Times and texts can be written.
}

// changed returns the next records of the object that changed behind the mark, and
// the mark behind them. An object that has no key of ours has none.
func (c *Connector) changed(ctx context.Context, object Object, from mark, until time.Time, fields []string) ([]crm.Change, mark, error) {
	s, err := c.keyed(ctx, string(object), c.o.Key)
	if object != c.o.Object && (isReason(err, fault.VendorForbids) || isReason(err, fault.VendorNotFound)) {
		return nil, from, nil
	}
	if err != nil {
		return nil, from, err
	}
	found, next, err := c.behind(ctx, object, c.selected(s, fields), from, until)
	all := make([]crm.Change, len(found))
	for i, r := range found {
		all[i] = c.change(s, object, r, fields)
	}
	return all, next, err
}

// selected returns what is asked for: the fields that the object has, and ours.
func (c *Connector) selected(s *schema, fields []string) string {
	names := []string{"Id", c.o.Key, stampField}
	if _, ok := s.byName[c.o.Seq]; ok {
		names = append(names, c.o.Seq)
	}
	for _, name := range fields {
		if _, ok := s.byName[name]; ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// behind reads the records behind the mark: the rest of those of its time, and
// those of later times.
func (c *Connector) behind(ctx context.Context, object Object, names string, from mark, until time.Time) ([]record, mark, error) {
	query := func(where, order string) ([]record, error) {
		return c.ask(ctx, string(object), fmt.Sprintf("SELECT %s FROM %s WHERE %s != null AND %s ORDER BY %s LIMIT %d", names, object, c.o.Key, where, order, mostChanges))
	}
	var found []record
	var err error
	if from.ID != "" {
		found, err = query(stampField+" = "+from.At.Format(stampForm)+" AND Id > "+quoted(from.ID), "Id ASC")
		if err != nil || len(found) == mostChanges {
			return found, from.behind(found), err
		}
	}
	later, err := query(stampField+" > "+from.At.Format(stampForm)+" AND "+stampField+" < "+until.Format(stampForm), stampField+" ASC, Id ASC")
	if err != nil {
		return nil, from, err
	}
	next := from.behind(later)
	if len(later) < mostChanges {
		next.ID = ""
	}
	return append(found, later...), next, nil
}

// behind returns the mark behind the records.
func (m mark) behind(found []record) mark {
	if len(found) == 0 {
		return m
	}
	last := found[len(found)-1]
	return mark{stampOf(last), last.text("Id")}
}

func stampOf(r record) time.Time {
	at, _ := field{Type: "datetime"}.value(r[stampField]).(time.Time)
	return at
}

// change returns the record in our words.
func (c *Connector) change(s *schema, object Object, r record, fields []string) crm.Change {
	seq, _ := r[c.o.Seq].(float64)
	out := crm.Change{Ref: crm.Ref{Key: r.text(c.o.Key), ID: r.text("Id")}, At: stampOf(r), Seq: uint64(max(seq, 0))}
	for _, name := range fields {
		switch of, ok := s.byName[name]; {
		case name == Choice:
			out.Fields = append(out.Fields, crm.Field{Name: name, Value: string(object), Rule: crm.Always})
		case ok && r[name] != nil:
			out.Fields = append(out.Fields, crm.Field{Name: name, Value: of.value(r[name]), Rule: crm.Always})
		}
	}
	return out
}

// ask returns the records that a query finds.
func (c *Connector) ask(ctx context.Context, object, query string) ([]record, error) {
	var got struct {
		Done    bool     `json:"done"`
		Records []record `json:"records"`
	}
	err := c.do(ctx, call{method: http.MethodGet, path: "/query", query: url.Values{"q": {query}}, name: "a query of " + object, out: &got})
	if err == nil && !got.Done {
		err = fault.New(fault.VendorAnswerInvalid, "Salesforce finds more records of %s than were asked for", object)
	}
	return got.Records, err
}
