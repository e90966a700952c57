package browser

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chromedp/cdproto/headlessexperimental"
	"github.com/chromedp/cdproto/page"

	"github.com/parley-chat/parley/internal/fault"
)

const (
	// frameEvery is the time between two frames of a lively tab. Sixty frames a
	// second, which nobody sees, are most of what an action costs.
	frameEvery = 100 * time.Millisecond
	// livelyFor is how long a tab gets frames after something was asked of it or
	// heard from it.
	livelyFor = 3 * time.Second
	// frameLimit is how long one frame may take. A page that makes none in that
	// time hangs.
	frameLimit = 10 * time.Second
	// pictureTries is how often a picture is asked for: the first frame of a
	// page may have none.
	pictureTries = 5
)

// A pacer gives the tabs of one browser their frames. The browser makes none by
// itself (BeginFrameControl), so a page that nobody asks anything of costs no
// rendering at all. A frame runs what pages expect of one (layout, animations,
// requestAnimationFrame, observers) and paints nothing. The browser dies of two
// frames at once, so there is one at a time for all its tabs.
type pacer struct {
	wake chan struct{} // of capacity 1: some tab has become lively
	turn chan struct{} // of capacity 1: held while a frame is under way
}

func newPacer() *pacer {
	return &pacer{wake: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
}

// touch says that something happens in the tab, so that it gets frames for a
// while.
func (t *Tab) touch() {
	p := t.room.proc.pacer
	if p == nil {
		return
	}
	t.lively.Store(time.Now().Add(livelyFor).UnixNano())
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// pace gives frames until the browser has ended. It sleeps while no tab is
// lively.
func (proc *process) pace() {
	tick := time.NewTicker(frameEvery)
	defer tick.Stop()
	for {
		select {
		case <-proc.pacer.wake:
		case <-proc.conn.lost:
			return
		}
		tick.Reset(frameEvery)
		for proc.frames(time.Now()) {
			select {
			case <-tick.C:
			case <-proc.conn.lost:
				return
			}
		}
		tick.Stop()
	}
}

// frames gives each lively tab one frame. It reports whether there was one.
func (proc *process) frames(now time.Time) bool {
	lively := false
	for _, t := range proc.all() {
		if t.lively.Load() >= now.UnixNano() {
			lively = true
			proc.frame(t)
		}
	}
	return lively
}

// frame gives the tab one frame, and waits for its end, or that of the tab.
func (proc *process) frame(t *Tab) {
	select {
	case proc.pacer.turn <- struct{}{}:
		defer func() { <-proc.pacer.turn }()
	case <-proc.conn.lost:
		return
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), frameLimit, fault.New(fault.PageHung, "the page made no frame within %s", frameLimit))
	defer cancel()
	sent := begin(t.session, headlessexperimental.BeginFrame, headlessexperimental.BeginFrameParams{NoDisplayUpdates: new(true)})
	select {
	case <-sent.reply.done: // A frame that fails is a page that goes away.
	case <-t.done:
	case <-ctx.Done():
		t.fail(context.Cause(ctx))
	}
}

// picture returns what the tab shows, as PNG.
func (t *Tab) picture(ctx context.Context) ([]byte, error) {
	if t.room.proc.pacer == nil {
		shot, err := call(ctx, t.session, page.CaptureScreenshot, page.CaptureScreenshotParams{})
		return shot.Data, err
	}
	turn := t.room.proc.pacer.turn
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the frame before: %w", context.Cause(ctx))
	}
	for range pictureTries {
		shot, err := call(ctx, t.session, headlessexperimental.BeginFrame, headlessexperimental.BeginFrameParams{
			Screenshot: &headlessexperimental.ScreenshotParams{Format: headlessexperimental.ScreenshotParamsFormatPng},
		})
		if err != nil || len(shot.ScreenshotData) > 0 {
			return shot.ScreenshotData, err
		}
	}
	return nil, errors.New("the browser took none")
}
