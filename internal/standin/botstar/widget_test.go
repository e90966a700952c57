//go:build browser

package botstar_test

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
)

// listen notes what the listeners hear.
const listen = `window.heard = [];
	BotStarApi('onOpen', function () { heard.push('open:' + arguments.length); });
	BotStarApi('onClose', function () { heard.push('close:' + arguments.length); });`

// opened resolves when the window has opened, closed when it has closed.
const (
	opened = `new Promise(done => { BotStarApi('onOpen', () => done(true)); BotStarApi('open') })`
	closed = `new Promise(done => { BotStarApi('onClose', () => done(true)); BotStarApi('close') })`
)

// shown is whether the visitor sees the frame.
const shown = `document.querySelector('[name=bs-chatbot-widget-frame]')
	.checkVisibility({visibilityProperty: true, opacityProperty: true})`

func TestWidgetOpensClosesAndUpdates(t *testing.T) {
	t.Parallel()
	w := setup(t, botstar.Options{}, nil)
	tab := w.open(shop.Origin + "/")
	boot := w.booted(shop.Origin + "/")
	if boot.AppID != shop.AppID || !boot.Anonymous || boot.Visitor == "" || boot.Mode != "livechat" {
		t.Errorf("booted as %+v", boot)
	}
	tab.run(listen)
	if eval[bool](tab, shown) {
		t.Error("the window is visible before it was opened")
	}
	tab.run(opened)
	if e := w.reached(botstar.Opened, 1); e.Cause != "api" || e.Visitor != boot.Visitor {
		t.Errorf("opened by %q for %q, want the api for %q", e.Cause, e.Visitor, boot.Visitor)
	}
	if !eval[bool](tab, shown) {
		t.Error("the opened window is not visible")
	}
	tab.picture("widget")
	tab.run(`BotStarApi('open'); BotStarApi('update', {first_name: 'Ada', tags: ['vip']})`)
	tab.run(closed)
	w.reached(botstar.Closed, 1)
	if eval[bool](tab, shown) {
		t.Error("the closed window is visible")
	}
	update := w.reached(botstar.Updated, 1)
	want := botstar.Profile{
		ID: update.After.ID, Attributes: map[string]any{"first_name": "Ada"}, Tags: []string{"vip"},
	}
	if diff := cmp.Diff(want, update.After); diff != "" {
		t.Errorf("the profile (-want +got):\n%s", diff)
	}
	if got := eval[string](tab, `heard.join()`); got != "open:0,close:0" {
		t.Errorf("the listeners heard %q", got)
	}
	wantCounts := botstar.Counts{botstar.Booted: 1, botstar.Opened: 1, botstar.Closed: 1, botstar.Updated: 1}
	if diff := cmp.Diff(wantCounts, w.vendor.Ledger().Counts()); diff != "" {
		t.Errorf("the ledger's counts (-want +got):\n%s", diff)
	}
}

func TestVisitorsClicksAreHeard(t *testing.T) {
	t.Parallel()
	w := setup(t, botstar.Options{}, nil)
	tab := w.open(shop.Origin + "/pricing")
	w.booted(shop.Origin + "/pricing")
	tab.run(`window.heard = 0; BotStarApi('onOpen', () => { throw new Error('a bad listener') }); BotStarApi('onOpen', () => heard++)`)
	fab := chromedp.CSS(`[class^="bs-chatbot-fab"]`)
	tab.do(chromedp.Click(fab))
	if e := w.reached(botstar.Opened, 1); e.Cause != "visitor" {
		t.Errorf("opened by %q, want the visitor", e.Cause)
	}
	if got := eval[int](tab, `heard`); got != 1 {
		t.Errorf("the listener behind a throwing one heard %d times, want 1", got)
	}
	if m := tab.logs("a bad listener"); !m.IsException() {
		t.Errorf("the listener's error is logged as %q, want an exception", m.Type)
	}
	tab.do(chromedp.Click(fab))
	w.reached(botstar.Closed, 1)

	tab.run(opened)
	w.reached(botstar.Opened, 2)
	frame := w.inFrame(tab, botstar.WidgetOrigin)
	frame.run(`document.querySelector('.shut').click()`)
	if e := w.reached(botstar.Closed, 2); e.Cause != "visitor" {
		t.Errorf("closed by %q, want the visitor", e.Cause)
	}
	frame.run(`document.querySelector('.write input').value = 'Hello?'; document.querySelector('.write').requestSubmit()`)
	if e := w.reached(botstar.Messaged, 1); e.Text != "Hello?" {
		t.Errorf("the visitor wrote %q", e.Text)
	}
}

