//go:build browser

package snippet_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	vendor "github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

// TestRoutes tells each address that the page shows without a new document,
// with and without the Navigation API, and no query.
func TestRoutes(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.page("/navigation", tag(t, nil), "")
	w.page("/history", tag(t, nil), `<script nonce="n0nce">Object.defineProperty(window, "navigation", { value: undefined });</script>`)
	for _, path := range []string{"/navigation", "/history"} {
		t.Run(path, func(t *testing.T) {
			w.gateway.set(func() { w.gateway.pages = nil })
			visitor := w.visitor(path)
			w.gateway.connected(1)
			w.gateway.do("", "look.widget", map[string]any{}) // The welcome has arrived.
			visitor.run(`(async () => {
  history.pushState({}, "", "/a?secret=1");
  history.pushState({}, "", "/a?secret=2");
  history.replaceState({}, "", "/b#part");
  location.hash = "other";
  history.back();
})()`)
			want := []string{site + "/a", site + "/b"}
			w.gateway.until("the addresses", func() bool { return len(w.gateway.pages) >= len(want) })
			if diff := cmp.Diff(want, get(w.gateway, func() []string { return slices.Clone(w.gateway.pages[:2]) })); diff != "" {
				t.Errorf("the addresses differ (-want +got):\n%s", diff)
			}
			visitor.clean()
			visitor.end()
			w.gateway.connected(0)
		})
	}
}

// TestLazyWidget loads the vendor's widget when the site wants it, and not
// before.
func TestLazyWidget(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.page("/", tag(t, nil), "")
	boot, err := json.Marshal(map[string]any{"appId": shop.AppID})
	if err != nil {
		t.Fatal(err)
	}
	const present = `!!document.querySelector('script[src*="widget.botstar.com"]')`
	for i, test := range []struct {
		load, then string
		itself     bool
	}{
		{wire.LoadAction, "", false},
		{wire.LoadInteraction, `window.dispatchEvent(new Event("scroll")); window.dispatchEvent(new Event("pointerdown"))`, false},
		{wire.LoadIdle, "", true},
		{wire.LoadNow, "", true},
	} {
		t.Run(test.load, func(t *testing.T) {
			w.gateway.set(func() { w.gateway.config.Load, w.gateway.config.Boot = test.load, boot })
			visitor := w.visitor("/")
			w.gateway.connected(1)
			if !test.itself {
				visitor.run(`new Promise((r) => setTimeout(r, 300))`)
				if eval[bool](visitor, present) {
					t.Error("the widget is there before anybody wanted it")
				}
			}
			if test.then != "" {
				visitor.run(test.then)
			}
			if test.load == wire.LoadAction {
				if answer := w.gateway.do("k/boot", "boot", settings()); !answer.OK {
					t.Error(answer.JSON)
				}
			}
			if booted := w.ledger(vendor.Booted, i+1); booted != i+1 {
				t.Errorf("the vendor saw %d boots, want %d", booted, i+1)
			}
			visitor.clean()
			visitor.end()
			w.gateway.connected(0)
		})
	}
}

