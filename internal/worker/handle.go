package worker

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/session"
)

// retryPause is the time before a command is tried again; it doubles.
const retryPause = 100 * time.Millisecond

// Handle handles one command. Its error tells the bus what becomes of the
// message: nil when the command has its result, something retryable when it is
// to come again, and anything else when it is to be buried. A command that can
// be read has its result also when it is buried. A worker that does not own the
// session any more says nothing: the owner does.
func (w *Worker) Handle(ctx context.Context, d *bus.Delivery) (err error) {
	defer func() {
		if thrown := recover(); thrown != nil {
			err = w.caught(ctx, d, thrown)
		}
	}()
	j, err := w.newJob(d)
	if err != nil {
		return err
	}
	if err = w.handle(ctx, j); isStale(err) {
		return w.refused(ctx, j, err)
	}
	return err
}

// handle is Handle for a command that can be read.
func (w *Worker) handle(ctx context.Context, j *job) error {
	if err := w.check(j); err != nil {
		return w.reject(ctx, j, err)
	}
	if s, ok := w.results.find(j.key); ok && j.d.Replay == 0 {
		if s.Params != j.params {
			return w.reject(ctx, j, fault.New(fault.IDReused, "the command %s was sent before, with other parameters", j.e.ID))
		}
		return w.repeat(ctx, j, s)
	}
	w.carryOn(j)
	if j.progress.concluded != nil {
		return w.deliver(ctx, j)
	}
	if j.guarded {
		done, err := w.begin(ctx, j)
		switch {
		case errors.Is(err, fault.New(fault.IDReused, "")):
			return w.reject(ctx, j, err)
		case err != nil:
			return later(err)
		case done != nil:
			return w.repeat(ctx, j, *done)
		}
	}
	if err := j.expired(); err != nil && j.progress.attempt == 1 {
		return w.conclude(ctx, j, outcome{}, err)
	}
	return w.run(ctx, j)
}

// caught makes an error of a panic. The stack goes to the log.
func (w *Worker) caught(ctx context.Context, d *bus.Delivery, thrown any) error {
	w.log.LogAttrs(ctx, slog.LevelError, "panic in a command", slog.String("subject", d.Subject),
		slog.Uint64("sequence", d.Sequence), slog.Any("panic", thrown), slog.String("stack", string(debug.Stack())))
	return fault.New(fault.InternalError, "a panic: %v", thrown)
}

// carryOn gives the job what its earlier attempts in this process left.
func (w *Worker) carryOn(j *job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// Under another fence others may have acted in between.
	if before := w.open[j.key]; before != nil && before.fence == j.d.Fence {
		j.progress = before
	}
	j.progress.attempt++
}

// leave keeps the progress for the next attempt, and forget drops it.
func (w *Worker) leave(j *job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open[j.key] = j.progress
}

func (w *Worker) forget(j *job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, j.key)
}

// run makes one attempt, and decides what follows from it.
func (w *Worker) run(ctx context.Context, j *job) error {
	if j.progress.deadline.IsZero() {
		j.progress.deadline = w.o.Now().Add(j.timeout())
	}
	bounded, cancel := context.WithDeadlineCause(ctx, j.progress.deadline,
		fault.New(fault.DeadlineExceeded, "%s did not end within %s", j.spec.Name, j.timeout()))
	defer cancel()
	lease, err := w.o.Sessions.Acquire(bounded, j.site, j.command.Visitor)
	var o outcome
	if err == nil {
		defer lease.Release()
		o, err = w.attempt(ctx, bounded, j, lease)
	}
	if err != nil {
		if bounded.Err() != nil && ctx.Err() == nil && fault.CodeOf(err) == fault.Stopping {
			err = fault.From(context.Cause(bounded))
		}
		switch {
		case isStale(err):
			return err
		case isAway(err) && ctx.Err() == nil:
			if err = w.park(j, err); fault.CodeOf(err) == fault.Stopping {
				return err
			}
		case ctx.Err() != nil:
			return await(ctx)
		case fault.CodeOf(err) == fault.Stopping, isBus(err):
			if !j.progress.ran {
				j.progress.deadline = time.Time{} // It has not begun yet.
			}
			w.leave(j)
			return later(err)
		case w.retries(j, err):
			if harmless(fault.From(err).Reason) {
				j.progress.ran, j.progress.marked = false, false
			}
			w.leave(j)
			w.log.LogAttrs(ctx, slog.LevelWarn, "attempt failed", append(j.attrs(), slog.Any("err", err))...)
			return err
		}
	}
	if err := w.conclude(ctx, j, o, j.honest(err)); err != nil {
		return err
	}
	if lease != nil {
		_ = lease.Flush(ctx) // What is not published yet is kept, and published later.
	}
	return nil
}

// retries reports whether another attempt makes sense: a page or a browser
// failed, there is time, and nothing can take effect twice.
func (w *Worker) retries(j *job, err error) bool {
	if j.d.Last || !w.o.Now().Add(retryPause).Before(j.progress.deadline) {
		return false
	}
	reason := fault.From(err).Reason
	return transient(reason) && (harmless(reason) || !j.risky())
}

// risky reports whether an action that must not happen twice has been begun.
func (j *job) risky() bool { return j.guarded && !j.spec.Idempotent && j.progress.ran }

// honest says so when a page was lost under an action that must not happen
// twice: nobody knows whether it took effect.
func (j *job) honest(err error) error {
	if reason := fault.From(err); reason == nil || !j.risky() || harmless(reason.Reason) || !transient(reason.Reason) {
		return err
	}
	return fault.New(fault.EffectUnknown, "%s was begun, and its page was lost", j.spec.Name).Because(err)
}

