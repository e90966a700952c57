package ours

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/bench/contend"
)

// warm opens and closes the windows of held sessions.
type warm struct {
	*rig
	window int
	held   []*heldSession
}

// heldSession is one visitor whose page is held.
type heldSession struct {
	visitor string

	mu   sync.Mutex // guards the field below; held for a whole job
	open bool
}

func startWarm(ctx context.Context, s contend.Setup, o rigOptions) (*warm, error) {
	r, err := startRig(ctx, s, o)
	if err != nil {
		return nil, err
	}
	w := &warm{rig: r, window: s.Window}
	if err := w.hold(ctx, s.Sessions); err != nil {
		return nil, errors.Join(err, w.end(ctx))
	}
	return w, nil
}

// hold opens the pages of further visitors, until there are so many.
func (w *warm) hold(ctx context.Context, sessions int) error {
	for i := len(w.held); i < sessions; i++ {
		visitor := fmt.Sprintf("held-%d", i)
		if err := w.do(ctx, "botstar.widget.boot", visitor, i); err != nil {
			return err
		}
		w.held = append(w.held, &heldSession{visitor: visitor})
	}
	return nil
}

// Round does the jobs with a number of them under way at once. The jobs of one
// session keep their order.
func (w *warm) Round(o contend.Order) (contend.Report, error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if w.window <= 1 {
		return inTurns(o.Jobs, func(i int) (func() error, error) { return nil, w.toggle(ctx, o.Picks[i], i) })
	}
	latencies := make([]float64, o.Jobs)
	var next, done atomic.Int64
	var lanes sync.WaitGroup
	begun := time.Now()
	for range w.window {
		lanes.Go(func() {
			for i := int(next.Add(1)) - 1; i < o.Jobs && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				start := time.Now()
				if err := w.toggle(ctx, o.Picks[i], i); err != nil {
					cancel(err)
					return
				}
				latencies[i] = microseconds(time.Since(start))
				done.Add(1)
			}
		})
	}
	lanes.Wait()
	return contend.Report{
		Jobs: int(done.Load()), WallUS: microseconds(time.Since(begun)), LatenciesUS: latencies,
	}, context.Cause(ctx)
}

// toggle opens the window if it is closed, and closes it if it is open.
func (w *warm) toggle(ctx context.Context, session, n int) error {
	h := w.held[session]
	h.mu.Lock()
	defer h.mu.Unlock()
	action := "botstar.widget.open"
	if h.open {
		action = "botstar.widget.close"
	}
	if err := w.do(ctx, action, h.visitor, n); err != nil {
		return err
	}
	h.open = !h.open
	return nil
}