// TestListener turns the events that the site has named into tracks, from a
// data layer, from gtag and from analytics.js, and not too many.
func TestListener(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.gateway.config.Analytics = &wire.Analytics{
		DataLayer: true, Segment: true, PerMinute: 10,
		Events: map[string]string{"view_pricing": "Pricing Viewed", "Plan Chosen": "Plan Chosen", "flood": "Flood"},
	}
	w.page("/", tag(t, nil), `<script nonce="n0nce">
window.dataLayer = [{ "gtm.start": 1, event: "gtm.js" }, { event: "view_pricing", plan: "pro", eventCallback: () => {} }];
window.kept = dataLayer;
function gtag() { dataLayer.push(arguments); }
// analytics.js before it has loaded: a list with methods that queue.
window.analytics = []; analytics.handlers = [];
analytics.on = (name, work) => { if (name === "track") analytics.handlers.push(work); };
analytics.track = (name, properties) => analytics.handlers.forEach((work) => work(name, properties));
</script>`)
	visitor := w.visitor("/")
	w.gateway.connected(1)
	visitor.run(`gtag("event", "view_pricing", { seats: 2 }); analytics.track("Plan Chosen", { plan: "team" }); analytics.track("Not Named"); dataLayer.push({ event: "other" })`)
	want := []string{`Pricing Viewed {"plan":"pro"}`, `Pricing Viewed {"seats":2}`, `Plan Chosen {"plan":"team"}`}
	w.gateway.until("the tracks", func() bool { return len(w.gateway.tracks) >= len(want) })
	var got []string
	for _, track := range get(w.gateway, func() []wire.Track { return slices.Clone(w.gateway.tracks) }) {
		got = append(got, track.Name+" "+string(track.Properties))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the tracks differ (-want +got):\n%s", diff)
	}
	visitor.run(`for (let i = 0; i < 100; i++) dataLayer.push({ event: "flood", i })`)
	w.gateway.until("what the rate allows", func() bool { return len(w.gateway.tracks) == 10 })
	w.gateway.never("more than that", 300*time.Millisecond, func() bool { return len(w.gateway.tracks) > 10 })
	if !eval[bool](visitor, `dataLayer === kept && dataLayer.length > 100`) {
		t.Error("the page's data layer is not what it was")
	}
	visitor.run(`parley.consent({ analytics: false }); analytics.track("Plan Chosen"); parley.track("Direct")`)
	w.gateway.never("a track without consent", 300*time.Millisecond, func() bool { return len(w.gateway.tracks) > 10 })
	visitor.clean()
}

// TestLateDriver finds a widget that the page itself has loaded and opened
// before the driver came.
func TestLateDriver(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.page("/", tag(t, nil), `<script nonce="n0nce">
window.BotStar = { appId: "`+shop.AppID+`", mode: "livechat" };
window.BotStarApi = function () { BotStarApi.q.push(arguments); }; BotStarApi.q = [];
addEventListener("DOMContentLoaded", () => {
  const script = document.createElement("script"); script.src = "https://widget.botstar.com/static/js/widget.js"; document.head.append(script);
});
</script>`)
	visitor := w.visitor("/")
	w.gateway.connected(1)
	w.ledger(vendor.Booted, 1)
	visitor.run(`new Promise((r) => { BotStarApi("onOpen", r); BotStarApi("open"); })`)
	w.ledger(vendor.Opened, 1)
	answer := w.gateway.do("k1/open", "open", waiting())
	if answer.JSON != `{"ok":true,"value":{"open":true,"changed":false}}` {
		t.Errorf("open: %s", answer.JSON)
	}
	if answer := w.gateway.do("k2/close", "close", waiting()); answer.JSON != `{"ok":true,"value":{"open":false,"changed":true}}` {
		t.Errorf("close: %s", answer.JSON)
	}
	if booted := w.ledger(vendor.Booted, 1); booted != 1 {
		t.Errorf("the vendor saw %d boots, want 1", booted)
	}
}

// TestNoLongTask lets no task of parley.js or of the driver hold the page up for
// 50 ms, from the load to a command. The vendor's widget is left out: the
// command only looks. What others do on the machine stretches a task now and then;
// one that is long by itself is so each time.
func TestNoLongTask(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.page("/", tag(t, nil), "")
	var all [][]float64
	for try := range 10 {
		visitor := w.visitor("/")
		w.gateway.connected(1)
		w.busy(visitor, try)
		long := eval[noted](visitor, "noted").Long
		if len(long) == 0 {
			return
		}
		all = append(all, long)
		visitor.end()
		w.gateway.connected(0)
	}
	t.Errorf("tasks above 50 ms, in every try: %v", all)
}

// busy has the visitor's page do what it does on a busy day.
func (w *world) busy(visitor *tab, try int) {
	w.t.Helper()
	for i := range 25 {
		if answer := w.gateway.do(fmt.Sprintf("t%d/k%d", try, i), "state", nil); !answer.OK {
			w.t.Fatal(answer.JSON)
		}
		if answer := w.gateway.do("", "look.widget", map[string]any{}); !answer.OK {
			w.t.Fatal(answer.JSON)
		}
	}
	w.gateway.set(func() { w.gateway.tracks = nil })
	visitor.run(`for (let i = 0; i < 200; i++) parley.track("Seen", { i })`)
	w.gateway.until("the tracks", func() bool { return len(w.gateway.tracks) == 200 })
	visitor.run(`new Promise((r) => setTimeout(r, 100))`)
}