func TestFrameAddressAndElements(t *testing.T) {
	t.Parallel()
	w := setup(t, botstar.Options{}, nil)
	page := shop.Origin + "/members?from=mail#top"
	tab := w.open(page)
	src, err := url.Parse(eval[string](tab, `document.querySelector('[name=bs-chatbot-widget-frame]').src`))
	if err != nil {
		t.Fatal(err)
	}
	if got := src.Scheme + "://" + src.Host + src.Path; got != botstar.WidgetOrigin+"/"+shop.AppID {
		t.Errorf("the frame is at %s", got)
	}
	var names []string
	for pair := range strings.SplitSeq(src.RawQuery, "&") {
		name, _, _ := strings.Cut(pair, "=")
		names = append(names, name)
	}
	if want := []string{"embedded", "host", "mode", "initData"}; !slices.Equal(names, want) {
		t.Errorf("the frame's query has %v, want %v", names, want)
	}
	query := src.Query()
	wantHost := `{"ancestorOrigins":{},"href":"` + page + `","origin":"https://shop.example.test","protocol":"https:",` +
		`"host":"shop.example.test","hostname":"shop.example.test","port":"","pathname":"/members","search":"?from=mail","hash":"#top"}`
	if query.Get("host") != wantHost {
		t.Errorf("host is\n%s, want\n%s", query.Get("host"), wantHost)
	}
	wantInit := `{"user":{"user_id":"u-ada","email":"ada@example.test","first_name":"Ada","tags":{"0":"member"}},"variables":{"plan":"Team","seats":5}}`
	if got := query.Get("initData"); got != wantInit {
		t.Errorf("initData is %s, want %s", got, wantInit)
	}
	boot := w.booted(page)
	if boot.Visitor != "u-ada" || boot.Anonymous || !slices.Equal(boot.After.Tags, []string{"member"}) || boot.After.Variables["seats"] != 5.0 {
		t.Errorf("booted as %+v", boot)
	}

	var elements [][]string
	if err := json.Unmarshal([]byte(eval[string](tab, `JSON.stringify(Array.from(
		document.querySelectorAll('[id^=bs-chatbot-widget-container], [id^=bs-chatbot-widget-container] *'),
		e => [e.tagName, e.id, e.className].map(text => text.replace(/__[A-Z0-9]{5}/g, '__#'))))`)), &elements); err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"DIV", "bs-chatbot-widget-container__#", "website-chat-plugin__# livechat__#"},
		{"DIV", "", ""},
		{"IFRAME", "bs-chatbot-frame__#", "bs-chatbot-frame__#"},
		{"DIV", "", "bs-chatbot-fab__#"},
		{"IMG", "", "bs-chatbot-fab--icon__# open__#"},
		{"IMG", "", "bs-chatbot-fab--icon__# close__#"},
	}
	if diff := cmp.Diff(want, elements); diff != "" {
		t.Errorf("the elements (-want +got):\n%s", diff)
	}
	attributes := eval[string](tab, `Array.from(document.querySelector('[name=bs-chatbot-widget-frame]').attributes,
		a => a.name + '=' + a.value).filter(text => !/^(id|class|src)=/.test(text)).join(' ')`)
	if attributes != "name=bs-chatbot-widget-frame frameborder=0 allowfullscreen=true allowtransparency=true autoplay=true" {
		t.Errorf("the frame has %s", attributes)
	}
	if style := eval[string](tab, `document.querySelector('[class^=bs-chatbot-fab]').style.background`); !strings.HasPrefix(style, "linear-gradient(135deg, rgb(") {
		t.Errorf("the launcher's style is %q", style)
	}
	names = strings.Fields(eval[string](tab, `Array.from(document.querySelectorAll('[class*=bs-chatbot]'), e => e.className).join(' ')`))
	if len(slices.Compact(slices.Sorted(slices.Values(names)))) < 5 {
		t.Errorf("the classes are %v", names)
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	w := setup(t, botstar.Options{}, nil)
	for _, test := range []struct {
		path, mode               string
		frames, launchers, boots int
		opens, active            bool
	}{
		{"/", "livechat", 1, 1, 1, true, false},
		{"/popup", "popup", 1, 1, 1, true, false},
		{"/fullpage", "fullpage", 1, 0, 1, false, true},
		{"/inline", "inline", 1, 0, 1, false, false},
		{"/inline-two", "inline", 2, 0, 2, false, false},
		{"/inline-missing", "inline", 0, 0, 0, false, false},
	} {
		t.Run(test.mode+test.path, func(t *testing.T) {
			t.Parallel()
			w := w.within(t)
			tab := w.open(shop.Origin + test.path)
			w.wait(func(s botstar.Snapshot) bool {
				boots := 0
				for _, e := range s.Kind(botstar.Booted) {
					if e.Page == shop.Origin+test.path && e.Mode == test.mode {
						boots++
					}
				}
				return boots == test.boots
			})
			frames := eval[int](tab, `document.querySelectorAll('[name=bs-chatbot-widget-frame]').length`)
			launchers := eval[int](tab, `document.querySelectorAll('[class^=bs-chatbot-fab]:not(img)').length`)
			if frames != test.frames || launchers != test.launchers {
				t.Errorf("%d frames and %d launchers, want %d and %d", frames, launchers, test.frames, test.launchers)
			}
			if !eval[bool](tab, `BotStarUp === true`) {
				t.Error("BotStarUp is not true")
			}
			if got := eval[bool](tab, `!!document.querySelector('[id^=bs-chatbot-widget-container][class*=active]')`); got != test.active {
				t.Errorf("active from the start: %t, want %t", got, test.active)
			}
			switch {
			case test.opens:
				tab.run(opened)
				if !eval[bool](tab, shown) {
					t.Error("the opened window is not visible")
				}
			case test.frames > 0:
				tab.run(`BotStarApi('open'); BotStarApi('close')`)
				if m := tab.logs("'open' has no effect in mode " + test.mode); m.Type != "warning" {
					t.Errorf("the refusal is logged as %q", m.Type)
				}
				if !eval[bool](tab, shown) {
					t.Error("the frame is not visible")
				}
				if strings.Contains(eval[string](tab, `document.body.innerText`), "The chat loads") {
					t.Error("the former content is still there")
				}
			}
			tab.picture(test.mode)
		})
	}
}

