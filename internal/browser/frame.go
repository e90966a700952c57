package browser

import (
	"context"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/cdp/jsonv2"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
)

// watchFrames attaches to the frames of other sites, which are targets of their
// own in a browser with site isolation: each one waits until it is watched. In
// a browser without it there are none.
func (t *Tab) watchFrames(ctx context.Context) error {
	if t.room.proc.kind != full {
		return nil
	}
	_, err := call(ctx, t.session, target.SetAutoAttach, autoAttach())
	return err
}

func autoAttach() target.SetAutoAttachParams {
	return target.SetAutoAttachParams{
		AutoAttach: true, WaitForDebuggerOnStart: true, Flatten: new(true), Filter: target.Filter{{Type: "iframe"}},
	}
}

// noDialogs is what runs first in a frame of another site. Chromium opens no
// dialog box for such a frame, so the frame loses nothing. But when it refuses
// one while the page has a box open, it forgets the page's: the page would wait
// for its answer for ever.
const noDialogs = `for (const [name, answer] of [["alert", undefined], ["confirm", false], ["prompt", null]])
  Object.defineProperty(globalThis, name, { value: { [name]: () => answer }[name], enumerable: true });`

// onAttached watches a frame of another site, and lets it go on.
func (t *Tab) onAttached(e target.EventAttachedToTarget) {
	if e.TargetInfo == nil {
		return
	}
	id := cdp.FrameID(e.TargetInfo.TargetID)
	s := t.session.conn.session(e.SessionID, func(method string, params jsonv2.Value) { t.handleFrame(id, method, params) })
	t.mu.Lock()
	t.children[e.SessionID] = s
	t.mu.Unlock()
	begin(s, page.Enable, page.EnableParams{})
	begin(s, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: noDialogs})
	t.plant(s, t.waiting())
	begin(s, target.SetAutoAttach, autoAttach())
	begin(s, runtime.RunIfWaitingForDebugger, cdp.Empty{})
}

// handleFrame reads an event of a frame that is a target of its own.
func (t *Tab) handleFrame(root cdp.FrameID, method string, params jsonv2.Value) {
	switch method {
	case target.AttachedToTarget.Method:
		decode(params, t.onAttached)
	case target.DetachedFromTarget.Method:
		decode(params, t.onChildGone)
	case page.FrameNavigated.Method:
		decode(params, func(e page.EventFrameNavigated) {
			if e.Frame != nil {
				t.mu.Lock()
				defer t.mu.Unlock()
				t.frames.navigated(e.Frame, e.Frame.ID == root)
			}
		})
	case page.FrameDetached.Method:
		decode(params, t.onDetached)
	case page.JavascriptDialogOpening.Method:
		decode(params, t.onDialog)
	case runtime.BindingCalled.Method:
		decode(params, t.onFilled)
	default:
		t.onNoise()
	}
}

// onChildGone forgets a frame's session.
func (t *Tab) onChildGone(e target.EventDetachedFromTarget) {
	t.mu.Lock()
	s := t.children[e.SessionID]
	delete(t.children, e.SessionID)
	for _, f := range t.fillings {
		delete(f.in, s)
	}
	t.mu.Unlock()
	if s != nil {
		s.drop(errDetached)
	}
}

// sessions returns the sessions of the tab's documents, the page's own first.
func (t *Tab) sessions() []*session {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := []*session{t.session}
	for _, s := range t.children {
		list = append(list, s)
	}
	return list
}

// dropFrames forgets the sessions of the frames.
func (t *Tab) dropFrames(err error) {
	for _, s := range t.sessions()[1:] {
		s.drop(err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.children)
}
