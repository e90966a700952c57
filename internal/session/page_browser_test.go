//go:build browser

package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
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
	"github.com/parley-chat/parley/internal/standin"
)

// probeDriver says what it is told to say, and leaves the page when told.
const probeDriver = `(function (rt) {
  return {
    say: (a) => { for (let i = 0; i < a.times; i++) rt.emit(a.name, a.cause || "api", a.key ?? rt.key(), { n: i }) },
    go: (a) => { location.assign(a.url); return new Promise(() => {}) },
    loop: () => { for (;;); },
  };
})`

// digest makes a fact of every signal of a fact's name, and keeps the state as
// a vendor's would.
func digest(s *actions.State, signal actions.Signal) (actions.Notice, bool) {
	switch signal.Name {
	case "page.started":
		s.Forget()
	case "widget.ready":
		s.Booted = true
	case event.FactWidgetOpened:
		s.Open = true
		s.Opened++
		var data struct{ N int }
		_ = json.Unmarshal(signal.Data, &data)
		return actions.Notice{Name: event.FactWidgetOpened, Data: func(o event.Occurrence) any {
			return event.WidgetOpened{Occurrence: o, Subscriptions: []string{strconv.Itoa(data.N)}}
		}}, true
	}
	return actions.Notice{}, false
}

// A house is a manager with real pages.
type house struct {
	*session.Manager
	t    *testing.T
	bus  *bus.Bus
	pool *browser.Pool
}

// A town is the sites that houses reach.
type town struct {
	t      *testing.T
	server *standin.Server
}

// newTown serves pages that say nothing by themselves, and those of the hosts.
func newTown(t *testing.T, hosts map[string]http.Handler) *town {
	t.Helper()
	all := map[string]http.Handler{"shop.example.test": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><title>"+r.URL.Path+"</title>")
	})}
	maps.Copy(all, hosts)
	server, err := standin.Start(bustest.Log(t), all)
	must(t, err)
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return &town{t, server}
}

