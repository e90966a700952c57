package sql_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/sql"
	"github.com/parley-chat/parley/internal/event"
)

// watched notes when chats became rows.
type watched struct {
	*sql.Connector
	mu     sync.Mutex
	took   []time.Duration // from the closing to the row
	closed int
	wanted int
	all    chan struct{} // closed when as many as wanted are closed
}

// PutActivities writes, and notes.
func (w *watched) PutActivities(ctx context.Context, list []crm.Activity) ([]crm.Outcome, error) {
	out, err := w.Connector.PutActivities(ctx, list)
	if err != nil {
		return out, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range list {
		if a.End.IsZero() {
			continue
		}
		w.took = append(w.took, time.Since(a.Record.LastAt))
		if w.closed++; w.closed == w.wanted {
			close(w.all)
		}
	}
	return out, nil
}

// messages of a chat: who it is, that it opened, and that it closed.
func messages(b *testing.B, n int, at time.Time) (subjects []string, all []event.Envelope) {
	b.Helper()
	who := event.Visitor{UserID: fmt.Sprintf("u-%08d", n), Email: fmt.Sprintf("u%d@example.test", n)}
	session := event.SessionKey("shop", who)
	add := func(subject, typ string, data any) {
		e, err := event.New("/bench", typ, session, data)
		if err != nil {
			b.Fatal(err)
		}
		subjects, all = append(subjects, subject), append(all, e)
	}
	add(event.TriggerSubject("bench", event.KindIdentify, "shop", session), event.TriggerType(event.KindIdentify),
		event.Trigger{Site: "shop", Visitor: who, Event: "identify", OccurredAt: at, Traits: map[string]any{"name": "Ada", "plan": "pro"}})
	o := event.Occurrence{Site: "shop", Session: session, Provider: "botstar", At: at, Cause: event.CauseAPI, Page: "https://shop.test/pricing"}
	add(event.FactSubject("botstar", event.FactWidgetOpened, "shop", session), event.FactType("botstar", event.FactWidgetOpened), event.WidgetOpened{Occurrence: o})
	o.At = at.Add(time.Millisecond)
	add(event.FactSubject("botstar", event.FactWidgetClosed, "shop", session), event.FactType("botstar", event.FactWidgetClosed), event.WidgetClosed{Occurrence: o})
	return subjects, all
}

func publishChat(b *testing.B, on *bus.Bus, n int, at time.Time) {
	b.Helper()
	subjects, all := messages(b, n, at)
	for i := range subjects {
		on.PublishAsync(subjects[i], all[i])
	}
}

// onEach runs the benchmark into both databases.
func onEach(b *testing.B, run func(b *testing.B, c *sql.Connector)) {
	b.Helper()
	b.Run("sqlite", func(b *testing.B) { run(b, openSQLite(b, filepath.Join(b.TempDir(), "crm.db"))) })
	b.Run("postgres", func(b *testing.B) { run(b, startPostgres(b).open()) })
}

// BenchmarkLatency has 200 chats a second, and says how long it takes from the
// closing of a chat to its row.
func BenchmarkLatency(b *testing.B) {
	onEach(b, func(b *testing.B, c *sql.Connector) {
		b.Helper()
		on := bustest.Start(b)
		w := &watched{Connector: c, wanted: b.N, all: make(chan struct{})}
		serve(b, on, crm.Options{Name: "bench", Connector: w, Since: time.Hour, Window: 20 * time.Millisecond})
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		b.ResetTimer()
		for n := range b.N {
			<-tick.C
			publishChat(b, on, n, time.Now())
		}
		<-w.all
		b.StopTimer()
		slices.Sort(w.took)
		at := func(part int) float64 { return float64(w.took[len(w.took)*part/100].Microseconds()) / 1000 }
		b.ReportMetric(at(50), "ms-p50")
		b.ReportMetric(at(99), "ms-p99")
	})
}

// BenchmarkThroughput brings chats that wait in the log, as fast as it goes.
// BenchmarkBare does the same writes without Parley: see there.
func BenchmarkThroughput(b *testing.B) {
	onEach(b, func(b *testing.B, c *sql.Connector) {
		b.Helper()
		on := bustest.Start(b)
		for n := range b.N {
			publishChat(b, on, n, time.Now())
		}
		bustest.Until(b, "all is in the log", func() bool {
			d, ok, err := on.Last(b.Context(), "evt.>")
			return err == nil && ok && d.Sequence >= uint64(2*b.N)
		})
		w := &watched{Connector: c, wanted: b.N, all: make(chan struct{})}
		b.ResetTimer()
		serve(b, on, crm.Options{Name: "bench", Connector: w, Since: time.Hour, Window: 20 * time.Millisecond})
		<-w.all
		b.StopTimer()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "chats/s")
	})
}

// BenchmarkBare is what one would write without Parley: for each chat one
// transaction with its contact and its row, once when it opens and once when it
// closes. BenchmarkBareBatch has as many in a transaction as the target does,
// and each chat only once.
func BenchmarkBare(b *testing.B) {
	onEach(b, func(b *testing.B, c *sql.Connector) {
		b.Helper()
		for n := range b.N {
			for seq := range uint64(2) {
				bare(b, c, n, 1, seq+1)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "chats/s")
	})
}

// BenchmarkBareBatch is described at BenchmarkBare.
func BenchmarkBareBatch(b *testing.B) {
	onEach(b, func(b *testing.B, c *sql.Connector) {
		b.Helper()
		const batch = 200
		for n := 0; n < b.N; n += batch {
			bare(b, c, n, min(batch, b.N-n), 1)
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "chats/s")
	})
}

func bare(b *testing.B, c *sql.Connector, from, n int, seq uint64) {
	b.Helper()
	now := time.Now()
	contacts, chats := make([]crm.Contact, n), make([]crm.Activity, n)
	for i := range n {
		who := event.Visitor{UserID: fmt.Sprintf("u-%08d", from+i), Email: fmt.Sprintf("u%d@example.test", from+i)}
		key := event.SessionKey("shop", who)
		contacts[i] = crm.Contact{Key: key, Seq: seq, At: now, Fields: []crm.Field{
			{Name: "chats", Value: 1.0},
			{Name: "email", Value: who.Email},
			{Name: "first_seen_at", Value: now},
			{Name: "last_chat_at", Value: now},
			{Name: "name", Value: "Ada"},
			{Name: "site", Value: "shop"},
			{Name: "user_id", Value: who.UserID},
		}}
		id := event.DerivedID("chat", key)
		chats[i] = crm.Activity{Key: id, Contact: crm.Ref{Key: key}, Seq: seq, Subject: "Chat on shop", At: now, End: now, Record: crm.Record{
			Key: id, Site: "shop", Session: key, Number: 1, Provider: "botstar", OpenedAt: now, ClosedAt: now, OpenedBy: event.CauseAPI,
			ClosedBy: event.CauseAPI, StartedAt: now, LastAt: now, Opens: 1, Pages: []string{"https://shop.test/pricing"},
		}}
	}
	_, err := c.UpsertContacts(b.Context(), contacts)
	if err == nil {
		_, err = c.PutActivities(b.Context(), chats)
	}
	if err != nil {
		b.Fatal(err)
	}
}
