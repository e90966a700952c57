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
	frameLimit = 5 * time.Second
	// pictureTries is how often a picture is asked for: the first frame of a
	// page may have none.
	pictureTries = 5
)

// A pacer gives the tabs of one browser their frames. The browser makes none by
// itself (BeginFrameControl), so a page that nobody asks anything of costs no
// rendering at all. A frame runs what pages expect of one (layout, animations,
// requestAnimationFrame, observers) and paints nothing. The browser dies of a
// frame that begins before the last one has ended, of whichever tab, so there is
// one turn for all of them, which only the browser gives back.
type pacer struct {
	wake chan struct{} // of capacity 1: some tab has become lively
	turn chan struct{} // of capacity 1: held while a frame is under way
}

func newPacer() *pacer {
	return &pacer{wake: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
}

// begin begins a frame. The caller has the turn. It is given back when the
// browser answers, or says that the target is gone.
func (p *pacer) begin(s *session, params headlessexperimental.BeginFrameParams) future[headlessexperimental.BeginFrameResult] {
	return beginKept(s, headlessexperimental.BeginFrame, params, func() { <-p.turn })
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

// frame gives the tab one frame, and waits for its end. A page that makes none
// is closed, and a browser that does not even close it is killed: no tab of it
// gets frames any more.
func (proc *process) frame(t *Tab) {
	p := proc.pacer
	select {
	case p.turn <- struct{}{}:
	case <-proc.conn.lost:
		return
	}
	sent := p.begin(t.session, headlessexperimental.BeginFrameParams{NoDisplayUpdates: new(true)})
	limit := time.NewTimer(frameLimit)
	defer limit.Stop()
	select {
	case <-sent.reply.done: // A frame that fails is a page that goes away.
		return
	case <-limit.C:
	}
	t.fail(fault.New(fault.PageHung, "the page made no frame within %s", frameLimit))
	limit.Reset(frameLimit)
	select {
	case <-sent.reply.done:
	case <-limit.C:
		proc.kill(fault.New(fault.BrowserCrashed, "the browser did not end a frame, and was killed"))
	}
}

// picture returns what the tab shows, as PNG.
func (t *Tab) picture(ctx context.Context) ([]byte, error) {
	if t.room.proc.pacer == nil {
		shot, err := call(ctx, t.session, page.CaptureScreenshot, page.CaptureScreenshotParams{})
		return shot.Data, err
	}
	for range pictureTries {
		select {
		case t.room.proc.pacer.turn <- struct{}{}:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the frame before: %w", context.Cause(ctx))
		}
		shot, err := t.room.proc.pacer.begin(t.session, headlessexperimental.BeginFrameParams{
			Screenshot: &headlessexperimental.ScreenshotParams{Format: headlessexperimental.ScreenshotParamsFormatPng},
		}).wait(ctx)
		if err != nil || len(shot.ScreenshotData) > 0 {
			return shot.ScreenshotData, err
		}
	}
	return nil, errors.New("the browser took none")
}
