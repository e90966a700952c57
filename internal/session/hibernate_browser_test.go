//go:build browser

package session_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/session"
)

// framedPage and framePage count their visits in every store that they have.
const (
	framedPage = `<!doctype html><title>framed</title><script>
localStorage.own = Number(localStorage.own || 0) + 1;
sessionStorage.tab = Number(sessionStorage.tab || 0) + 1;
document.cookie = "script=" + localStorage.own + "; Secure; Max-Age=1000";
</script><iframe src="https://widget.example.net/frame"></iframe>`
	framePage = `<!doctype html><script>
localStorage.seen = Number(localStorage.seen || 0) + 1;
sessionStorage.seen = Number(sessionStorage.seen || 0) + 1;
parent.postMessage({ frame: { local: localStorage.seen, session: sessionStorage.seen } }, "*");
</script>`
)

// memoryDriver tells what the page and its frame have stored, and plays a
// widget.
const memoryDriver = `(function (rt) {
  const frame = new Promise((resolve) => addEventListener("message", (e) => { if (e.data && e.data.frame) resolve(e.data.frame); }));
  return {
    say: (a) => { for (let i = 0; i < a.times; i++) rt.emit(a.name, a.cause || "api", a.key ?? rt.key(), { n: i }) },
    mount: (a) => {
      rt.emit("widget.ready", "api", rt.key());
      if (a.open) rt.emit("widget.opened", "api", rt.key(), { n: 0 });
      return {};
    },
    seen: async () => ({ own: localStorage.own, tab: sessionStorage.tab, cookie: document.cookie, frame: await frame }),
    loop: () => { for (;;); },
  };
})`

// seen is what the page and its frame have stored.
type seen struct {
	Own, Tab, Cookie string
	Frame            struct{ Local, Session string }
}

// A hotel is a town whose pages store something, and whose managers keep
// snapshots.
type hotel struct {
	*town
	bus     *bus.Bus
	kv      *bus.KV
	store   *session.Store
	catalog *actions.Catalog
	visits  *atomic.Int64 // page loads without the server's cookie
}

var framedSite = actions.Site{Name: "framed", Provider: "probe", URL: "https://shop.example.test/framed", FullPage: true}

func newHotel(t *testing.T, b *bus.Bus) *hotel {
	t.Helper()
	h := &hotel{bus: b, visits: &atomic.Int64{}}
	h.town = newTown(t, map[string]http.Handler{
		"shop.example.test": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			if _, err := r.Cookie("server"); err != nil {
				h.visits.Add(1)
				http.SetCookie(w, &http.Cookie{Name: "server", Value: "secret", HttpOnly: true, Secure: true, Path: "/", MaxAge: 1000})
			}
			_, _ = io.WriteString(w, framedPage)
		}),
		"widget.example.net": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, framePage)
		}),
	})
	h.kv, h.store = bucket(t, b, keys(t), 0)
	var err error
	h.catalog, err = actions.NewCatalog(actions.Provider{
		Name: "probe", Driver: actions.Driver{Main: memoryDriver}, Digest: digest, Hosts: []string{"widget.example.net"},
		Light: func(actions.Site) string { return "<!doctype html><title>light</title>" },
		Restore: func(ctx context.Context, env actions.Env) error {
			err := env.Do(ctx, "mount", map[string]any{"open": env.State.Open}, nil)
			if err != nil {
				env.State.Booted = false
			}
			return err
		},
	})
	must(t, err)
	return h
}

// worker returns a manager with a browser of its own.
func (h *hotel) worker(o session.Options) *house {
	h.t.Helper()
	o.Catalog, o.Snapshots = h.catalog, h.store
	return h.house(h.bus, o, browser.Options{})
}

// visit gives the visitor's session on the framed site, with its page, to the
// function.
func (h *house) visit(v event.Visitor, fence uint64, do func(l *session.Lease, env actions.Env)) {
	h.t.Helper()
	l, err := h.Acquire(h.t.Context(), framedSite, v)
	must(h.t, err)
	defer l.Release()
	l.Own(fence)
	must(h.t, l.Open(h.t.Context()))
	do(l, l.Env(session.Command{Key: rand.Text(), ID: "command", Fence: fence}, bustest.Log(h.t)))
}

