package worker

import (
	"context"
	"sync"

	"github.com/parley-chat/parley/internal/fault"
)

// gate says whether commands are taken. It is open at first.
type gate struct {
	mu      sync.Mutex // guards the fields below
	shut    bool
	changed chan struct{}      // closed, and made anew, when shut changes
	stop    context.CancelFunc // of the taking under way; nil when there is none
	idle    chan struct{}      // closed when that taking has ended
}

func newGate() *gate { return &gate{changed: make(chan struct{})} }

// enter returns a context that ends when the gate is shut, and the function to
// call when what was begun with it has ended. While the gate is shut it waits;
// it is false when ctx has ended.
func (g *gate) enter(ctx context.Context) (taking context.Context, leave func(), ok bool) {
	for ctx.Err() == nil {
		g.mu.Lock()
		changed, shut := g.changed, g.shut
		if !shut {
			defer g.mu.Unlock()
			return g.begin(ctx)
		}
		g.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return nil, nil, false
}

// begin is enter through the open gate. The caller holds the lock.
func (g *gate) begin(ctx context.Context) (taking context.Context, leave func(), ok bool) {
	taking, stop := context.WithCancel(ctx)
	idle := make(chan struct{})
	g.stop, g.idle = stop, idle
	return taking, func() {
		stop()
		g.mu.Lock()
		defer g.mu.Unlock()
		g.stop = nil
		close(idle)
	}, true
}

// set shuts or opens the gate, and returns what is closed when nothing is taken
// any more; nil when nothing is.
func (g *gate) set(shut bool) <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != shut {
		g.shut = shut
		close(g.changed)
		g.changed = make(chan struct{})
	}
	if g.stop == nil {
		return nil
	}
	if shut {
		g.stop()
	}
	return g.idle
}

// Drain has the worker hand over everything that it owns, and take nothing more
// until Resume. It returns when all is handed over; when ctx ends first, the
// handing over goes on.
func (w *Worker) Drain(ctx context.Context) error {
	idle := w.gate.set(true)
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fault.New(fault.DeadlineExceeded, "the worker still hands over").Because(context.Cause(ctx)).
			WithFix("it goes on; ask again with a longer time")
	}
}

// Resume has the worker take commands again.
func (w *Worker) Resume() { w.gate.set(false) }

// Draining reports whether the worker was told to take nothing.
func (w *Worker) Draining() bool {
	w.gate.mu.Lock()
	defer w.gate.mu.Unlock()
	return w.gate.shut
}
