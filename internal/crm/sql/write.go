package sql

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

// row is one row to write: values of columns, in the order of its shape.
type row struct {
	key    string
	values []any
}

// shape is what rows have in common: the same columns by the same rules make one
// statement.
type shape struct {
	table  string
	key    string
	fixed  []string // columns of ours
	fields []crm.Field
}

// name tells shapes apart.
func (s shape) name() string {
	var b strings.Builder
	for _, f := range s.fields {
		b.WriteString(f.Name + "\x00" + string(f.Rule) + "\x00")
	}
	return b.String()
}

// statement returns the statement that writes n rows of the shape. It returns
// the keys of those that were written: what is older than what is there is not.
func (c *Connector) statement(s shape, n int) string {
	d := c.dialect
	var b strings.Builder
	b.WriteString("INSERT INTO " + s.table + " AS t (" + quote(s.key))
	for _, name := range s.fixed {
		b.WriteString(", " + quote(name))
	}
	for _, f := range s.fields {
		b.WriteString(", " + quote(f.Name))
	}
	b.WriteString(") VALUES ")
	width := 1 + len(s.fixed) + len(s.fields)
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("(")
		for j := range width {
			if j > 0 {
				b.WriteString(", ")
			}
			b.WriteString(d.mark(i*width + j + 1))
		}
		b.WriteString(")")
	}
	b.WriteString(" ON CONFLICT (" + quote(s.key) + ") DO UPDATE SET ")
	var sets []string
	for _, name := range s.fixed {
		if name == "updated_at" { // Somebody else may have changed the row later.
			sets = append(sets, "updated_at = CASE WHEN t.updated_at > excluded.updated_at THEN t.updated_at ELSE excluded.updated_at END")
			continue
		}
		sets = append(sets, quote(name)+" = excluded."+quote(name))
	}
	for _, f := range s.fields {
		_, text := f.Value.(string)
		sets = append(sets, d.set(f.Name, f.Rule, text))
	}
	b.WriteString(strings.Join(sets, ", "))
	b.WriteString(" WHERE excluded.seq >= t.seq RETURNING " + quote(s.key))
	return b.String()
}

// write writes the rows of one shape and returns the keys that were written.
func (c *Connector) write(ctx context.Context, tx *sql.Tx, s shape, rows []row) (map[string]bool, error) {
	args := make([]any, 0, len(rows)*len(rows[0].values))
	for _, r := range rows {
		args = append(args, r.values...)
	}
	found, err := tx.QueryContext(ctx, c.statement(s, len(rows)), args...)
	if err != nil {
		return nil, err //nolint:wrapcheck // attempt classifies it.
	}
	defer func() { _ = found.Close() }() // Its errors are those of Err.
	written := make(map[string]bool, len(rows))
	for found.Next() {
		var key string
		if err := found.Scan(&key); err != nil {
			return nil, err //nolint:wrapcheck // attempt classifies it.
		}
		written[key] = true
	}
	return written, found.Err() //nolint:wrapcheck // attempt classifies it.
}

// group is the rows of one shape.
type group struct {
	shape shape
	rows  []row
}

// groups sorts rows by shape, in an order that is the same for all, so that two
// transactions cannot wait for each other.
type groups struct {
	list []*group
	at   map[string]*group
}

func (g *groups) add(s shape, r row) {
	if g.at == nil {
		g.at = map[string]*group{}
	}
	name := s.name()
	of := g.at[name]
	if of == nil {
		of = &group{shape: s}
		g.at[name], g.list = of, append(g.list, of)
	}
	of.rows = append(of.rows, r)
}

// each writes all groups in one transaction.
func (c *Connector) each(ctx context.Context, g *groups, first func(*sql.Tx) error) (map[string]bool, error) {
	slices.SortFunc(g.list, func(a, b *group) int { return strings.Compare(a.shape.name(), b.shape.name()) })
	written := map[string]bool{}
	err := c.attempt(ctx, func(tx *sql.Tx) error {
		clear(written)
		if first != nil {
			if err := first(tx); err != nil {
				return err
			}
		}
		for _, of := range g.list {
			slices.SortFunc(of.rows, func(a, b row) int { return strings.Compare(a.key, b.key) })
			keys, err := c.write(ctx, tx, of.shape, of.rows)
			if err != nil {
				return err
			}
			for key := range keys {
				written[key] = true
			}
		}
		return nil
	})
	return written, err
}

// UpsertContacts writes contacts into the table contacts.
func (c *Connector) UpsertContacts(ctx context.Context, contacts []crm.Contact) ([]crm.Outcome, error) {
	g := &groups{}
	var joins []crm.Contact
	for _, contact := range contacts {
		s := shape{table: "contacts", key: "contact_key", fixed: []string{"seq", "updated_at"}, fields: contact.Fields}
		values := []any{contact.Key, int64(contact.Seq), c.dialect.time(contact.At)} //nolint:gosec // It stays below 2^63.
		for _, f := range contact.Fields {
			values = append(values, c.dialect.value(f.Value))
		}
		g.add(s, row{contact.Key, values})
		if len(contact.Former) > 0 {
			joins = append(joins, contact)
		}
	}
	written, err := c.each(ctx, g, func(tx *sql.Tx) error { return c.join(ctx, tx, joins) })
	if err != nil {
		return nil, err
	}
	outcomes := make([]crm.Outcome, len(contacts))
	for i, contact := range contacts {
		outcomes[i] = crm.Outcome{Key: contact.Key, Status: crm.Done, ID: contact.Key, Stale: !written[contact.Key]}
	}
	return outcomes, nil
}

