//go:build browser

package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/session"
	"github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
	"github.com/parley-chat/parley/schemas"
)

var (
	seed  = flag.Uint64("seed", 20261125, "what fails in the test mode")
	share = flag.Float64("rate", 0.02, "the share of what fails in the test mode")
)

// local is a system in the test's own process.
type local struct {
	*System
	url string
}

// startLocal starts a system whose pages are led to the world, and runs it until
// the test ends.
func (w *world) startLocal(failing *Failing) *local {
	w.t.Helper()
	scratch, err := os.MkdirTemp("", "parley-app-test-")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = os.RemoveAll(scratch) })
	if err := os.Chmod(scratch, 0o755); err != nil {
		w.t.Fatal(err)
	}
	file := filepath.Join(w.t.TempDir(), ConfigFile)
	text := fmt.Sprintf("bus: {dir: %s, listen: '127.0.0.1:0'}\nworker: {name: local}\nbrowser: {dir: %s, spare: 0}\n"+
		"sites: {shop: {app_id: %s, domains: [%s]}}\n", w.t.TempDir(), scratch, shop.AppID, shop.Host)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	catalog := catalogue(w.t)
	cfg, err := LoadConfig(file, Env{}, catalog)
	if err != nil {
		w.t.Fatal(err)
	}
	validators, err := event.NewSchemas(schemas.FS)
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := Start(w.t.Context(), bustest.Log(w.t), cfg, Parts{
		Catalog: catalog, Schemas: validators, Env: Env{}, Failing: failing,
		Resolve: w.hosts.Resolve(), TrustSPKI: []string{w.hosts.SPKI()},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, s.Close(ctx)); err != nil {
			w.t.Errorf("running the system: %v", err)
		}
	})
	return &local{s, s.bus.URL()}
}

// told collects the results of commands, each as often as it was stored.
type told struct {
	results map[string][]event.Envelope
}

// results waits for the result of each command, then for a mark behind them all.
func results(t *testing.T, on *bus.Bus, ids map[string]bool) told {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	all := told{map[string][]event.Envelope{}}
	for d, err := range on.Tail(ctx, bus.TailOptions{Subjects: []string{"res.>"}, All: true}) {
		if err != nil {
			t.Fatalf("waiting for results, after %d of %d: %v", len(all.results), len(ids), err)
		}
		e, err := d.Envelope()
		if err != nil {
			t.Fatal(err)
		}
		if id := e.Extension(event.ExtCausationID); ids[id] {
			all.results[id] = append(all.results[id], e)
		}
		if len(all.results) == len(ids) {
			return all
		}
	}
	t.Fatalf("%d of %d commands have a result", len(all.results), len(ids))
	return all
}

