package sql_test

import (
	"context"
	stdsql "database/sql"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/crmtest"
	"github.com/parley-chat/parley/internal/crm/sql"
	"github.com/parley-chat/parley/internal/fault"
)

// backend returns the process of a connection that does something, or 0: none
// does, or the server is just recovering.
func backend(ctx context.Context, db *stdsql.DB) int {
	var pid int
	const query = "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND state <> 'idle' LIMIT 1"
	if err := db.QueryRowContext(ctx, query).Scan(&pid); err != nil {
		return 0
	}
	return pid
}

// TestC12TheBackendIsShot kills backends of PostgreSQL with SIGKILL in the middle
// of what they do. The server ends all its connections then, recovers from its
// log, and takes no connection meanwhile. The ledger, which is in the database
// too, counts.
func TestC12TheBackendIsShot(t *testing.T) {
	t.Parallel()
	kills, most := bustest.Count(2, 100), 50_000
	server := startPostgres(t)
	c, killer := server.open(), server.open()
	keepLedger(t, c)
	b := bustest.Start(t)
	target := serve(t, b, crm.Options{Name: "pg", Connector: c, Since: time.Hour, Window: 5 * time.Millisecond})
	chats, stop := make(chan int, 1), make(chan struct{})
	go func() { chats <- keepChatting(t, b, most, 10*time.Millisecond, stop) }()
	random := rand.New(rand.NewPCG(9, 0))
	for shot, written := 0, uint64(0); shot < kills; {
		next := written + uint64(random.IntN(40))
		bustest.Until(t, "the target goes on", func() bool { written = target.Figures().Written; return written > next })
		pid := 0
		bustest.Until(t, "a backend is at work", func() bool { pid = backend(t.Context(), killer.DB()); return pid != 0 })
		if err := syscall.Kill(pid, syscall.SIGKILL); err == nil {
			shot++
		}
	}
	close(stop)
	n := <-chats
	arrive(t, c, n)
	figures := target.Figures()
	t.Logf("%d backends were shot while %d chats happened; %d of %d calls failed", kills, n, figures.Failed, figures.Calls)
	if figures.Failed == 0 {
		t.Error("no call failed, so nothing was hit")
	}
	wantLedger(t, c, n)
}

// TestC12Deadlock has transactions of others lock contacts in the other order, so
// that PostgreSQL ends ours: it is done again, and all of both is there.
func TestC12Deadlock(t *testing.T) {
	t.Parallel()
	times := bustest.Count(2, 20)
	server := startPostgres(t)
	c, other := server.open(), server.open()
	upsert(t, c, contact("a", 1), contact("b", 1))
	for n := range times {
		tx, err := other.DB().BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		lock := func(key string) {
			if _, err := tx.ExecContext(t.Context(), "UPDATE contacts SET phone = $1 WHERE contact_key = $2", strconv.Itoa(n), key); err != nil {
				t.Error(err)
			}
		}
		if _, err := tx.ExecContext(t.Context(), "SET LOCAL deadlock_timeout = '1min'"); err != nil { // Ours finds it first.
			t.Fatal(err)
		}
		lock("b")
		done, p := make(chan struct{}), &crmtest.Pump{To: c, Size: 2, Timeout: time.Minute}
		go func() {
			defer close(done)
			p.Contacts(t, []crm.Contact{contact("a", uint64(n+2)), contact("b", uint64(n+2))})
		}()
		bustest.Until(t, "ours waits for the other", func() bool {
			return rows(t, server.connector(), "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")[0] == "1"
		})
		lock("a")
		if err := tx.Commit(); err != nil {
			t.Error(err)
		}
		if <-done; len(p.Dead()) != 0 {
			t.Errorf("dead letters: %v", p.Dead())
		}
	}
	want := []string{fmt.Sprintf("2 | %d | %d", times+1, times-1)}
	if diff := cmp.Diff(want, rows(t, c, "SELECT COUNT(*), MIN(seq), MIN(phone::int) FROM contacts")); diff != "" {
		t.Errorf("contacts, their state, and what the others wrote (-want +got):\n%s", diff)
	}
	if err := c.Close(); err != nil { // Then the server has counted all.
		t.Error(err)
	}
	deadlocks, _ := strconv.Atoi(rows(t, server.connector(), "SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'")[0])
	t.Logf("%d transactions of others, %d deadlocks", times, deadlocks)
	if deadlocks < times {
		t.Errorf("%d deadlocks, want at least %d", deadlocks, times)
	}
}

// TestC12Serialisable has ten writers write the same people in transactions that
// the database refuses when they overlap: one row each, in the last state.
func TestC12Serialisable(t *testing.T) {
	t.Parallel()
	people, writers := bustest.Count(60, 500), 10
	server := startPostgres(t)
	server.open()
	c := server.openAt(server.Address() + "&options=-c%20default_transaction_isolation%3Dserializable")
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			var list []crm.Contact
			for _, name := range crmtest.Names(people) {
				list = append(list, contact(crmtest.Key(name), uint64(w+1), crm.Field{Name: "name", Value: strconv.Itoa(w + 1)}))
			}
			p := &crmtest.Pump{To: c, Size: 20}
			p.Contacts(t, list)
			if len(p.Dead()) != 0 {
				t.Errorf("dead letters: %v", p.Dead())
			}
		})
	}
	all.Wait()
	var level string
	if err := c.DB().QueryRowContext(t.Context(), "SHOW transaction_isolation").Scan(&level); err != nil || level != "serializable" {
		t.Errorf("the transactions are %s, %v", level, err)
	}
	want := []string{fmt.Sprintf("%d | %d", people, people)}
	if diff := cmp.Diff(want, rows(t, c, "SELECT COUNT(*), SUM(CASE WHEN seq = 10 AND name = '10' THEN 1 ELSE 0 END) FROM contacts")); diff != "" {
		t.Errorf("contacts, and those in the last state (-want +got):\n%s", diff)
	}
	if err := c.Close(); err != nil { // Then the server has counted all.
		t.Error(err)
	}
	refused := rows(t, server.connector(), "SELECT xact_rollback FROM pg_stat_database WHERE datname = 'postgres'")[0]
	t.Logf("%d people, %d writers: %s transactions were refused", people, writers, refused)
	if refused == "0" {
		t.Error("no transaction was refused, so nothing was tried again")
	}
}

// TestErrorsOfTheServer: what a server that dies or recovers says is worth
// another try.
func TestErrorsOfTheServer(t *testing.T) {
	t.Parallel()
	server := startPostgres(t)
	c := server.open()
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := c.UpsertContacts(t.Context(), []crm.Contact{contact("a", 1)}); fault.From(err).Reason != fault.VendorUnavailable || !fault.Retryable(err) {
			t.Errorf("a server that is gone: %v", err)
		}
	}
}

// connector is one more connection, which the server's own view is read by.
func (p *postgres) connector() *sql.Connector {
	p.once.Do(func() { p.view = p.open() })
	return p.view
}
