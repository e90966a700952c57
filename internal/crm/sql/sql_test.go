package sql_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/sql"
	"github.com/parley-chat/parley/internal/fault"
)

// onBoth runs the test on SQLite and on PostgreSQL.
func onBoth(t *testing.T, run func(t *testing.T, c *sql.Connector)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		run(t, openSQLite(t, filepath.Join(t.TempDir(), "crm.db")))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		run(t, startPostgres(t).open())
	})
}

func contact(key string, seq uint64, list ...crm.Field) crm.Contact {
	return crm.Contact{Key: key, Seq: seq, At: start(), Fields: list}
}

func activity(key, contact string, seq uint64) crm.Activity {
	return crm.Activity{
		Key: key, Contact: crm.Ref{Key: contact}, Seq: seq, Subject: "Chat",
		Record: crm.Record{Key: key, Site: "shop", Session: contact, Opens: int(seq), Pages: []string{"/a", "/b"}, OpenedAt: start(), LastAt: start()},
	}
}

func upsert(t *testing.T, c *sql.Connector, list ...crm.Contact) []crm.Outcome {
	t.Helper()
	out, err := c.UpsertContacts(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// field returns one field of the contact as it is.
func field(t *testing.T, c *sql.Connector, key, name string) any {
	t.Helper()
	found, err := c.Read(t.Context(), []crm.Ref{{Key: key}})
	if err != nil || len(found) != 1 {
		t.Fatalf("reading %s: %d contacts, %v", key, len(found), err)
	}
	for _, f := range found[0].Fields {
		if f.Name == name {
			return f.Value
		}
	}
	t.Fatalf("%s has no field %s", key, name)
	return nil
}

// TestContract goes through what a connector must do.
func TestContract(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, c *sql.Connector) {
		t.Helper()
		upsert(t, c, contact("a", 1, crm.Field{Name: "email", Value: "a@example.test"}, crm.Field{Name: "chats", Value: 1.0}), contact("b", 1, crm.Field{Name: "name", Value: "B"}))
		upsert(t, c, contact("a", 2, crm.Field{Name: "first_seen_at", Value: start()}))
		if got := field(t, c, "a", "email"); got != "a@example.test" {
			t.Errorf("a field that was not sent is %v, want what it was", got)
		}
		if got := field(t, c, "a", "first_seen_at"); !cmp.Equal(got, any(start()), cmp.Comparer(func(a, b time.Time) bool { return a.Sub(b).Abs() < 3*time.Second })) {
			t.Errorf("first_seen_at is %v, want a time of now", got)
		}
		if got := field(t, c, "a", "chats"); got != 1.0 {
			t.Errorf("chats is %v, want 1", got)
		}
		stale := upsert(t, c, contact("a", 1, crm.Field{Name: "email", Value: "old@example.test"}))
		if !stale[0].Stale || stale[0].Status != crm.Done || field(t, c, "a", "email") != "a@example.test" {
			t.Errorf("an older state: %+v", stale[0])
		}
		same := upsert(t, c, contact("a", 2, crm.Field{Name: "email", Value: "new@example.test"}))
		if same[0].Stale || field(t, c, "a", "email") != "new@example.test" {
			t.Errorf("the same state again: %+v", same[0])
		}
		if _, err := c.PutActivities(t.Context(), []crm.Activity{activity("c1", "a", 1), activity("c2", "b", 1)}); err != nil {
			t.Fatal(err)
		}
		joined := contact("a", 3)
		joined.Former = []string{"b"}
		upsert(t, c, joined)
		if diff := cmp.Diff([]string{"a | 2"}, rows(t, c, "SELECT contact_key, COUNT(*) FROM chat_sessions GROUP BY contact_key")); diff != "" {
			t.Errorf("chats by contact (-want +got):\n%s", diff)
		}
		if n := rows(t, c, "SELECT COUNT(*) FROM contacts"); n[0] != "1" {
			t.Errorf("%s contacts, want 1: the other one was joined", n[0])
		}
		if _, err := c.Forget(t.Context(), []crm.Ref{{Key: "a"}, {Key: "never"}}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"0 | 0"}, rows(t, c, "SELECT (SELECT COUNT(*) FROM contacts), (SELECT COUNT(*) FROM chat_sessions)")); diff != "" {
			t.Errorf("what is left (-want +got):\n%s", diff)
		}
	})
}

// TestRulesInSQL compares the rules of fields with what the database does.
func TestRulesInSQL(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, c *sql.Connector) {
		t.Helper()
		write := func(seq uint64, name string, value any, rule crm.Rule) {
			upsert(t, c, contact("a", seq, crm.Field{Name: name, Value: value, Rule: rule}))
		}
		write(1, "name", "", crm.IfEmpty)
		write(2, "name", "Ada", crm.IfEmpty)
		write(3, "name", "Eve", crm.IfEmpty)
		write(4, "company", "one", crm.Append)
		write(5, "company", "two", crm.Append)
		write(6, "company", "one", crm.Append)
		write(7, "phone", "1", crm.NeverOverwriteNewer)
		if _, err := c.DB().ExecContext(t.Context(), "UPDATE contacts SET phone = '2', updated_at = '2099-01-01T00:00:00.000Z'"); err != nil {
			t.Fatal(err)
		}
		write(8, "phone", "3", crm.NeverOverwriteNewer)
		want := map[string]any{"name": "Ada", "company": "one\ntwo", "phone": "2"}
		for name, value := range want {
			if got := field(t, c, "a", name); got != value {
				t.Errorf("%s is %q, want %q", name, got, value)
			}
		}
	})
}

