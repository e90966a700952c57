//go:build browser

package botstar_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
)

// onPage waits for the boot of a frame of the page under the path.
func (w *world) onPage(path string) botstar.Entry {
	w.t.Helper()
	return w.booted(shop.Origin + path)
}

func TestCallsBeforeTheWidgetAreAnsweredInOrder(t *testing.T) {
	t.Parallel()
	config := `{appId: '` + shop.AppID + `'}`
	w := setup(t, botstar.Options{}, map[string]string{
		"/queue": html(snippet(config) + `<script>
			window.heard = [];
			BotStarApi('onOpen', function () { heard.push('open') });
			BotStarApi('nonsense');
			BotStarApi('open');
			BotStarApi('onClose', function () { heard.push('close') });
			BotStarApi('close');
			BotStarApi('update', {step: 1});
			BotStarApi('update', {step: 2});
		</script>`),
		"/minimal": html(`<script>
			window.BotStar = ` + config + `;
			window.BotStarApi = function () { BotStarApi.q.push(arguments) }; BotStarApi.q = [];
			window.old = BotStarApi; window.oldQueue = BotStarApi.q;
		</script><script async src="https://widget.botstar.com/static/js/widget.js"></script>`),
		"/no-stub": html(`<script>window.BotStar = ` + config + `</script>
			<script async src="https://widget.botstar.com/static/js/widget.js"></script>`),
	})

	tab := w.open(shop.Origin + "/queue")
	w.reached(botstar.Updated, 2)
	var steps []any
	for _, e := range w.vendor.Ledger().Snapshot().Kind(botstar.Updated) {
		steps = append(steps, e.After.Attributes["step"])
	}
	if diff := cmp.Diff([]any{1.0, 2.0}, steps); diff != "" {
		t.Errorf("the updates (-want +got):\n%s", diff)
	}
	if got := eval[string](tab, `heard.join()`); got != "open,close" {
		t.Errorf("the listeners heard %q", got)
	}
	tab.logs("unknown method 'nonsense'")

	tab = w.open(shop.Origin + "/captured")
	w.onPage("/captured")
	before := w.vendor.Ledger().Counts()
	tab.run(`document.getElementById('open').click()`)
	w.reached(botstar.Opened, before[botstar.Opened]+1)
	if eval[bool](tab, `captured === BotStarApi`) {
		t.Error("the widget did not replace the stub, so nothing was captured")
	}

	tab = w.open(shop.Origin + "/minimal")
	w.onPage("/minimal")
	before = w.vendor.Ledger().Counts()
	tab.run(`old('open'); oldQueue.push(['close'])`)
	w.reached(botstar.Closed, before[botstar.Closed]+1)

	tab = w.open(shop.Origin + "/no-stub")
	w.onPage("/no-stub")
	tab.run(opened)
}

func TestGlobals(t *testing.T) {
	t.Parallel()
	w := setup(t, botstar.Options{}, nil)

	tab := w.open(shop.Origin + "/white-label")
	w.onPage("/white-label")
	if got := eval[string](tab, `[typeof ChatbotApi, ChatbotUp, typeof BotStarApi, typeof BotStarUp].join()`); got != "function,true,undefined,undefined" {
		t.Errorf("the white-label globals are %s", got)
	}
	tab.run(`new Promise(done => { ChatbotApi('onOpen', done); ChatbotApi('open') })`)
	footer := eval[string](w.inFrame(tab, botstar.WidgetOrigin), `getComputedStyle(document.querySelector('.foot')).display`)
	if footer != "none" {
		t.Errorf("the white-label widget names its maker: display is %s", footer)
	}

	tab = w.open(shop.Origin + "/")
	w.onPage("/")
	tab.run(`new Promise(done => {
		const again = document.createElement('script');
		again.src = 'https://widget.botstar.com/static/js/widget.js';
		again.onload = done;
		document.head.append(again);
	})`)
	if got := eval[int](tab, `document.querySelectorAll('[id^=bs-chatbot-widget-container]').length`); got != 1 {
		t.Errorf("the second run of the script made %d containers, want 1 in all", got)
	}
	if !eval[bool](tab, `window._babelPolyfill === true`) {
		t.Error("the script brought no polyfill")
	}

	w.open(shop.Origin + "/polyfilled")
	w.onPage("/polyfilled")

	tab = w.open(shop.Origin + "/wrong-scope")
	tab.logs("Widget configuration does not exist!")
	if !eval[bool](tab, `typeof BotStarUp === 'undefined'`) {
		t.Error("the widget is up without a configuration")
	}

	tab = w.open(shop.Origin + "/unpublished")
	if e := w.reached(botstar.Refused, 1); e.AppID != "not-an-app-id" {
		t.Errorf("refused %+v", e)
	}
	frame := w.inFrame(tab, botstar.WidgetOrigin)
	if got := eval[string](frame, `new Promise(done => {
		const look = () => document.querySelector('.error') ? done(document.body.innerText) : setTimeout(look);
		look();
	})`); got != "This chat is not available\n\nmissing_config: no bot is published under this id." {
		t.Errorf("the frame says %q", got)
	}
	if !eval[bool](tab, `BotStarUp === true`) {
		t.Error("the page of an unknown bot is not up")
	}

	tab = w.open(shop.Origin + "/plain")
	if !eval[bool](tab, `typeof BotStar === 'undefined' && typeof BotStarApi === 'undefined'`) {
		t.Error("the plain page has a widget")
	}
	tab = w.open("https://" + shop.DocsHost + "/")
	if e := w.booted("https://" + shop.DocsHost + "/"); e.AppID != shop.DocsAppID {
		t.Errorf("the documentation has app %s", e.AppID)
	}
	tab.run(opened)
}

