// Package ingesttest starts real edges for tests, breaks the way to them, and
// points the vendors' own clients at them.
package ingesttest

import (
	"context"
	"encoding/json"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/schemas"
)

// Edge is an edge on the loopback, in front of a bus of its own.
type Edge struct {
	// URL is its address, without a slash at the end.
	URL string
	// Handler answers without a connection.
	Handler *ingest.Edge
	counts  *counter
	bus     *bus.Bus
	t       testing.TB
}

// Serve starts an edge that has the sources, until the test ends. Its bus is a
// real one, on disk.
func Serve(t testing.TB, sources ...ingest.Mount) *Edge {
	t.Helper()
	b := bustest.Start(t)
	validators, err := event.NewSchemas(schemas.FS)
	if err != nil {
		t.Fatal(err)
	}
	identities, err := b.KV(t.Context(), bus.BucketIdentities)
	if err != nil {
		t.Fatal(err)
	}
	counts := &counter{events: map[string]int{}}
	handler, err := ingest.New(bustest.Log(t), ingest.Options{
		Sources: sources, Store: ingest.OnBus(b), Identities: ingest.OnKV(identities), Validate: validators.Validate, Counter: counts,
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- handler.Serve(ctx, l, ingest.Limits{}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	return &Edge{URL: "http://" + l.Addr().String(), Handler: handler, counts: counts, bus: b, t: t}
}

// Counted returns how many events had the outcome: accepted, duplicate, conflict
// or rejected.
func (e *Edge) Counted(outcome string) int {
	e.counts.mu.Lock()
	defer e.counts.mu.Unlock()
	return e.counts.events[outcome]
}

// counter counts what the edge does.
type counter struct {
	mu     sync.Mutex
	events map[string]int // by outcome
}

// Ingested implements ingest.Counter.
func (c *counter) Ingested(_, outcome string, events int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events[outcome] += events
}

// IngestRejected implements ingest.Counter.
func (*counter) IngestRejected(string, string, int) {}

// IngestAnswered implements ingest.Counter.
func (*counter) IngestAnswered(string, int, time.Duration) {}

// Event is a trigger as the edge stored it.
type Event struct {
	ID, Kind string
	Trigger  event.Trigger
}

// Events returns all that is stored, in its order.
func (e *Edge) Events() []Event {
	e.t.Helper()
	var events []Event
	for d, err := range e.bus.Read(e.t.Context(), bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{event.TriggerFilter()}}) {
		if err != nil {
			e.t.Fatal(err)
		}
		envelope, err := event.Decode(d.Header, d.Body)
		if err != nil {
			e.t.Fatal(err)
		}
		one := Event{ID: envelope.ID, Kind: strings.Split(d.Subject, ".")[2]}
		if err := json.Unmarshal(envelope.Data, &one.Trigger); err != nil {
			e.t.Fatal(err)
		}
		events = append(events, one)
	}
	return events
}

// Rejected returns all that is on the rejected list.
func (e *Edge) Rejected() []event.RejectedEvent {
	e.t.Helper()
	var all []event.RejectedEvent
	for d, err := range e.bus.Read(e.t.Context(), bus.ReadOptions{Stream: bus.StreamDead}) {
		if err != nil {
			e.t.Fatal(err)
		}
		envelope, err := event.Decode(d.Header, d.Body)
		if err != nil {
			e.t.Fatal(err)
		}
		var one event.RejectedEvent
		if err := json.Unmarshal(envelope.Data, &one); err != nil {
			e.t.Fatal(err)
		}
		all = append(all, one)
	}
	return all
}
