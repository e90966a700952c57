package tracking_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/ingest/ingesttest"
	"github.com/parley-chat/parley/internal/ingest/tracking"
)

const (
	writeKey = "wk-7"
	rounds   = 12 // Each is one event of every kind.
)

func serve(t *testing.T) *ingesttest.Edge {
	t.Helper()
	return serveQuota(t, 0)
}

// serveQuota is serve with a quota of events a second.
func serveQuota(t *testing.T, quota float64) *ingesttest.Edge {
	t.Helper()
	settings := ingest.Settings{Name: "sdk", Type: tracking.Provider, Secrets: [][]byte{[]byte(writeKey)}, Quota: quota}
	source, err := tracking.New(settings)
	if err != nil {
		t.Fatal(err)
	}
	return ingesttest.Serve(t, ingest.Mount{Settings: settings, Source: source, Path: "/", Site: "shop"})
}

// TestClients points the vendors' own clients at an edge whose answers get lost,
// are refused, or come too late. Every event that a client has is stored once.
func TestClients(t *testing.T) {
	t.Parallel()
	const (
		pass, lost, refused = ingesttest.Pass, ingesttest.Lost, ingesttest.Refused
		slow, cut, silent   = ingesttest.Slow, ingesttest.Cut, ingesttest.Silent
	)
	tests := map[string]struct {
		run   func(t testing.TB, url, key string, count int) []ingesttest.Report
		fates []ingesttest.Fate
	}{
		"analytics-go": {
			func(t testing.TB, url, key string, count int) []ingesttest.Report {
				t.Helper()
				return ingesttest.RunGo(t, "segment", url, key, count)
			},
			[]ingesttest.Fate{lost, pass, refused, pass, slow, pass, cut, pass},
		},
		"analytics-node":  {node("segment.mjs"), []ingesttest.Fate{lost, pass, refused, pass, slow, pass, cut, pass, silent, pass}},
		"rudder-sdk-node": {node("rudderstack.mjs"), []ingesttest.Fate{lost, pass, refused, pass, slow, pass, cut, pass}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			edge := serve(t)
			way := ingesttest.Break(t, edge.URL, 1, test.fates...)
			reports := test.run(t, way.URL, writeKey, rounds)
			for _, fate := range test.fates {
				if way.Met(fate) == 0 {
					t.Errorf("no request was %s: the test has shown nothing", fate)
				}
			}
			checkOnce(t, edge, reports, 6*rounds)
			if bad := way.Refusals(); bad != nil {
				t.Errorf("the edge refused %v", bad)
			}
			if accepted, again := edge.Counted("accepted"), edge.Counted("duplicate"); accepted != 6*rounds || again == 0 || edge.Counted("conflict") != 0 {
				t.Errorf("%d events were accepted, %d came again, %d contradicted themselves", accepted, again, edge.Counted("conflict"))
			}
		})
	}
}

func node(script string) func(t testing.TB, url, key string, count int) []ingesttest.Report {
	return func(t testing.TB, url, key string, count int) []ingesttest.Report {
		t.Helper()
		return ingesttest.RunNode(t, script, url, key, count)
	}
}

// checkOnce compares what the client says with what is stored.
func checkOnce(t *testing.T, edge *ingesttest.Edge, reports []ingesttest.Report, want int) {
	t.Helper()
	sent, stored, kinds := map[string]int{}, map[string]int{}, map[string]int{}
	for _, r := range reports {
		sent[r.ID]++
		if !r.OK {
			t.Errorf("the client gave up %s: %s", r.ID, r.Error)
		}
	}
	for _, e := range edge.Events() {
		stored[e.ID]++
		kinds[e.Kind]++
		if err := checkContent(e); err != nil {
			t.Errorf("%s %s: %v", e.Kind, e.ID, err)
		}
	}
	if len(sent) != want {
		t.Errorf("the client reports %d events, want %d", len(sent), want)
	}
	for _, id := range slices.Sorted(maps.Keys(sent)) {
		if stored[id] != 1 {
			t.Errorf("%s is stored %d times", id, stored[id])
		}
	}
	for id := range stored {
		if sent[id] == 0 {
			t.Errorf("%s is stored, and nobody sent it", id)
		}
	}
	each := want / 6
	if diff := cmp.Diff(map[string]int{"track": each, "identify": each, "page": each, "screen": each, "group": each, "alias": each}, kinds); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
	if rejected := edge.Rejected(); len(rejected) > 0 {
		t.Errorf("%d events are on the rejected list, the first for %+v", len(rejected), rejected[0].Problem)
	}
}

