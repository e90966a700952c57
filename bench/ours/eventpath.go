package ours

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
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
	bus   *bus.Bus
	rules *rules
	sent  int
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

// Round publishes the events, or works them off.
func (p *eventPath) Round(o contend.Order) (contend.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if o.Prepare {
		err := publish(ctx, p.bus, o.Jobs, func(i int) (string, event.Trigger) {
			p.sent++
			id := "m-" + strconv.Itoa(p.sent)
			return id, message.Viewed(id, visitorOf(o, i), message.Size(i), time.Now().UTC())
		})
		return contend.Report{}, err
	}
	before, err := p.commands(ctx)
	if err != nil {
		return contend.Report{}, err
	}
	begun := time.Now()
	e := p.rules.run(ctx, p.bus)
	_, err = e.folded(ctx, o.Jobs)
	if err = errors.Join(err, e.stop()); err != nil { // It commits what it has folded.
		return contend.Report{}, err
	}
	wall := float64(time.Since(begun).Microseconds())
	after, err := p.commands(ctx)
	if want := message.Big(o.Jobs); err == nil && after-before != want {
		err = fmt.Errorf("%d commands were published, want %d", after-before, want)
	}
	return contend.Report{Jobs: o.Jobs, WallUS: wall}, err
}

// visitorOf returns the visitor of the round's i-th event. Every round has
// visitors of its own: no worker answers, so the runs of others stay under way.
func visitorOf(o contend.Order, i int) int { return o.Round*1_000_000 + o.Picks[i] }

// commands returns how many commands there are.
func (p *eventPath) commands(ctx context.Context) (int, error) {
	n := 0
	for _, err := range p.bus.Read(ctx, bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{"go.*.*.*.*.*.*"}}) {
		if err != nil {
			return 0, fmt.Errorf("counting the commands: %w", err)
		}
		n++
	}
	return n, nil
}

// Close ends the server.
func (p *eventPath) Close() error { return shut(p.bus) }
