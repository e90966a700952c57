package ours

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/internal/crm/pgserver"
	"github.com/parley-chat/parley/internal/crm/sql"
)

// kinds are the databases that can be had here.
func kinds(t *testing.T, run func(t *testing.T, kind string)) {
	t.Helper()
	for _, kind := range []string{sql.SQLite, sql.Postgres} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			probe, err := openDatabase(t.Context(), kind, t.TempDir())
			if errors.Is(err, pgserver.ErrMissing) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := probe.Close(); err != nil {
				t.Error(err)
			}
			run(t, kind)
		})
	}
}

// end ends a job.
func end(t *testing.T, job contend.Job) {
	t.Helper()
	if err := job.Close(); err != nil {
		t.Error(err)
	}
}

// TestChatsBecomeRows does two rounds: every chat is timed and is a row.
func TestChatsBecomeRows(t *testing.T) {
	t.Parallel()
	kinds(t, func(t *testing.T, kind string) {
		t.Helper()
		job, err := startCRMRecord(t.Context(), contend.Setup{Dir: t.TempDir()}, kind)
		if err != nil {
			t.Fatal(err)
		}
		defer end(t, job)
		for round := range 2 {
			rep, err := job.Round(contend.Order{Round: round, Jobs: 20})
			if err != nil {
				t.Fatal(err)
			}
			if rep.Jobs != 20 || len(rep.LatenciesUS) != 20 || slices.Min(rep.LatenciesUS) <= 0 {
				t.Errorf("round %d: %d jobs and %d times of at least %g us, want 20 of each, and above 0", round, rep.Jobs, len(rep.LatenciesUS), slices.Min(rep.LatenciesUS))
			}
		}
	})
}

// TestTheLoopWritesTheSame holds the reference against ours: it fills the same
// columns of as many rows, in a database with the same settings.
func TestTheLoopWritesTheSame(t *testing.T) {
	t.Parallel()
	kinds(t, func(t *testing.T, kind string) {
		t.Helper()
		ours, err := startCRMSustained(t.Context(), contend.Setup{Dir: t.TempDir(), Sessions: 50}, kind)
		if err != nil {
			t.Fatal(err)
		}
		defer end(t, ours)
		loop, err := startCRMLoop(t.Context(), contend.Setup{Dir: t.TempDir()}, kind)
		if err != nil {
			t.Fatal(err)
		}
		defer end(t, loop)
		for _, job := range []contend.Job{ours, loop} {
			rep, err := job.Round(contend.Order{Round: 1, Jobs: 1})
			if err != nil {
				t.Fatal(err)
			}
			if rep.Jobs != 1 || rep.Values[contend.SessionsPerSecond] <= 0 {
				t.Errorf("the report is %+v, want one of a second with some sessions", rep)
			}
		}
		for _, table := range []string{"contacts", "chat_sessions"} {
			want, got := filled(t, ours.db, table), filled(t, loop.db, table)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("columns of %s that are filled (-ours +loop):\n%s", table, diff)
			}
		}
		settings := "PRAGMA synchronous"
		if kind == sql.Postgres {
			settings = "SHOW synchronous_commit"
		}
		var a, b string
		if err := ours.db.DB().QueryRowContext(t.Context(), settings).Scan(&a); err != nil {
			t.Fatal(err)
		}
		if err := loop.db.DB().QueryRowContext(t.Context(), settings).Scan(&b); err != nil {
			t.Fatal(err)
		}
		if a != b || a != "2" && a != "on" {
			t.Errorf("a commit is flushed by %q here and by %q there, want the same, and by both", a, b)
		}
	})
}

// filled returns which columns of the table have a value in some row.
func filled(t *testing.T, d *database, table string) []string {
	t.Helper()
	rows, err := d.DB().QueryContext(t.Context(), "SELECT * FROM "+table)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	names, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	some := map[string]bool{}
	for rows.Next() {
		values, into := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		for i, v := range values {
			some[names[i]] = some[names[i]] || v != nil
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(names, func(name string) bool { return !some[name] })
}

// TestMissingRowsAreTold: a round that lost something fails.
func TestMissingRowsAreTold(t *testing.T) {
	t.Parallel()
	loop, err := startCRMLoop(t.Context(), contend.Setup{Dir: t.TempDir()}, sql.SQLite)
	if err != nil {
		t.Fatal(err)
	}
	defer end(t, loop)
	if err := loop.db.holds(t.Context(), 0); err != nil {
		t.Errorf("an empty database: %v", err)
	}
	if err := loop.db.holds(t.Context(), 1); err == nil {
		t.Error("a chat that is not there was not missed")
	}
	if err := loop.line(t.Context(), time.Now().Add(50*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n := int(loop.sent.Load())
	if err := loop.db.holds(t.Context(), n); err != nil || n == 0 {
		t.Errorf("%d chats: %v", n, err)
	}
	if _, err := loop.db.DB().ExecContext(t.Context(), "DELETE FROM contacts WHERE user_id = (SELECT MIN(user_id) FROM contacts)"); err != nil {
		t.Fatal(err)
	}
	if err := loop.db.holds(t.Context(), n); err == nil {
		t.Error("a contact that is gone was not missed")
	}
}

// TestCallsAreCounted has two chats brought to HubSpot's stand-in.
func TestCallsAreCounted(t *testing.T) {
	t.Parallel()
	job, err := startCRMCalls(t.Context(), contend.Setup{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer end(t, job)
	rep, err := job.Round(contend.Order{Round: 1, Jobs: 2})
	if err != nil {
		t.Fatal(err)
	}
	calls := rep.Values[contend.CallsPerThousand] * 2 * chatEvents / 1000
	if calls < 2 || calls != float64(int(calls)) {
		t.Errorf("%g calls, want a few", calls)
	}
	if job.sent = 3; job.missing() != 1 {
		t.Errorf("%d chats are missing, want the one that did not happen", job.missing())
	}
}
