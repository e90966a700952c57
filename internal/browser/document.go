package browser

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/cdp/jsonv2"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/inspector"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"

	"github.com/parley-chat/parley/internal/fault"
)

// A document is what we know of the page in the top frame.
type document struct {
	main  string // unique id of the main world's execution context
	look  string // unique id of the isolated world's
	lookN runtime.ExecutionContextID
	life  int           // how many documents came before it
	ready bool          // the document has been read to its end
	gone  chan struct{} // closed when another document takes its place
}

func newDocument() document { return document{gone: make(chan struct{})} }

// handle reads an event of the tab. It runs in the goroutine that reads the
// browser's messages, so it never waits.
func (t *Tab) handle(method string, params jsonv2.Value) {
	switch method {
	case runtime.BindingCalled.Method:
		decode(params, t.onBinding)
	case runtime.ExecutionContextCreated.Method:
		decode(params, t.onContext)
	case runtime.ExecutionContextDestroyed.Method:
		decode(params, t.onContextGone)
	case runtime.ExecutionContextsCleared.Method:
		t.replace()
	case page.FrameNavigated.Method:
		decode(params, t.onNavigated)
	case page.FrameDetached.Method:
		decode(params, t.onDetached)
	case page.DomContentEventFired.Method:
		t.change(func(d *document) { d.ready = true })
	case target.AttachedToTarget.Method:
		decode(params, t.onAttached)
	case target.DetachedFromTarget.Method:
		decode(params, t.onChildGone)
	case fetch.RequestPaused.Method:
		decode(params, t.onRequest)
	case page.JavascriptDialogOpening.Method:
		decode(params, t.onDialog)
	case page.WindowOpen.Method:
		t.count(func(s *Stats) { s.Popups++ })
	case inspector.TargetCrashed.Method:
		t.fail(fault.New(fault.PageCrashed, "the renderer died"))
	default:
		t.onNoise()
	}
}

// decode reads the event and hands it on. What cannot be read is dropped.
func decode[E any](params jsonv2.Value, f func(E)) {
	var event E
	if err := jsonv2.Unmarshal(params, &event, chromedp.DefaultUnmarshalOptions); err == nil {
		f(event)
	}
}

// change changes the document and wakes those who wait for it.
func (t *Tab) change(f func(*document)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.doc)
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *Tab) count(f func(*Stats)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.stats)
}

func (t *Tab) onNoise() {
	t.mu.Lock()
	loud := t.noise.loud()
	t.mu.Unlock()
	if loud {
		t.fail(fault.New(fault.PageFlooded, "the page causes more than %d events in a second", maxNoise))
	}
}

// replace forgets the document, as its execution contexts are gone.
func (t *Tab) replace() {
	t.change(func(d *document) {
		if d.main == "" && d.look == "" {
			return
		}
		close(d.gone)
		*d = document{life: d.life, gone: make(chan struct{})}
	})
}

func (t *Tab) onContext(e runtime.EventExecutionContextCreated) {
	if e.Context == nil {
		return
	}
	var aux struct {
		FrameID   cdp.FrameID `json:"frameId"`
		IsDefault bool        `json:"isDefault"`
	}
	if err := json.Unmarshal(e.Context.AuxData, &aux); err != nil || string(aux.FrameID) != string(t.target) {
		return
	}
	t.mu.Lock()
	stale := aux.IsDefault && t.doc.main != "" || !aux.IsDefault && e.Context.Name == world && t.doc.look != ""
	t.mu.Unlock()
	if stale {
		t.replace()
	}
	t.change(func(d *document) {
		switch {
		case aux.IsDefault:
			d.main = e.Context.UniqueID
		case e.Context.Name == world:
			d.look, d.lookN = e.Context.UniqueID, e.Context.ID
		}
	})
}

func (t *Tab) onContextGone(e runtime.EventExecutionContextDestroyed) {
	t.mu.Lock()
	ours := e.ExecutionContextUniqueID != "" && (e.ExecutionContextUniqueID == t.doc.main || e.ExecutionContextUniqueID == t.doc.look)
	t.mu.Unlock()
	if ours {
		t.replace()
	}
}

func (t *Tab) onNavigated(e page.EventFrameNavigated) {
	if e.Frame == nil {
		return
	}
	t.mu.Lock()
	top := string(e.Frame.ID) == string(t.target) || string(e.Frame.ParentID) == string(t.target)
	t.frames.navigated(e.Frame, top)
	t.mu.Unlock()
	if string(e.Frame.ID) == string(t.target) {
		t.room.visit(siteOf(e.Frame))
		t.change(func(d *document) { d.life, d.ready = d.life+1, false })
	}
}

func (t *Tab) onDetached(e page.EventFrameDetached) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.Reason != page.FrameDetachedReasonSwap { // else it goes on as a target of its own
		t.frames.leave(e.FrameID)
	}
}

// onRequest answers the request for the light page's document, and refuses
// sound and films.
func (t *Tab) onRequest(e fetch.EventRequestPaused) {
	if e.ResourceType == network.ResourceTypeMedia {
		begin(t.session, fetch.FailRequest, fetch.FailRequestParams{RequestID: e.RequestID, ErrorReason: network.ErrorReasonBlockedByClient})
		return
	}
	t.mu.Lock()
	html := t.plan.light
	t.mu.Unlock()
	if string(e.FrameID) != string(t.target) || e.ResourceType != network.ResourceTypeDocument || html == "" {
		begin(t.session, fetch.ContinueRequest, fetch.ContinueRequestParams{RequestID: e.RequestID})
		return
	}
	begin(t.session, fetch.FulfillRequest, fetch.FulfillRequestParams{
		RequestID:    e.RequestID,
		ResponseCode: 200,
		ResponseHeaders: []*fetch.HeaderEntry{
			{Name: "content-type", Value: "text/html; charset=utf-8"},
			{Name: "cache-control", Value: "no-store"},
			{Name: "referrer-policy", Value: "strict-origin-when-cross-origin"},
		},
		Body: []byte(html),
	})
}

// onDialog closes a dialog box at once: every call would wait for it. Leaving
// the page is what beforeunload asks about, and is what we want.
func (t *Tab) onDialog(e page.EventJavascriptDialogOpening) {
	t.count(func(s *Stats) { s.Dialogs, s.Dialog = s.Dialogs+1, short(e.Message) })
	begin(t.session, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{
		Accept: e.Type == page.DialogTypeBeforeunload,
	})
}

// onBinding takes a signal. Only the isolated world of the top frame has the
// binding for us; whatever else calls it is not our script.
func (t *Tab) onBinding(e runtime.EventBindingCalled) {
	if e.Name == filler {
		t.onFilled(e)
		return
	}
	t.mu.Lock()
	ours := e.Name == emitter && e.ExecutionContextID == t.doc.lookN && json.Valid([]byte(e.Payload))
	if !ours {
		t.stats.Forged++
	}
	t.mu.Unlock()
	if !ours {
		t.onNoise()
		return
	}
	t.touch()
	if err := t.signals.push(json.RawMessage(e.Payload)); err != nil {
		t.fail(err)
	}
}

// await waits until the document satisfies the condition, and returns it.
func (t *Tab) await(ctx context.Context, met func(document) bool) (document, error) {
	for {
		t.mu.Lock()
		doc, changed := t.doc, t.changed
		t.mu.Unlock()
		if met(doc) {
			return doc, nil
		}
		select {
		case <-changed:
		case <-t.done:
			return doc, t.Err()
		case <-ctx.Done():
			return doc, fmt.Errorf("waiting for the document: %w", context.Cause(ctx))
		}
	}
}
