package sql_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/sql"
	"github.com/parley-chat/parley/internal/event"
)

// keepLedger has the database itself keep account of every row that is made, and
// of every state that went back.
func keepLedger(t *testing.T, c *sql.Connector) {
	t.Helper()
	statements := []string{"CREATE TABLE ledger (what TEXT, key TEXT)"}
	for table, key := range map[string]string{"contacts": "contact_key", "chat_sessions": "session_key"} {
		if c.Name() == sql.SQLite {
			statements = append(statements,
				fmt.Sprintf("CREATE TRIGGER made_%s AFTER INSERT ON %s BEGIN INSERT INTO ledger VALUES ('made', new.%s); END", table, table, key),
				fmt.Sprintf("CREATE TRIGGER changed_%s AFTER UPDATE ON %s WHEN new.seq < old.seq BEGIN INSERT INTO ledger VALUES ('back', new.%s); END", table, table, key))
			continue
		}
		statements = append(statements,
			fmt.Sprintf("CREATE FUNCTION note_%s() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF TG_OP = 'INSERT' THEN INSERT INTO ledger VALUES ('made', NEW.%s); ELSIF NEW.seq < OLD.seq THEN INSERT INTO ledger VALUES ('back', NEW.%s); END IF; RETURN NULL; END $$", table, key, key),
			fmt.Sprintf("CREATE TRIGGER note_%s AFTER INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION note_%s()", table, table, table))
	}
	for _, statement := range statements {
		if _, err := c.DB().ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}

// wantLedger compares the database with what happened: so many chats, each
// closed, each made once.
func wantLedger(t *testing.T, c *sql.Connector, chats int) {
	t.Helper()
	const query = `SELECT (SELECT COUNT(*) FROM contacts), (SELECT COUNT(*) FROM chat_sessions WHERE closed_at IS NOT NULL), (SELECT COUNT(*) FROM chat_sessions),
(SELECT COUNT(*) FROM ledger WHERE what = 'made') - (SELECT COUNT(DISTINCT key) FROM ledger WHERE what = 'made'), (SELECT COUNT(*) FROM ledger WHERE what = 'back'),
(SELECT COUNT(*) FROM chat_sessions s WHERE NOT EXISTS (SELECT 1 FROM contacts c WHERE c.contact_key = s.contact_key))`
	got := rows(t, c, query)[0]
	t.Logf("contacts | closed chats | chats | made twice | went back | without a contact: %s", got)
	if want := fmt.Sprintf("%d | %d | %d | 0 | 0 | 0", chats, chats, chats); got != want {
		t.Errorf("the database has %s, want %s", got, want)
	}
}

// chat publishes one chat of a visitor, until it is closed.
func chat(t *testing.T, b *bus.Bus, n int) {
	t.Helper()
	who := event.Visitor{UserID: fmt.Sprintf("u-%06d", n)}
	session := event.SessionKey("shop", who)
	o := event.Occurrence{Site: "shop", Session: session, Provider: "botstar", At: start(), Cause: event.CauseAPI, Page: "https://shop.test/"}
	track(t, b, event.KindIdentify, event.Trigger{Site: "shop", Visitor: who, Event: "identify", OccurredAt: o.At, Traits: map[string]any{"name": strconv.Itoa(n)}})
	happen(t, b, event.FactWidgetOpened, o, event.WidgetOpened{Occurrence: o})
	o.At = o.At.Add(30 * time.Second)
	happen(t, b, event.FactWidgetClosed, o, event.WidgetClosed{Occurrence: o})
}

// closed returns how many chats are there with their end.
func closed(t *testing.T, c *sql.Connector) int {
	t.Helper()
	var n int
	if err := c.DB().QueryRowContext(t.Context(), "SELECT COUNT(*) FROM chat_sessions WHERE closed_at IS NOT NULL").Scan(&n); err != nil {
		return 0 // The connection was killed.
	}
	return n
}

// arrive waits until all chats are there, as long as there are more and more.
func arrive(t *testing.T, c *sql.Connector, chats int) {
	t.Helper()
	for have := closed(t, c); have < chats; {
		bustest.Until(t, "more chats are there", func() bool {
			now := closed(t, c)
			more := now > have
			have = max(have, now)
			return more
		})
	}
}

// TestTheWorkerIsKilled kills the process that serves the target, again and
// again in the middle of batches, while visitors chat.
func TestTheWorkerIsKilled(t *testing.T) {
	t.Parallel()
	chats, kills := bustest.Count(400, 5000), bustest.Count(4, 50)
	random := rand.New(rand.NewPCG(20261125, 0))
	s := bustest.Serve(t)
	b := s.Bus()
	path := filepath.Join(t.TempDir(), "crm.db")
	c := openSQLite(t, path)
	keepLedger(t, c)
	process := startProcess(t, s, path)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := range chats {
		chat(t, b, n)
		if (n+1)%(chats/kills) != 0 {
			continue
		}
		for range random.IntN(100) {
			<-tick.C
		}
		if err := process.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = process.Wait() // It was killed.
		process = startProcess(t, s, path)
	}
	arrive(t, c, chats)
	wantLedger(t, c, chats)
}

// startProcess starts a process that serves a target.
func startProcess(t *testing.T, s *bustest.Server, path string) *exec.Cmd {
	t.Helper()
	process := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], "-test.run=^TestTargetProcess$", "-test.timeout=120s", s.URL(), path)
	process.Stderr = t.Output()
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Kill() // It may have been killed before.
		_ = process.Wait()
	})
	return process
}

