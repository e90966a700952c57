package sql_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/sql"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// start is when the visitors of the tests come.
func start() time.Time { return time.Now().Add(-time.Minute).UTC().Truncate(time.Millisecond) }

// track publishes a trigger of the visitor.
func track(t testing.TB, b *bus.Bus, kind string, trigger event.Trigger) {
	t.Helper()
	session := event.SessionKey(trigger.Site, trigger.Visitor)
	e, err := event.New("/ingest/test", event.TriggerType(kind), session, trigger)
	if err != nil {
		t.Fatal(err)
	}
	publish(t, b, event.TriggerSubject("test", kind, trigger.Site, session), e)
}

// publish publishes until it is stored: a machine that is busy answers late.
// Whatever is stored twice is folded once.
func publish(t testing.TB, b *bus.Bus, subject string, e event.Envelope) {
	t.Helper()
	for {
		_, err := b.Publish(t.Context(), subject, e)
		if err == nil {
			return
		}
		if !fault.Retryable(err) || t.Context().Err() != nil {
			t.Errorf("publishing %s: %v", subject, err)
			return
		}
	}
}

// happen publishes a fact.
func happen(t testing.TB, b *bus.Bus, name string, o event.Occurrence, fact any) {
	t.Helper()
	e, err := event.New("/workers/w1", event.FactType("botstar", name), o.Session, fact)
	if err != nil {
		t.Fatal(err)
	}
	publish(t, b, event.FactSubject("botstar", name, o.Site, o.Session), e)
}

func openSQLite(t testing.TB, path string) *sql.Connector {
	t.Helper()
	c, err := sql.OpenSQLite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// serve runs a target until the test ends.
func serve(t testing.TB, b *bus.Bus, o crm.Options) *crm.Target {
	t.Helper()
	target, err := crm.New(bustest.Log(t), b, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- target.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return target
}

// rows returns what the query finds, a line for each row.
func rows(t testing.TB, c *sql.Connector, query string, args ...any) []string {
	t.Helper()
	found, err := c.DB().QueryContext(context.WithoutCancel(t.Context()), query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = found.Close() }()
	names, err := found.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for found.Next() {
		values, into := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := found.Scan(into...); err != nil {
			t.Fatal(err)
		}
		line := make([]string, len(values))
		for i, v := range values {
			line[i] = fmt.Sprint(v)
		}
		out = append(out, strings.Join(line, " | "))
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestAChatBecomesARow brings one visitor, who is anonymous first, and a chat
// into SQLite.
func TestAChatBecomesARow(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	c := openSQLite(t, filepath.Join(t.TempDir(), "crm.db"))
	at := start()
	ada := event.Visitor{UserID: "u-ada", Email: "Ada@Example.test"}
	session := event.SessionKey("shop", ada)
	track(t, b, event.KindIdentify, event.Trigger{
		Site: "shop", Visitor: ada, Event: "identify", OccurredAt: at, Traits: map[string]any{"name": "Ada", "plan": "pro"},
	})
	o := event.Occurrence{Site: "shop", Session: session, Provider: "botstar", At: at, Cause: event.CauseAPI, Page: "https://shop.test/pricing"}
	happen(t, b, event.FactWidgetOpened, o, event.WidgetOpened{Occurrence: o})
	serve(t, b, crm.Options{Name: "local", Connector: c, Since: time.Hour})
	o.At, o.Cause = at.Add(90*time.Second), event.CauseVisitor
	happen(t, b, event.FactWidgetClosed, o, event.WidgetClosed{Occurrence: o})

	query := "SELECT s.site, s.opened_by, s.closed_by, s.seconds, s.pages, c.email, c.name, c.user_id, c.chats FROM chat_sessions s JOIN contacts c USING (contact_key) WHERE s.closed_by <> ''"
	bustest.Until(t, "the chat is a row", func() bool { return len(rows(t, c, query)) == 1 })
	want := []string{"shop | api | visitor | 90 | https://shop.test/pricing | ada@example.test | Ada | u-ada | 1"}
	if diff := cmp.Diff(want, rows(t, c, query)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	bustest.Until(t, "nothing waits", func() bool {
		s, err := crm.StatusOf(t.Context(), b, "local")
		if err != nil {
			t.Fatal(err)
		}
		return s.Waiting == 0 && s.Unread == 0 && s.Position.Events > 0
	})
}
