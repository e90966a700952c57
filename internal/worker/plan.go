package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/session"
)

const (
	// observeTimeout bounds the look at a page that was there before: a page
	// that does not answer is replaced while there is time for it.
	observeTimeout = 5 * time.Second
	// maxInserted is how deep needs of needs are followed.
	maxInserted = 4
)

// prepare opens the session's page and makes the action's preconditions true:
// it looks which facts hold, and inserts the actions that make the others.
func (w *Worker) prepare(ctx context.Context, j *job, lease *session.Lease) (actions.Env, error) {
	err := w.wake(ctx, j, lease)
	if route := lease.Route(); err == nil || route.Executor == session.ExecutorVisitor {
		j.progress.executor, j.progress.why = route.Executor, route.Why
	}
	if err != nil {
		return actions.Env{}, err
	}
	if len(j.spec.Needs) == 0 {
		return w.env(j, lease), nil
	}
	facts, err := w.facts(ctx, j, lease)
	if err != nil {
		return actions.Env{}, err
	}
	for _, need := range j.spec.Needs {
		if err := w.provide(ctx, j, lease, facts, need, 0); err != nil {
			return actions.Env{}, err
		}
	}
	return w.env(j, lease), nil
}

// wake opens the session's page when there is none. The evidence tells when it
// was made like the session's last one.
func (w *Worker) wake(ctx context.Context, j *job, lease *session.Lease) error {
	held := lease.Paged()
	if err := lease.Open(ctx); err != nil {
		if isStale(err) {
			return staleError{bySnapshot, err}
		}
		return err
	}
	before, restored := lease.Restored()
	if held || !restored {
		return nil
	}
	seen := "the session was hibernated: its page was made like the last one"
	if !before.SavedAt.IsZero() {
		seen += ", as stored at " + before.SavedAt.UTC().Format(time.RFC3339)
	}
	if before.Err != nil {
		seen = "the session was hibernated, and cannot be brought back as it was: " + before.Err.Error()
	}
	j.progress.evidence = append(j.progress.evidence, event.Evidence{Kind: "record", Seen: clip(seen), At: w.o.Now().UTC()})
	return nil
}

// asleep reports whether the session is hibernated, and the action answers
// without waking it.
func (w *Worker) asleep(ctx context.Context, j *job, lease *session.Lease) (bool, error) {
	if j.spec.Plane != actions.PlanePage || j.spec.Asleep == nil || !j.spec.Asleep(j.command.Params) {
		return false, nil
	}
	hibernated, err := lease.Hibernated(ctx)
	if err != nil {
		if isStale(err) {
			return false, staleError{bySnapshot, err}
		}
		return false, fmt.Errorf("looking whether the session is hibernated: %w", err)
	}
	return hibernated, nil
}

// facts returns the facts that hold. It costs nothing while the page's signals
// keep the state up to date, and one call of the page otherwise.
func (w *Worker) facts(ctx context.Context, j *job, lease *session.Lease) (actions.Facts, error) {
	if lease.Known() {
		return lease.State().Facts(), nil
	}
	provider, _ := w.o.Catalog.Provider(j.site.Provider)
	if provider.Observe == nil {
		return lease.State().Facts(), nil
	}
	look := func() (actions.Facts, error) {
		bounded, cancel := context.WithTimeoutCause(ctx, observeTimeout,
			fault.New(fault.PageHung, "the page did not answer within %s", observeTimeout))
		defer cancel()
		facts, err := provider.Observe(bounded, w.env(j, lease))
		if err != nil {
			return nil, fmt.Errorf("looking which facts hold: %w", err)
		}
		return facts, nil
	}
	facts, err := look()
	if err != nil && ctx.Err() == nil && !crashed(fault.From(err).Reason) {
		w.log.LogAttrs(ctx, slog.LevelWarn, "page does not answer, and is replaced", append(j.attrs(), slog.Any("err", err))...)
		if err := lease.Drop(ctx, "retry"); err != nil && ctx.Err() != nil {
			return nil, err
		}
		if err := w.wake(ctx, j, lease); err != nil {
			return nil, err
		}
		facts, err = look()
	}
	if err != nil {
		return nil, err
	}
	lease.Trust()
	return facts, nil
}

