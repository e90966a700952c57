package sql_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/sql"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// edit runs a statement as a person does.
func edit(t testing.TB, c *sql.Connector, statement string, args ...any) {
	t.Helper()
	if _, err := c.DB().ExecContext(context.WithoutCancel(t.Context()), statement, args...); err != nil {
		t.Fatal(err)
	}
}

// reader reads changes as the engine does.
type reader struct {
	t      *testing.T
	c      *sql.Connector
	cursor string
}

func newReader(t *testing.T, c *sql.Connector) *reader {
	t.Helper()
	_, cursor, err := c.Changes(t.Context(), "", []string{"name", "chats"})
	if err != nil {
		t.Fatal(err)
	}
	return &reader{t, c, cursor}
}

// read returns the changes behind the cursor, as "key name chats".
func (r *reader) read() []string {
	r.t.Helper()
	changes, next, err := r.c.Changes(r.t.Context(), r.cursor, []string{"name", "chats"})
	if err != nil {
		r.t.Fatal(err)
	}
	r.cursor = next
	all := make([]string, len(changes))
	for i, c := range changes {
		all[i] = fmt.Sprintf("%s %v", c.Key, c.Seq)
		for _, f := range c.Fields {
			all[i] += fmt.Sprintf(" %s=%v", f.Name, f.Value)
		}
	}
	return all
}

// TestChanges: what others change in contacts is told, in its order; what we write
// is not.
func TestChanges(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, c *sql.Connector) {
		t.Helper()
		name := func(value string) crm.Field { return crm.Field{Name: "name", Value: value, Rule: crm.Always} }
		upsert(t, c, contact("a", 1, name("Ada")), contact("b", 1, name("Bob")), contact("c", 1, name("Cy")))
		edit(t, c, "UPDATE contacts SET name = 'before' WHERE contact_key = 'c'")
		r := newReader(t, c)
		if got := r.read(); len(got) != 0 {
			t.Errorf("at the beginning: %v, want nothing", got)
		}
		edit(t, c, "UPDATE contacts SET name = 'Countess' WHERE contact_key = 'b'")
		edit(t, c, "UPDATE contacts SET chats = 7 WHERE contact_key = 'a'")
		if diff := cmp.Diff([]string{"b 1 chats=<nil> name=Countess", "a 1 chats=7 name=Ada"}, r.read()); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
		upsert(t, c, contact("a", 2, name("Augusta")))
		upsert(t, c, contact("a", 1, name("old")))
		if got := r.read(); len(got) != 0 {
			t.Errorf("after what we wrote: %v, want nothing", got)
		}
		edit(t, c, "UPDATE contacts SET chats = 8 WHERE contact_key = 'a'")
		edit(t, c, "UPDATE contacts SET chats = 9 WHERE contact_key = 'a'")
		edit(t, c, "DELETE FROM contacts WHERE contact_key = 'b'")
		if diff := cmp.Diff([]string{"a 2 chats=9 name=Augusta"}, r.read()); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
		if _, _, err := c.Changes(t.Context(), "nonsense", nil); fault.From(err).Reason != fault.Malformed {
			t.Errorf("a cursor that is none: %v", err)
		}
		if _, _, err := c.Changes(t.Context(), r.cursor, []string{"nothing"}); fault.From(err).Reason != fault.BadConfig {
			t.Errorf("a column that is none: %v", err)
		}
		edit(t, c, "UPDATE contacts SET chats = 10 WHERE contact_key = 'a'")
		r.cursor = "9000000000000/x" // Of a database that was there before.
		if got := r.read(); len(got) != 2 {
			t.Errorf("in another database: %v, want all that ever changed", got)
		}
	})
}

