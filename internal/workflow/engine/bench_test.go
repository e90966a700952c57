package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
)

// many returns so many workflows, each with an event of its own.
func many(n int) []string {
	var files []string
	for i := range n {
		files = append(files, fmt.Sprintf("rule-%d.yaml", i), fmt.Sprintf(`
on: {trigger: track, event: Event %d}
if: trigger.properties.size > 10
steps:
  - wait_for: {event: widget.opened, timeout: 24h}
  - action: botstar.widget.open
`, i))
	}
	return files
}

// flood publishes so many triggers, many at a time, and returns the sequence of
// the last one.
func flood(tb testing.TB, b *bus.Bus, prefix string, n int, of func(i int) event.Trigger) uint64 {
	tb.Helper()
	futures := make([]*bus.Future, 0, n)
	for i := range n {
		data := of(i)
		data.Site, data.OccurredAt = "shop", time.Now().UTC()
		session := event.SessionKey("shop", data.Visitor)
		e, err := event.New("/ingest/cli", event.TriggerType(event.KindTrack), session, data)
		if err != nil {
			tb.Fatal(err)
		}
		e.ID = fmt.Sprintf("%s-%d", prefix, i)
		futures = append(futures, b.PublishAsync(event.TriggerSubject("cli", event.KindTrack, "shop", session), e))
	}
	last := uint64(0)
	for _, f := range futures {
		receipt, err := f.Wait(tb.Context())
		if err != nil {
			tb.Fatal(err)
		}
		last = max(last, receipt.Sequence)
	}
	return last
}

// folded waits until the position is at the sequence.
func folded(tb testing.TB, b *bus.Bus, sequence uint64) {
	tb.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if at, _, err := readPosition(tb.Context(), b, time.Now()); err == nil && at.Flow >= sequence {
			return
		}
	}
}

// BenchmarkFold measures triggers a second that one leader folds, with 200
// workflows and 10,000 runs that wait. One trigger in ten starts a run of one
// workflow; the others are nobody's. Cold is a leader who has just taken over
// and reads every session; warm is one who knows them, with the publishing in
// the time.
func BenchmarkFold(b *testing.B) {
	const workflows, waits, perLoop = 200, 10_000, 10_000
	setUp := func(b *testing.B) (*bus.Bus, func(), func(loop int) uint64) {
		b.Helper()
		on := bustest.Start(b)
		_, stop := start(b, on, many(workflows)...)
		folded(b, on, flood(b, on, "wait", waits, func(i int) event.Trigger {
			return event.Trigger{Event: fmt.Sprintf("Event %d", i%workflows), Visitor: visitor(i), Properties: map[string]any{"size": 20}}
		}))
		return on, stop, func(loop int) uint64 {
			return flood(b, on, fmt.Sprintf("loop-%d", loop), perLoop, func(i int) event.Trigger {
				name := "Nobody's"
				if i%10 == 0 {
					name = fmt.Sprintf("Event %d", i%workflows)
				}
				return event.Trigger{Event: name, Visitor: visitor(i % waits), Properties: map[string]any{"size": 20}}
			})
		}
	}
	rate := func(b *testing.B, loops int) {
		b.Helper()
		b.ReportMetric(float64(perLoop*loops)/b.Elapsed().Seconds(), "inputs/s")
	}
	b.Run("warm", func(b *testing.B) {
		on, stop, publish := setUp(b)
		defer stop()
		loops := 0
		for b.Loop() {
			loops++
			folded(b, on, publish(loops))
		}
		rate(b, loops)
	})
	b.Run("cold", func(b *testing.B) {
		on, stop, publish := setUp(b)
		defer func() { stop() }()
		loops := 0
		for b.Loop() {
			b.StopTimer()
			stop()
			loops++
			last := publish(loops)
			b.StartTimer()
			_, stop = start(b, on, many(workflows)...)
			folded(b, on, last)
		}
		rate(b, loops)
	})
}
