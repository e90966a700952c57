//go:build browser

package snippet_test

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus/bustest"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

// lives returns the lives of the connections that are open.
func (g *gateway) lives() []string {
	return get(g, func() []string {
		var lives []string
		for _, c := range g.live {
			lives = append(lives, c.hello.Life)
		}
		return lives
	})
}

// needWhole skips a test that needs more than the headless shell: there every
// tab has the focus all the time, and nothing is kept for going back.
func needWhole(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(whole); err != nil {
		t.Skip("the whole Chromium is not installed: make chromium-full")
	}
}

// TestTwoTabs gives the one connection to the tab that the visitor looks at, as
// often as he changes it, each time with a command under way: it is applied in
// one of the two tabs, once, by the driver's signals and by the vendor's ledger.
// What comes afterwards is answered by the tab in front.
func TestTwoTabs(t *testing.T) {
	t.Parallel()
	turns := bustest.Count(12, 200)
	needWhole(t)
	w := start(t, vendor.Options{}, whole)
	w.page("/", tag(t, nil), "")
	one := w.visitor("/")
	w.gateway.connected(1)
	first := w.gateway.lives()[0]
	two := w.another(one, "/")
	w.gateway.until("the second tab's connection", func() bool { return len(w.gateway.live) == 1 && w.gateway.live[0].hello.Life != first })
	if a, b := get(w.gateway, func() string { return w.gateway.hellos[0].AnonymousID }), get(w.gateway, func() string { return w.gateway.hellos[1].AnonymousID }); a != b {
		t.Errorf("the tabs are two visitors, %s and %s", a, b)
	}
	tabs, lives := []*tab{one, two}, []string{first, w.gateway.lives()[0]}
	for i, tab := range tabs {
		tab.front()
		w.gateway.until("the connection of the tab in front", func() bool {
			return len(w.gateway.live) == 1 && w.gateway.live[0].hello.Life == lives[i]
		})
		if answer := w.gateway.do(fmt.Sprintf("b%d/boot", i), "boot", settings()); !answer.OK {
			t.Fatal(answer.JSON)
		}
	}
	for i := range turns {
		name := []string{"open", "close"}[i/2%2]
		call := w.gateway.begin(fmt.Sprintf("k%d/%s", i, name), name, waiting())
		tabs[i%2].front()
		w.gateway.until("the connection of the tab in front", func() bool {
			return len(w.gateway.live) == 1 && w.gateway.live[0].hello.Life == lives[i%2]
		})
		if answer := w.gateway.wait(call); !answer.OK {
			t.Fatalf("turn %d: %s", i, answer.JSON)
		}
		after := w.gateway.begin(fmt.Sprintf("k%d/state", i), "state", nil)
		if answer := w.gateway.wait(after); !answer.OK || after.lives[0] != lives[i%2] {
			t.Fatalf("turn %d: the tab in front has the life %s, and %s answers %s", i, lives[i%2], after.lives[0], answer.JSON)
		}
	}
	for i, tab := range tabs { // What a tab has to tell waits until it has the connection.
		tab.front()
		w.gateway.until("the connection of the tab in front", func() bool {
			return len(w.gateway.live) == 1 && w.gateway.live[0].hello.Life == lives[i]
		})
		w.gateway.do("", "look.widget", map[string]any{})
	}
	w.gateway.connected(1)
	w.tally(turns)
	for _, name := range []string{"widget.opened", "widget.closed"} {
		w.gateway.once(name)
	}
	t.Logf("%d hellos for %d changes of the tab", get(w.gateway, func() int { return len(w.gateway.hellos) }), turns)
	// The tab that is not looked at takes over when the other one goes.
	two.front()
	w.gateway.until("the second tab's connection", func() bool { return len(w.gateway.live) == 1 && w.gateway.live[0].hello.Life != first })
	two.end()
	w.gateway.until("the first tab's connection", func() bool { return len(w.gateway.live) == 1 && w.gateway.live[0].hello.Life == first })
	one.clean()
}

// tally compares what the driver has told of the window with what the vendor has
// seen of it: as much, and not more than there were commands.
func (w *world) tally(commands int) {
	w.t.Helper()
	for name, kind := range map[string]vendor.Kind{"widget.opened": vendor.Opened, "widget.closed": vendor.Closed} {
		told := get(w.gateway, func() int { return w.gateway.named(name) })
		seen := w.ledger(kind, told)
		if seen != told || told == 0 || told > commands/2+1 {
			w.t.Errorf("%s: %d told, %d seen by the vendor, of %d commands", name, told, seen, commands)
		}
		w.t.Logf("%s: %d told, %d seen by the vendor", name, told, seen)
	}
}

