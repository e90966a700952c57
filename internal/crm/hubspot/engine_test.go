package hubspot_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/hubspot"
	"github.com/parley-chat/parley/internal/event"
	vendor "github.com/parley-chat/parley/internal/standin/hubspot"
)

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

// visit is one visitor whose events the test publishes.
type visit struct {
	t  testing.TB
	b  *bus.Bus
	at time.Time
	event.Visitor
}

func (v *visit) session() string { return event.SessionKey("shop", v.Visitor) }

func (v *visit) identify(traits map[string]any) {
	v.t.Helper()
	v.at = v.at.Add(time.Millisecond)
	trigger := event.Trigger{Site: "shop", Visitor: v.Visitor, Event: "identify", OccurredAt: v.at, Traits: traits}
	e, err := event.New("/ingest/test", event.TriggerType(event.KindIdentify), v.session(), trigger)
	if err == nil {
		_, err = v.b.Publish(v.t.Context(), event.TriggerSubject("test", event.KindIdentify, "shop", v.session()), e)
	}
	if err != nil {
		v.t.Error(err)
	}
}

// chat opens and closes the widget so many times: two events each.
func (v *visit) chat(times int) {
	v.t.Helper()
	for i := range 2 * times {
		v.at = v.at.Add(time.Second)
		o := event.Occurrence{Site: "shop", Session: v.session(), Provider: "botstar", At: v.at, Cause: event.CauseVisitor, Page: "https://shop.test/pricing"}
		name, fact := event.FactWidgetOpened, any(event.WidgetOpened{Occurrence: o})
		if i%2 == 1 {
			name, fact = event.FactWidgetClosed, any(event.WidgetClosed{Occurrence: o})
		}
		e, err := event.New("/workers/w1", event.FactType("botstar", name), o.Session, fact)
		if err == nil {
			_, err = v.b.Publish(v.t.Context(), event.FactSubject("botstar", name, o.Site, o.Session), e)
		}
		if err != nil {
			v.t.Error(err)
		}
	}
}

// patiently waits for what takes as long as the pauses after faults.
func patiently(t testing.TB, what string, done func() bool) {
	t.Helper()
	end := time.NewTimer(2 * time.Minute)
	defer end.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for !done() {
		select {
		case <-look.C:
		case <-end.C:
			t.Fatalf("not true within two minutes: %s", what)
		}
	}
}

// idle waits until the target has written all that it was told.
func idle(t testing.TB, b *bus.Bus, name string, done func() bool) {
	t.Helper()
	patiently(t, "the account has everything", done)
	patiently(t, "nothing waits", func() bool {
		s, err := crm.StatusOf(t.Context(), b, name)
		if err != nil {
			t.Fatal(err)
		}
		return s.Waiting == 0 && s.Unread == 0 && s.Position.Events > 0
	})
}

// TestCallsPerEvent counts what a thousand events of fifty sessions cost, with
// the settings that targets have by default, beside one call for each event.
func TestCallsPerEvent(t *testing.T) {
	t.Parallel()
	const sessions, events = 50, 1_000
	b := bustest.Start(t)
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	before := r.Count("")
	serve(t, b, crm.Options{Name: "hs", Connector: r.crm, Since: time.Hour, Window: 2 * time.Second})
	began := time.Now()
	start := began.Add(-10 * time.Minute).UTC().Truncate(time.Millisecond)
	visits := make([]*visit, sessions)
	for i := range visits {
		visits[i] = &visit{t: t, b: b, at: start, Visitor: event.Visitor{UserID: fmt.Sprintf("u-%d", i), Email: fmt.Sprintf("u-%d@example.test", i)}}
		visits[i].identify(map[string]any{"first_name": "Ada", "phone": "1"})
	}
	// The sessions go on for some windows, so that there is something to collect.
	pace := time.NewTicker(800 * time.Millisecond)
	defer pace.Stop()
	for range 9 {
		<-pace.C
		for _, v := range visits {
			v.chat(1)
		}
	}
	for _, v := range visits {
		v.identify(map[string]any{"first_name": "Augusta", "phone": "2"})
	}
	published := time.Since(began)
	idle(t, b, "hs", func() bool {
		notes := r.Records("notes")
		return len(notes) == sessions && !slices.ContainsFunc(notes, func(n vendor.Record) bool { return !strings.Contains(n.Properties["hs_note_body"], "Open for 9s") })
	})
	calls := r.Count("") - before
	lost := 0
	for _, c := range r.Records("contacts") {
		if c.Properties["firstname"] != "Augusta" || c.Properties["phone"] != "2" || !strings.HasSuffix(c.Properties["email"], "@example.test") {
			lost++
		}
	}
	for _, n := range r.Records("notes") {
		if len(n.Ties) != 1 || !strings.Contains(n.Properties["hs_note_body"], "Open for 9s") {
			lost++
		}
	}
	if len(r.Records("contacts")) != sessions || len(r.Records("notes")) != sessions || lost != 0 {
		t.Errorf("%d contacts, %d notes, %d of them wrong", len(r.Records("contacts")), len(r.Records("notes")), lost)
	}
	if calls*20 > events {
		t.Errorf("%d calls for %d events", calls, events)
	}
	t.Logf("%d events of %d sessions within %s: %d calls, the schema included", events, sessions, published.Round(time.Millisecond), calls)
}

