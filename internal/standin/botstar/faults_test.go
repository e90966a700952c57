//go:build browser

package botstar_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
)

func TestScriptsThatDoNotArrive(t *testing.T) {
	t.Parallel()
	w := setup(t, botstar.Options{}, nil)
	const up = `[window.BotStarUp === true, document.querySelectorAll('[id^=bs-chatbot-widget-container]').length,
		document.querySelectorAll('[name=bs-chatbot-widget-frame]').length, BotStarApi('open') === undefined, BotStarApi.q.length].join()`
	for _, test := range []struct {
		name   string
		faults botstar.Faults
		log    string
		want   string // up, containers, frames, no throw, queued calls
	}{
		{"entry missing", botstar.Faults{Entry: botstar.Fault{Status: http.StatusNotFound}}, "404", "false,0,0,true,1"},
		{"entry throws", botstar.Faults{Entry: botstar.Fault{Script: botstar.Throws}}, "this build of the widget is broken", "false,0,0,true,1"},
		{"entry does not parse", botstar.Faults{Entry: botstar.Fault{Script: botstar.SyntaxError}}, "SyntaxError", "false,0,0,true,1"},
		{"chunk missing", botstar.Faults{Chunk: botstar.Fault{Status: http.StatusServiceUnavailable}}, "Loading chunk 0 failed.", "true,1,0,true,1"},
		{"chunk throws", botstar.Faults{Chunk: botstar.Fault{Script: botstar.Throws}}, "Loading chunk 0 failed.", "true,1,0,true,1"},
		{"frame missing", botstar.Faults{Frame: botstar.Fault{Status: http.StatusNotFound}}, "", "true,1,1,true,0"},
		{"query missing", botstar.Faults{Query: botstar.Fault{Status: http.StatusInternalServerError}}, "", "true,1,1,true,0"},
		{"all well again", botstar.Faults{}, "", "true,1,1,true,0"},
	} {
		w.vendor.Set(test.faults)
		tab := w.open(shop.Origin + "/")
		if test.log != "" {
			tab.logs(test.log)
		}
		if got := eval[string](tab, up); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
		tab.stop()
	}
}

func TestScriptsThatAreLate(t *testing.T) {
	t.Parallel()
	w := setup(t, botstar.Options{EntryDelay: 20 * time.Millisecond, ChunkDelay: 20 * time.Millisecond}, nil)
	began := time.Now()
	w.open(shop.Origin + "/")
	if w.onPage("/"); time.Since(began) < 40*time.Millisecond {
		t.Error("the scripts came before their delays were over")
	}

	w.vendor.Set(botstar.Faults{Chunk: botstar.Fault{Hang: true}})
	tab := w.start(shop.Origin + "/pricing")
	tab.run(`new Promise(done => { const look = () => window.BotStarUp ? done() : setTimeout(look); look() })`)
	tab.run(`window.heard = 0; BotStarApi('onOpen', () => heard++); BotStarApi('open')`)
	if got := eval[string](tab, `[BotStarApi.q.length, heard].join()`); got != "2,0" {
		t.Errorf("before the chunk there are calls and openings %q, want 2,0", got)
	}

	w.vendor.Set(botstar.Faults{Entry: botstar.Fault{Hang: true}})
	tab = w.start(shop.Origin + "/product")
	tab.run(`new Promise(done => { const look = () => document.querySelector('.foot') ? done() : setTimeout(look); look() })`)
	if eval[bool](tab, `!!window.BotStarUp`) {
		t.Error("the widget is up without its script")
	}

	w.vendor.Set(botstar.Faults{Frame: botstar.Fault{Hang: true}})
	tab = w.start(shop.Origin + "/members")
	tab.run(`new Promise(done => { const look = () => document.querySelector('[name=bs-chatbot-widget-frame]') ? done() : setTimeout(look); look() })`)
	if got := eval[string](tab, `document.readyState`); got != "interactive" {
		t.Errorf("the page with a hanging frame is %s, want it to wait", got)
	}
}