// TestFrozenOwner robs an owner that does not answer.
func TestFrozenOwner(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.page("/", tag(t, nil), "")
	one := w.visitor("/")
	w.gateway.connected(1)
	first := w.gateway.lives()[0]
	busy := make(chan error, 1)
	go func() {
		_, err := chromedp.Run(one.ctx, chromedp.Evaluate[chromedp.Void](`{ const end = performance.now() + 6000; while (performance.now() < end); }`))
		busy <- err
	}()
	w.another(one, "/")
	w.gateway.until("the second tab's connection", func() bool {
		n := len(w.gateway.live)
		return n > 0 && w.gateway.live[n-1].hello.Life != first
	})
	if err := <-busy; err != nil {
		t.Error(err)
	}
	w.gateway.until("that the first one lets go", func() bool { return len(w.gateway.live) == 1 && w.gateway.live[0].hello.Life != first })
}

// TestReload reloads and leaves the page in the middle of a command, again and
// again: the next document carries it out, each command once, none lost.
func TestReload(t *testing.T) {
	t.Parallel()
	turns := bustest.Count(20, 200)
	w := setup(t, vendor.Options{ChunkDelay: 20 * time.Millisecond})
	w.page("/", tag(t, nil), "")
	w.page("/next", tag(t, nil), "")
	visitor := w.visitor("/")
	w.gateway.connected(1)
	again, broken := 0, 0
	for i := range turns {
		call := w.gateway.begin(fmt.Sprintf("k%d/boot", i), "boot", settings())
		switch i % 4 {
		case 0: // At once.
		case 1:
			visitor.run(`new Promise((r) => setTimeout(r, 5))`)
		case 2:
			visitor.run(`new Promise((r) => setTimeout(r, 30))`)
		case 3: // Just when it is done, and the answer may be on its way.
			visitor.run(`new Promise((r) => { const look = () => document.querySelector("iframe") ? r() : setTimeout(look); look(); })`)
		}
		visitor.visit([]string{"/", "/next"}[i%2])
		if answer := w.gateway.wait(call); !answer.OK {
			t.Fatalf("turn %d: %s", i, answer.JSON)
		}
	}
	for _, one := range w.gateway.all() {
		if one.sent > 1 {
			broken++
		}
		for _, answer := range one.answers {
			if answer.Again {
				again++
			}
		}
	}
	w.gateway.once("widget.ready")
	if broken < turns/8 {
		t.Errorf("only %d of %d commands were interrupted", broken, turns)
	}
	t.Logf("%d turns, %d commands interrupted, %d answers from an earlier document, %d connections", turns, broken, again, get(w.gateway, func() int { return len(w.gateway.hellos) }))
}

// once fails when a command's key has more than one signal of the name: then it
// was applied more than once.
func (g *gateway) once(name string) {
	g.t.Helper()
	counts := get(g, func() map[string]int {
		counts := map[string]int{}
		for _, life := range g.signals {
			for _, signal := range life {
				if signal.Name == name && signal.Key != "" {
					counts[signal.Key]++
				}
			}
		}
		return counts
	})
	if len(counts) == 0 {
		g.t.Errorf("no command has made a signal %s", name)
	}
	for key, n := range counts {
		if n > 1 {
			g.t.Errorf("%s was applied %d times", key, n)
		}
	}
}

// all returns every call.
func (g *gateway) all() []*call {
	return get(g, func() []*call {
		var all []*call
		for _, one := range g.calls {
			all = append(all, one)
		}
		return all
	})
}

// TestAnswerLost loses the answer of a command and the page with it: the next
// document answers what was answered, and does nothing.
func TestAnswerLost(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.page("/", tag(t, nil), "")
	visitor := w.visitor("/")
	w.gateway.connected(1)
	if answer := w.gateway.do("k/boot", "boot", settings()); !answer.OK {
		t.Fatal(answer.JSON)
	}
	w.gateway.set(func() {
		for _, one := range w.gateway.calls {
			one.answers = nil // As if it had never arrived.
		}
	})
	visitor.visit("/")
	w.gateway.until("the answer again", func() bool {
		for _, one := range w.gateway.calls {
			if len(one.answers) == 0 || !one.answers[0].Again {
				return false
			}
		}
		return true
	})
	if eval[bool](visitor, `!!document.querySelector("iframe")`) {
		t.Error("the command was carried out again")
	}
	if acked := get(w.gateway, func() int64 { return w.gateway.hellos[1].Acked }); acked != 1 {
		t.Errorf("the second hello acknowledges %d calls, want 1", acked)
	}
}

