//go:build browser

package botstar_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"maps"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/actionstest"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/standin"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
)

// A world is a vendor, a shop, and a browser that reaches both under their real
// names.
type world struct {
	t      testing.TB
	vendor *vendor.Standin
	shop   *shop.Shop
	pool   *browser.Pool
	clock  *clock
	server *standin.Server
}

// A clock is the time of the commands and of the vendor, which a test may move.
type clock struct {
	mu    sync.Mutex // guards the field below
	ahead time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func setup(t testing.TB, o vendor.Options) *world {
	t.Helper()
	w := &world{t: t, shop: shop.New(), clock: &clock{}}
	o.Now = w.clock.Now
	w.vendor = vendor.New(o)
	hosts := maps.Clone(w.vendor.Hosts())
	maps.Copy(hosts, w.shop.Hosts())
	log := slog.New(slog.DiscardHandler)
	server, err := standin.Start(log, hosts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	pool, err := browser.New(log, browser.Options{
		Dir: "/tmp", Resolve: server.Resolve(), TrustSPKI: []string{server.SPKI()}, Spare: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.WithoutCancel(t.Context())
	t.Cleanup(func() {
		if err := pool.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	if err := pool.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.pool, w.server = pool, server
	return w
}

// site is the shop as the configuration would have it.
func site() actions.Site {
	return actions.Site{
		Name: "shop", Provider: "botstar", AppID: shop.AppID, BotID: "1", BotName: "Shop Bot", Mode: "livechat",
		URL: shop.Origin + "/", Domains: []string{shop.Host}, Webviews: []string{shop.Origin},
	}
}

// A session is one visitor's page, as the manager of sessions would hold it.
type session struct {
	t       testing.TB
	w       *world
	env     actions.Env
	tab     *browser.Tab
	webview *browser.Tab

	mu       sync.Mutex // guards the fields below
	signals  []actions.Signal
	digested int
	more     chan struct{} // closed and replaced when there are more
}

// open opens a session on a light page of the site.
func (w *world) open(t testing.TB, s actions.Site, v event.Visitor) *session {
	t.Helper()
	return w.visit(t, s, v, botstar.Provider().Light(s))
}

// visit opens a session on the document; "" is the site's real page.
func (w *world) visit(t testing.TB, s actions.Site, v event.Visitor, light string) *session {
	t.Helper()
	made := &session{t: t, w: w, more: make(chan struct{})}
	r := scripted(botstar.Provider().Driver)
	r.URL, r.Light, r.Hosts = s.URL, light, botstar.Provider().Hosts
	tab, err := w.pool.Open(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	made.tab = tab
	ctx := context.WithoutCancel(t.Context())
	var listeners sync.WaitGroup
	listeners.Go(func() { made.listen(ctx, tab) })
	t.Cleanup(func() {
		if err := tab.Close(ctx); err != nil {
			t.Error(err)
		}
		listeners.Wait()
	})
	made.env = actions.Env{
		Page: tab, Browser: made, Site: s, Sites: func() []actions.Site { return []actions.Site{s} }, Visitor: v,
		State: &actions.State{}, Profile: &actions.Profile{}, Fence: 1, Now: w.clock.Now, Log: slog.New(slog.DiscardHandler),
	}
	return made
}

// personal is what a person or the page's own scripts do: functions that only
// tests have.
const personal = `{
  "test.click": () => document.querySelector('[class^="bs-chatbot-fab"]').click(),
  "test.open": () => window.BotStarApi("open"),
  "test.boot": (arg) => window.BotStarApi("boot", arg),
  "test.respond": (arg) => { window.BotStarWebview("sendResponse", arg.response, arg.outputs, arg.outlet); },
  "test.go": (arg) => { setTimeout(() => location.assign(arg.to), 0); },
  "test.has": (arg) => document.querySelectorAll(arg.selector).length,
  "test.ready": ((ready) => () => ready)(new Promise((resolve) => addEventListener("message", (e) => {
    if (e.source !== null && e.data && e.data.source === "bs-standin" && e.data.type === "ready") setTimeout(resolve, 0);
  }))),
  "test.keep": () => {
    Object.assign(localStorage, { cart: "1", "botstar:visitor": "1", "bs-chatbot-open": "1" });
    Object.assign(sessionStorage, { session: "1", "BotStar.tab": "1" });
    document.cookie = "cart=2"; document.cookie = "bs_chatbot_id=3; path=/"; document.cookie = "botstar=4; path=/; domain=example.test";
  },
  "test.kept": () => [...Object.keys(localStorage), document.cookie, ...Object.keys(sessionStorage)],
  "test.stick": () => { Storage.prototype.removeItem = () => {}; },
  "test.text": (arg) => document.querySelector(arg.selector).textContent,
}`

func scripted(d actions.Driver) browser.Request {
	d, nonce := actionstest.Watched(d), rand.Text()
	d.Main = "(function (rt) { return Object.assign({}, (" + d.Main + ")(rt), " + personal + "); })"
	return browser.Request{
		Main: actions.Script(actions.WorldMain, nonce, d.Main), Look: actions.Script(actions.WorldLook, nonce, d.Look),
		Hosts: botstar.Provider().Hosts, Label: "test",
	}
}

func (s *session) listen(ctx context.Context, tab *browser.Tab) {
	for raw, err := range tab.Events(ctx) {
		if err != nil {
			return
		}
		var signal actions.Signal
		if err := json.Unmarshal(raw, &signal); err != nil {
			s.t.Errorf("the signal %s: %v", raw, err)
			continue
		}
		s.mu.Lock()
		s.signals = append(s.signals, signal)
		close(s.more)
		s.more = make(chan struct{})
		s.mu.Unlock()
	}
}

// heard waits until the page has reported n signals of the name, and returns
// all of them.
func (s *session) heard(name string, n int) []actions.Signal {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	for {
		s.mu.Lock()
		var found []actions.Signal
		for _, signal := range s.signals {
			if signal.Name == name {
				found = append(found, signal)
			}
		}
		more, all := s.more, s.signals
		s.mu.Unlock()
		if len(found) >= n {
			return found
		}
		select {
		case <-more:
		case <-ctx.Done():
			s.t.Fatalf("heard %s %d time(s), want %d; all: %+v", name, len(found), n, all)
		}
	}
}

// all returns everything that the page has reported.
func (s *session) all() []actions.Signal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.signals
}

// catchUp lets the state take note of what the page has reported, as the manager
// of sessions does between a run and its verification.
func (s *session) catchUp() {
	runtime.Gosched() // Whoever listens goes first.
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, signal := range s.signals[s.digested:] {
		if s.digested+i == 0 && signal.Name == "page.started" {
			continue // A page begins with a state that knows nothing of it.
		}
		botstar.Provider().Digest(s.env.State, signal)
	}
	s.digested = len(s.signals)
}

// do runs an action as a command of its own.
func (s *session) do(action string, params any) (actionstest.Command, error) {
	s.t.Helper()
	s.catchUp()
	if s.webview != nil {
		s.env.Webview = s.webview
	} else {
		s.env.Webview = nil
	}
	return actionstest.Do(s.t.Context(), s.env, botstar.Provider(), action, rand.Text(), params)
}

// must runs an action and wants this verdict.
func (s *session) must(verdict event.Verdict, action string, params any) actionstest.Command {
	s.t.Helper()
	c, err := s.do(action, params)
	if err != nil {
		s.t.Fatal(err)
	}
	if c.Proof.Verdict != verdict {
		s.t.Errorf("%s is %s, want %s: %+v", action, c.Proof.Verdict, verdict, c.Proof.Evidence)
	}
	return c
}

// act does what a person or the page does.
func (s *session) act(name string, arg, out any) {
	s.t.Helper()
	if err := s.env.Look(s.t.Context(), "test."+name, arg, out); err != nil {
		s.t.Fatal(err)
	}
}

// ClearOrigin implements actions.Browser.
func (s *session) ClearOrigin(ctx context.Context, origin string) error {
	return s.tab.ClearOrigin(ctx, origin)
}

// Reload implements actions.Browser.
func (s *session) Reload(ctx context.Context) error { return s.tab.Reload(ctx) }

// OpenPage implements actions.Browser.
func (s *session) OpenPage(ctx context.Context, address string, d actions.Driver) (actions.Page, error) {
	if err := s.ClosePage(ctx); err != nil {
		return nil, err
	}
	r := scripted(d)
	r.URL = address
	tab, err := s.tab.OpenPage(ctx, r)
	if err != nil {
		return nil, err
	}
	s.webview = tab
	listening := context.WithoutCancel(ctx)
	var listener sync.WaitGroup
	listener.Go(func() { s.listen(listening, tab) })
	s.t.Cleanup(func() {
		_ = tab.Close(listening)
		listener.Wait()
	})
	return tab, nil
}

// ClosePage implements actions.Browser.
func (s *session) ClosePage(ctx context.Context) error {
	if s.webview == nil {
		return nil
	}
	tab := s.webview
	s.webview = nil
	return tab.Close(ctx)
}

// reached waits until the vendor's ledger has n entries of the kind by the
// visitor.
func (w *world) reached(t *testing.T, visitor string, kind vendor.Kind, n int) []vendor.Entry {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	of := func(s vendor.Snapshot) []vendor.Entry {
		var found []vendor.Entry
		for _, e := range s.Kind(kind) {
			if visitor == "" || e.Visitor == visitor {
				found = append(found, e)
			}
		}
		return found
	}
	s, err := w.vendor.Ledger().Wait(ctx, func(s vendor.Snapshot) bool { return len(of(s)) >= n })
	if err != nil {
		t.Fatalf("%v: %+v", err, of(s))
	}
	return of(s)
}