// crashed reports whether a failure of that kind means that the page is gone,
// so that there is nothing to close.
func crashed(reason fault.Reason) bool {
	return reason == fault.PageCrashed || reason == fault.BrowserCrashed
}

// provide makes the fact true, unless it is.
func (w *Worker) provide(ctx context.Context, j *job, lease *session.Lease, facts actions.Facts, need actions.Fact, depth int) error {
	if facts[need] {
		return nil
	}
	if need == actions.Booted && j.command.AutoBoot != nil && !*j.command.AutoBoot {
		return fault.New(fault.NotBooted, "the widget is not booted, and auto_boot is false")
	}
	maker, ok := w.makers[j.site.Provider][need]
	if !ok || maker.Name == j.spec.Name || depth >= maxInserted {
		return unmet(need, lease.State())
	}
	for _, further := range maker.Needs {
		if err := w.provide(ctx, j, lease, facts, further, depth+1); err != nil {
			return err
		}
	}
	env := w.env(j, lease)
	env.Key = j.needKey()
	_, verdict, err := w.perform(ctx, j, lease, env, maker, json.RawMessage("{}"), true)
	if err != nil {
		return err
	}
	if verdict == event.Contradicted {
		reason := need.Unmet()
		if need == actions.Booted {
			reason = fault.BootFailed
		}
		return fault.New(reason, "%s ran, and the opposite of its effect was seen", maker.Name)
	}
	lease.Trust()
	maps.Copy(facts, lease.State().Facts())
	for _, made := range maker.Makes {
		facts[made] = true
	}
	return nil
}

// unmet says why a fact is not true, and cannot be made so. A widget without a
// window that is not booted either has gone with its page, since it was booted
// before that was asked.
func unmet(need actions.Fact, state *actions.State) error {
	if need == actions.Windowed && !state.Booted {
		return fault.New(fault.PageNavigated, "the page was loaded again, and the widget is not there yet")
	}
	if need == actions.Windowed {
		return fault.New(need.Unmet(), "the widget runs in the mode %q, which has no window", state.Mode)
	}
	return fault.New(need.Unmet(), "the action needs the fact %q", need)
}

// perform runs an action and has its effect verified, unless the session is not
// surely ours any more.
func (w *Worker) perform(
	ctx context.Context, j *job, lease *session.Lease, env actions.Env,
	spec actions.Spec, params json.RawMessage, inserted bool,
) (actions.Outcome, event.Verdict, error) {
	if err := j.owned(); err != nil {
		return actions.Outcome{}, event.Unconfirmed, err
	}
	began := w.o.Now()
	p := j.progress
	out, err := spec.Run(ctx, env, params)
	lease.CatchUp()
	p.evidence = append(p.evidence, out.Evidence...)
	proof := actions.Proof{Verdict: event.Unverifiable}
	if err == nil && spec.Verify != nil {
		proof, err = spec.Verify(ctx, env, params, out)
		p.evidence = append(p.evidence, proof.Evidence...)
		if err != nil && !spec.Idempotent {
			// It is done and cannot be done again: all that is missing is the proof.
			p.evidence = append(p.evidence, event.Evidence{
				Kind: "page_error", Seen: clip("the verification failed: " + err.Error()), At: w.o.Now().UTC(),
			})
			proof, err = actions.Proof{Verdict: event.Unconfirmed}, nil
		}
	}
	if err != nil {
		proof.Verdict = event.Unconfirmed
		err = fmt.Errorf("running %s: %w", spec.Name, err)
	} else {
		lease.Tell(out.Notices, j.cause())
	}
	p.steps = append(p.steps, event.Step{
		Action: spec.Name, Inserted: inserted, Verdict: proof.Verdict, DurationUS: w.o.Now().Sub(began).Microseconds(),
	})
	return out, proof.Verdict, err
}
