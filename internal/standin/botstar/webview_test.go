//go:build browser

package botstar_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
)

// host plays the host of a webview page that is the top window, as a script
// that runs before the page's own can: it gives the inputs and takes the
// response.
const host = `
	window.talk = [];
	window.inputs = {plan: 'Team', seats: 5};
	window.refuse = '';
	window.addEventListener('message', event => {
		const m = event.data;
		if (event.source !== window || !m || m.source !== 'bs-standin-webview') return;
		talk.push(m.type);
		const answer = more => window.postMessage(Object.assign({source: 'bs-standin-host'}, more), '*');
		if (m.type === 'hello') answer({type: 'inputs', values: inputs});
		if (m.type === 'response') {
			window.response = m;
			answer(refuse ? {type: 'error', id: m.id, message: refuse} : {type: 'ack', id: m.id});
		}
	});
	window.until = condition => new Promise(done => {
		const look = () => condition() ? done(true) : setTimeout(look);
		look();
	});
	window.outcome = promise => promise.then(() => 'resolved', error => error instanceof Error ? error.message : 'no Error: ' + error);`

func TestWebviewOpenedByTheBot(t *testing.T) {
	t.Parallel()
	w := setup(t, botstar.Options{}, nil)
	tab := w.open(shop.Origin+"/members", `localStorage.noise = 'page'`)
	w.onPage("/members")
	tab.run(opened)
	frame := w.inFrame(tab, botstar.WidgetOrigin)
	frame.run(`document.querySelector('.choice').click()`)
	page := w.inFrame(tab, shop.Origin+"/webview/calculator.html")
	page.run(`new Promise(done => {
		const look = () => document.getElementById('status')?.textContent === 'Ready.' ? done(true) : setTimeout(look);
		look();
	})`)
	tab.picture("webview")
	if got := eval[string](page, `document.getElementById('plan').value + document.getElementById('seats').value`); got != "Team5" {
		t.Errorf("the page was given %q", got)
	}
	page.run(`document.getElementById('accept').click()`)
	e := w.reached(botstar.Responded, 1)
	want := botstar.Entry{
		Seq: e.Seq, At: e.At, Kind: botstar.Responded, AppID: shop.AppID, Visitor: "u-ada", Instance: e.Instance,
		Mode: "livechat", Page: shop.Origin + "/members", After: e.After,
		Response: "Team for 5 people", Outputs: map[string]any{"plan": "Team", "seats": 5.0, "total": 49.0},
		Outlet: "Quote Accepted", Webview: shop.Origin + "/webview/calculator.html",
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Errorf("the response (-want +got):\n%s", diff)
	}
	frame.run(`new Promise(done => {
		const look = () => document.querySelector('.modal') ? setTimeout(look) : done(true);
		look();
	})`)
	if got := eval[string](frame, `Array.from(document.querySelectorAll('.bubble')).at(-1).textContent`); got != "Thank you! We go on with: Quote Accepted." {
		t.Errorf("the bot went on with %q", got)
	}
}

func TestWebviewSDKInATopWindow(t *testing.T) {
	t.Parallel()
	w := setup(t, botstar.Options{}, nil)
	tab := w.open(shop.Origin+"/webview/booking.html", host)
	tab.run(`until(() => talk.length > 0)`)
	for _, test := range []struct{ call, want string }{
		{`BotStarWebview('getParameter', 'plan')`, "Team"},
		{`String(BotStarWebview('getParameter', 'undeclared'))`, "undefined"},
		{`String(BotStarWebview('getParameter', 'toString'))`, "undefined"},
		{`String(BotStarWebview('nonsense'))`, "undefined"},
		{`outcome(BotStarWebview('sendResponse', 12, {}))`, "BotStarWebview: the response must be a string"},
		{`outcome(BotStarWebview('sendResponse', '', {dya: 'x'}))`, `BotStarWebview: the output "dya" is not declared`},
		{`outcome(BotStarWebview('sendResponse', '', {day: {}}))`, `BotStarWebview: the output "day" must be a string or a number`},
		{`outcome(BotStarWebview('sendResponse', '', ['x']))`, "BotStarWebview: the outputs must be an object"},
		{`outcome(BotStarWebview('sendResponse', '', {}, 'Call booked'))`, `BotStarWebview: the outlet "Call booked" is not declared`},
		{`refuse = 'the block is gone', outcome(BotStarWebview('sendResponse', '', {}))`, "the block is gone"},
		{`refuse = '', outcome(BotStarWebview('sendResponse', 'yes', {day: '2027-01-11', hour: 9}, 'Call Booked'))`, "resolved"},
		{`talk.join()`, "hello,response,response,closed"},
		{`JSON.stringify([response.response, response.outputs, response.outlet])`, `["yes",{"day":"2027-01-11","hour":9},"Call Booked"]`},
	} {
		if got := eval[string](tab, test.call); got != test.want {
			t.Errorf("%s gave %q, want %q", test.call, got, test.want)
		}
	}
	e := w.reached(botstar.Responded, 1)
	if e.Visitor != "" || e.Response != "yes" || e.Outlet != "Call Booked" || e.Webview != shop.Origin+"/webview/booking.html" {
		t.Errorf("the vendor heard %+v", e)
	}
}

func TestBrokenWebviewPages(t *testing.T) {
	t.Parallel()
	w := setup(t, botstar.Options{}, nil)
	for _, test := range []struct{ page, log, expression, want string }{
		{"no-ready", "", `talk.join() + typeof onChatBotReady`, "helloundefined"},
		{"syntax-error", "SyntaxError", `talk.join() + typeof onChatBotReady`, "helloundefined"},
		{"ready-throws", "TypeError", `talk.join() + typeof onChatBotReady`, "hellofunction"},
		{"misspelt-output", "", `until(() => document.getElementById('status').textContent).then(() => document.getElementById('status').textContent)`, `BotStarWebview: the output "totl" is not declared`},
		{"bare", "", `until(() => document.getElementById('status').textContent.startsWith('Ready')).then(() => document.getElementById('status').textContent)`, "Ready for anybody"},
	} {
		t.Run(test.page, func(t *testing.T) {
			t.Parallel()
			w := w.within(t)
			tab := w.open(shop.Origin+"/webview/"+test.page+".html", host)
			tab.run(`until(() => talk.length > 0)`)
			if got := eval[string](tab, test.expression); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if test.log != "" {
				tab.logs(test.log)
			}
			if got := eval[string](tab, `String(BotStarWebview('getParameter', 'plan'))`); got != "Team" {
				t.Errorf("the SDK of the broken page gives %q", got)
			}
		})
	}
	late := w.open(shop.Origin+"/webview/timer.html", host)
	late.run(`until(() => talk.includes('closed'))`)
	bare := w.open(shop.Origin+"/webview/bare.html", host)
	bare.run(`until(() => document.getElementById('status').textContent.startsWith('Ready')).then(() => document.querySelector('button').click())`)
	entries := w.wait(func(s botstar.Snapshot) bool { return s.Counts[botstar.Responded] == 2 }).Kind(botstar.Responded)
	if entries[0].Outlet != "Time Is Up" || entries[1].Outputs["color"] != "green" {
		t.Errorf("the vendor heard %+v", entries)
	}
	alone := w.open(shop.Origin + "/webview/booking.html")
	if got := eval[string](alone, `BotStarWebview('sendResponse', 'x', {}).catch(error => error.message)`); got != "BotStarWebview: the page is not opened by a bot" {
		t.Errorf("without a host the SDK says %q", got)
	}
}