// house returns a manager with browsers of its own, as another worker has them.
func (w *town) house(b *bus.Bus, o session.Options, p browser.Options) *house {
	t := w.t
	t.Helper()
	p.Dir, p.Resolve, p.TrustSPKI = t.TempDir(), w.server.Resolve(), []string{w.server.SPKI()}
	must(t, os.Chmod(filepath.Dir(p.Dir), 0o711))
	pool, err := browser.New(bustest.Log(t), p)
	must(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if err := pool.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	must(t, pool.Start(t.Context()))
	o.Pool = session.Chromium(pool)
	if o.Catalog == nil {
		o.Catalog, err = actions.NewCatalog(actions.Provider{
			Name: "probe", Driver: actions.Driver{Main: probeDriver}, Digest: digest,
			Light: func(actions.Site) string { return "<!doctype html><title>light</title>" },
		})
		must(t, err)
	}
	return &house{setup(t, b, o), t, b, pool}
}

func newHouse(t *testing.T, b *bus.Bus, o session.Options) *house {
	t.Helper()
	return newTown(t, nil).house(b, o, browser.Options{})
}

// with gives the visitor's session, with its page, to the function.
func (h *house) with(v event.Visitor, do func(l *session.Lease, env actions.Env)) {
	h.t.Helper()
	l := acquire(h.t, h.Manager, v)
	defer l.Release()
	must(h.t, l.Open(h.t.Context()))
	do(l, l.Env(session.Command{Key: "k" + v.UserID, ID: "command-" + v.UserID}, bustest.Log(h.t)))
}

type saying struct {
	Name  string  `json:"name"`
	Cause string  `json:"cause,omitempty"`
	Key   *string `json:"key,omitempty"` // nil is the call's own
	Times int     `json:"times"`
}

func (h *house) say(env actions.Env, s saying) {
	h.t.Helper()
	must(h.t, env.Do(h.t.Context(), "say", s, nil))
}

// facts waits for the number of the visitor's facts and decodes them.
func facts[T any](h *house, v event.Visitor, name string, want int) []T {
	h.t.Helper()
	return factsOn[T](h, "shop", v, name, want)
}

func factsOn[T any](h *house, site string, v event.Visitor, name string, want int) []T {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	filter := event.FactSubject("probe", name, site, event.SessionKey(site, v))
	var all []T
	for d, err := range h.bus.Tail(ctx, bus.TailOptions{Subjects: []string{filter}, All: true}) {
		if err != nil {
			h.t.Fatalf("waiting for %d facts %s, after %d: %v", want, name, len(all), err)
		}
		e, err := d.Envelope()
		must(h.t, err)
		var fact T
		must(h.t, json.Unmarshal(e.Data, &fact))
		if all = append(all, fact); len(all) == want {
			return all
		}
	}
	h.t.Fatalf("%d facts %s came, want %d", len(all), name, want)
	return nil
}

func whys(all []event.SessionEnded) []string {
	var texts []string
	for _, ended := range all {
		texts = append(texts, ended.Why)
	}
	return texts
}

func TestSignalsBecomeFacts(t *testing.T) {
	t.Parallel()
	h := newHouse(t, bustest.Start(t), session.Options{})
	v := event.Visitor{UserID: "u-1"}
	h.with(v, func(l *session.Lease, env actions.Env) {
		if l.Known() {
			t.Error("a new page is not known")
		}
		h.say(env, saying{Name: "widget.ready", Times: 1})
		env = l.Env(session.Command{Key: "another", ID: "command-u-1"}, bustest.Log(t)) // One key is one effect.
		h.say(env, saying{Name: event.FactWidgetOpened, Times: 50})
		l.Trust()
	})
	got := facts[event.WidgetOpened](h, v, event.FactWidgetOpened, 50)
	for i, fact := range got {
		if fact.Subscriptions[0] != strconv.Itoa(i) {
			t.Fatalf("fact %d is number %s", i, fact.Subscriptions[0])
		}
	}
	want := event.Occurrence{
		Site: "shop", Session: event.SessionKey("shop", v), Provider: "probe", At: got[0].At,
		Cause: event.CauseAPI, CommandID: "command-u-1", Page: "https://shop.example.test/",
	}
	if diff := cmp.Diff(want, got[0].Occurrence); diff != "" {
		t.Error(diff)
	}
	h.with(v, func(l *session.Lease, env actions.Env) {
		if !l.Known() || !env.State.Open || env.State.Opened != 50 {
			t.Errorf("known %t, state %+v", l.Known(), env.State)
		}
		h.say(env, saying{Name: "widget.mystery", Cause: "visitor", Times: 1})
		l.CatchUp()
	})
	if opened := h.Stats().Opened; opened != 1 {
		t.Errorf("%d pages were opened", opened)
	}
}

func TestVisitorsFactsNameNoCommand(t *testing.T) {
	t.Parallel()
	h := newHouse(t, bustest.Start(t), session.Options{})
	for name, s := range map[string]saying{
		"visitor":     {Cause: "visitor"},
		"unknown key": {Cause: "api", Key: new("abc/open")}, // The page's own scripts can open the widget too.
		"no key":      {Cause: "api", Key: new("")},
	} {
		v := event.Visitor{UserID: name}
		h.with(v, func(_ *session.Lease, env actions.Env) {
			s.Name, s.Times = event.FactWidgetOpened, 1
			h.say(env, s)
		})
		fact := facts[event.WidgetOpened](h, v, event.FactWidgetOpened, 1)[0]
		if fact.Cause != event.CauseVisitor || fact.CommandID != "" {
			t.Errorf("%s: %+v", name, fact.Occurrence)
		}
	}
}

func TestNavigationIsNoticed(t *testing.T) {
	t.Parallel()
	h := newHouse(t, bustest.Start(t), session.Options{})
	v := event.Visitor{UserID: "u-1"}
	h.with(v, func(l *session.Lease, env actions.Env) {
		h.say(env, saying{Name: "widget.ready", Times: 1})
		l.Trust()
		err := env.Page.Call(t.Context(), "go", map[string]any{"arg": map[string]any{"url": "/elsewhere"}}, nil)
		if !errors.Is(err, fault.New(fault.PageNavigated, "")) {
			t.Errorf("a call under which the page goes away: %v", err)
		}
		bustest.Until(t, "the navigation is noticed", func() bool { l.CatchUp(); return !l.Known() })
		h.say(env, saying{Name: "widget.ready", Times: 1}) // The new document answers.
		bustest.Until(t, "the new document is known", func() bool { l.CatchUp(); return l.Known() })
		must(t, env.Browser.Reload(t.Context()))
		if l.Known() {
			t.Error("the state still knows the document before the reload")
		}
	})
}

func TestEviction(t *testing.T) {
	t.Parallel()
	h := newHouse(t, bustest.Start(t), session.Options{Held: 2})
	a, b, c := event.Visitor{UserID: "a"}, event.Visitor{UserID: "b"}, event.Visitor{UserID: "c"}
	for _, v := range []event.Visitor{a, b, a} {
		h.with(v, func(_ *session.Lease, env actions.Env) { env.State.Mode = "popup-" + v.UserID })
	}
	h.with(c, func(*session.Lease, actions.Env) {}) // b was used the longest time ago.
	if diff := cmp.Diff([]string{"evicted"}, whys(facts[event.SessionEnded](h, b, event.FactSessionEnded, 1))); diff != "" {
		t.Error(diff)
	}
	h.with(b, func(_ *session.Lease, env actions.Env) {
		if env.State.Mode != "popup-b" || env.State.Booted {
			t.Errorf("the state after an eviction: %+v", env.State)
		}
		h.with(a, func(*session.Lease, actions.Env) { // Both pages have a command.
			l := acquire(t, h.Manager, c)
			defer l.Release()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if err := l.Open(ctx); !errors.Is(err, fault.New(fault.BrowserBusy, "")) {
				t.Errorf("a third page: %v", err)
			}
		})
	})
	if stats := h.Stats(); stats.Pages != 2 || stats.Opened != 4 || stats.Evicted != 2 {
		t.Errorf("%+v", stats)
	}
}

func TestIdlePagesAreClosed(t *testing.T) {
	t.Parallel()
	h := newHouse(t, bustest.Start(t), session.Options{Idle: 100 * time.Millisecond})
	v := event.Visitor{UserID: "u-1"}
	h.with(v, func(_ *session.Lease, env actions.Env) { h.say(env, saying{Name: event.FactWidgetOpened, Times: 3}) })
	if diff := cmp.Diff([]string{"idle"}, whys(facts[event.SessionEnded](h, v, event.FactSessionEnded, 1))); diff != "" {
		t.Error(diff)
	}
	facts[event.WidgetOpened](h, v, event.FactWidgetOpened, 3)
	h.with(v, func(_ *session.Lease, env actions.Env) { h.say(env, saying{Name: "widget.ready", Times: 1}) })
}

// TestCloseLosesNothing closes the manager right after a page has spoken.
func TestCloseLosesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, bustest.Start(t), session.Options{})
	var all []event.Visitor
	for i := range 5 {
		v := event.Visitor{UserID: fmt.Sprint("u-", i)}
		all = append(all, v)
		h.with(v, func(_ *session.Lease, env actions.Env) { h.say(env, saying{Name: event.FactWidgetOpened, Times: 20}) })
	}
	shut(t, h.Manager)
	for _, v := range all {
		facts[event.WidgetOpened](h, v, event.FactWidgetOpened, 20)
		if diff := cmp.Diff([]string{"shutdown"}, whys(facts[event.SessionEnded](h, v, event.FactSessionEnded, 1))); diff != "" {
			t.Error(diff)
		}
	}
	if _, err := h.Acquire(t.Context(), probeSite, all[0]); !errors.Is(err, fault.New(fault.ShuttingDown, "")) {
		t.Errorf("acquiring after the close: %v", err)
	}
}

