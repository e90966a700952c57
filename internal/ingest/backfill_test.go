package ingest_test

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/ingest/plain"
	"github.com/parley-chat/parley/internal/telemetry"
)

// History goes where nothing acts on it, and is known to live events as they are
// to it.
func TestBackfill(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	settings := ingest.Settings{Name: "old", Type: "plain", Quota: 1}
	source, err := plain.New(settings)
	if err != nil {
		t.Fatal(err)
	}
	edge, err := ingest.New(slog.New(slog.DiscardHandler), ingest.Options{
		Sources: []ingest.Mount{{Settings: settings, Source: source, Path: "/in/old", Site: "shop"}},
		Store:   ingest.OnBus(b), Counter: telemetry.NewMetrics(),
	})
	if err != nil {
		t.Fatal(err)
	}
	stored := func(filter string) int {
		n := 0
		for d, err := range b.Read(t.Context(), bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{filter}}) {
			if err != nil {
				t.Fatal(err)
			}
			if e, err := d.Envelope(); err != nil || e.Type != event.TriggerType(event.KindTrack) {
				t.Errorf("%s holds %+v, %v", d.Subject, e, err)
			}
			n++
		}
		return n
	}
	const many = 30 // far above the quota
	items := make([]ingest.Item, many)
	for i := range items {
		items[i] = ingest.Item{
			ID: fmt.Sprint("e-", i), Kind: event.KindTrack, Authenticated: event.AuthenticFull,
			Trigger: event.Trigger{Visitor: event.Visitor{UserID: "u-42"}, Event: "Seen"},
		}
	}
	items[7].Err = fault.New(fault.SchemaViolation, "is wrong").At("/x")
	for _, again := range []bool{false, true} {
		results, err := edge.Backfill(t.Context(), "old", items, false)
		if err != nil || len(results) != many {
			t.Fatalf("the results are %v, %v", results, err)
		}
		for i, r := range results {
			if r.ID != items[i].ID || (r.Rejected != nil) != (i == 7) || r.Duplicate != (again && i != 7) || r.Conflict {
				t.Errorf("again %t: the event %d has the result %+v", again, i, r)
			}
		}
	}
	if live, past := stored(event.TriggerFilter()), stored(event.PastFilter()); live != 0 || past != many-1 {
		t.Errorf("%d live and %d past events are stored, want 0 and %d", live, past, many-1)
	}
	items[0].ID = "e-live"
	results, err := edge.Backfill(t.Context(), "old", items[:2], true)
	if err != nil || results[0].Duplicate || !results[1].Duplicate {
		t.Errorf("live the results are %+v, %v", results, err)
	}
	if live := stored(event.TriggerFilter()); live != 1 {
		t.Errorf("%d live events are stored, want 1", live)
	}
	if _, err := edge.Backfill(t.Context(), "other", items, false); fault.From(err) == nil || fault.From(err).Reason != fault.InternalError {
		t.Errorf("an unknown source gives %v", err)
	}
}
