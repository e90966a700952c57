package session

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// warden does what the policy says: it lets sessions open their pages, has them
// wait, and closes the pages of those that give way. Its lock is the innermost
// of the package: nothing is called while it is held.
type warden struct {
	m     *Manager
	timer *time.Timer // for what is to be done though nothing happens

	mu      sync.Mutex // guards the fields below
	policy  *Residency
	waiting map[string]chan error // by session: nil is a place
	parting map[string]string     // why the session's page is to be closed
	stopped bool
}

func newWarden(m *Manager, o ResidencyOptions) *warden {
	w := &warden{m: m, policy: NewResidency(o), waiting: map[string]chan error{}, parting: map[string]string{}}
	w.timer = time.AfterFunc(time.Hour, func() { w.tell(func(time.Time) {}) })
	w.timer.Stop()
	return w
}

// tell tells the policy something, and then does what it says.
func (w *warden) tell(something func(now time.Time)) {
	now := time.Now()
	w.mu.Lock()
	something(now)
	parting := w.steps(now)
	w.mu.Unlock()
	for _, step := range parting {
		w.m.work.Go(func() { w.part(step) })
	}
}

// steps does what can be done at once, and returns the pages to close. The
// caller holds the lock.
func (w *warden) steps(now time.Time) []Step {
	if w.stopped {
		return nil
	}
	var parting []Step
	for step, ok := w.policy.Next(now); ok; step, ok = w.policy.Next(now) {
		switch step.Do {
		case OpenTab:
			w.answer(step.Key, nil)
		case RefuseTab:
			w.answer(step.Key, step.Err)
		case CloseTab:
			w.parting[step.Key] = step.Why
			parting = append(parting, step)
		}
	}
	if at, ok := w.policy.Wake(); ok {
		w.timer.Reset(max(at.Sub(now), time.Millisecond))
	}
	return parting
}

func (w *warden) answer(key string, err error) {
	if waiting := w.waiting[key]; waiting != nil {
		delete(w.waiting, key)
		waiting <- err
	}
}

// begin says that a command has the session.
func (w *warden) begin(key, site string) {
	w.tell(func(time.Time) {
		w.policy.Begin(key, site)
		delete(w.parting, key)
	})
}

// end says that the command has ended.
func (w *warden) end(key string) { w.tell(func(now time.Time) { w.policy.End(now, key) }) }

// closed says that the session has no page.
func (w *warden) closed(key string) {
	w.tell(func(time.Time) {
		w.policy.Closed(key)
		delete(w.parting, key)
	})
}

func (w *warden) pin(key, site string, pinned bool) {
	w.tell(func(time.Time) { w.policy.Pin(key, site, pinned) })
}

// forget is false when the policy still needs to know the session.
func (w *warden) forget(key string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.policy.Forget(key)
}

// admit waits until the session may open its page. Who is admitted opens it, or
// says closed.
func (w *warden) admit(ctx context.Context, key, site string) error {
	deadline, _ := ctx.Deadline()
	answer := make(chan error, 1)
	var err error
	there := false
	w.tell(func(now time.Time) {
		if w.stopped {
			err = fault.New(fault.ShuttingDown, "opening a page")
			return
		}
		if there, err = w.policy.Want(now, key, site, deadline); err == nil && !there {
			w.waiting[key] = answer
		}
	})
	if err != nil || there {
		return err
	}
	select {
	case err = <-answer:
		return err
	case <-ctx.Done():
		w.tell(func(time.Time) {
			delete(w.waiting, key)
			w.policy.Closed(key) // Also when the place came in the same moment.
		})
		return fault.From(context.Cause(ctx))
	}
}

// part closes the page of a session that gives way, unless a command came in
// between.
func (w *warden) part(step Step) {
	h := w.m.held(step.Key)
	if h == nil || !h.take(w.m.life) {
		w.closed(step.Key)
		return
	}
	w.mu.Lock()
	why, still := w.parting[step.Key]
	w.mu.Unlock()
	if !still || !h.begin() {
		<-h.lane
		return
	}
	if why == whyMemory {
		why = pressure
	}
	h.part(why)
}

// part hibernates the session for a reason of ours. The caller owns the
// session, and does not any more when it returns.
func (h *held) part(why string) {
	ctx, cancel := context.WithTimeout(h.m.life, closeTimeout)
	defer cancel()
	had := h.main != nil
	if err := h.hibernate(ctx, why); err != nil {
		h.m.log.LogAttrs(ctx, slog.LevelWarn, "hibernating a session",
			slog.String("session", h.key), slog.String("why", why), slog.Any("err", err))
	}
	if had {
		h.m.seen.evicted.Add(1)
	} else {
		h.m.warden.closed(h.key)
	}
	h.end(false)
}

// stop refuses those that wait, and lets nobody in any more.
func (w *warden) stop() {
	w.timer.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	for key := range w.waiting {
		w.answer(key, fault.New(fault.ShuttingDown, "opening a page"))
	}
}

// measured tells the policy how much memory all pages use.
func (w *warden) measured(bytes int64) { w.tell(func(time.Time) { w.policy.Measured(bytes) }) }

func (w *warden) stats() ResidencyStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.policy.Stats()
}