// TestEngineThroughFaults: the engine and the connector together, through a third
// of failing calls: each person is one contact, each session one note.
func TestEngineThroughFaults(t *testing.T) {
	t.Parallel()
	const sessions = 400
	b := bustest.Start(t)
	r := newRig(t, vendor.Options{}, hubspot.Options{Rate: 500, Burst: 500})
	r.Set(vendor.Faults{Seed: 7, Shares: []vendor.Share{
		{Share: 0.08, Operation: "", Fault: vendor.Fault{Status: 503}},
		{Share: 0.08, Fault: vendor.Fault{Late: 502}},
		{Share: 0.04, Fault: vendor.Fault{Cut: true}},
		{Share: 0.05, Fault: vendor.Fault{Status: 429, Policy: "TEN_SECONDLY_ROLLING", RetryAfter: "1"}},
		{Share: 0.04, Fault: vendor.Fault{Empty: true}},
		{Share: 0.15, Fault: vendor.Fault{Partial: 0.2}},
	}})
	serve(t, b, crm.Options{Name: "hs", Connector: r.crm, Since: time.Hour, Window: 20 * time.Millisecond})
	start := time.Now().Add(-10 * time.Minute).UTC().Truncate(time.Millisecond)
	var running sync.WaitGroup
	for worker := range 8 {
		running.Go(func() {
			for i := worker; i < sessions; i += 8 {
				v := &visit{t: t, b: b, at: start, Visitor: event.Visitor{UserID: fmt.Sprintf("u-%d", i), Email: fmt.Sprintf("u-%d@example.test", i)}}
				v.identify(map[string]any{"first_name": "Ada"})
				v.chat(1)
				v.identify(map[string]any{"first_name": "Augusta"})
			}
		})
	}
	running.Wait()
	idle(t, b, "hs", func() bool { return len(r.Records("notes")) == sessions })
	made, seqs := map[string]int{}, map[string]string{}
	for _, w := range r.Writes("contacts") {
		if w.Created {
			made[w.Properties["email"]]++
		}
		key, seq := w.Properties["parley_key"], fmt.Sprintf("%020s", w.Properties["parley_seq"])
		if seq < seqs[key] {
			t.Errorf("%s went back from %s to %s", key, seqs[key], seq)
		}
		seqs[key] = seq
	}
	for email, n := range made {
		if n != 1 {
			t.Errorf("%s was made %d times", email, n)
		}
	}
	lost := 0
	for _, c := range r.Records("contacts") {
		if c.Properties["firstname"] != "Augusta" {
			lost++
		}
	}
	for _, n := range r.Records("notes") {
		if len(n.Ties) != 1 {
			lost++
		}
	}
	if len(r.Records("contacts")) != sessions || len(r.Records("notes")) != sessions || lost != 0 {
		t.Errorf("%d contacts, %d notes, %d of them wrong", len(r.Records("contacts")), len(r.Records("notes")), lost)
	}
	t.Logf("%d sessions: %d calls; faults: %v", sessions, r.Count(""), faulted(r))
}