// TestBackForwardCache lets the page into the cache, with no connection, and
// connects it again with the same life when it comes back.
func TestBackForwardCache(t *testing.T) {
	t.Parallel()
	needWhole(t)
	w := start(t, vendor.Options{}, whole)
	w.page("/", tag(t, nil), `<script nonce="n0nce">addEventListener("pageshow", (e) => { window.restored = e.persisted; });</script>`)
	w.page("/next", tag(t, nil), "")
	visitor := w.visitor("/")
	w.gateway.connected(1)
	first := w.gateway.lives()[0]
	visitor.run(`window.mark = 1`)
	visitor.visit("/next")
	w.gateway.until("the next page's connection", func() bool { return len(w.gateway.live) == 1 && w.gateway.live[0].hello.Life != first })
	history, err := chromedp.Call(visitor.ctx, page.GetNavigationHistory, cdp.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(visitor.ctx, page.NavigateToHistoryEntry, page.NavigateToHistoryEntryParams{EntryID: history.Entries[history.CurrentIndex-1].ID}); err != nil {
		t.Fatal(err)
	}
	w.gateway.until("the first page's connection", func() bool {
		n := len(w.gateway.hellos)
		return n == 3 && w.gateway.hellos[2].Life == first
	})
	if !eval[bool](visitor, `window.mark === 1 && window.restored === true`) {
		t.Error("the page was loaded anew, and does not come from the cache")
	}
	if answer := w.gateway.do("k/boot", "boot", settings()); !answer.OK {
		t.Errorf("boot: %s", answer.JSON)
	}
	visitor.clean()
}

// TestExit tells by beacon what was not acknowledged when the page goes.
func TestExit(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.page("/", tag(t, nil), "")
	w.page("/next", tag(t, nil), "")
	visitor := w.visitor("/")
	w.gateway.connected(1)
	w.gateway.set(func() { w.gateway.mute = true })
	visitor.run(`for (let i = 0; i < 150; i++) parley.track("Seen", { i, text: "x".repeat(1000) })`)
	w.gateway.until("the tracks over the socket", func() bool { return len(w.gateway.tracks) == 150 })
	visitor.visit("/next")
	w.gateway.until("a beacon", func() bool { return len(w.gateway.beacons) == 1 })
	beacon := get(w.gateway, func() wire.Beacon { return w.gateway.beacons[0] })
	if !beacon.Bye || beacon.Token != "token-1" || beacon.Key != "pk_site" || len(beacon.Tracks) < 20 {
		t.Errorf("the beacon is %+v", beacon)
	}
	w.gateway.until("that the next document uses the token", func() bool {
		return len(w.gateway.hellos) == 2 && w.gateway.hellos[1].Token == "token-1" && w.gateway.hellos[1].Tab == w.gateway.hellos[0].Tab
	})
	w.gateway.set(func() { w.gateway.mute = false })
	visitor.run(`parley.track("Last")`)
	w.gateway.until("the last track", func() bool { return w.gateway.tracks[len(w.gateway.tracks)-1].Name == "Last" })
	visitor.run(`new Promise((r) => setTimeout(r, 200))`)
	visitor.visit("/")
	w.gateway.never("a beacon of what was acknowledged", 300*time.Millisecond, func() bool { return len(w.gateway.beacons) > 1 })
}

// TestExitFacts tells by beacon the facts that were not acknowledged when the
// page goes; and the next document, whose numbers begin anew, does not.
func TestExitFacts(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.page("/", tag(t, nil), "")
	w.page("/next", tag(t, nil), "")
	visitor := w.visitor("/")
	w.gateway.connected(1)
	life := w.gateway.lives()[0]
	w.gateway.set(func() { w.gateway.mute = true })
	for _, step := range []string{"boot", "open"} {
		if answer := w.gateway.do("k/"+step, step, settings()); !answer.OK {
			t.Fatal(answer.JSON)
		}
	}
	visitor.visit("/next")
	w.gateway.until("a beacon", func() bool { return len(w.gateway.beacons) == 1 })
	beacon := get(w.gateway, func() wire.Beacon { return w.gateway.beacons[0] })
	var names []string
	for i, signal := range beacon.Signals {
		var one actions.Signal
		if err := json.Unmarshal([]byte(signal.JSON), &one); err != nil || signal.N != int64(i+1) {
			t.Errorf("signal %d has the number %d: %v", i, signal.N, err)
		}
		names = append(names, one.Name)
	}
	// The window goes with its page: who reads the facts knows by the next one's beginning.
	if diff := cmp.Diff([]string{"page.started", "widget.ready", "widget.opened"}, names); diff != "" || beacon.Life != life || !beacon.Bye {
		t.Errorf("the beacon of %s, bye %t, tells (-want +got):\n%s", beacon.Life, beacon.Bye, diff)
	}
	for n := range int64(3) { // Over the socket and by the beacon: it is one fact by life and number.
		if got := get(w.gateway, func() int { return w.gateway.sent[fmt.Sprintf("%s/%d", life, n+1)] }); got != 2 {
			t.Errorf("signal %d came %d times, want 2", n+1, got)
		}
	}
	w.gateway.set(func() { w.gateway.mute = false })
	w.gateway.until("the next document", func() bool { return len(w.gateway.live) == 1 && w.gateway.live[0].hello.Life != life })
	w.gateway.do("", "state", nil)
	w.gateway.until("its beginning", func() bool { return w.gateway.sent[w.gateway.live[0].hello.Life+"/1"] == 1 })
}
