package ours

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
)

const eventRate = 500 // in a second

// commandTimes are when each event came, and how long its command took.
type commandTimes struct {
	mu    sync.Mutex // guards the fields below
	begun map[string]time.Time
	took  []float64
	twice int
}

func (t *commandTimes) begin(id string, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begun[id] = at
}

func (t *commandTimes) end(id string, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	begun, ok := t.begun[id]
	if !ok {
		t.twice++
		return
	}
	delete(t.begun, id)
	t.took = append(t.took, float64(at.Sub(begun).Nanoseconds())/1000)
}

func (t *commandTimes) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.took)
}

// rated publishes events at a rate, and takes their commands from the queue as a
// worker does.
type rated struct{ *eventCommand }

// Round measures each event from the time at which it is due to be published.
func (r rated) Round(o contend.Order) (contend.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	times := &commandTimes{begun: map[string]time.Time{}}
	taking, stop := context.WithCancel(ctx)
	taken := make(chan error, 1)
	go func() {
		taken <- r.bus.Commands(taking, bus.CommandOptions{}, func(_ context.Context, d *bus.Delivery) error {
			e, err := d.Envelope()
			if err != nil {
				return fmt.Errorf("reading a command: %w", err)
			}
			times.end(e.Extension(event.ExtCausationID), time.Now())
			return nil
		})
	}()
	e := r.rules.run(ctx, r.bus)
	err := until(ctx, func() bool { return e.Figures().Leads })
	begun := time.Now()
	if err == nil {
		err = r.feed(ctx, o, times)
	}
	if err == nil {
		err = until(ctx, func() bool { return times.count() >= o.Jobs })
	}
	wall := float64(time.Since(begun).Microseconds())
	stop()
	if err = errors.Join(err, e.stop(), <-taken); err == nil && times.twice > 0 {
		err = fmt.Errorf("%d commands came twice", times.twice)
	}
	return contend.Report{Jobs: times.count(), WallUS: wall, LatenciesUS: times.took}, err
}

// feed publishes the events, each at its time.
func (r rated) feed(ctx context.Context, o contend.Order, times *commandTimes) error {
	begun := time.Now()
	waiting := make([]*bus.Future, 0, o.Jobs)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range o.Jobs {
		due := begun.Add(time.Duration(i) * time.Second / eventRate)
		timer.Reset(time.Until(due))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return fmt.Errorf("publishing events: %w", context.Cause(ctx))
		}
		subject, e, err := message.Trigger(r.event(visitorOf(o, i), 20))
		if err != nil {
			return fmt.Errorf("making an event: %w", err)
		}
		times.begin(e.ID, due)
		waiting = append(waiting, r.bus.PublishAsync(subject, e))
	}
	for _, future := range waiting {
		if _, err := future.Wait(ctx); err != nil {
			return fmt.Errorf("publishing an event: %w", err)
		}
	}
	return nil
}
