package browser

import (
	"context"
	"fmt"
	"net/url"
	"slices"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/domstorage"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
)

// nameText removes what a page may leave in its window.
const nameText = `window.name = ""`

// frames are the documents that a tab has shown. A document of about:blank has
// the origin of the one that made it, and is not counted.
type frames struct {
	live map[cdp.FrameID]shown
	past map[string]bool // origins of documents that are gone
	lost bool            // one of them was too deep to tell how its storage was divided
}

// shown is the document of a frame.
type shown struct {
	origin string // "" stores nothing
	deep   bool   // it is a frame in a frame
}

func newFrames() frames {
	return frames{live: map[cdp.FrameID]shown{}, past: map[string]bool{}}
}

// navigated takes note of a frame's document.
func (f *frames) navigated(frame *cdp.Frame, top bool) {
	f.leave(frame.ID)
	if frame.URL == "about:blank" || frame.URL == "about:srcdoc" {
		return
	}
	u, err := url.Parse(frame.SecurityOrigin)
	if err != nil {
		f.lost = true
		return
	}
	doc := shown{deep: !top}
	if u.Host != "" { // An opaque origin stores nothing.
		doc.origin = u.Scheme + "://" + u.Host
	}
	f.live[frame.ID] = doc
}

// leave takes note that the document of the frame is gone.
func (f *frames) leave(id cdp.FrameID) {
	doc, shown := f.live[id]
	if !shown || doc.origin == "" {
		return
	}
	delete(f.live, id)
	f.past[doc.origin] = true
	f.lost = f.lost || doc.deep
}

// origins returns the origins of the documents that are there.
func (f *frames) origins() map[string]bool {
	list := map[string]bool{}
	for _, doc := range f.live {
		if doc.origin != "" {
			list[doc.origin] = true
		}
	}
	return list
}

// still reports whether the storage that belongs to the tab can be reached
// through the documents that are there.
func (t *Tab) still() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	live := t.frames.origins()
	for origin := range t.frames.past {
		if !live[origin] {
			return false
		}
	}
	return !t.frames.lost
}

// blank empties the tab for the next session, as renew does with a new one. It
// is cheaper: neither a window nor a session is made.
func (r *room) blank(ctx context.Context, old *Tab) (*Tab, error) {
	ended := r.outlet.cut()
	workers := begin(r.proc.root, target.GetTargets, target.GetTargetsParams{Filter: workerTypes()})
	// From here on no script of the page runs, not even one that says goodbye.
	var sent []waiter
	for _, s := range old.sessions() {
		sent = append(sent, begin(s, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
	}
	if err := all(ctx, sent...); err != nil {
		return nil, fmt.Errorf("silencing the page: %w", err)
	}
	sent = nil
	stores := old.tabStores()
	if len(old.sessions()) > 1 {
		// A frame with a renderer of its own would be gone before it did so.
		if err := stores.emptied(ctx); err != nil {
			return nil, err
		}
		stores = nil
	}
	for _, id := range old.planted() {
		sent = append(sent, begin(old.session, page.RemoveScriptToEvaluateOnNewDocument, page.RemoveScriptToEvaluateOnNewDocumentParams{Identifier: id}))
	}
	sent = append(sent,
		begin(old.session, fetch.Disable, cdp.Empty{}),
		checked{begin(old.session, page.Navigate, page.NavigateParams{URL: "about:blank"})},
	)
	if err := all(ctx, sent...); err != nil {
		return nil, fmt.Errorf("leaving the page: %w", err)
	}
	if err := stores.emptied(ctx); err != nil {
		return nil, err
	}
	if err := r.idle(ctx, workers); err != nil {
		return nil, err
	}
	err := all(ctx,
		begin(old.session, page.ResetNavigationHistory, cdp.Empty{}),
		begin(old.session, runtime.Evaluate, runtime.EvaluateParams{Expression: nameText}),
		begin(old.session, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: false}),
	)
	if err != nil {
		return nil, fmt.Errorf("emptying the tab: %w", err)
	}
	t := newTab(r, old.target)
	t.session = old.session
	if err := r.clear(ctx, t, ended, old.plan.origin); err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.tabs = append(r.tabs, t)
	r.mu.Unlock()
	r.proc.add(t)
	t.session.rest(nil, t.handle)
	return t, nil
}

// planted returns the document-start scripts that the page's session still has.
func (t *Tab) planted() []page.ScriptIdentifier {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := slices.Clone(t.scripts)
	for _, f := range t.fillings {
		f.done = true // A script that is still being added goes away too.
		if id, there := f.in[t.session]; there {
			list = append(list, id)
		}
	}
	t.fillings = nil
	return list
}

// tabStores are the sessionStorages of a tab, by origin, that are being
// emptied.
type tabStores map[string][]waiter

// tabStores begins to empty the sessionStorage of each document in the tab.
func (t *Tab) tabStores() tabStores {
	sessions := t.sessions()
	t.mu.Lock()
	defer t.mu.Unlock()
	stores := tabStores{}
	for origin := range t.frames.origins() {
		u, err := url.Parse(origin)
		if err != nil {
			continue
		}
		for _, key := range t.room.keysOf(u) {
			for _, s := range sessions {
				stores[origin] = append(stores[origin], begin(s, domstorage.Clear, domstorage.ClearParams{
					StorageID: &domstorage.StorageID{StorageKey: domstorage.SerializedStorageKey(key), IsLocalStorage: false},
				}))
			}
		}
	}
	return stores
}

// emptied fails unless a store of each origin was found, and emptied.
func (s tabStores) emptied(ctx context.Context) error {
	for origin, sent := range s {
		found := false
		for _, f := range sent {
			found = f.finish(ctx) == nil || found
		}
		if !found {
			return fmt.Errorf("%w: the sessionStorage of %s was not found", errUnclean, origin)
		}
	}
	return nil
}
