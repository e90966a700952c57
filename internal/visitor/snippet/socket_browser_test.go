//go:build browser

package snippet_test

import (
	"slices"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	vendor "github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

// TestReconnect comes again after every code that leaves hope, with the last
// token, and with what was not acknowledged, once.
func TestReconnect(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.page("/", tag(t, nil), "")
	visitor := w.visitor("/")
	w.gateway.connected(1)
	if answer := w.gateway.do("k/boot", "boot", settings()); !answer.OK {
		t.Fatal(answer.JSON)
	}
	w.gateway.set(func() { w.gateway.mute = true })
	visitor.run(`parley.track("Kept", { a: 1 })`)
	w.gateway.until("the track", func() bool { return len(w.gateway.tracks) == 1 })
	for i, code := range []int{0, 1001, 1012, 1013} {
		w.gateway.cut(code)
		w.gateway.until("the next connection", func() bool { return len(w.gateway.hellos) == i+2 && len(w.gateway.live) == 1 })
		w.gateway.until("what was not acknowledged", func() bool { return len(w.gateway.tracks) == i+2 })
	}
	w.gateway.set(func() { w.gateway.mute = false })
	w.gateway.cut(0)
	w.gateway.until("the acknowledgement", func() bool { return len(w.gateway.hellos) == 6 && len(w.gateway.tracks) == 6 })
	hellos := get(w.gateway, func() []wire.Hello { return slices.Clone(w.gateway.hellos) })
	for i, hello := range hellos {
		if i > 0 && (hello.Token != "token-"+string(rune('0'+i)) || hello.Life != hellos[0].Life || hello.Epoch != "epoch-1" || hello.Acked != 1) {
			t.Errorf("hello %d is %+v", i, hello)
		}
	}
	for _, track := range get(w.gateway, func() []wire.Track { return slices.Clone(w.gateway.tracks) }) {
		if track.N != w.gateway.tracks[0].N || track.AgeMS < 0 || track.AgeMS > 20_000 {
			t.Errorf("the track comes again as %+v", track)
		}
	}
	w.gateway.never("a track that was acknowledged", 200*time.Millisecond, func() bool { return len(w.gateway.tracks) > 6 })
	visitor.clean()
}

// TestRefused forgets a token that is not good, once, and then waits for
// another word on who the visitor is.
func TestRefused(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.page("/", tag(t, nil), "")
	visitor := w.visitor("/")
	w.gateway.connected(1)
	w.gateway.set(func() { w.gateway.refuse = wire.CloseToken })
	w.gateway.cut(0)
	w.gateway.until("a hello with the token and one without", func() bool { return len(w.gateway.hellos) == 3 })
	w.gateway.never("a third try", 500*time.Millisecond, func() bool { return len(w.gateway.hellos) > 3 })
	if tokens := get(w.gateway, func() [2]string { return [2]string{w.gateway.hellos[1].Token, w.gateway.hellos[2].Token} }); tokens != [2]string{"token-1", ""} {
		t.Errorf("the tokens of the tries are %q", tokens)
	}
	w.gateway.set(func() { w.gateway.refuse = 0 })
	visitor.run(`parley.identify(async () => "signed.by.site")`)
	w.gateway.connected(1)
	last := func() wire.Hello { return w.gateway.hellos[len(w.gateway.hellos)-1] }
	if hello := get(w.gateway, last); hello.Identity != "signed.by.site" || hello.Token != "" {
		t.Errorf("the hello is %+v", hello)
	}
	before := get(w.gateway, last).AnonymousID
	visitor.run(`parley.reset()`)
	w.gateway.until("a hello of somebody else", func() bool { return len(w.gateway.live) == 1 && last().AnonymousID != before && last().Identity == "" })
}

// TestReplaced comes again only when the visitor looks at the tab.
func TestReplaced(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.page("/", tag(t, nil), "")
	visitor := w.visitor("/")
	w.gateway.connected(1)
	w.gateway.cut(wire.CloseReplaced)
	w.gateway.connected(0)
	w.gateway.never("a connection without the focus", 700*time.Millisecond, func() bool { return len(w.gateway.hellos) > 1 })
	visitor.run(`window.dispatchEvent(new Event("focus"))`)
	w.gateway.connected(1)
}

// TestSilence asks a connection that says nothing for a sign of life, and gives
// it up.
func TestSilence(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.gateway.config.PingMS = 300
	w.page("/", tag(t, nil), "")
	w.visitor("/")
	w.gateway.connected(1)
	w.gateway.until("pings", func() bool { return w.gateway.pings >= 3 })
	if hellos := get(w.gateway, func() int { return len(w.gateway.hellos) }); hellos != 1 {
		t.Errorf("%d connections while every ping is answered", hellos)
	}
	w.gateway.set(func() { w.gateway.silent = true })
	w.gateway.until("another connection", func() bool { return len(w.gateway.hellos) == 2 })
}

// TestDrain comes again within the time, without a break for what runs.
func TestDrain(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{ChunkDelay: 500 * time.Millisecond})
	w.page("/", tag(t, nil), "")
	w.visitor("/")
	w.gateway.connected(1)
	call := w.gateway.begin("k/boot", "boot", settings())
	w.gateway.tell(wire.Drain{T: wire.KindDrain, AfterMS: 200})
	w.gateway.until("another connection", func() bool { return len(w.gateway.hellos) == 2 })
	if answer := w.gateway.wait(call); !answer.OK {
		t.Errorf("the call that ran: %s", answer.JSON)
	}
	if booted := w.ledger(vendor.Booted, 1); booted != 1 {
		t.Errorf("the vendor saw %d boots, want 1", booted)
	}
}