func TestWidgetThatLies(t *testing.T) {
	t.Parallel()
	w := setup(t, botstar.Options{}, nil)
	const open = `new Promise(done => {
		window.heard = 0;
		BotStarApi('onOpen', () => heard++);
		let thrown = '';
		try { BotStarApi('open') } catch (error) { thrown = error.message }
		setTimeout(() => done([heard, ` + shown + `, thrown].join()));
	})`
	for _, test := range []struct {
		lie  botstar.Lie
		want string // openings heard, frame visible, error
	}{
		{"", "1,true,"},
		{botstar.LieThrows, "0,false,BotStar: the window cannot be opened"},
		{botstar.LieIgnored, "0,false,"},
		{botstar.LieSilent, "0,true,"},
		{botstar.LieHollow, "1,false,"},
	} {
		w.vendor.Set(botstar.Faults{Open: test.lie})
		tab := w.open(shop.Origin + "/")
		tab.run(ready)
		if got := eval[string](tab, open); got != test.want {
			t.Errorf("open, lie %q: got %q, want %q", test.lie, got, test.want)
		}
		tab.stop()
	}
	w.vendor.Set(botstar.Faults{Close: botstar.LieHollow})
	tab := w.open(shop.Origin + "/")
	tab.run(ready)
	tab.run(opened)
	tab.run(closed)
	if !eval[bool](tab, shown) {
		t.Error("the hollow close closed the window")
	}
}

// ready boots again, and resolves when the page has the new frame's ready
// message. The page's listener comes behind the widget's, so the widget has had
// it too.
const ready = `new Promise(done => {
	BotStarApi('boot', {});
	const frame = document.querySelector('[name=bs-chatbot-widget-frame]').contentWindow;
	addEventListener('message', e => { if (e.source === frame && e.data.type === 'ready') done(true) });
})`

func TestDialogAndNavigationAtOpen(t *testing.T) {
	t.Parallel()
	w := setup(t, botstar.Options{}, nil)
	for _, kind := range []string{"alert", "confirm"} {
		w.vendor.Set(botstar.Faults{Dialog: kind})
		tab := w.open(shop.Origin + "/")
		tab.run(ready)
		dialogs := chromedp.Events(tab.ctx, page.JavascriptDialogOpening)
		done := make(chan string, 1)
		go func() {
			for dialog, err := range dialogs {
				if err == nil {
					_, err = chromedp.Call(tab.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true})
				}
				if err != nil {
					done <- err.Error()
					return
				}
				done <- string(dialog.Type)
				return
			}
		}()
		tab.run(opened)
		if got := <-done; got != kind {
			t.Errorf("a dialog %q, want %q", got, kind)
		}
	}
	w.reached(botstar.Opened, 2)
	w.vendor.Set(botstar.Faults{Navigate: "/pricing"})
	tab := w.open(shop.Origin + "/")
	tab.run(ready)
	if _, err := chromedp.Run(tab.ctx, chromedp.WaitEvent(page.LoadEventFired, nil, chromedp.Evaluate[chromedp.Void](`BotStarApi('open')`))); err != nil {
		t.Fatal(err)
	}
	if got := eval[string](tab, `location.pathname`); got != "/pricing" {
		t.Errorf("opening led to %s", got)
	}
}

func TestPageThatHangs(t *testing.T) {
	t.Parallel()
	w := setup(t, botstar.Options{}, nil)
	w.vendor.Set(botstar.Faults{Loop: true})
	tab := w.start(shop.Origin+"/", `const timer = window.setTimeout;
		window.setTimeout = (run, after) => timer(() => {
			if (String(run).includes('for (;;)')) console.log('the loop begins');
			run();
		}, after)`)
	tab.logs("the loop begins")
	ctx, cancel := context.WithTimeout(tab.ctx, 300*time.Millisecond)
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[int](`1 + 1`)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the hanging page answers: %v", err)
	}
	if _, err := chromedp.Call(tab.ctx, runtime.TerminateExecution, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	if got := eval[int](tab, `1 + 1`); got != 2 {
		t.Errorf("the freed page answers %d", got)
	}
}