func (h *house) seen(env actions.Env) seen {
	h.t.Helper()
	var s seen
	must(h.t, env.Look(h.t.Context(), "seen", nil, &s))
	return s
}

// settle makes the session one that is worth keeping: booted and open, in a
// mode, for a user, with a callback.
func (h *house) settle(v event.Visitor, fence uint64) {
	h.t.Helper()
	h.visit(v, fence, func(l *session.Lease, env actions.Env) {
		h.say(env, saying{Name: "widget.ready", Times: 1})
		env = l.Env(session.Command{Key: "open" + v.UserID, ID: "open", Fence: fence}, bustest.Log(h.t))
		h.say(env, saying{Name: event.FactWidgetOpened, Times: 1})
		h.seen(env)
		env.State.Mode, env.State.User = "popup", map[string]any{"plan": "Team"}
		env.State.Subscriptions = []actions.Subscription{{ID: "sub", Fact: event.FactWidgetOpened}}
		l.Trust()
	})
}

func (h *house) key(v event.Visitor) string { return event.SessionKey(framedSite.Name, v) }

// framed waits for the number of facts of the visitor on the framed site.
func framed[T any](h *house, v event.Visitor, name string, want int) []T {
	h.t.Helper()
	return factsOn[T](h, framedSite.Name, v, name, want)
}

// TestSessionMovesToAnotherWorker puts a session away on one worker, and goes on
// with it on another one, in another browser.
func TestSessionMovesToAnotherWorker(t *testing.T) {
	t.Parallel()
	h := newHotel(t, bustest.Start(t))
	first, second := h.worker(session.Options{}), h.worker(session.Options{})
	v := event.Visitor{UserID: "u-1"}
	first.settle(v, 3)
	must(t, first.HandOver(t.Context(), bus.PartitionOf(framedSite.Name, first.key(v))))
	if stats := first.Stats(); stats.Pages != 0 || stats.Sessions != 0 || stats.Hibernated != 1 || stats.Residency.Placed != 0 {
		t.Errorf("after the hand-over: %+v", stats)
	}
	info, err := second.Show(t.Context(), second.key(v))
	must(t, err)
	if info.State != session.Hibernated || !info.Booted || !info.Open || info.Mode != "popup" || info.Fence != 3 || info.Subscriptions != 1 {
		t.Errorf("shown by the other worker: %+v", info)
	}
	second.visit(v, 4, func(l *session.Lease, env actions.Env) {
		s := env.State
		if !s.Booted || !s.Open || s.Mode != "popup" || s.User["plan"] != "Team" || len(s.Subscriptions) != 1 {
			t.Errorf("the state: %+v", s)
		}
		got := second.seen(env)
		want := seen{Own: "2", Tab: "2", Cookie: "script=2"}
		want.Frame.Local, want.Frame.Session = "2", "2"
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("what is stored (-want +got):\n%s", diff)
		}
		if r, ok := l.Restored(); !ok || r.Err != nil || r.SavedAt.IsZero() || !r.State.Open {
			t.Errorf("restored: %+v, %t", r, ok)
		}
		if l.Known() {
			t.Error("a restored page is known without a look at it")
		}
	})
	if n := h.visits.Load(); n != 1 {
		t.Errorf("the server met the visitor %d times without its cookie", n)
	}
	if got := framed[event.SessionHibernated](first, v, event.FactHibernated, 1)[0]; got.Why != "handover" || got.Bytes == 0 || got.Cause != event.CauseNavigation {
		t.Errorf("the fact: %+v", got)
	}
	if got := framed[event.SessionRestored](second, v, event.FactRestored, 1)[0]; !got.Booted || !got.Open || !got.Storage || got.Mode != "popup" || got.SavedAt == nil || got.Reason != "" {
		t.Errorf("the fact: %+v", got)
	}
	shut(t, second.Manager) // All facts are there now.
	if all := framed[event.WidgetOpened](second, v, event.FactWidgetOpened, 1); len(all) != 1 {
		t.Errorf("the window was opened %d times", len(all))
	}
	if n := stored(t, h.bus, "evt.probe.widget.opened.framed."+second.key(v)); n != 1 {
		t.Errorf("the window's opening was told %d times, want once", n)
	}
	if n := stored(t, h.bus, "evt.probe.session.ended.framed."+second.key(v)); n != 0 {
		t.Errorf("the session's end was told %d times, and it has none", n)
	}
}