// TestTargetProcess is what startProcess starts.
func TestTargetProcess(t *testing.T) { //nolint:paralleltest // It is a process of its own.
	if flag.NArg() != 2 {
		t.Skip("it is run by another test")
	}
	b := bustest.Connect(t, bus.Options{URL: flag.Arg(0)})
	target, err := crm.New(bustest.Log(t), b, crm.Options{Name: "local", Connector: openSQLite(t, flag.Arg(1)), Since: time.Hour, Window: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := target.Run(t.Context()); err != nil {
		t.Error(err)
	}
}

// keepChatting has visitors chat, one after the other, until it is stopped. It
// returns how many did.
func keepChatting(t *testing.T, b *bus.Bus, most int, every time.Duration, stop <-chan struct{}) (n int) {
	t.Helper()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for ; n < most; n++ {
		select {
		case <-stop:
			return n
		case <-tick.C:
		}
		chat(t, b, n)
	}
	return n
}

// TestC12TheBackendIsKilled kills the connections to PostgreSQL, 300 times in the
// long form, at random instants: in statements, in commits, and behind them.
func TestC12TheBackendIsKilled(t *testing.T) {
	t.Parallel()
	const most = 30_000
	kills := bustest.Count(20, 300)
	server := startPostgres(t)
	c, killer := server.open(), server.open()
	keepLedger(t, c)
	b := bustest.Start(t)
	target := serve(t, b, crm.Options{Name: "pg", Connector: c, Since: time.Hour, Window: 5 * time.Millisecond})
	chats := make(chan int, 1)
	stop := make(chan struct{})
	go func() { chats <- keepChatting(t, b, most, 3*time.Millisecond, stop) }()
	random := rand.New(rand.NewPCG(12, 0))
	killed, written := 0, uint64(0)
	for killed < kills {
		// One that fails again and again would be left alone.
		next := written + uint64(random.IntN(40))
		bustest.Until(t, "the target goes on", func() bool { written = target.Figures().Written; return written > next })
		found := rows(t, killer, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = 'parley' AND (state <> 'idle' OR query ILIKE 'commit%')")
		killed += strings.Count(strings.Join(found, " "), "true")
	}
	close(stop)
	n := <-chats
	arrive(t, c, n)
	t.Logf("%d connections were killed; figures %+v", killed, target.Figures())
	wantLedger(t, c, n)
}
