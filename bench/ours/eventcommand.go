package ours

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
)

const (
	// waits is how many runs wait for something that does not happen.
	waits = 10_000
	// eventRate is how many events come in a second.
	eventRate = 500
)

// eventCommand runs many workflows, each with an event of its own.
type eventCommand struct {
	bus   *bus.Bus
	rules *rules
	many  int
	sent  int
}

// startEventCommand compiles so many workflows, and has runs of them wait, of
// visitors who do nothing else.
func startEventCommand(ctx context.Context, s contend.Setup, many int) (*eventCommand, error) {
	texts := make([]string, many)
	for i := range texts {
		texts[i] = fmt.Sprintf(`
on: {trigger: track, event: Event %d}
if: trigger.properties.size > 10
steps:
  - branch:
      - if: trigger.properties.size > 100
        steps: [{wait_for: {event: widget.opened, timeout: 24h}}]
      - else: true
        steps: [{action: botstar.widget.open}]
`, i)
	}
	compiled, err := compile(texts...)
	if err != nil {
		return nil, err
	}
	b, err := openBus(ctx, bus.Options{Dir: s.Dir})
	if err != nil {
		return nil, err
	}
	c := &eventCommand{bus: b, rules: compiled, many: many}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	held := waits * s.Sessions / 10_000 // Fewer in a look whether it runs at all.
	if err := publish(ctx, b, held, func(i int) (string, event.Trigger) { return c.event(s.Sessions+i, 200) }); err != nil {
		return nil, err
	}
	e := compiled.run(ctx, b)
	_, err = e.folded(ctx, held)
	return c, errors.Join(err, e.stop())
}

// event returns the next event, of one workflow after another.
func (c *eventCommand) event(visitor, size int) (string, event.Trigger) {
	c.sent++
	id := "m-" + strconv.Itoa(c.sent)
	data := message.Viewed(id, visitor, size, time.Now().UTC())
	data.Event = fmt.Sprintf("Event %d", c.sent%c.many)
	return id, data
}

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
		subject, e, err := message.Trigger(r.event(o.Picks[i], 20))
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

// Close ends the server.
func (c *eventCommand) Close() error { return shut(c.bus) }

// flooded has the engine work off events that lie there: how long each takes.
type flooded struct{ *eventCommand }

// Round publishes the events while no engine runs, one in ten big enough for its
// workflow, and has one handle them.
func (f flooded) Round(o contend.Order) (contend.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	err := publish(ctx, f.bus, o.Jobs, func(i int) (string, event.Trigger) { return f.event(o.Picks[i], message.Size(i)) })
	if err != nil {
		return contend.Report{}, err
	}
	e := f.rules.run(ctx, f.bus)
	each, err := e.folded(ctx, o.Jobs)
	return contend.Report{Jobs: o.Jobs, Values: map[string]float64{contend.PerEvent: each}}, errors.Join(err, e.stop())
}