// stored counts what is stored on the subject now.
func stored(t *testing.T, b *bus.Bus, subject string) int {
	t.Helper()
	n := 0
	for _, err := range b.Tail(t.Context(), bus.TailOptions{Subjects: []string{subject}, All: true, ToEnd: true}) {
		must(t, err)
		n++
	}
	return n
}

// TestEveryWayToSleep closes a session's page in each way, and brings it back.
func TestEveryWayToSleep(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	h := newHotel(t, b)
	var used atomic.Int64
	tests := []struct {
		why     string
		options session.Options
		sleep   func(w *house, v event.Visitor)
	}{
		{"asked", session.Options{}, func(w *house, v event.Visitor) { must(t, w.Evict(t.Context(), w.key(v))) }},
		{"idle", session.Options{Idle: 100 * time.Millisecond}, func(*house, event.Visitor) {}},
		{"evicted", session.Options{Held: 1}, func(w *house, _ event.Visitor) { w.settle(event.Visitor{UserID: "other"}, 1) }},
		{"pressure", session.Options{
			Memory: 100, Measure: 50 * time.Millisecond, Used: func(context.Context) (int64, error) { return used.Load(), nil },
		}, func(w *house, _ event.Visitor) {
			w.settle(event.Visitor{UserID: "more"}, 1)
			used.Store(200) // Twice as much as there is: one of two pages is to go.
		}},
	}
	for _, test := range tests {
		w := h.worker(test.options)
		v := event.Visitor{UserID: "sleeper-" + test.why}
		w.settle(v, 1)
		test.sleep(w, v)
		fact := framed[event.SessionHibernated](w, v, event.FactHibernated, 1)[0]
		if fact.Why != test.why {
			t.Errorf("%s: the fact says %s", test.why, fact.Why)
		}
		w.visit(v, 1, func(_ *session.Lease, env actions.Env) {
			if got := w.seen(env); !env.State.Open || got.Own != "2" || got.Frame.Local != "2" {
				t.Errorf("%s: open %t, stored %+v", test.why, env.State.Open, got)
			}
		})
		shut(t, w.Manager)
	}
}

// TestCrashLosesNoSession kills the worker's browser under a session that was
// stored a moment after its last command, and a hanging page.
func TestCrashLosesNoSession(t *testing.T) {
	t.Parallel()
	h := newHotel(t, bustest.Start(t))
	w := h.worker(session.Options{SaveAfter: time.Millisecond})
	v := event.Visitor{UserID: "u-1"}
	w.settle(v, 1)
	bustest.Until(t, "the session is stored", func() bool { i, err := w.Show(t.Context(), w.key(v)); return err == nil && i.Bytes > 0 && !i.Unsaved })
	w.visit(v, 1, func(l *session.Lease, env actions.Env) {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if err := env.Page.Call(ctx, "loop", map[string]any{}, nil); !errors.Is(err, fault.New(fault.PageHung, "")) {
			t.Errorf("a call that loops: %v", err)
		}
		must(t, l.Drop(t.Context(), "retry"))
		must(t, l.Open(t.Context()))
		env = l.Env(session.Command{Key: "next", Fence: 1}, bustest.Log(t))
		if got := w.seen(env); !env.State.Open || env.State.Mode != "popup" || got.Own != "2" || got.Frame.Local != "2" {
			t.Errorf("after a hanging page: %+v, stored %+v", env.State, got)
		}
	})
	if ended := framed[event.SessionEnded](w, v, event.FactSessionEnded, 1)[0]; ended.Why != "retry" {
		t.Errorf("the fact: %+v", ended)
	}
	// Another worker finds what was stored, though this one says nothing any more.
	bustest.Until(t, "the session is stored again", func() bool { i, err := w.Show(t.Context(), w.key(v)); return err == nil && !i.Busy && !i.Unsaved })
	other := h.worker(session.Options{})
	other.visit(v, 2, func(_ *session.Lease, env actions.Env) {
		if got := other.seen(env); !env.State.Open || env.State.Mode != "popup" || got.Own != "3" || got.Frame.Local != "3" {
			t.Errorf("on another worker: %+v, stored %+v", env.State, got)
		}
	})
	// The first one is refused from now on.
	bustest.Until(t, "the later owner has stored it", func() bool { return other.Stats().Saved > 0 })
	l, err := w.Acquire(t.Context(), framedSite, v)
	must(t, err)
	l.State().Mode = "livechat"
	l.Release()
	bustest.Until(t, "the earlier owner is refused", func() bool { return w.Stats().Stale > 0 })
	if i, err := other.Show(t.Context(), other.key(v)); err != nil || i.Mode != "popup" || i.Fence != 2 {
		t.Errorf("the later owner's: %+v, %v", i, err)
	}
	bustest.Until(t, "the earlier owner's page is closed", func() bool { return w.Stats().Pages == 0 })
}