// join removes contacts that turned out to be others, and leads their chats to
// those.
func (c *Connector) join(ctx context.Context, tx *sql.Tx, contacts []crm.Contact) error {
	lead := "UPDATE chat_sessions SET contact_key = " + c.dialect.mark(1) + " WHERE contact_key = " + c.dialect.mark(2) //nolint:gosec // Marks only.
	remove := "DELETE FROM contacts WHERE contact_key = " + c.dialect.mark(1)                                           //nolint:gosec // As above.
	for _, contact := range contacts {
		for _, former := range contact.Former {
			if _, err := tx.ExecContext(ctx, lead, contact.Key, former); err != nil {
				return err //nolint:wrapcheck // attempt classifies it.
			}
			if _, err := tx.ExecContext(ctx, remove, former); err != nil {
				return err //nolint:wrapcheck // attempt classifies it.
			}
		}
	}
	return nil
}

// PutActivities writes chats into the table chat_sessions.
func (c *Connector) PutActivities(ctx context.Context, activities []crm.Activity) ([]crm.Outcome, error) {
	d := c.dialect
	g := &groups{}
	for _, a := range activities {
		r := a.Record
		record, err := json.Marshal(r)
		if err != nil {
			return nil, fault.New(fault.InternalError, "writing a record: %s", err)
		}
		s := shape{table: "chat_sessions", key: "session_key", fixed: chatColumns(), fields: a.Fields}
		values := []any{
			a.Key, a.Contact.Key, r.Site, a.Subject, d.time(r.OpenedAt), d.time(r.ClosedAt), string(r.OpenedBy), string(r.ClosedBy),
			r.Seconds, int64(r.Opens), strings.Join(r.Pages, "\n"), strings.Join(r.Attributes, "\n"), strings.Join(r.Runs, "\n"), r.Handoff != nil,
			string(record), int64(a.Seq), d.time(r.LastAt), //nolint:gosec // It stays below 2^63.
		}
		for i := range values {
			values[i] = d.value(values[i])
		}
		for _, f := range a.Fields {
			values = append(values, d.value(f.Value))
		}
		g.add(s, row{a.Key, values})
	}
	written, err := c.each(ctx, g, nil)
	if err != nil {
		return nil, err
	}
	outcomes := make([]crm.Outcome, len(activities))
	for i, a := range activities {
		outcomes[i] = crm.Outcome{Key: a.Key, Status: crm.Done, ID: a.Key, Stale: !written[a.Key]}
	}
	return outcomes, nil
}

// chatColumns are the columns of ours in chat_sessions, behind the key.
func chatColumns() []string {
	return []string{
		"contact_key", "site", "subject", "opened_at", "closed_at", "opened_by", "closed_by", "seconds", "opens", "pages", "attributes",
		"workflows", "handoff", "record", "seq", "updated_at",
	}
}

// Forget removes contacts and their chats.
func (c *Connector) Forget(ctx context.Context, refs []crm.Ref) ([]crm.Outcome, error) {
	where := " WHERE contact_key = " + c.dialect.mark(1)
	err := c.attempt(ctx, func(tx *sql.Tx) error {
		for _, ref := range refs {
			for _, remove := range []string{"DELETE FROM chat_sessions", "DELETE FROM contacts"} {
				if _, err := tx.ExecContext(ctx, remove+where, ref.Key); err != nil {
					return err //nolint:wrapcheck // attempt classifies it.
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	outcomes := make([]crm.Outcome, len(refs))
	for i, ref := range refs {
		outcomes[i] = crm.Outcome{Key: ref.Key, Status: crm.Done}
	}
	return outcomes, nil
}

// Read returns the contacts that there are, with all columns.
func (c *Connector) Read(ctx context.Context, refs []crm.Ref) ([]crm.Contact, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	marks, args := make([]string, len(refs)), make([]any, len(refs))
	for i, ref := range refs {
		marks[i], args[i] = c.dialect.mark(i+1), ref.Key
	}
	rows, err := c.db.QueryContext(ctx, "SELECT * FROM contacts WHERE contact_key IN ("+strings.Join(marks, ", ")+")", args...) //nolint:gosec // Marks only.
	if err != nil {
		return nil, classify(err)
	}
	defer func() { _ = rows.Close() }() // Its errors are those of Err.
	names, err := rows.Columns()
	if err != nil {
		return nil, classify(err)
	}
	var out []crm.Contact
	for rows.Next() {
		values, into := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, classify(err)
		}
		out = append(out, contactOf(names, values))
	}
	if err := rows.Err(); err != nil {
		return nil, classify(fmt.Errorf("reading contacts: %w", err))
	}
	return out, nil
}