// TestCloseDoesNotWaitForEver closes the manager while a command holds a page.
func TestCloseDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	h := newHouse(t, bustest.Start(t), session.Options{})
	h.with(event.Visitor{UserID: "u-1"}, func(l *session.Lease, env actions.Env) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := h.Close(ctx); !errors.Is(err, fault.New(fault.ShuttingDown, "")) {
			t.Errorf("closing while a command runs: %v", err)
		}
		if err := env.Page.Call(t.Context(), "say", map[string]any{}, nil); err == nil {
			t.Error("the page is still open")
		}
		if l.Paged() {
			t.Error("the session still has a page")
		}
	})
}

// TestFactsWaitForTheBus has a page speak while the server is away.
func TestFactsWaitForTheBus(t *testing.T) {
	t.Parallel()
	server := bustest.Serve(t)
	h := newHouse(t, server.Bus(), session.Options{})
	v := event.Visitor{UserID: "u-1"}
	server.Stop()
	h.with(v, func(_ *session.Lease, env actions.Env) { h.say(env, saying{Name: event.FactWidgetOpened, Times: 100}) })
	server.Start()
	for i, fact := range facts[event.WidgetOpened](h, v, event.FactWidgetOpened, 100) {
		if fact.Subscriptions[0] != strconv.Itoa(i) {
			t.Fatalf("fact %d is number %s", i, fact.Subscriptions[0])
		}
	}
}