// TestLostPartition takes a session from a worker in the middle of a command.
func TestLostPartition(t *testing.T) {
	t.Parallel()
	h := newHotel(t, bustest.Start(t))
	w := h.worker(session.Options{SaveAfter: time.Hour})
	v := event.Visitor{UserID: "u-1"}
	w.settle(v, 1)
	w.visit(v, 1, func(l *session.Lease, env actions.Env) {
		w.Lose(bus.PartitionOf(framedSite.Name, w.key(v)))
		bustest.Until(t, "the page is closed under the command", func() bool { return !l.Paged() })
		if err := l.Open(t.Context()); !errors.Is(err, fault.New(fault.StaleFence, "")) {
			t.Errorf("opening a page of a lost session: %v", err)
		}
		env.State.Mode = "livechat"
	})
	if _, err := w.Show(t.Context(), w.key(v)); !errors.Is(err, fault.New(fault.UnknownSession, "")) {
		t.Errorf("a lost session was stored, or is remembered: %v", err)
	}
	if ended := framed[event.SessionEnded](w, v, event.FactSessionEnded, 1)[0]; ended.Why != "lost" {
		t.Errorf("the fact: %+v", ended)
	}
	if stats := w.Stats(); stats.Pages != 0 || stats.Sessions != 0 || stats.Saved != 0 {
		t.Errorf("%+v", stats)
	}
	w.settle(v, 2) // It may come back.
}

// TestDamagedSnapshot has a session begin afresh, and say so.
func TestDamagedSnapshot(t *testing.T) {
	t.Parallel()
	h := newHotel(t, bustest.Start(t))
	v := event.Visitor{UserID: "u-1"}
	first := h.worker(session.Options{})
	first.settle(v, 1)
	must(t, first.Evict(t.Context(), first.key(v)))
	key := framedSite.Name + "." + first.key(v)
	entry, _, err := h.kv.Get(t.Context(), key)
	must(t, err)
	entry.Value[len(entry.Value)/2] ^= 4
	_, err = h.kv.Put(t.Context(), key, entry.Value)
	must(t, err)
	second := h.worker(session.Options{})
	second.visit(v, 2, func(_ *session.Lease, env actions.Env) {
		if got := second.seen(env); env.State.Booted || env.State.Mode != "" || got.Own != "1" || got.Frame.Local != "1" {
			t.Errorf("state %+v, stored %+v", env.State, got)
		}
		env.State.Mode = "livechat"
	})
	if got := framed[event.SessionRestored](second, v, event.FactRestored, 1)[0]; got.Reason != string(fault.SealBroken) || got.Booted || got.Storage {
		t.Errorf("the fact: %+v", got)
	}
	must(t, second.Evict(t.Context(), second.key(v))) // The next one is good again.
	if i, err := first.Show(t.Context(), second.key(v)); err != nil || i.Bytes == 0 {
		t.Errorf("%+v, %v", i, err)
	}
	if got, found, err := h.store.Load(t.Context(), framedSite.Name, second.key(v)); err != nil || !found || got.State.Mode != "livechat" {
		t.Errorf("%+v, %t, %v", got.State, found, err)
	}
	if n := second.Stats().Invalid; n != 1 {
		t.Errorf("%d snapshots could not be used, want 1", n)
	}
}

