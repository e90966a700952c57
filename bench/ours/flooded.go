package ours

import (
	"context"
	"errors"
	"time"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/event"
)

// flooded has the engine work off events that lie there: how long each takes.
type flooded struct{ *eventCommand }

// Round publishes the events while no engine runs, one in ten big enough for its
// workflow, and has one handle them.
func (f flooded) Round(o contend.Order) (contend.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	err := publish(ctx, f.bus, o.Jobs, func(i int) (string, event.Trigger) { return f.event(visitorOf(o, i), message.Size(i)) })
	if err != nil {
		return contend.Report{}, err
	}
	e := f.rules.run(ctx, f.bus)
	each, err := e.folded(ctx, o.Jobs)
	return contend.Report{Jobs: o.Jobs, Values: map[string]float64{contend.PerEvent: each}}, errors.Join(err, e.stop())
}
