package browser

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/cdp/jsonv2"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/cdproto/target"

	"github.com/parley-chat/parley/internal/fault"
)

const (
	// maxUses is how many sessions one browser context serves.
	maxUses = 100
	// cleanLimit is how long a cleaning may take.
	cleanLimit = 2 * time.Second
	// settleTurns is how many turns of its network thread a browser gets to deal
	// with what it has read.
	settleTurns = 6
)

// errUnclean says that something of a session may be left.
var errUnclean = errors.New("the browser context is not clean")

// reusable reports whether the room may serve another session of the plan's
// key after a cleaning. It had one tab, and plain http, whose connections we do
// not end, was not allowed.
func (r *room) reusable(pl plan) bool {
	for _, allowed := range pl.rules {
		if allowed.http {
			return false
		}
	}
	if r.proc.pool.opts.Fresh || r.proc.worn() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.left && !r.shared && r.uses < maxUses
}

// recycle makes the room ready for the next session of its key: it empties the
// tab, or puts a new one in its place, and removes whatever the session has
// left. A room that cannot be proved clean is disposed of.
func (r *room) recycle(old *Tab) {
	ctx, cancel := r.proc.pool.bound(context.Background())
	defer cancel()
	ctx, stop := context.WithTimeout(ctx, cleanLimit)
	defer stop()
	renew := r.blank
	if !old.still() {
		renew = r.renew
	}
	t, err := renew(ctx, old)
	old.dropFrames(errDetached)
	if t == nil || t.session != old.session {
		old.session.drop(fault.New(fault.ShuttingDown, "the tab was closed"))
	}
	if err == nil {
		err = r.proc.keep(t, old.plan.key)
	}
	if err == nil {
		r.forget(old)
		close(old.gone)
		return
	}
	r.proc.pool.log.LogAttrs(ctx, slog.LevelDebug, "browser context is not used again", slog.Any("err", err))
	r.leave(fault.New(fault.ShuttingDown, "the tab was closed"))
}

