// Package bustest starts real buses for tests, and waits for what comes over
// them.
package bustest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
)

// patience is how long Next waits. It is long, because it only passes when the
// test fails.
const patience = time.Minute

// Start returns a bus of the test's own, with all streams: a real server in
// this process, on disk. It ends with the test.
func Start(t testing.TB) *bus.Bus {
	t.Helper()
	return Open(t, bus.Options{Dir: t.TempDir()})
}

// Open opens a bus with the options, makes its streams, and closes it when the
// test ends.
func Open(t testing.TB, o bus.Options) *bus.Bus {
	t.Helper()
	b := Connect(t, o)
	if err := b.EnsureTopology(t.Context()); err != nil {
		t.Fatalf("making the streams: %v", err)
	}
	return b
}

// Connect opens a bus with the options, and closes it when the test ends.
func Connect(t testing.TB, o bus.Options) *bus.Bus {
	t.Helper()
	b, err := bus.Open(t.Context(), Log(t), o)
	if err != nil {
		t.Fatalf("opening the bus: %v", err)
	}
	t.Cleanup(func() { Close(t, b) })
	return b
}

// Close closes the bus before the test ends.
func Close(t testing.TB, b *bus.Bus) {
	t.Helper()
	// The test's own context has ended when its cleanups run.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Errorf("closing the bus: %v", err)
	}
}

// Log returns a logger that writes warnings and errors to the test's output.
func Log(t testing.TB) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// Next returns the data of the first event in the history that was caused by
// the command or trigger and is of one of the types; without types, its result.
// It waits for it. If none comes, the test fails, and its message lists what
// did come.
func Next[T any](t testing.TB, b *bus.Bus, of event.Envelope, types ...string) T {
	t.Helper()
	wanted := strings.Join(types, " or ")
	if len(types) == 0 {
		wanted = "a result"
	}
	return wait[T](t, b, []string{"res.>", "evt.>"}, fmt.Sprintf("%s of %s (%s)", wanted, of.ID, of.Type), func(_ string, e event.Envelope) bool {
		if !causedBy(e, of) {
			return false
		}
		if len(types) == 0 {
			return strings.HasPrefix(e.Type, "chat.parley.result.")
		}
		return slices.Contains(types, e.Type)
	})
}

// NextOn returns the data of the first message whose subject fits the filter,
// such as "evt.botstar.widget.opened.>". It waits for it. If none comes, the
// test fails, and its message lists what did come.
func NextOn[T any](t testing.TB, b *bus.Bus, filter string) T {
	t.Helper()
	return wait[T](t, b, []string{filter}, "a message on "+filter, func(string, event.Envelope) bool { return true })
}

// Raw returns the first message of the subjects as JSON that is no CloudEvent.
func Raw(t testing.TB, b *bus.Bus, filter string) map[string]any {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for d, err := range b.Tail(ctx, bus.TailOptions{Subjects: []string{filter}, All: true}) {
		if err != nil {
			t.Fatalf("waiting for a message on %s: %v", filter, err)
		}
		var data map[string]any
		if err := json.Unmarshal(d.Body, &data); err != nil {
			t.Fatalf("reading a message on %s: %v", filter, err)
		}
		return data
	}
	t.Fatalf("no message came on %s within %s", filter, patience)
	return nil
}

// Until waits until the fact is true. It is for facts that nothing announces,
// such as the state of the server; what the bus announces is waited for with
// Next.
func Until(t testing.TB, fact string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patienceNow())
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not true within %s: %s", patienceNow(), fact)
		}
	}
}

// causedBy reports whether the event names the other one as its cause.
func causedBy(e, cause event.Envelope) bool {
	if e.Extension(event.ExtCausationID) == cause.ID || e.Extension(event.ExtCorrelationID) == cause.ID {
		return true
	}
	var named struct {
		CommandID string `json:"command_id"`
	}
	return json.Unmarshal(e.Data, &named) == nil && named.CommandID == cause.ID
}

func wait[T any](t testing.TB, b *bus.Bus, subjects []string, wanted string, fits func(subject string, e event.Envelope) bool) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var data T
	var seen []string
	for d, err := range b.Tail(ctx, bus.TailOptions{Subjects: subjects, All: true}) {
		if err != nil {
			t.Fatalf("waiting for %s: %v", wanted, err)
		}
		e, err := d.Envelope()
		if err != nil {
			seen = append(seen, fmt.Sprintf("%s: %v", d.Subject, err))
			continue
		}
		if !fits(d.Subject, e) {
			seen = append(seen, fmt.Sprintf("%s: %s %s %s", d.Subject, e.Type, e.ID, e.Data))
			continue
		}
		if err := json.Unmarshal(e.Data, &data); err != nil {
			t.Fatalf("reading %s as %T: %v\n%s", wanted, data, err, e.Data)
		}
		return data
	}
	if errors.Is(t.Context().Err(), context.Canceled) {
		t.Fatalf("the test ended while it waited for %s", wanted)
	}
	t.Fatalf("%s did not come within %s; what came:\n  %s", wanted, patience, strings.Join(seen, "\n  "))
	return data
}

// Leaks returns what goleak may find after a test and is nobody's leak: the
// server's own wait for a source, which outlives its shutdown by some seconds.
func Leaks() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*stream).trySetupSourceConsumer.func3"),
	}
}
