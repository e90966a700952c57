package posthog_test

import (
	"fmt"
	"testing"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/ingest/ingesttest"
	"github.com/parley-chat/parley/internal/ingest/posthog"
)

// TestClients points PostHog's own clients at an edge whose answers get lost, are
// refused, or come too late. Every event that a client has is stored once.
func TestClients(t *testing.T) {
	t.Parallel()
	const key, rounds = "phc_7", 24
	fates := []ingesttest.Fate{
		ingesttest.Lost, ingesttest.Pass, ingesttest.Refused, ingesttest.Pass, ingesttest.Slow, ingesttest.Pass, ingesttest.Cut, ingesttest.Pass,
	}
	tests := map[string]struct {
		run    func(t testing.TB, url, key string, count int) []ingesttest.Report
		events int
	}{
		"posthog-go": {func(t testing.TB, url, key string, count int) []ingesttest.Report {
			t.Helper()
			return ingesttest.RunGo(t, "posthog", url, key, count)
		}, rounds},
		"posthog-node": {func(t testing.TB, url, key string, count int) []ingesttest.Report {
			t.Helper()
			return ingesttest.RunNode(t, "posthog.mjs", url, key, count/3)
		}, rounds},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			settings := ingest.Settings{
				Name: "ph", Type: posthog.Provider, Secrets: [][]byte{[]byte(key)}, Mapping: map[string]string{"distinct_id": "user_id"},
			}
			source, err := posthog.New(settings)
			if err != nil {
				t.Fatal(err)
			}
			edge := ingesttest.Serve(t, ingest.Mount{Settings: settings, Source: source, Path: "/", Site: "shop"})
			way := ingesttest.Break(t, edge.URL, 2, fates...)
			reports := test.run(t, way.URL, key, rounds)
			stored, events := map[string]int{}, edge.Events()
			for _, e := range events {
				stored[e.ID]++
				stored[fmt.Sprintf("i-%v", e.Trigger.Properties["i"])]++ // The Go client gives ids only where its caller does.
				if e.Trigger.Visitor.UserID == "" || e.Trigger.Origin.Authenticated != event.AuthenticPath || e.Trigger.URL == "" && e.Kind != event.KindIdentify {
					t.Errorf("%s is %+v", e.ID, e.Trigger)
				}
			}
			for _, r := range reports {
				if !r.OK || stored[r.ID] != 1 {
					t.Errorf("%s is stored %d times; the client says %t %s", r.ID, stored[r.ID], r.OK, r.Error)
				}
			}
			if len(reports) != test.events || len(events) != test.events {
				t.Errorf("%d events are stored, and the client sent %d; want %d", len(events), len(reports), test.events)
			}
			if way.Met(ingesttest.Lost) == 0 || edge.Counted("duplicate") == 0 || edge.Counted("conflict") != 0 || len(edge.Rejected()) != 0 {
				t.Errorf("%d answers got lost, %d events came again, %d contradicted themselves, %d were rejected",
					way.Met(ingesttest.Lost), edge.Counted("duplicate"), edge.Counted("conflict"), len(edge.Rejected()))
			}
			if bad := way.Refusals(); bad != nil {
				t.Errorf("the edge refused %v", bad)
			}
		})
	}
}