// TestChangesOfManyWriters: 8 people change 40 contacts at the same time, some in
// transactions that take long. No change is overlooked: in the end the reader has
// seen the last value of each contact.
func TestChangesOfManyWriters(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, c *sql.Connector) {
		t.Helper()
		const people, contacts, each = 8, 40, 25
		for n := range contacts {
			upsert(t, c, contact(fmt.Sprintf("k%02d", n), 1, crm.Field{Name: "name", Value: "start"}))
		}
		r := newReader(t, c)
		var writers sync.WaitGroup
		for p := range people {
			writers.Go(func() {
				random := rand.New(rand.NewPCG(uint64(p), 1))
				for i := range each {
					tx, err := c.DB().BeginTx(t.Context(), nil)
					if err != nil {
						t.Error(err)
						return
					}
					key := fmt.Sprintf("k%02d", random.IntN(contacts/people)*people+p) // Each has contacts of its own: nobody waits for another.
					for range 1 + random.IntN(3) {
						statement := "UPDATE contacts SET name = '" + fmt.Sprintf("%d-%d", p, i) + "' WHERE contact_key = '" + key + "'"
						if _, err := tx.ExecContext(t.Context(), statement); err != nil {
							t.Error(err)
						}
					}
					if err := tx.Commit(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		ended := make(chan struct{})
		go func() { writers.Wait(); close(ended) }()
		last, told := map[string]string{}, 0
		take := func() int {
			all := r.read()
			for _, line := range all {
				key, _, _ := strings.Cut(line, " ")
				last[key] = line[strings.Index(line, "name="):]
			}
			told += len(all)
			return len(all)
		}
		for done := false; !done; {
			select {
			case <-ended:
				done = true
			default:
				take()
			}
		}
		for take() > 0 {
			continue
		}
		for n := range contacts {
			key := fmt.Sprintf("k%02d", n)
			if want := "name=" + fmt.Sprint(field(t, c, key, "name")); want != "name=start" && last[key] != want {
				t.Errorf("%s was told as %q, want %q", key, last[key], want)
			}
		}
		t.Logf("%d transactions, %d changes told", people*each, told)
	})
}

// TestTwoWay has the target of a database tell a visitor what a person changes in
// it, over a real bus, through a change of the leader: once, as a command that a
// worker takes, and never what the target wrote itself.
func TestTwoWay(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	c := openSQLite(t, filepath.Join(t.TempDir(), "crm.db"))
	o := crm.Options{
		Name: "local", Connector: c, Window: 20 * time.Millisecond, Since: time.Hour,
		Mapping: crm.Mapping{Back: map[string]string{"name": "${contact.name}", "tel": "${contact.phone}"}},
		Return: crm.Return{Every: 20 * time.Millisecond, Command: func(_ string, attributes map[string]any) (crm.Update, error) {
			return crm.Update{Class: event.ClassWrite, Action: "botstar.widget.update", Params: []byte(fmt.Sprintf("%q", attributes["name"]))}, nil
		}},
	}
	serve(t, b, o)
	target := serve(t, b, o) // One of the two leads.
	who := event.Visitor{UserID: "u-1", Email: "ada@example.test"}
	session := event.SessionKey("shop", who)
	track(t, b, event.KindIdentify, event.Trigger{Site: "shop", Visitor: who, Event: "identify", OccurredAt: start(), Traits: map[string]any{"name": "Ada"}})
	row := func() string { return strings.Join(rows(t, c, "SELECT name FROM contacts"), "") }
	bustest.Until(t, "the contact is a row", func() bool { return strings.Contains(row(), "Ada") })
	bustest.Until(t, "the target listens", func() bool {
		status, err := crm.StatusOf(t.Context(), b, "local")
		return err == nil && status.Position.Cursor != "" && status.Waiting == 0
	})
	commands := func() (all []string) {
		for d, err := range b.LastEach(t.Context(), "go.*.*.*.*.shop."+session) {
			if err != nil {
				t.Fatal(err)
			}
			e, err := d.Envelope()
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, e.Source+" "+string(e.Data))
		}
		return all
	}
	edit(t, c, "UPDATE contacts SET name = 'Countess'")
	bustest.Until(t, "there is a command", func() bool { return len(commands()) == 1 })
	want := `/crm/local {"site":"shop","visitor":{"user_id":"u-1","email":"ada@example.test"},"params":"Countess"}`
	if got := commands()[0]; got != want {
		t.Errorf("the command is %s\nwant %s", got, want)
	}
	track(t, b, event.KindAttribute, event.Trigger{Site: "shop", Visitor: who, Event: "attribute", OccurredAt: time.Now(), Traits: map[string]any{"name": "Countess", "phone": "123"}})
	bustest.Until(t, "the other trait is there", func() bool { return len(rows(t, c, "SELECT phone FROM contacts WHERE phone = '123'")) == 1 })
	if got := row(); !strings.Contains(got, "Countess") {
		t.Errorf("the row has %s", got)
	}
	_ = target
}