// TestErasedVisitor leaves nothing of the visitor, on the worker that holds the
// session and on one that does not.
func TestErasedVisitor(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	h := newHotel(t, b)
	w := h.worker(session.Options{SaveAfter: time.Millisecond})
	profiles, err := b.KV(t.Context(), bus.BucketProfiles)
	must(t, err)
	clean := func(what string, v event.Visitor) {
		t.Helper()
		for _, kv := range []*bus.KV{h.kv, profiles} {
			if left, err := kv.Keys(t.Context(), "*."+w.key(v)); err != nil || len(left) > 0 {
				t.Errorf("%s: %v is left, %v", what, left, err)
			}
		}
	}
	keep := func(v event.Visitor) {
		w.settle(v, 1)
		l, err := w.Acquire(t.Context(), framedSite, v)
		must(t, err)
		must(t, l.LoadProfile(t.Context()))
		l.Env(session.Command{}, bustest.Log(t)).Profile.Pending = map[string]any{"city": "London"}
		must(t, l.StoreProfile(t.Context()))
		l.Release()
		bustest.Until(t, "the session is stored", func() bool { i, err := w.Show(t.Context(), w.key(v)); return err == nil && i.Bytes > 0 })
	}
	held := event.Visitor{UserID: "held"}
	keep(held)
	must(t, w.Erase(t.Context(), framedSite.Name, held))
	clean("held", held)
	if w.Stats().Pages != 0 {
		t.Error("the page is still open")
	}
	framed[event.SessionEnded](w, held, event.FactSessionEnded, 1)
	w.visit(held, 1, func(_ *session.Lease, env actions.Env) {
		if got := w.seen(env); env.State.Booted || env.State.User != nil || got.Own != "1" || env.Profile.Pending != nil {
			t.Errorf("after the erasure: %+v, stored %+v, profile %+v", env.State, got, env.Profile)
		}
	})

	asleep := event.Visitor{UserID: "asleep", AnonymousID: "a-1"}
	keep(asleep)
	must(t, w.Evict(t.Context(), w.key(asleep)))
	other := h.worker(session.Options{})
	must(t, other.Erase(t.Context(), framedSite.Name, asleep))
	clean("asleep", asleep)
	w.visit(asleep, 1, func(_ *session.Lease, env actions.Env) {
		if env.State.Booted || env.State.User != nil {
			t.Errorf("the earlier holder still knows %+v", env.State)
		}
	})

	busy := event.Visitor{UserID: "busy"}
	keep(busy)
	must(t, other.Erase(t.Context(), framedSite.Name, busy)) // Not where it is held.
	w.visit(busy, 1, func(l *session.Lease, _ actions.Env) { l.State().Mode = "inline" })
	bustest.Until(t, "the holder finds out, and forgets", func() bool { return w.Stats().Pages < 3 && len(keysOf(t, h.kv, w.key(busy))) == 0 })
	clean("busy", busy)
}

func keysOf(t *testing.T, kv *bus.KV, key string) []string {
	t.Helper()
	all, err := kv.Keys(t.Context(), "*."+key)
	must(t, err)
	return all
}

