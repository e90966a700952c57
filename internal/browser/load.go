package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"

	"github.com/parley-chat/parley/internal/fault"
)

// statusText reads the status of the response that the document came with.
// The isolated world's own binding of it cannot be changed by the page.
const statusText = `performance.getEntriesByType("navigation")[0]?.responseStatus ?? 0`

// open loads the page of the plan into a blank tab. All commands leave at
// once; their order is the order in which the browser does them.
func (t *Tab) open(ctx context.Context, pl plan) error {
	t.mu.Lock()
	t.plan = pl
	t.mu.Unlock()
	t.room.outlet.allow(pl.rules)
	set, err := t.restore(ctx, pl.stored)
	if err != nil {
		return err
	}
	set = append(set,
		t.script(page.AddScriptToEvaluateOnNewDocumentParams{Source: pl.main}),
		t.script(page.AddScriptToEvaluateOnNewDocumentParams{Source: pl.look, WorldName: world}),
	)
	// A light page's document is ours. A full page's sound and films are
	// refused; its images and fonts are, by the browser's flags.
	intercept := &fetch.RequestPattern{URLPattern: pattern(pl.url), ResourceType: network.ResourceTypeDocument}
	if pl.light == "" {
		intercept = &fetch.RequestPattern{ResourceType: network.ResourceTypeMedia}
	}
	set = append(set, begin(t.session, fetch.Enable, fetch.EnableParams{Patterns: []*fetch.RequestPattern{intercept}}))
	return t.load(ctx, pl.url, func() waiter {
		return begin(t.session, page.Navigate, page.NavigateParams{URL: pl.url})
	}, set...)
}

// script adds a document-start script, and keeps its name in the tab.
func (t *Tab) script(params page.AddScriptToEvaluateOnNewDocumentParams) waiter {
	return added{begin(t.session, page.AddScriptToEvaluateOnNewDocument, params), t}
}

// added is a script that is being added to a tab.
type added struct {
	sent future[page.AddScriptToEvaluateOnNewDocumentResult]
	tab  *Tab
}

func (a added) finish(ctx context.Context) error {
	result, err := a.sent.wait(ctx)
	if err != nil {
		return err
	}
	a.tab.mu.Lock()
	defer a.tab.mu.Unlock()
	a.tab.scripts = append(a.tab.scripts, result.Identifier)
	return nil
}

// Navigate loads another address in the tab, and waits until its document is
// there. The address must be one that the session may reach.
func (t *Tab) Navigate(ctx context.Context, address string) error {
	u, at, err := parsePlace(address)
	if err != nil {
		return err
	}
	t.mu.Lock()
	pl := t.plan
	t.mu.Unlock()
	if err := pl.permit(at); err != nil {
		return err
	}
	return t.load(ctx, u.String(), func() waiter {
		return begin(t.session, page.Navigate, page.NavigateParams{URL: u.String()})
	})
}

// Reload loads the page again, and waits until its document is there.
func (t *Tab) Reload(ctx context.Context) error {
	t.mu.Lock()
	address := t.plan.url
	t.mu.Unlock()
	return t.load(ctx, address, func() waiter { return begin(t.session, page.Reload, page.ReloadParams{}) })
}

// load starts a navigation and waits for its document. set are commands that
// were sent before it.
func (t *Tab) load(ctx context.Context, address string, navigate func() waiter, set ...waiter) error {
	t.touch()
	limit := t.pool.opts.LoadTimeout
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fault.New(fault.PageLoadFailed, "%s did not load within %s", short(address), limit))
	defer cancel()
	t.room.outlet.forgive()
	t.mu.Lock()
	life := t.doc.life
	t.mu.Unlock()
	err := all(ctx, append(set, checked{navigate()})...)
	if err == nil {
		_, err = t.await(ctx, func(d document) bool { return d.life > life && d.ready && d.main != "" && d.look != "" })
	}
	if err == nil {
		err = t.checkStatus(ctx)
	}
	if err != nil {
		return fmt.Errorf("loading %s: %w", short(address), t.loadFault(ctx, err))
	}
	return nil
}

// checkStatus fails when the server answered with an error: such a page is a
// document like any other to the browser.
func (t *Tab) checkStatus(ctx context.Context) error {
	t.mu.Lock()
	light, look := t.plan.light != "", t.doc.look
	t.mu.Unlock()
	if light {
		return nil // We answered ourselves.
	}
	got, err := call(ctx, t.session, runtime.Evaluate, runtime.EvaluateParams{
		Expression: statusText, UniqueContextID: look, ReturnByValue: new(true),
	})
	if err != nil {
		return err
	}
	var status int
	if got.Result == nil || json.Unmarshal(got.Result.Value, &status) != nil || status >= 400 || status == 0 {
		return fault.New(fault.PageLoadFailed, "the site answered with status %d", status)
	}
	return nil
}

// loadFault classifies why a page did not load.
func (t *Tab) loadFault(ctx context.Context, err error) error {
	if gone := t.Err(); gone != nil {
		return gone
	}
	if trouble := t.room.outlet.last(); trouble != nil && !errors.Is(err, context.Canceled) && ctx.Err() == nil {
		if denied, ok := errors.AsType[*fault.Error](trouble); ok {
			return denied
		}
		return fault.New(fault.PageLoadFailed, "the site cannot be reached").Because(trouble)
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fault.New(fault.PageLoadFailed, "the page did not load in time").Because(context.Cause(ctx))
	}
	return t.lost(err)
}

// checked is a navigation whose answer tells whether it failed.
type checked struct{ sent waiter }

func (c checked) finish(ctx context.Context) error {
	f, ok := c.sent.(future[page.NavigateResult])
	if !ok {
		return c.sent.finish(ctx)
	}
	result, err := f.wait(ctx)
	switch {
	case err != nil:
		return err
	case result.IsDownload:
		return fault.New(fault.PageLoadFailed, "the address is a download, and no page")
	case result.ErrorText != "":
		return fault.New(fault.PageLoadFailed, "the browser says %s", strings.TrimPrefix(result.ErrorText, "net::"))
	}
	return nil
}

// Screenshot returns the page as it looks, as a PNG image.
func (t *Tab) Screenshot(ctx context.Context) ([]byte, error) {
	shot, err := t.picture(ctx)
	if err != nil {
		return nil, fmt.Errorf("taking a screenshot: %w", t.lost(err))
	}
	return shot, nil
}

// OpenPage opens a further page in the session of this tab, which shares its
// cookies and its storage. It is closed with this tab, or by its own Close.
func (t *Tab) OpenPage(ctx context.Context, r Request) (*Tab, error) {
	pl, err := t.pool.plan(r)
	if err != nil {
		return nil, err
	}
	if err := t.Err(); err != nil {
		return nil, err
	}
	further, err := t.room.newTab(ctx, true)
	if err != nil {
		return nil, fmt.Errorf("opening a page: %w", t.lost(err))
	}
	if err := further.open(ctx, pl); err != nil {
		further.fail(err)
		return nil, err
	}
	return further, nil
}
