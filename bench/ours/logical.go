package ours

import (
	"fmt"
	"time"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/model"
)

// shortPart is how much longer the long trace is than the short one.
const shortPart = 15

// logical counts the restores of sessions that share the tabs of one worker.
type logical struct {
	// restores plays the trace.
	restores func(model.Config) (int, error)
}

func startLogical(job string) logical {
	switch job {
	case "sessions-belady":
		return logical{restores: func(c model.Config) (int, error) {
			return model.Belady(c.Trace(), c.Places), nil
		}}
	case "sessions-least-recent":
		return logical{restores: func(c model.Config) (int, error) {
			return model.LeastRecent(c.Trace(), c.Places), nil
		}}
	}
	return logical{restores: played}
}

// played is the worker's own policy. All commands must be served, and none may
// be lost, or out of order.
func played(c model.Config) (int, error) {
	r, err := model.Run(c)
	if err != nil {
		return 0, err //nolint:wrapcheck // it says all that there is to say.
	}
	if !r.OK() || r.Sites[0].Succeeded != c.Most {
		return 0, fmt.Errorf("not all commands were served well:\n%s", r)
	}
	return r.Opened(), nil
}

// Round plays a trace with as many commands as there are jobs, and a short one.
func (l logical) Round(o contend.Order) (contend.Report, error) {
	const forEver = 1000 * time.Hour             // The number of commands ends it.
	c := model.Logical(uint64(o.Round), forEver) //nolint:gosec // a round is not negative.
	c.Most = o.Jobs
	long, err := l.restores(c)
	if err != nil {
		return contend.Report{}, err
	}
	c.Most = max(1, o.Jobs/shortPart)
	short, err := l.restores(c)
	if err != nil {
		return contend.Report{}, err
	}
	return contend.Report{Jobs: o.Jobs, Values: map[string]float64{
		contend.RestoresLong: float64(long), contend.RestoresShort: float64(short),
	}}, nil
}

// Close has nothing to end.
func (logical) Close() error { return nil }