func TestLinkParameters(t *testing.T) {
	t.Parallel()
	config := `{appId: '` + shop.AppID + `', user: {first_name: 'Page', tags: ['a', 'b']}, variables: {deep: {x: 1}}}`
	w := setup(t, botstar.Options{}, map[string]string{"/link": html(snippet(config))})
	const block = "s0a1b2c3d-0000-4000-8000-0000000000aa"
	path := "/link?utm=1&bs_ref=block:" + block + ";user:first_name:Link;user:city:K%C3%B6ln:Deutz;variables:coupon:X-1;" +
		"growth:" + block + ";block:nonsense;user:broken;user:__proto__:x;other:a:b"
	w.open(shop.Origin + path)
	e := w.onPage(path)
	if e.Block != block {
		t.Errorf("the block is %q", e.Block)
	}
	wantUser := map[string]any{"first_name": "Page", "city": "Köln:Deutz", "tags": map[string]any{"0": "a", "1": "b"}}
	if diff := cmp.Diff(wantUser, e.Attributes); diff != "" {
		t.Errorf("the user (-want +got):\n%s", diff)
	}
	wantVariables := map[string]any{"coupon": "X-1", "deep": map[string]any{"x": 1.0}}
	if diff := cmp.Diff(wantVariables, e.Variables); diff != "" {
		t.Errorf("the variables (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a", "b"}, e.After.Tags); diff != "" {
		t.Errorf("the tags (-want +got):\n%s", diff)
	}
}

func TestConfigurationIsACopy(t *testing.T) {
	t.Parallel()
	config := `{appId: '` + shop.AppID + `', user: {user_id: 'u-1'}}`
	w := setup(t, botstar.Options{ChunkDelay: 1}, map[string]string{
		"/copy":     html(snippet(config) + `<script>BotStarApi('onOpen', () => {}); document.addEventListener('DOMContentLoaded', () => {})</script>`),
		"/selector": html(`<div id="here">old</div>` + snippet(`{appId: '`+shop.AppID+`', selector: '#here'}`)),
	})
	tab := w.open(shop.Origin + "/copy")
	w.onPage("/copy")
	tab.run(`BotStar.user.user_id = 'u-2'; BotStarApi('boot', {variables: {again: 1}})`)
	if e := w.reached(botstar.Booted, 2); e.Visitor != "u-1" {
		t.Errorf("a later change of the configuration made the visitor %q", e.Visitor)
	}

	tab = w.open(shop.Origin + "/selector")
	w.onPage("/selector")
	if got := eval[string](tab, `[here.textContent, here.querySelectorAll('iframe').length, document.querySelectorAll('[class^=bs-chatbot-fab]').length].join()`); got != ",1,0" {
		t.Errorf("the selected element holds text, frames and launchers %q, want none, 1 and 0", got)
	}
}

func TestUpdatesForms(t *testing.T) {
	t.Parallel()
	w := setup(t, botstar.Options{}, nil)
	tab := w.open(shop.Origin + "/members")
	w.onPage("/members")
	tab.run(`BotStarApi('update', {tags: ['one', 'two'], city: 'Graz', gone: null});
		BotStarApi('update', {user: {tags: {0: 'three'}, city: 'Linz'}, variables: {plan: 'Company'}});
		BotStarApi('update'); BotStarApi('update', 'text');
		BotStarApi('update', {age: 36})`)
	e := w.reached(botstar.Updated, 3)
	want := botstar.Profile{
		ID:         e.After.ID,
		Attributes: map[string]any{"email": "ada@example.test", "first_name": "Ada", "city": "Linz", "age": 36.0},
		Tags:       []string{"three"},
		Variables:  map[string]any{"plan": "Company", "seats": 5.0},
	}
	if diff := cmp.Diff(want, e.After); diff != "" {
		t.Errorf("the profile (-want +got):\n%s", diff)
	}
	tab.logs("'update' needs an object")
	for range 20 {
		tab.run(`BotStarApi('update', {more: true})`)
	}
	if e := w.reached(botstar.Ignored, 3); e.Visitor != "u-ada" {
		t.Errorf("ignored an update of %q", e.Visitor)
	}
	if got := w.vendor.Ledger().Counts()[botstar.Updated]; got != 20 {
		t.Errorf("%d updates were applied, want 20", got)
	}
}

func TestProductPageLoadsItsParts(t *testing.T) {
	t.Parallel()
	w := setup(t, botstar.Options{}, nil)
	tab := w.open(shop.Origin + "/product")
	w.onPage("/product")
	if got := eval[string](tab, `document.fonts.load('20px "Desk Icons"', '\ue000').then(fonts => fonts.map(f => f.status).join())`); got != "loaded" {
		t.Errorf("the icon font is %q", got)
	}
	if got := eval[string](tab, `Array.from(document.querySelectorAll('main img'), i => i.naturalWidth + 'x' + i.naturalHeight).join()`); got != "640x420,640x420,640x420" {
		t.Errorf("the photos are %s", got)
	}
	if got := eval[string](tab, `typeof counter`); got != "object" || w.shop.Visits(shop.AnalyticsHost, "/analytics.js") != 1 {
		t.Errorf("the analytics are %q", got)
	}
	tab.picture("product")
}
