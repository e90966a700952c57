package ours

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/workflow/machine"
)

// bigOnes opens the chat for who looks at something big.
const bigOnes = `
on: {trigger: track, event: Pricing Viewed}
if: trigger.properties.size > 10
steps:
  - action: botstar.widget.open
`

// eventPath folds events that lie there, by one workflow.
type eventPath struct {
	bus    *bus.Bus
	rules  *rules
	sent   int
	wanted int // commands that should be there
}

func startEventPath(ctx context.Context, s contend.Setup) (*eventPath, error) {
	compiled, err := compile(bigOnes)
	if err != nil {
		return nil, err
	}
	b, err := openBus(ctx, bus.Options{Dir: s.Dir})
	if err != nil {
		return nil, err
	}
	return &eventPath{bus: b, rules: compiled}, nil
}

// Round publishes the events, or works them off. Both count what they started as
// it happens, as the reference does; the commands of all rounds are counted on
// the stream as well, between the rounds and at the end.
func (p *eventPath) Round(o contend.Order) (contend.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if o.Prepare {
		return contend.Report{}, p.prepare(ctx, o)
	}
	var started atomic.Int64
	want := int64(message.Big(o.Jobs))
	begun := time.Now()
	e := p.rules.told(ctx, p.bus, func(mark machine.Mark) {
		if mark.What == machine.MarkStarted { // It is told when it is stored.
			started.Add(1)
		}
	})
	_, err := e.folded(ctx, o.Jobs)
	if err == nil {
		err = until(ctx, func() bool { return started.Load() >= want })
	}
	if err = errors.Join(err, e.stop()); err != nil {
		return contend.Report{}, err
	}
	wall := float64(time.Since(begun).Microseconds())
	p.wanted += int(want)
	if n := started.Load(); n != want {
		err = fmt.Errorf("%d runs were started, want %d", n, want)
	}
	return contend.Report{Jobs: o.Jobs, WallUS: wall}, err
}

// prepare counts the commands of the rounds before, and publishes the events.
func (p *eventPath) prepare(ctx context.Context, o contend.Order) error {
	if err := p.check(ctx); err != nil {
		return err
	}
	return publish(ctx, p.bus, o.Jobs, func(i int) (string, event.Trigger) {
		p.sent++
		id := "m-" + strconv.Itoa(p.sent)
		return id, message.Viewed(id, visitorOf(o, i), message.Size(i), time.Now().UTC())
	})
}

// check counts the commands on the stream, each by its id.
func (p *eventPath) check(ctx context.Context) error {
	ids, n := map[string]bool{}, 0
	for d, err := range p.bus.Read(ctx, bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{"go.*.*.*.*.*.*"}}) {
		if err != nil {
			return fmt.Errorf("counting the commands: %w", err)
		}
		e, err := d.Envelope()
		if err != nil {
			return fmt.Errorf("reading a command: %w", err)
		}
		n++
		ids[e.ID] = true
	}
	if n != p.wanted || len(ids) != p.wanted {
		return fmt.Errorf("%d commands with %d ids were published, want %d", n, len(ids), p.wanted)
	}
	return nil
}

// visitorOf returns the visitor of the round's i-th event. Every round has
// visitors of its own: no worker answers, so the runs of others stay under way.
func visitorOf(o contend.Order, i int) int { return o.Round*1_000_000 + o.Picks[i] }

// Close counts the commands, and ends the server.
func (p *eventPath) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(p.check(ctx), shut(context.Background(), p.bus))
}