// TestOverflow has a page say more than waits for the bus, whose way is blocked:
// the page is closed with a reason, and what was taken is published.
func TestOverflow(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	blocked := make(chan struct{})
	h := newHouse(t, b, session.Options{Queue: 10, Publish: func(ctx context.Context, subject string, e event.Envelope) error {
		select {
		case <-blocked:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		_, err := b.Publish(ctx, subject, e)
		return err
	}})
	v := event.Visitor{UserID: "u-1"}
	h.with(v, func(_ *session.Lease, env actions.Env) { h.say(env, saying{Name: event.FactWidgetOpened, Times: 500}) })
	bustest.Until(t, "the page is closed", func() bool { return h.Stats().Pages == 0 })
	close(blocked)
	if diff := cmp.Diff([]string{"overflow"}, whys(facts[event.SessionEnded](h, v, event.FactSessionEnded, 1))); diff != "" {
		t.Error(diff)
	}
	facts[event.WidgetOpened](h, v, event.FactWidgetOpened, 10)
	h.with(v, func(_ *session.Lease, env actions.Env) { h.say(env, saying{Name: "widget.ready", Times: 1}) })
}

func TestHungPageEnds(t *testing.T) {
	t.Parallel()
	h := newHouse(t, bustest.Start(t), session.Options{})
	v := event.Visitor{UserID: "u-1"}
	h.with(v, func(l *session.Lease, env actions.Env) {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		err := env.Page.Call(ctx, "loop", map[string]any{}, nil)
		if !errors.Is(err, fault.New(fault.PageHung, "")) {
			t.Errorf("a call that loops: %v", err)
		}
		must(t, l.Drop(t.Context(), "retry"))
		must(t, l.Open(t.Context()))
		h.say(l.Env(session.Command{Key: "next"}, bustest.Log(t)), saying{Name: "widget.ready", Times: 1})
	})
	facts[event.SessionEnded](h, v, event.FactSessionEnded, 1)
}

func TestWebview(t *testing.T) {
	t.Parallel()
	h := newHouse(t, bustest.Start(t), session.Options{})
	v := event.Visitor{UserID: "u-1"}
	driver := actions.Driver{Main: probeDriver}
	h.with(v, func(l *session.Lease, env actions.Env) {
		h.say(env, saying{Name: "widget.ready", Times: 1})
		l.Trust()
		first, err := env.Browser.OpenPage(t.Context(), "https://shop.example.test/webview?visitor=7", driver)
		must(t, err)
		second, err := env.Browser.OpenPage(t.Context(), "https://shop.example.test/other", driver)
		must(t, err)
		if err := first.Call(t.Context(), "say", map[string]any{}, nil); err == nil {
			t.Error("the first webview is still open")
		}
		h.say(env.On(second), saying{Name: event.FactWidgetOpened, Times: 1})
		l.CatchUp()
		if !l.Known() {
			t.Error("the webview's document counts as the session's own")
		}
		if now := l.Env(session.Command{}, bustest.Log(t)); now.Webview == nil {
			t.Error("the webview is not in the environment")
		}
		must(t, env.Browser.ClosePage(t.Context()))
		if now := l.Env(session.Command{}, bustest.Log(t)); now.Webview != nil {
			t.Error("a closed webview is in the environment")
		}
	})
	fact := facts[event.WidgetOpened](h, v, event.FactWidgetOpened, 1)[0]
	if fact.Page != "https://shop.example.test/other" {
		t.Errorf("the fact's page is %s", fact.Page)
	}
}