// renew does the work of recycle. The order matters: nothing of the old session
// may run any more when its stores are cleared, and no answer may be under way
// that could fill them again.
func (r *room) renew(ctx context.Context, old *Tab) (*Tab, error) {
	if r.proc.kind == full {
		// A new tab there is a new renderer: nothing would be saved.
		return nil, errors.New("a document of the tab is gone")
	}
	ended := r.outlet.cut()
	workers := begin(r.proc.root, target.GetTargets, target.GetTargetsParams{Filter: workerTypes()})
	silent := begin(old.session, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	left := begin(old.session, page.Navigate, page.NavigateParams{URL: "about:blank"})
	t, err := r.newTab(ctx, false)
	if err != nil {
		return nil, err
	}
	if err := r.idle(ctx, workers); err != nil {
		return t, err
	}
	if err := all(ctx, silent, left); err != nil {
		return t, fmt.Errorf("leaving the page: %w", err)
	}
	if _, err := call(ctx, r.proc.root, target.CloseTarget, target.CloseTargetParams{TargetID: old.target}); err != nil {
		return t, err
	}
	return t, r.clear(ctx, t, ended, old.plan.origin)
}

// workerTypes selects the targets that live on without a page.
func workerTypes() target.Filter {
	return target.Filter{{Type: "worker"}, {Type: "shared_worker"}, {Type: "service_worker"}, {Type: "worklet"}, {Type: "shared_storage_worklet"}}
}

// idle fails when a worker runs in the room: it could write after the clearing.
func (r *room) idle(ctx context.Context, asked future[target.GetTargetsResult]) error {
	list, err := asked.wait(ctx)
	if err != nil {
		return err
	}
	for _, info := range list.TargetInfos {
		if info.BrowserContextID == r.id {
			return fmt.Errorf("%w: a %s runs in it", errUnclean, info.Type)
		}
	}
	return nil
}

// clear empties every store that a page of the places could have filled, and
// looks whether they are empty.
func (r *room) clear(ctx context.Context, t *Tab, old past, origin place) error {
	if err := old.drained(ctx); err != nil {
		return err
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	sent := []waiter{
		begin(r.proc.root, storage.ClearCookies, storage.ClearCookiesParams{BrowserContextID: r.id}),
		begin(t.session, network.ClearBrowserCache, cdp.Empty{}),
	}
	seen := map[string]bool{}
	for _, at := range append(old.places, origin) {
		u := at.origin()
		if seen[u.String()] {
			continue
		}
		seen[u.String()] = true
		sent = append(sent, t.clearing(u)...)
	}
	if err := all(ctx, sent...); err != nil {
		return err
	}
	jar := begin(r.proc.root, storage.GetCookies, storage.GetCookiesParams{BrowserContextID: r.id})
	usage := make([]future[storage.GetUsageAndQuotaResult], 0, len(seen))
	for origin := range seen {
		usage = append(usage, begin(t.session, storage.GetUsageAndQuota, storage.GetUsageAndQuotaParams{Origin: origin}))
	}
	cookies, err := jar.wait(ctx)
	if err == nil && len(cookies.Cookies) > 0 {
		err = fmt.Errorf("%w: it has %d cookies", errUnclean, len(cookies.Cookies))
	}
	for _, asked := range usage {
		used, failed := asked.wait(ctx)
		err = errors.Join(err, failed)
		if used.Usage > 0 {
			err = errors.Join(err, fmt.Errorf("%w: %.0f bytes are stored: %s", errUnclean, used.Usage, breakdown(used.UsageBreakdown)))
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.visited, r.uses = nil, r.uses+1
	return err
}

// settle waits until the browser has dealt with what it has read. A cookie of
// an answer is set some turns of the network thread after the answer was read,
// and each question to the jar takes such a turn.
func (r *room) settle(ctx context.Context) error {
	for range settleTurns {
		if _, err := call(ctx, r.proc.root, storage.GetCookies, storage.GetCookiesParams{BrowserContextID: r.id}); err != nil {
			return fmt.Errorf("waiting for the last answers: %w", err)
		}
	}
	return nil
}

// unused fails when the jar of a room that is used again is not empty any more,
// or is not shown: after the death of a renderer, Chromium may never show it.
func (r *room) unused(ctx context.Context) error {
	if r.key == "" {
		return nil
	}
	ctx, stop := context.WithTimeout(ctx, disposeLimit)
	defer stop()
	jar, err := call(ctx, r.proc.root, storage.GetCookies, storage.GetCookiesParams{BrowserContextID: r.id})
	if err == nil && len(jar.Cookies) > 0 {
		err = fmt.Errorf("%w: it has %d cookies", errUnclean, len(jar.Cookies))
	}
	return err
}

// keep makes the clean tab a spare one of the key. The oldest of the used ones
// goes when there are more than spare ones should be.
func (proc *process) keep(t *Tab, key string) error {
	if err := t.Err(); err != nil {
		return err
	}
	if proc.worn() {
		return errors.New("the browser takes no more sessions")
	}
	proc.mu.Lock()
	t.room.key = key
	proc.spares = append(proc.spares, t)
	var extra *Tab
	if used := len(proc.spares) - proc.fresh(); used > max(proc.pool.opts.Spare, 1) {
		for i, other := range proc.spares {
			if other.room.key != "" {
				extra, proc.spares = other, append(proc.spares[:i:i], proc.spares[i+1:]...)
				break
			}
		}
	}
	proc.mu.Unlock()
	if extra != nil {
		extra.fail(fault.New(fault.ShuttingDown, "the tab was not needed"))
	}
	return nil
}

// handleAfter reads the events of a tab that is being left: a dialog box must
// not hold it.
func (t *Tab) handleAfter(method string, params jsonv2.Value) {
	switch method {
	case page.JavascriptDialogOpening.Method:
		decode(params, t.onDialog)
	case target.DetachedFromTarget.Method:
		decode(params, t.onChildGone)
	}
}

// breakdown says which stores hold something.
func breakdown(list []*storage.UsageForType) string {
	var names []string
	for _, use := range list {
		if use.Usage > 0 {
			names = append(names, string(use.StorageType))
		}
	}
	return strings.Join(names, ", ")
}
