package ours

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/workflow/backtest"
)

// past is how long ago the first event of the history is, and eventsEach about
// how many events a visitor has, who comes and goes.
const (
	past       = 14 * 24 * time.Hour
	eventsEach = 20
)

// followUp is tested: it asks who looked at something big a day later, once a
// day.
const followUp = `
on: {trigger: track, event: Pricing Viewed}
if: trigger.properties.size > 10
limits: {once_per: 1d}
steps:
  - wait_for:
      event: widget.opened
      timeout: 24h
      on_timeout: [{action: botstar.widget.open}]
`

// tested is a history, and the workflows that run over it.
type tested struct {
	bus   *bus.Bus
	rules *rules
	held  int // events of the history
}

func startBacktest(ctx context.Context, s contend.Setup) (*tested, error) {
	compiled, err := compile(bigOnes, followUp)
	if err != nil {
		return nil, err
	}
	b, err := openBus(ctx, bus.Options{Dir: s.Dir})
	return &tested{bus: b, rules: compiled}, err
}

// Round stores the history, once, or tests with it.
func (t *tested) Round(o contend.Order) (contend.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if o.Prepare {
		err := t.fill(ctx, o.Jobs)
		debug.FreeOSMemory()
		return contend.Report{}, err
	}
	watch := newPeaks(int64(o.Jobs / 2))
	test := backtest.New(backtest.Options{Rules: t.rules.set, Sites: t.rules.find, Schemas: t.rules.checks, Tell: watch.look})
	begun := time.Now()
	if err := test.Run(ctx, t.history(ctx)); err != nil {
		return contend.Report{}, fmt.Errorf("testing: %w", err)
	}
	wall := float64(time.Since(begun).Microseconds())
	report := test.Report()
	if all := report.Tested.Workflows; len(all) != 2 || all[0].Fired != int64(message.Big(o.Jobs)) {
		return contend.Report{}, fmt.Errorf("the first workflow should have fired %d times: %+v", message.Big(o.Jobs), all)
	}
	return contend.Report{Jobs: int(report.Events), WallUS: wall, Values: map[string]float64{
		contend.PeakFirst: watch.most[0], contend.PeakSecond: watch.most[1],
	}}, watch.err
}

// fill stores what is missing of the history. Its times lie evenly in the past.
func (t *tested) fill(ctx context.Context, n int) error {
	begun := time.Now().Add(-past).UTC()
	missing := n - t.held
	err := publish(ctx, t.bus, missing, func(i int) (string, event.Trigger) {
		id := "m-" + strconv.Itoa(i)
		visitor := (i + rand.IntN(n/eventsEach+1)) / eventsEach
		return id, message.Viewed(id, visitor, message.Size(i), begun.Add(past/time.Duration(n)*time.Duration(i)))
	})
	t.held = n
	return err
}

// history reads the triggers as `publisher workflows backtest` does, but for
// their times, which are those at which they happened.
func (t *tested) history(ctx context.Context) iter.Seq2[backtest.Event, error] {
	return func(yield func(backtest.Event, error) bool) {
		for d, err := range t.bus.Read(ctx, bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{event.TriggerFilter()}}) {
			var e backtest.Event
			if err == nil {
				e = backtest.Event{Subject: d.Subject, Log: "triggers", Sequence: d.Sequence}
				e.Envelope, err = d.Envelope()
				e.At = e.Envelope.Time
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// Close ends the server.
func (t *tested) Close() error { return shut(context.Background(), t.bus) }