// harmless reports whether a failure of that kind means that no page has done
// anything. A browser that is busy is not among them: whoever waited for a page
// as long as there was time is told so, and may send the command again.
func harmless(reason fault.Reason) bool {
	return slices.Contains([]fault.Reason{fault.PageLoadFailed, fault.BrowserStart}, reason)
}

// transient reports whether a page or a browser failed that can be replaced.
func transient(reason fault.Reason) bool {
	return harmless(reason) || slices.Contains([]fault.Reason{
		fault.PageCrashed, fault.BrowserCrashed, fault.PageHung, fault.PageNavigated,
		fault.WidgetNotReady, fault.PageAnswerInvalid,
	}, reason)
}

// isBus reports whether the bus was away.
func isBus(err error) bool { return errors.Is(err, fault.New(fault.BusUnavailable, "")) }

// later is the error for work that could not begin because of the bus, which
// says nothing about the command: it comes again and does not count.
func later(err error) error {
	if !isBus(err) {
		return err
	}
	return fault.New(fault.ShuttingDown, "waiting for the bus").Because(err)
}

// outcome is what an attempt leaves behind.
type outcome struct {
	done    bool // the action ran
	result  actions.Outcome
	verdict event.Verdict
}

// attempt runs the action once. bounded ends with the command's deadline, and
// ctx with the worker: what is to be stored is stored also after the deadline.
func (w *Worker) attempt(ctx, bounded context.Context, j *job, lease *session.Lease) (o outcome, err error) {
	defer func() {
		if thrown := recover(); thrown != nil {
			err = w.caught(ctx, j.d, thrown)
			_ = lease.Drop(ctx, "retry") // Nobody knows what state it is in.
		}
	}()
	if err := lease.LoadProfile(bounded); err != nil {
		return o, err
	}
	lease.For(j.spec.Name)
	held := lease.Paged()
	w.reconcile(j, lease.Doubt)
	env := w.env(j, lease)
	asleep, err := w.asleep(bounded, j, lease)
	if err != nil {
		return o, err
	}
	var around *detour
	if j.spec.Plane == actions.PlanePage && !asleep {
		if env, around, err = w.prepareOrGoAround(bounded, j, lease); err != nil {
			w.suspect(ctx, lease, err)
			return o, w.store(ctx, lease, err)
		}
	}
	if err := w.mayAct(ctx, j, held); err != nil {
		return o, err
	}
	if err := j.owned(); err != nil {
		return o, err
	}
	j.progress.ran = true
	if around != nil {
		w.suspect(ctx, lease, around.why)
		o.result, o.verdict, err = w.goAround(bounded, j, lease, env, *around)
	} else if o.result, o.verdict, err = w.perform(bounded, j, lease, env, j.spec, j.command.Params, false); err == nil {
		lease.Trust()
	}
	if err != nil {
		w.suspect(ctx, lease, err)
		return o, w.store(ctx, lease, err)
	}
	o.done = true
	if err := w.store(ctx, lease, nil); err != nil {
		return o, err
	}
	if again := o.result.Again; again != nil {
		if err := w.schedule(ctx, j, *again); err != nil {
			return o, err
		}
	}
	return o, nil
}

// store stores the profile, however long the bus is away. It returns the error
// that it was given, unless it has one of its own.
func (w *Worker) store(ctx context.Context, lease *session.Lease, err error) error {
	if isStale(err) {
		return err // What we know of the visitor is not the newest.
	}
	if problem := w.persist(ctx, lease.StoreProfile); problem != nil && err == nil {
		return problem
	}
	return err
}

// persist repeats what needs the bus until it is done or the worker stops.
func (w *Worker) persist(ctx context.Context, do func(context.Context) error) error {
	for {
		err := do(ctx)
		if !isBus(err) || ctx.Err() != nil {
			return err
		}
		timer := time.NewTimer(retryPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return await(ctx)
		}
	}
}

// suspect closes a page that cannot be worked with any more, and has the others
// looked at before the next action.
func (w *Worker) suspect(ctx context.Context, lease *session.Lease, err error) {
	if _, ok := errors.AsType[staleError](err); ok {
		return // The page is as good as it was, and not ours.
	}
	lease.CatchUp()
	lease.Doubt()
	switch fault.From(err).Reason { //nolint:exhaustive // All others leave the page as it is.
	case fault.PageHung, fault.PageAnswerInvalid, fault.WidgetNotReady, fault.BootFailed, fault.StaleFence:
		if err := lease.Drop(ctx, "retry"); err != nil {
			w.log.LogAttrs(ctx, slog.LevelWarn, "closing a page that does not work",
				slog.String("session", lease.Key()), slog.Any("err", err))
		}
	}
}

// env returns what an action of the command works with.
func (w *Worker) env(j *job, lease *session.Lease) actions.Env {
	env := lease.Env(j.cause(), w.log)
	env.Sites, env.Now, env.REST = w.o.Sites, w.o.Now, w.o.REST
	env.Repeated = j.progress.inherited != nil || j.progress.attempt > 1
	if w.o.Takeover != nil {
		env.Takeover = func(ctx context.Context) (actions.Takeover, error) {
			return w.o.Takeover(ctx, j.at.Site, j.at.Session)
		}
	}
	if w.o.VendorUser != nil {
		env.VendorUser = func(ctx context.Context) (actions.VendorUser, error) {
			return w.o.VendorUser(ctx, j.at.Site, j.at.Session)
		}
	}
	return env
}