// TestOffline keeps what happens without a network, bounded, and tells it
// afterwards, in order.
func TestOffline(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.page("/", tag(t, nil), "")
	visitor := w.visitor("/")
	w.gateway.connected(1)
	cable := func(off bool) {
		t.Helper()
		if _, err := chromedp.Call(visitor.ctx, network.OverrideNetworkState, network.OverrideNetworkStateParams{
			Offline: off, DownloadThroughput: -1, UploadThroughput: -1,
		}); err != nil {
			t.Fatal(err)
		}
	}
	cable(true)
	w.gateway.cut(0)
	w.gateway.connected(0)
	visitor.run(`for (let i = 0; i < 250; i++) parley.track("Seen", { i })`)
	w.gateway.never("a connection without a network", 800*time.Millisecond, func() bool { return len(w.gateway.live) > 0 })
	cable(false)
	w.gateway.until("the tracks", func() bool { return len(w.gateway.tracks) >= wire.MaxUnacked })
	tracks := get(w.gateway, func() []wire.Track { return slices.Clone(w.gateway.tracks) })
	if len(tracks) != wire.MaxUnacked || tracks[0].N != 51 || tracks[len(tracks)-1].N != 250 {
		t.Errorf("%d tracks came, %d to %d", len(tracks), tracks[0].N, tracks[len(tracks)-1].N)
	}
	if !slices.IsSortedFunc(tracks, func(a, b wire.Track) int { return int(a.N - b.N) }) {
		t.Error("they came out of order")
	}
	if tracks[0].AgeMS < 700 {
		t.Errorf("the first one is %d ms old, and it waited longer", tracks[0].AgeMS)
	}
	visitor.clean()
}

// TestDeadline answers in time when the page does not.
func TestDeadline(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{ChunkDelay: 3 * time.Second})
	w.page("/", tag(t, nil), "")
	w.visitor("/")
	w.gateway.connected(1)
	w.gateway.set(func() { w.gateway.deadline = 400 })
	begun := time.Now()
	answer := w.gateway.do("k/boot", "boot", settings())
	if answer.OK || time.Since(begun) > 2*time.Second || answer.JSON == "" {
		t.Errorf("after %v the answer is %s", time.Since(begun), answer.JSON)
	}
	w.gateway.set(func() { w.gateway.deadline = 0 })
	if answer := w.gateway.do("k/boot", "boot", settings()); !answer.OK {
		t.Errorf("a failure was kept: %s", answer.JSON)
	}
}