// TestPinnedStays keeps a page open against idle time and others' needs.
func TestPinnedStays(t *testing.T) {
	t.Parallel()
	h := newHotel(t, bustest.Start(t))
	w := h.worker(session.Options{Held: 2, Idle: 200 * time.Millisecond})
	pinned, other := event.Visitor{UserID: "pinned"}, event.Visitor{UserID: "other"}
	w.settle(pinned, 1)
	must(t, w.Pin(w.key(pinned), true))
	w.settle(other, 1)
	framed[event.SessionHibernated](w, other, event.FactHibernated, 1)
	i, err := w.Show(t.Context(), w.key(pinned))
	must(t, err)
	if i.State != session.Held || !i.Pinned {
		t.Errorf("the pinned one: %+v", i)
	}
	must(t, w.Pin(w.key(pinned), false))
	framed[event.SessionHibernated](w, pinned, event.FactHibernated, 1)
	if err := w.Pin("nobody", true); !errors.Is(err, fault.New(fault.UnknownSession, "")) {
		t.Errorf("pinning nobody: %v", err)
	}
	if err := w.Evict(t.Context(), "nobody"); !errors.Is(err, fault.New(fault.UnknownSession, "")) {
		t.Errorf("evicting nobody: %v", err)
	}
}

// TestClockJumps sets the clock far back and forth between a session's sleeps.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	h := newHotel(t, bustest.Start(t))
	var shift atomic.Int64
	w := h.worker(session.Options{Now: func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }})
	v := event.Visitor{UserID: "u-1"}
	w.settle(v, 1)
	for i, jump := range []time.Duration{0, 10 * 365 * 24 * time.Hour, -10 * 365 * 24 * time.Hour, time.Hour, -time.Hour} {
		shift.Store(int64(jump))
		must(t, w.Evict(t.Context(), w.key(v)))
		shift.Store(int64(-jump))
		w.visit(v, 1, func(_ *session.Lease, env actions.Env) {
			if got := w.seen(env); !env.State.Open || got.Own != strconv.Itoa(i+2) {
				t.Errorf("after a jump by %s: %+v, stored %+v", jump, env.State, got)
			}
		})
	}
	if n := w.Stats().Pages; n != 1 {
		t.Errorf("%d pages are open: a jump has closed one", n)
	}
}

// TestFactsComeBeforeTheSnapshot hibernates a session while the bus is away:
// what it said is published before it is stored, and nothing is lost.
func TestFactsComeBeforeTheSnapshot(t *testing.T) {
	t.Parallel()
	server := bustest.Serve(t)
	h := newHotel(t, server.Bus())
	w := h.worker(session.Options{SaveAfter: time.Hour})
	v := event.Visitor{UserID: "u-1"}
	w.settle(v, 1)
	server.Stop()
	w.visit(v, 1, func(_ *session.Lease, env actions.Env) {
		h.t.Helper()
		w.say(env, saying{Name: event.FactWidgetOpened, Times: 100})
	})
	done := make(chan error, 1)
	go func() { done <- w.Evict(t.Context(), w.key(v)) }()
	bustest.Until(t, "the page is closed", func() bool { return w.Stats().Pages == 0 })
	select {
	case err := <-done:
		t.Errorf("hibernated while the bus is away: %v", err)
	default:
	}
	server.Start()
	must(t, <-done)
	if n := stored(t, h.bus, "evt.probe.widget.opened.framed."+w.key(v)); n != 101 {
		t.Errorf("%d facts were published before the session was stored, want 101", n)
	}
	if _, found, err := h.store.Load(t.Context(), framedSite.Name, w.key(v)); err != nil || !found {
		t.Errorf("stored: %t, %v", found, err)
	}
}

// TestShutdownKeepsAll stops a worker with many sessions, and goes on elsewhere.
func TestShutdownKeepsAll(t *testing.T) {
	t.Parallel()
	h := newHotel(t, bustest.Start(t))
	w := h.worker(session.Options{SaveAfter: time.Hour})
	var all []event.Visitor
	for i := range 8 {
		v := event.Visitor{UserID: fmt.Sprint("u-", i)}
		all = append(all, v)
		w.settle(v, 1)
	}
	shut(t, w.Manager)
	next := h.worker(session.Options{})
	for _, v := range all {
		next.visit(v, 2, func(_ *session.Lease, env actions.Env) {
			if got := next.seen(env); !env.State.Open || got.Own != "2" || got.Frame.Session != "2" {
				t.Errorf("%s: %+v, stored %+v", v.UserID, env.State, got)
			}
		})
	}
}
