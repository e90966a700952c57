package session

import (
	"context"
	"errors"
	"log/slog"
	"runtime"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// Lease is the exclusive use of one session by one command. Its methods are
// called by one goroutine.
type Lease struct{ h *held }

// Key returns the session's opaque key.
func (l *Lease) Key() string { return l.h.key }

// Open opens the session's page when there is none, and makes it as the last
// one was, on whatever worker that was. It may wait for a place: the deadline of
// ctx is respected from the start. The page outlives the lease. The error is
// fault.StaleFence when another worker owns the session.
func (l *Lease) Open(ctx context.Context) error { return l.h.open(ctx) }

// Own tells the owner's token, which the session is stored with; Env does it
// too. A higher one than before makes the session look at what is stored: others
// may have had it in between.
func (l *Lease) Own(fence uint64) { l.h.own(fence) }

// Restored says how the page that is open was made like the last one of the
// session; false when there was none to be like.
func (l *Lease) Restored() (Restoration, bool) {
	if r := l.h.restored; r != nil && l.Paged() {
		return *r, true
	}
	return Restoration{}, false
}

// Hibernated reports whether the session has no page, and what its last one was
// like is known: State and Env then say that. It may ask the store.
func (l *Lease) Hibernated(ctx context.Context) (bool, error) {
	h := l.h
	h.catchUp()
	if l.Paged() {
		return false, nil
	}
	if err := h.recall(ctx); err != nil {
		return false, err
	}
	if h.mem.was == nil {
		return false, nil
	}
	far, err := h.reach(ctx)
	if errors.Is(err, fault.New(fault.VisitorAway, "")) {
		err = nil
	}
	return !far, err
}

// Paged reports whether the session's page is open.
func (l *Lease) Paged() bool { return l.h.main != nil && !l.h.main.gone() }

// Known reports whether the state can be trusted without a look at the page:
// the page is the one that the state was last compared with, and its signals
// have kept the state up to date since.
func (l *Lease) Known() bool { return l.Paged() && !l.h.doubtful && l.h.state.Booted }

// Trust says that the state has been compared with the page.
func (l *Lease) Trust() { l.h.doubtful = false }

// Doubt says that the state must be compared with the page.
func (l *Lease) Doubt() { l.h.doubtful = true }

// State returns what is known of the session: of its page, or of its last one
// when it is hibernated. The lease's holder may change it.
func (l *Lease) State() *actions.State { return &l.h.state }

// CatchUp brings the state up to date with what the page has reported so far.
// The holder calls it between steps.
func (l *Lease) CatchUp() {
	runtime.Gosched() // What came before the page's answer is with the listener, which may go first.
	l.h.catchUp()
}

// Env returns what an action of the command works with. Page is nil when no
// page is open. Sites is for the caller to set.
func (l *Lease) Env(by Command, log *slog.Logger) actions.Env {
	l.h.own(by.Fence)
	return l.h.env(by, log)
}

func (h *held) env(by Command, log *slog.Logger) actions.Env {
	h.behind.add(by)
	env := actions.Env{
		Site: h.site, Visitor: h.visitor, State: &h.state, Profile: &h.profile.value,
		Key: by.Key, CommandID: by.ID, Fence: by.Fence, Now: h.m.o.Now, Log: log,
	}
	if h.main != nil {
		env.Page = h.main.tab
		if h.main.far == nil {
			env.Browser = &chrome{h: h}
		} else {
			h.subscribed = len(h.state.Subscriptions)
			h.main.far.Behind(by.Key, by.ID, by.Correlation, by.Trace, h.state.Subscriptions)
		}
	}
	if h.webview != nil && !h.webview.gone() {
		env.Webview = h.webview.tab
	}
	return env
}

// Tell publishes the facts of an action that the command ran, after those that
// the page has reported before.
func (l *Lease) Tell(notices []actions.Notice, by Command) {
	if len(notices) == 0 {
		return
	}
	l.h.catchUp()
	l.h.dirty = true
	address := bare(l.h.site.URL)
	for _, n := range notices {
		l.h.post(n, event.CauseAPI, by, l.h.m.o.Now().UTC(), address, true)
	}
}

// Flush waits until the session's facts are durable.
func (l *Lease) Flush(ctx context.Context) error {
	l.h.catchUp()
	return l.h.out.flush(ctx)
}

// Drop closes the session's page, so that the next Open opens another one.
func (l *Lease) Drop(ctx context.Context, why string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	return l.h.close(ctx, why)
}

// Release gives the session back. It is called exactly once.
func (l *Lease) Release() { l.h.end(true) }
