package browser

import (
	"context"
	"errors"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/runtime"

	"github.com/parley-chat/parley/internal/fault"
)

const (
	// probeLimit is how long a page that runs may take to say so.
	probeLimit = 400 * time.Millisecond
	// freeLimit is how long a page may take to get out of a loop that was
	// terminated.
	freeLimit = 800 * time.Millisecond
)

// overdue says why a call had no answer when its context ended. A page that
// does not run any more is freed of its loop; when that fails the tab is lost.
func (t *Tab) overdue(ctx context.Context) error {
	if gone := t.Err(); gone != nil {
		return gone
	}
	cause := context.Cause(ctx)
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return cause
	}
	if t.alive(ctx, probeLimit) {
		return fault.New(fault.DeadlineExceeded, "the page did not answer in time").Because(cause)
	}
	begin(t.session, runtime.TerminateExecution, cdp.Empty{})
	if t.alive(ctx, freeLimit) {
		return fault.New(fault.PageHung, "the page was in a loop, which was ended")
	}
	if gone := t.Err(); gone != nil {
		return gone
	}
	hung := fault.New(fault.PageHung, "the page hangs, and its tab was closed")
	t.fail(hung)
	return hung
}

// alive reports whether the page runs a script within the limit, whatever
// happened to ctx.
func (t *Tab) alive(ctx context.Context, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	_, err := call(ctx, t.session, runtime.Evaluate, runtime.EvaluateParams{Expression: "0"})
	return err == nil
}
