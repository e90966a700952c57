package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/session"
)

// executorREST is what results call the vendor's REST API.
const executorREST = "rest"

// detourTime is what is kept of a command's time for another way, at most a
// third of it.
const detourTime = 5 * time.Second

// detour is the way around a page that cannot be reached.
type detour struct {
	way *actions.Detour
	why error
}

// prepareOrGoAround is prepare for an action that may have another way: when no
// page can be reached, and the other way is open, it is returned with an
// environment that has no page.
func (w *Worker) prepareOrGoAround(ctx context.Context, j *job, lease *session.Lease) (actions.Env, *detour, error) {
	way := j.spec.Detour
	if way == nil || w.o.REST == nil || !way.Open(ctx, w.env(j, lease), j.command.Params) {
		env, err := w.prepare(ctx, j, lease)
		return env, nil, err
	}
	bounded, cancel := ctx, context.CancelFunc(func() {})
	if end, ok := ctx.Deadline(); ok {
		bounded, cancel = context.WithDeadlineCause(ctx, end.Add(-min(time.Until(end)/3, detourTime)),
			fault.New(fault.PageHung, "no page was ready in time"))
	}
	defer cancel()
	env, err := w.prepare(bounded, j, lease)
	if err == nil || ctx.Err() != nil || !pageAway(err) {
		return env, nil, err
	}
	env = w.env(j, lease)
	env.Page, env.Browser, env.Webview = nil, nil, nil
	return env, &detour{way, err}, nil
}

// pageAway reports whether the error says that there is no way to a page, and
// not that the command is wrong or that the session is not ours.
func pageAway(err error) bool {
	if isBus(err) || isStale(err) {
		return false
	}
	problem := fault.From(err)
	switch problem.Code {
	case fault.Unavailable, fault.Exhausted, fault.Expired:
		return true
	case fault.Unmet:
		return problem.Reason == fault.BootFailed
	case fault.Invalid, fault.NotFound, fault.Conflict, fault.Denied, fault.Unsupported, fault.Stopping, fault.Internal:
	}
	return false
}

// goAround does the action the other way.
func (w *Worker) goAround(
	ctx context.Context, j *job, lease *session.Lease, env actions.Env, around detour,
) (actions.Outcome, event.Verdict, error) {
	if err := j.owned(); err != nil {
		return actions.Outcome{}, event.Unconfirmed, err
	}
	began, p := w.o.Now(), j.progress
	p.executor, p.why = executorREST, "no page of the visitor could be reached"
	p.evidence = append(p.evidence, event.Evidence{
		Kind: "record", Seen: clip("no page could be reached, so the vendor's REST API was used: " + around.why.Error()), At: began.UTC(),
	})
	out, proof, err := around.way.Run(ctx, env, j.command.Params)
	p.evidence = append(append(p.evidence, out.Evidence...), proof.Evidence...)
	if err != nil {
		proof.Verdict = event.Unconfirmed
		err = fmt.Errorf("running %s in the place of %s: %w", around.way.Action, j.spec.Name, err)
	} else {
		lease.Tell(out.Notices, j.cause())
	}
	p.steps = append(p.steps, event.Step{
		Action: around.way.Action, Verdict: proof.Verdict, DurationUS: w.o.Now().Sub(began).Microseconds(),
	})
	return out, proof.Verdict, err
}