func TestBootAgain(t *testing.T) {
	t.Parallel()
	w := setup(t, botstar.Options{}, nil)
	tab := w.open(shop.Origin + "/")
	first := w.reached(botstar.Booted, 1)
	tab.run(`BotStarApi('boot', {appId: null, mode: 'popup', user: {user_id: 'u-7', email: 'seven@example.test'}, variables: {plan: 'Solo'}})`)
	second := w.reached(botstar.Booted, 2)
	if second.Visitor != "u-7" || second.AppID != first.AppID || second.Mode != "livechat" || second.After.Attributes["email"] != "seven@example.test" {
		t.Errorf("booted again as %+v", second)
	}
	tab.logs("'boot' does not change the mode")
	tab.run(`BotStarApi('boot', {user: {user_id: 'u-8'}})`)
	third := w.reached(botstar.Booted, 3)
	if third.Visitor != "u-8" || third.After.Attributes["email"] != nil || third.Variables["plan"] != "Solo" {
		t.Errorf("booted for the third time as %+v", third)
	}
	tab.run(`BotStarApi('boot', {appId: 'wrong'})`)
	if e := w.reached(botstar.Refused, 1); e.AppID != "wrong" {
		t.Errorf("refused %+v", e)
	}
}

func TestAnonymousVisitorIsRememberedByTheWidgetsOrigin(t *testing.T) {
	t.Parallel()
	w := setup(t, botstar.Options{}, nil)
	tab := w.open(shop.Origin + "/")
	first := w.reached(botstar.Booted, 1)
	tab.do(chromedp.Navigate(shop.Origin + "/pricing"))
	if second := w.reached(botstar.Booted, 2); second.Visitor != first.Visitor || second.Instance == first.Instance {
		t.Errorf("the second page has visitor %q in frame %q, want %q in another frame", second.Visitor, second.Instance, first.Visitor)
	}
	stored := eval[string](w.inFrame(tab, botstar.WidgetOrigin), `Object.values(localStorage).join()`)
	if stored != first.Visitor {
		t.Errorf("the widget's storage holds %q, want %q", stored, first.Visitor)
	}
	other := w.open(shop.Origin + "/")
	if third := w.reached(botstar.Booted, 3); third.Visitor == first.Visitor {
		t.Error("two visitors are one")
	}
	other.run(`BotStarApi('update', {user_id: 'u-9', email: 'nine@example.test'})`)
	if e := w.reached(botstar.Updated, 1); e.Visitor != "u-9" || e.Anonymous || e.After.Attributes["email"] != "nine@example.test" {
		t.Errorf("the update that identifies the visitor gave %+v", e)
	}
}
