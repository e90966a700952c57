package bus_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// flowEnvelope returns a trigger of the source with the id.
func flowEnvelope(source, id string) event.Envelope {
	return event.Envelope{ID: id, Source: source, Type: event.TriggerType(event.KindTrack), Time: time.Unix(1, 0), Data: []byte(`{"n":1}`)}
}

// trigger returns the subject of a trigger of the session.
func trigger(session string) string {
	return event.TriggerSubject("segment", event.KindTrack, "shop", session)
}

// flowed returns the subjects and sequences that FLOW has of the filters.
func flowed(t testing.TB, b *bus.Bus, filters ...string) []*bus.Delivery {
	t.Helper()
	var all []*bus.Delivery
	for d, err := range b.Read(t.Context(), bus.ReadOptions{Stream: bus.StreamFlow, Filters: filters}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

func TestAnEventIsAcceptedOnce(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	e := flowEnvelope("segment/a", "m1")
	got, err := b.Accept(t.Context(), trigger("s1"), e, []byte("sum"))
	if err != nil || got != (bus.AcceptResult{Sequence: 2}) {
		t.Fatalf("first: %+v, %v", got, err)
	}
	got, err = b.Accept(t.Context(), trigger("s1"), e, []byte("sum"))
	if err != nil || got != (bus.AcceptResult{Duplicate: true, Sequence: 2}) {
		t.Fatalf("again: %+v, %v", got, err)
	}
	// Also when it has found out meanwhile who the visitor is.
	got, err = b.Accept(t.Context(), trigger("s2"), e, []byte("other"))
	if err != nil || got != (bus.AcceptResult{Duplicate: true, Conflict: true, Sequence: 2}) {
		t.Fatalf("with other data: %+v, %v", got, err)
	}
	// One customer's id suppresses nobody else's event.
	got, err = b.Accept(t.Context(), trigger("s1"), flowEnvelope("segment/b", "m1"), []byte("sum"))
	if err != nil || got.Duplicate {
		t.Fatalf("of another source: %+v, %v", got, err)
	}
	if all := flowed(t, b, event.TriggerFilter()); len(all) != 2 || all[0].Sequence != 2 || all[0].Subject != trigger("s1") {
		t.Fatalf("stored: %d triggers", len(all))
	}
}

func TestManyAcceptAtOnce(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	const callers, each = 20, 50
	var group sync.WaitGroup
	var mu sync.Mutex
	stored := map[string]int{}
	for c := range callers {
		group.Go(func() {
			for i := range each {
				// Every id comes from two callers.
				id := fmt.Sprintf("m%d-%d", c/2, i)
				got, err := b.Accept(t.Context(), trigger(fmt.Sprintf("s%d", c)), flowEnvelope("x", id), []byte(id))
				if err != nil || got.Conflict {
					t.Errorf("%s: %+v, %v", id, got, err)
				}
				if !got.Duplicate {
					mu.Lock()
					stored[id]++
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	all := flowed(t, b, event.TriggerFilter())
	if len(all) != callers*each/2 || len(stored) != len(all) {
		t.Errorf("%d triggers, %d ids, want %d", len(all), len(stored), callers*each/2)
	}
	for id, n := range stored {
		if n != 1 {
			t.Errorf("%s was new %d times", id, n)
		}
	}
}

func TestACommitIsAllOrNothing(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	runs := event.RunsSubject("shop", "s1")
	zero := uint64(0)
	first, err := b.Commit(t.Context(), []bus.FlowMsg{
		{Subject: runs, Data: []byte("1"), At: &zero},
		{Subject: event.PositionSubject, Data: []byte("1"), At: &zero},
	})
	if err != nil || len(first) != 2 || first[1] != first[0]+1 {
		t.Fatalf("first: %v, %v", first, err)
	}
	_, err = b.Commit(t.Context(), []bus.FlowMsg{
		{Subject: runs, Data: []byte("2"), At: &first[0]},
		{Subject: event.PositionSubject, Data: []byte("2"), At: &zero},
	})
	wantReason(t, err, fault.StaleFence)
	last, ok, err := b.Last(t.Context(), runs)
	if err != nil || !ok || string(last.Body) != "1" || last.Sequence != first[0] {
		t.Fatalf("last: %+v, %t, %v", last, ok, err)
	}
	_, err = b.Commit(t.Context(), []bus.FlowMsg{{Subject: runs, Create: true}})
	wantReason(t, err, fault.AlreadyStored)
	if _, ok, err := b.Last(t.Context(), event.RunsSubject("shop", "nobody")); ok || err != nil {
		t.Fatalf("of nobody: %t, %v", ok, err)
	}
}