// TestC13StaleOrder shuffles 5,000 states of 50 contacts in the long form: what is there never goes
// back, and the last state wins.
func TestC13StaleOrder(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, c *sql.Connector) {
		t.Helper()
		contacts, states := bustest.Count(10, 50), 100
		for _, statement := range []string{
			"CREATE TABLE went (contact_key TEXT, from_seq BIGINT, to_seq BIGINT)", // A ledger, written by the database itself.
		} {
			if _, err := c.DB().ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		trigger := []string{"CREATE TRIGGER ledger AFTER UPDATE ON contacts BEGIN INSERT INTO went VALUES (new.contact_key, old.seq, new.seq); END"}
		if c.Name() == sql.Postgres {
			trigger = []string{
				"CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO went VALUES (NEW.contact_key, OLD.seq, NEW.seq); RETURN NULL; END $$",
				"CREATE TRIGGER ledger AFTER UPDATE ON contacts FOR EACH ROW EXECUTE FUNCTION note()",
			}
		}
		for _, statement := range trigger {
			if _, err := c.DB().ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		var all []crm.Contact
		for n := range contacts {
			for seq := range uint64(states) {
				all = append(all, contact(fmt.Sprintf("k%02d", n), seq+1, crm.Field{Name: "name", Value: strconv.FormatUint(seq+1, 10)}))
			}
		}
		random := rand.New(rand.NewPCG(13, 0))
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		stale := 0
		for _, one := range all {
			if upsert(t, c, one)[0].Stale {
				stale++
			}
		}
		if diff := cmp.Diff([]string{"0"}, rows(t, c, "SELECT COUNT(*) FROM went WHERE to_seq < from_seq")); diff != "" {
			t.Errorf("states that went back (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{strconv.Itoa(contacts)}, rows(t, c, "SELECT COUNT(*) FROM contacts WHERE seq = 100 AND name = '100'")); diff != "" {
			t.Errorf("contacts with the last state (-want +got):\n%s", diff)
		}
		t.Logf("%d of %d states were older than what was there", stale, len(all))
	})
}

// TestC9OnePerson has ten writers write one person at the same time, again and
// again.
func TestC9OnePerson(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, c *sql.Connector) {
		t.Helper()
		people, writers := bustest.Count(100, 500), 10
		var group sync.WaitGroup
		for w := range writers {
			group.Go(func() {
				for n := range people {
					_, err := c.UpsertContacts(context.WithoutCancel(t.Context()), []crm.Contact{contact(fmt.Sprintf("p%03d", n), uint64(w+1), crm.Field{Name: "name", Value: strconv.Itoa(w + 1)})})
					if err != nil {
						t.Errorf("writer %d: %v", w, err)
						return
					}
				}
			})
		}
		group.Wait()
		if diff := cmp.Diff([]string{fmt.Sprintf("%d | %d", people, people)}, rows(t, c, "SELECT COUNT(*), SUM(CASE WHEN name = '10' AND seq = 10 THEN 1 ELSE 0 END) FROM contacts")); diff != "" {
			t.Errorf("contacts, and those with the last state (-want +got):\n%s", diff)
		}
	})
}

// TestErrors gives every failure its class.
func TestErrors(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, c *sql.Connector) {
		t.Helper()
		_, err := c.UpsertContacts(t.Context(), []crm.Contact{contact("a", 1, crm.Field{Name: "nickname", Value: "x"})})
		if fault.From(err).Reason != fault.BadConfig {
			t.Errorf("a column that is not there: %v", err)
		}
		if _, err := c.DB().ExecContext(t.Context(), "CREATE UNIQUE INDEX one_email ON contacts (email)"); err != nil {
			t.Fatal(err)
		}
		mail := crm.Field{Name: "email", Value: "a@example.test"}
		upsert(t, c, contact("a", 1, mail))
		_, err = c.UpsertContacts(t.Context(), []crm.Contact{contact("b", 1, mail), contact("c", 1)})
		if fault.From(err).Reason != fault.VendorRejects || fault.Retryable(err) {
			t.Errorf("a constraint of their own: %v", err)
		}
		if n := rows(t, c, "SELECT COUNT(*) FROM contacts"); n[0] != "1" {
			t.Errorf("%s contacts, want 1: the call was refused as a whole", n[0])
		}
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.UpsertContacts(cancelled, []crm.Contact{contact("d", 1)}); !errors.Is(err, context.Canceled) {
			t.Errorf("a call that was cut off: %v", err)
		}
		if made, err := c.Migrate(t.Context()); made != 0 || err != nil {
			t.Errorf("migrating again: %d, %v", made, err)
		}
		list, err := c.Prepare(t.Context(), true)
		if err != nil || len(list) != 1 || !list[0].There {
			t.Errorf("what is needed: %v, %v", list, err)
		}
	})
}

// TestSetupShowsTheTables shows, before anything is made in a database of
// others, what would be.
func TestSetupShowsTheTables(t *testing.T) {
	t.Parallel()
	server := startPostgres(t)
	server.open() // It is up, and has the tables.
	c, err := sql.OpenPostgres(server.Address() + "&search_path=other")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.DB().ExecContext(t.Context(), "CREATE SCHEMA other"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Schema(t.Context()); fault.From(err).Reason != fault.BadConfig {
		t.Errorf("the schema of a database without tables: %v", err)
	}
	for _, want := range []crm.Preparation{{Made: false}, {Made: true}, {There: true}} {
		list, err := c.Prepare(t.Context(), !want.Made)
		if err != nil || len(list) == 0 || list[0].There != want.There || list[0].Made != want.Made {
			t.Errorf("preparing: %+v, %v; want %+v", list, err, want)
		}
	}
}