// TestFailing has, unless the flags say otherwise, one thing of fifty said to have failed that was done, at every
// boundary: nothing is lost, and nothing happens twice.
func TestFailing(t *testing.T) { //nolint:paralleltest // A page that is slow for want of a processor fails for real.
	const visitors, pairs, later, patience = 8, 4, 2, 60_000
	t.Logf("-seed=%d -rate=%g", *seed, *share)
	w := newWorld(t)
	mode := &Failing{Seed: *seed, Rate: *share}
	system := w.startLocal(mode)
	c, on := client(t, system.url)
	send := func(times int) {
		t.Helper()
		var together sync.WaitGroup
		ids, orders := map[string]bool{}, make([][]order, visitors)
		for v := range visitors {
			for i := range 2 * times {
				action := []string{"botstar.widget.open", "botstar.widget.close"}[i%2]
				o, err := c.order(request{
					Action: action, Site: "shop", Visitor: event.Visitor{UserID: fmt.Sprintf("u-failing-%d", v)}, TimeoutMS: new(patience),
				})
				if err != nil {
					t.Fatal(err)
				}
				orders[v] = append(orders[v], o)
				ids[o.Envelope.ID] = true
			}
		}
		for _, commands := range orders {
			together.Go(func() {
				for _, o := range commands {
					if _, err := on.Publish(t.Context(), o.Subject, o.Envelope); err != nil {
						t.Error(err)
					}
				}
			})
		}
		together.Wait()
		for id, all := range results(t, on, ids).results {
			var r event.Result
			if err := json.Unmarshal(all[0].Data, &r); err != nil {
				t.Fatal(err)
			}
			if r.Status != event.Succeeded || !r.Verified || !bytes.Contains(r.Output, []byte(`"changed":true`)) {
				t.Errorf("%s %s: %s %+v, attempt %d, output %s", r.Action, id, r.Status, r.Problem, r.Attempt, r.Output)
			}
			if len(all) != 1 {
				t.Errorf("the command %s has %d results", id, len(all))
			}
		}
	}
	send(pairs)
	// All sessions are put away. Their next commands bring them back.
	for v := range visitors {
		key := event.SessionKey("shop", event.Visitor{UserID: fmt.Sprintf("u-failing-%d", v)})
		err := system.sessions.Evict(t.Context(), key)
		for try := 0; try < 5 && errors.Is(err, fault.New(fault.BusUnavailable, "")); try++ {
			err = system.sessions.Evict(t.Context(), key) // What was stored is found to be so.
		}
		if err != nil {
			t.Errorf("evicting %s: %v", key, err)
		}
	}
	for _, info := range system.sessions.List() {
		if info.State != session.Hibernated {
			t.Errorf("the session %s is %s", info.Session, info.State)
		}
	}
	send(later)
	w.judge(visitors, pairs+later)
	await(t, on, "evt.botstar.widget.closed.>", visitors*(pairs+later))
	for _, name := range []string{"opened", "closed"} {
		if n := stored(t, on, "evt.botstar.widget."+name+".>"); n != visitors*(pairs+later) {
			t.Errorf("%d facts say that a window was %s, want %d", n, name, visitors*(pairs+later))
		}
	}
	if n := stored(t, on, "dead.>"); n != 0 {
		t.Errorf("%d messages were buried", n)
	}
	if mode.Failed() < visitors {
		t.Errorf("only %d things were said to have failed", mode.Failed())
	}
	t.Logf("%d things that were done were said to have failed", mode.Failed())
}

// judge compares what the vendor's ledger holds with what was asked for: every
// window was opened and closed that often, in turns, in each life of its page.
func (w *world) judge(visitors, pairs int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	for v := range visitors {
		visitor := fmt.Sprintf("u-failing-%d", v)
		ledger, err := w.vendor.Ledger().Wait(ctx, func(s botstar.Snapshot) bool { return s.Count(visitor, botstar.Closed) >= pairs })
		if err != nil {
			w.t.Errorf("something of %s is lost: %v", visitor, err)
		}
		opened, closed := ledger.Count(visitor, botstar.Opened), ledger.Count(visitor, botstar.Closed)
		if opened != pairs || closed != pairs {
			w.t.Errorf("%s was opened %d times and closed %d times, want %d", visitor, opened, closed, pairs)
		}
		before := map[string]botstar.Kind{} // by page life
		for _, e := range ledger.Of(visitor) {
			if e.Kind != botstar.Opened && e.Kind != botstar.Closed {
				continue
			}
			if e.Kind == before[e.Instance] || before[e.Instance] == "" && e.Kind == botstar.Closed {
				w.t.Errorf("%s was %s out of turn in one life of its page", visitor, e.Kind)
			}
			before[e.Instance] = e.Kind
		}
		if len(before) != 2 {
			w.t.Errorf("%s had %d lives of its page, want 2", visitor, len(before))
		}
	}
}

// await waits until so many messages are stored on the subjects, and returns
// them.
func await(t *testing.T, on *bus.Bus, filter string, atLeast int) []event.Envelope {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var all []event.Envelope
	for d, err := range on.Tail(ctx, bus.TailOptions{Subjects: []string{filter}, All: true}) {
		if err != nil {
			t.Fatal(err)
		}
		e, err := d.Envelope()
		if err != nil {
			t.Fatal(err)
		}
		if all = append(all, e); len(all) == atLeast {
			return all
		}
	}
	t.Errorf("%d messages came on %s, want %d", len(all), filter, atLeast)
	return all
}

// stored returns how many messages there are on the subjects.
func stored(t *testing.T, on *bus.Bus, filter string) int {
	t.Helper()
	n := 0
	for _, err := range on.Tail(t.Context(), bus.TailOptions{Subjects: []string{filter}, All: true, ToEnd: true}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}
