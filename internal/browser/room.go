package browser

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/systeminfo"
	"github.com/chromedp/cdproto/target"

	"github.com/parley-chat/parley/internal/fault"
)

const (
	// prepareLimit is how long a blank tab may take.
	prepareLimit = 15 * time.Second
	// disposeLimit is how long a browser context may take to go. Then its
	// renderer is killed, and then the browser.
	disposeLimit = 500 * time.Millisecond
	killLimit    = 2 * time.Second
	watchBusy    = 200 * time.Millisecond
	maxSites     = 32 // that a room remembers
	maxPatience  = 20 // times that a limit is waited for
)

// A room is one browser context with its own way to the network: what one
// session has for itself.
type room struct {
	proc   *process
	id     cdp.BrowserContextID
	outlet *outlet
	key    string // the key of the sessions that it serves; written while nobody has its tab

	mu      sync.Mutex // guards the fields below
	tabs    []*Tab
	visited []string // the sites that were open in a top frame
	shared  bool     // it had more than one tab at once
	uses    int      // sessions that it has served
	left    bool     // it is being disposed of
}

// newRoom makes a browser context that shares nothing with any other.
func (proc *process) newRoom(ctx context.Context) (*room, error) {
	outlet, err := proc.pool.egress.open()
	if err != nil {
		return nil, err
	}
	made, err := call(ctx, proc.root, target.CreateBrowserContext, target.CreateBrowserContextParams{
		DisposeOnDetach: new(true),
		ProxyServer:     outlet.url(),
		ProxyBypassList: noBypass,
	})
	if err != nil {
		outlet.close()
		return nil, err
	}
	r := &room{proc: proc, id: made.BrowserContextID, outlet: outlet}
	_, err = call(ctx, proc.root, cdpbrowser.SetDownloadBehavior, cdpbrowser.SetDownloadBehaviorParams{
		Behavior: cdpbrowser.SetDownloadBehaviorBehaviorDeny, BrowserContextID: r.id, EventsEnabled: new(true),
	})
	if err != nil {
		r.leave(err)
		return nil, err
	}
	return r, nil
}

// newTab opens a blank tab in the room, with everything set that does not
// depend on the page.
func (r *room) newTab(ctx context.Context, sibling bool) (*Tab, error) {
	root, size := r.proc.root, r.proc.pool.opts.Window
	made, err := call(ctx, root, target.CreateTarget, target.CreateTargetParams{
		URL: "about:blank", BrowserContextID: r.id, Width: int64(size.Width), Height: int64(size.Height),
		EnableBeginFrameControl: new(r.proc.pacer != nil),
	})
	if err != nil {
		return nil, err
	}
	attached, err := call(ctx, root, target.AttachToTarget, target.AttachToTargetParams{
		TargetID: made.TargetID, Flatten: new(true),
	})
	if err != nil {
		return nil, err
	}
	t := newTab(r, made.TargetID)
	t.sibling = sibling
	t.session = r.proc.conn.session(attached.SessionID, t.handle)
	r.mu.Lock()
	left := r.left
	r.shared = r.shared || sibling
	r.tabs = append(r.tabs, t)
	r.mu.Unlock()
	r.proc.add(t)
	if err := t.setup(ctx); err != nil {
		t.fail(err)
		return nil, err
	}
	if left {
		return nil, errors.New("the browser context is closed")
	}
	return t, nil
}

// forget takes a closed tab off the list.
func (r *room) forget(t *Tab) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tabs = slices.DeleteFunc(r.tabs, func(other *Tab) bool { return other == t })
}

// open returns the open tabs.
func (r *room) open() []*Tab {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.tabs)
}

// empty tells those who wait that the tabs are gone.
func (r *room) empty() {
	for _, t := range r.open() {
		r.forget(t)
		close(t.gone)
	}
}

// visit remembers the site of a page.
func (r *room) visit(site string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if site != "" && !slices.Contains(r.visited, site) && len(r.visited) < maxSites {
		r.visited = append(r.visited, site)
	}
}

// sites returns the sites that were open.
func (r *room) sites() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.visited)
}

// leave fails the tabs that are still open with err, and disposes of the
// browser context in the background. It may be called many times.
func (r *room) leave(err error) {
	r.mu.Lock()
	left, tabs := r.left, slices.Clone(r.tabs)
	r.left = true
	r.mu.Unlock()
	for _, t := range tabs {
		t.fail(err)
	}
	if !left {
		r.proc.pool.spawn(r.dispose)
	}
}

// dispose ends the browser context, whatever its pages do: first politely,
// then by its renderer, then with the browser.
func (r *room) dispose() {
	defer r.empty()
	defer r.outlet.close()
	ctx, cancel := r.proc.pool.bound(context.Background())
	defer cancel()
	gone := begin(r.proc.root, target.DisposeBrowserContext, target.DisposeBrowserContextParams{BrowserContextID: r.id})
	if r.proc.answered(ctx, gone.reply, disposeLimit) || ctx.Err() != nil {
		return
	}
	log := r.proc.pool.log
	log.LogAttrs(ctx, slog.LevelWarn, "browser context does not close", slog.String("kind", string(r.proc.kind)))
	r.proc.killBusiest(ctx)
	if r.proc.answered(ctx, gone.reply, killLimit) || ctx.Err() != nil {
		return
	}
	log.LogAttrs(ctx, slog.LevelError, "browser does not close a context and is killed", slog.String("kind", string(r.proc.kind)))
	r.proc.kill(fault.New(fault.BrowserCrashed, "the browser hung and was killed"))
}

// answered waits for the answer, good or bad, no longer than limit after the
// browser said anything at all: a page may have filled the pipe with events
// that come first.
func (proc *process) answered(ctx context.Context, r *reply, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	read := proc.conn.read.Load()
	for range maxPatience {
		select {
		case a := <-r.done:
			r.done <- a // for who asks again
			return true
		case <-ctx.Done():
			return false
		case <-timer.C:
		}
		now := proc.conn.read.Load()
		if now == read {
			return false
		}
		read = now
		timer.Reset(limit)
	}
	return false
}

// killBusiest kills the renderer that burns the most processor time: the
// protocol does not say which renderer a tab has, and this one hangs.
func (proc *process) killBusiest(ctx context.Context) {
	before, err := proc.renderers(ctx)
	if err != nil {
		return
	}
	select {
	case <-time.After(watchBusy):
	case <-ctx.Done():
		return
	}
	after, err := proc.renderers(ctx)
	if err != nil {
		return
	}
	busiest, most := 0, watchBusy.Seconds()/4
	for pid, seconds := range after {
		if burnt := seconds - before[pid]; burnt > most {
			busiest, most = pid, burnt
		}
	}
	if busiest != 0 {
		proc.killOne(busiest)
	}
}

// renderers returns the processor time of each renderer, in seconds.
func (proc *process) renderers(ctx context.Context) (map[int]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, disposeLimit)
	defer cancel()
	info, err := call(ctx, proc.root, systeminfo.GetProcessInfo, cdp.Empty{})
	if err != nil {
		return nil, fmt.Errorf("asking for the processes: %w", err)
	}
	list := map[int]float64{}
	for _, p := range info.ProcessInfo {
		if p.Type == "renderer" {
			list[int(p.ID)] = p.CPUTime
		}
	}
	return list, nil
}