// checkContent looks for what each kind of event has to tell.
func checkContent(e ingesttest.Event) error {
	tr := e.Trigger
	if tr.OccurredAt.IsZero() || tr.ReceivedAt.IsZero() || tr.OccurredAt.After(tr.ReceivedAt.Add(1e9)) {
		return fmt.Errorf("it occurred at %s, and came at %s", tr.OccurredAt, tr.ReceivedAt)
	}
	if tr.Origin == nil || tr.Origin.Authenticated != event.AuthenticPath || tr.Origin.MessageID != e.ID {
		return fmt.Errorf("its origin is %+v", tr.Origin)
	}
	switch e.Kind {
	case event.KindTrack:
		if tr.Event != "Pricing Viewed" || tr.Properties["price"] != 19.99 || tr.URL != "https://shop.test/pricing" || tr.Visitor.UserID == "" {
			return fmt.Errorf("it is %+v", tr)
		}
	case event.KindIdentify:
		if tr.Visitor.Email == "" || tr.Traits["email"] != tr.Visitor.Email || tr.Visitor.AnonymousID == "" {
			return fmt.Errorf("it is %+v", tr)
		}
	case event.KindPage, event.KindScreen:
		if tr.Event != "Pricing" && tr.Event != "Home" {
			return fmt.Errorf("its name is %q", tr.Event)
		}
	case event.KindGroup:
		if tr.Group != "acme" || tr.Traits["name"] != "Acme" {
			return fmt.Errorf("the group is %q, %v", tr.Group, tr.Traits)
		}
	case event.KindAlias:
		if tr.Previous == nil || tr.Previous.Key() == "" || tr.Visitor.UserID == "" {
			return fmt.Errorf("%+v was %+v", tr.Visitor, tr.Previous)
		}
	}
	return nil
}

// TestClientsAreRefused: a client with a wrong key is told so, tries no more, and
// nothing is stored.
func TestClientsAreRefused(t *testing.T) {
	t.Parallel()
	edge := serve(t)
	way := ingesttest.Break(t, edge.URL, 1)
	reports := ingesttest.RunNode(t, "segment.mjs", way.URL, "another", 1)
	for _, r := range reports {
		if r.OK {
			t.Errorf("the client takes %s for sent", r.ID)
		}
	}
	if n := len(edge.Events()); n != 0 || len(way.Refusals()) == 0 || way.Met(ingesttest.Pass) != len(way.Refusals()) {
		t.Errorf("%d events are stored; %d requests, refused %v", n, way.Met(ingesttest.Pass), way.Refusals())
	}
}

// TestClientsWait: while the edge has enough, or is in maintenance, clients try
// again, and no event gets lost.
func TestClientsWait(t *testing.T) {
	t.Parallel()
	t.Run("over the quota", func(t *testing.T) {
		t.Parallel()
		edge := serveQuota(t, 30)
		way := ingesttest.Break(t, edge.URL, 1)
		reports := ingesttest.RunNode(t, "segment.mjs", way.URL, writeKey, rounds)
		checkOnce(t, edge, reports, 6*rounds)
		checkRefusals(t, way, "POST /v1/batch: 429 Too Many Requests")
	})
	t.Run("maintenance", func(t *testing.T) {
		t.Parallel()
		edge := serve(t)
		edge.Handler.SetMaintenance(true)
		way := ingesttest.Break(t, edge.URL, 1)
		way.OnRefusal(func() {
			if n := edge.Counted("accepted"); n != 0 {
				t.Errorf("%d events are stored during maintenance", n)
			}
			edge.Handler.SetMaintenance(false)
		})
		checkOnce(t, edge, ingesttest.RunGo(t, "segment", way.URL, writeKey, 1), 6)
		checkRefusals(t, way, "POST /v1/batch: 503 Service Unavailable")
	})
}

// checkRefusals tests that the edge refused something, and always like this.
func checkRefusals(t *testing.T, way *ingesttest.Flaky, want string) {
	t.Helper()
	refusals := way.Refusals()
	if len(refusals) == 0 {
		t.Error("nothing was refused: the test has shown nothing")
	}
	for _, refusal := range refusals {
		if refusal != want {
			t.Errorf("the edge refused with %q, want %q", refusal, want)
		}
	}
}
