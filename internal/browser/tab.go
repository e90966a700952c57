package browser

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/inspector"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"

	"github.com/parley-chat/parley/internal/fault"
)

// A small window saves memory, and is what a phone shows.
const (
	windowWidth  = 420
	windowHeight = 720
)

// The names that the page runtime and we agree on.
const (
	world   = "parley"       // the isolated world
	emitter = "__parleyEmit" // the binding, in that world only
)

// Stats are what a tab has seen since it was opened.
type Stats struct {
	Dialogs   int    // dialog boxes that were closed at once
	Popups    int    // windows that the page tried to open
	Downloads int    // downloads that were denied
	Refused   int    // requests that the egress proxy refused or could not make
	Forged    int    // signals that came from a wrong place, and were dropped
	Dialog    string // the text of the last dialog box
}

// Tab is an open page. Its methods may be called from many goroutines.
type Tab struct {
	pool    *Pool
	room    *room
	target  target.ID
	session *session
	signals *queue
	done    chan struct{}
	gone    chan struct{} // closed when nothing of its session is left
	sibling bool          // it was opened by another tab of its room
	counted atomic.Bool
	lively  atomic.Int64 // until when it gets frames, in nanoseconds since 1970

	mu      sync.Mutex // guards the fields below
	err     error
	plan    plan
	doc     document
	changed chan struct{} // closed and replaced when doc changes
	stats   Stats
	noise   noise
	scripts []page.ScriptIdentifier // the document-start scripts
	frames  frames
	// fillings wait for a document of their origin.
	fillings []*filling
	// children are the sessions of frames that are targets of their own.
	children map[target.SessionID]*session
}

func newTab(r *room, id target.ID) *Tab {
	return &Tab{
		pool:    r.proc.pool,
		room:    r,
		target:  id,
		signals: newQueue(),
		done:    make(chan struct{}),
		gone:    make(chan struct{}),
		changed: make(chan struct{}),
		doc:     newDocument(),
		frames:  newFrames(),

		children: map[target.SessionID]*session{},
	}
}

// setup enables what every tab needs. Nothing more is enabled: each domain
// sends events that somebody has to read.
func (t *Tab) setup(ctx context.Context) error {
	err := all(ctx,
		begin(t.session, inspector.Enable, cdp.Empty{}),
		begin(t.session, page.Enable, page.EnableParams{}),
		begin(t.session, runtime.Enable, cdp.Empty{}),
		begin(t.session, runtime.AddBinding, runtime.AddBindingParams{Name: emitter, ExecutionContextName: world}),
	)
	if err != nil {
		return err
	}
	return t.watchFrames(ctx)
}

// Done is closed when the tab is gone.
func (t *Tab) Done() <-chan struct{} { return t.done }

// Err says why the tab is gone. It is nil while the tab is open.
func (t *Tab) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// Stats returns what the tab has seen so far.
func (t *Tab) Stats() Stats {
	refused := t.room.outlet.count()
	t.mu.Lock()
	defer t.mu.Unlock()
	stats := t.stats
	stats.Refused = refused
	return stats
}

// Close closes the tab and, unless it was opened by OpenPage, everything of its
// session. It returns when they are gone, or when ctx ends; they go anyway.
func (t *Tab) Close(ctx context.Context) error {
	t.end(fault.New(fault.ShuttingDown, "the tab was closed"), true)
	if t.sibling {
		return nil
	}
	select {
	case <-t.gone:
		return nil
	case <-t.pool.stop:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("closing the tab: %w", context.Cause(ctx))
	}
}

// fail ends the tab: its calls, its events, its place in the pool. It may be
// called many times; the first error stays. It must not wait: the goroutine
// that reads the browser's messages calls it too.
func (t *Tab) fail(err error) { t.end(err, false) }

// end is fail. healthy says that nothing is wrong with the tab, so that its
// room may serve again.
func (t *Tab) end(err error, healthy bool) {
	t.mu.Lock()
	if t.err != nil {
		t.mu.Unlock()
		return
	}
	t.err = err
	pl := t.plan
	t.mu.Unlock()
	close(t.done)
	t.signals.end(err)
	again := healthy && t.counted.Load() && t.room.reusable(pl)
	if again {
		t.session.rest(err, t.handleAfter)
	} else {
		t.dropFrames(err)
		t.session.drop(err)
	}
	t.room.proc.remove(t)
	if t.counted.Swap(false) {
		t.pool.release()
	}
	switch {
	case t.sibling:
		t.room.forget(t)
		begin(t.room.proc.root, target.CloseTarget, target.CloseTargetParams{TargetID: t.target})
	case again:
		t.pool.spawn(func() { t.room.recycle(t) })
	default:
		t.room.leave(err)
	}
}

// lost returns the fault behind an error of a command of this tab.
func (t *Tab) lost(err error) error {
	if gone := t.Err(); gone != nil {
		return gone
	}
	if errors.Is(err, errLost) {
		return t.room.proc.classify(err)
	}
	return err
}

// A noise meter counts the events that nobody reads.
type noise struct {
	count int
	since time.Time
}

// maxNoise is how many unread events a page may cause within a second.
const maxNoise = 5_000

// loud counts one event, and reports whether there are too many.
func (n *noise) loud() bool {
	n.count++
	if n.count < maxNoise {
		return false
	}
	now := time.Now()
	fast := now.Sub(n.since) < time.Second
	n.count, n.since = 0, now
	return fast
}
