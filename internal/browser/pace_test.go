//go:build browser

package browser

import (
	"bytes"
	"context"
	"image/png"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"

	"github.com/parley-chat/parley/internal/fault"
)

// moving is a page that does all that needs frames: animation frames, a
// transition, observers, and an animation without an end.
const moving = `<style>
@keyframes turn { to { transform: rotate(360deg) } }
#box { width: 50px; height: 50px; background: rgb(200, 0, 0); transition: opacity .3s; animation: turn 1s linear infinite }
</style><body style="margin:0"><div id="box"></div><script>
var frames = 0;
requestAnimationFrame(function next() { frames++; requestAnimationFrame(next) });
function count() { return frames }
function after() { return new Promise((done) => requestAnimationFrame(() => done("frame"))) }
function fade() { return new Promise((done) => {
  box.addEventListener("transitionend", () => done(getComputedStyle(box).opacity), { once: true });
  box.style.opacity = "0.5";
}) }
function seen() { return new Promise((done) => new IntersectionObserver((all) => done(all[0].isIntersecting)).observe(box)) }
function sized() { return new Promise((done) => new ResizeObserver((all) => done(all[0].contentRect.width)).observe(box)) }
</script>`

func pacedOptions(t *testing.T) Options {
	t.Helper()
	return newSite(t, pages(nil)).options(t)
}

func TestPagesGetTheirFrames(t *testing.T) {
	t.Parallel()
	p := newPool(t, pacedOptions(t))
	tab := open(t, p, lightRequest(moving))
	run := func(name string) map[string]string { return map[string]string{"name": name} }
	if got := ask[string](t, tab, "run", run("after")); got != "frame" {
		t.Errorf("an animation frame gave %q", got)
	}
	if got := ask[string](t, tab, "run", run("fade")); got != "0.5" {
		t.Errorf("the transition ended at %q", got)
	}
	if got := ask[bool](t, tab, "run", run("seen")); !got {
		t.Error("the observer sees no box")
	}
	if got := ask[float64](t, tab, "run", run("sized")); got != 50 {
		t.Errorf("the observer measures %v", got)
	}
}

// Two frames at once would end the browser, so many tabs must not ask for them
// at once.
func TestManyPagesGetTheirFrames(t *testing.T) {
	t.Parallel()
	p := newPool(t, pacedOptions(t))
	var all sync.WaitGroup
	for range 8 {
		tab := open(t, p, lightRequest(moving))
		all.Go(func() {
			for range 10 {
				var out string
				if err := tab.Call(t.Context(), "run", map[string]string{"name": "after"}, &out); err != nil || out != "frame" {
					t.Errorf("an animation frame gave %q: %v", out, err)
					return
				}
				if _, err := tab.Screenshot(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// A page that nobody asks anything of gets no frames, so it costs no
// rendering, whatever it animates.
func TestIdlePagesRest(t *testing.T) {
	t.Parallel()
	p := newPool(t, pacedOptions(t))
	tab := open(t, p, lightRequest(moving))
	run := map[string]string{"name": "count"}
	before := ask[int](t, tab, "run", run)
	idle := time.NewTimer(livelyFor + 2*time.Second)
	select {
	case <-idle.C:
	case <-tab.Done():
		t.Fatal(tab.Err())
	}
	got := ask[int](t, tab, "run", run) - before
	if most := int((livelyFor+time.Second)/frameEvery) + 1; got < 1 || got > most {
		t.Errorf("the page got %d frames, want 1 to %d", got, most)
	}
}

func TestPictureOfAPacedPage(t *testing.T) {
	t.Parallel()
	p := newPool(t, pacedOptions(t))
	tab := open(t, p, lightRequest(`<body style="margin:0;background:rgb(0,120,0)">`))
	shot, err := tab.Screenshot(within(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		t.Fatal(err)
	}
	if size := picture.Bounds().Size(); size.X != 420 || size.Y != 720 {
		t.Errorf("the picture is %v", size)
	}
	if r, g, b, _ := picture.At(100, 100).RGBA(); r>>8 != 0 || g>>8 != 120 || b>>8 != 0 {
		t.Errorf("the picture shows %d %d %d", r>>8, g>>8, b>>8)
	}
}

// Tabs end while their frames are under way, in all the ways that tabs end. The
// browser must outlive that.
func TestTabsThatGoWithTheirFrames(t *testing.T) {
	t.Parallel()
	o := pacedOptions(t)
	o.Sessions = 1000
	p := newPool(t, o)
	first := open(t, p, lightRequest(moving))
	const lanes, rounds = 4, 15
	var all sync.WaitGroup
	for lane := range lanes {
		all.Go(func() {
			for round := range rounds {
				if err := comeAndGo(within(t, 30*time.Second), p, (lane+round)%lanes); err != nil {
					t.Errorf("lane %d, round %d: %v", lane, round, err)
					return
				}
			}
		})
	}
	all.Wait()
	if err := first.Err(); err != nil {
		t.Errorf("the first tab is gone: %v", err)
	}
}

// comeAndGo opens a lively tab, and ends it in one of four ways: with a further
// page, by a close, by a crash, and by a fault.
func comeAndGo(ctx context.Context, p *Pool, how int) error {
	tab, err := p.Open(ctx, lightRequest(moving))
	if err != nil {
		return err
	}
	run := map[string]string{"name": "after"}
	if err := tab.Call(ctx, "run", run, nil); err != nil {
		return err
	}
	switch how {
	case 0:
		for range 3 {
			further, err := tab.OpenPage(ctx, lightRequest(moving))
			if err != nil {
				return err
			}
			if err := further.Call(ctx, "run", run, nil); err != nil {
				return err
			}
			_ = further.Close(ctx)
		}
	case 1:
		begin(tab.session, page.Crash, cdp.Empty{})
		<-tab.Done()
	case 2:
		tab.fail(fault.New(fault.PageFlooded, "the test says so"))
	}
	return tab.Close(ctx)
}
