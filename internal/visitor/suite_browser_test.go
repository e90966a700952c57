//go:build browser

package visitor_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/actionstest"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
	"github.com/parley-chat/parley/internal/visitor"
	"github.com/parley-chat/parley/internal/visitor/snippet"
)

const chatHost = "chat.example.test"

// A world is a vendor, a shop whose pages carry the snippet, a gateway, and a
// real browser of visitors.
type world struct {
	*rig
	vendor *vendor.Standin
	shop   http.Handler // its pages without the tag
	head   string       // what comes before the tag
	pool   *browser.Pool
	hosts  []string
}

// files are the snippet's.
func files(o *visitor.Options) {
	o.File = func(name string) ([]byte, string, bool) {
		body, ok := snippet.Content(name)
		return body, "text/javascript; charset=utf-8", ok
	}
	for i := range o.Sites {
		o.Sites[i].Origins = append(o.Sites[i].Origins, shop.Origin)
	}
}

func newWorld(t testing.TB, change ...func(*visitor.Options)) *world {
	t.Helper()
	w := &world{rig: setup(t, append(change, files)...)}
	w.vendor = vendor.New(vendor.Options{})
	hosts := maps.Clone(w.vendor.Hosts())
	maps.Copy(hosts, shop.New().Hosts())
	w.shop = hosts[shop.Host]
	hosts[chatHost] = w.gateway
	hosts[shop.Host] = http.HandlerFunc(w.page)
	log := slog.New(slog.DiscardHandler)
	server, err := standin.Start(log, hosts)
	must(t, err)
	t.Cleanup(func() {
		w.stop() // Its connections are the server's.
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	w.hosts = slices.Sorted(maps.Keys(hosts))
	w.pool, err = browser.New(log, browser.Options{Dir: "/tmp", Resolve: server.Resolve(), TrustSPKI: []string{server.SPKI()}, Spare: 1, Tabs: 40})
	must(t, err)
	ctx := context.WithoutCancel(t.Context())
	t.Cleanup(func() {
		if err := w.pool.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	must(t, w.pool.Start(t.Context()))
	return w
}

// page is a page of the shop that carries the tag, for the visitor whom the query
// names: the shop's backend says so. Its webview pages carry it too.
func (w *world) page(out http.ResponseWriter, r *http.Request) {
	tag, err := snippet.Tag(snippet.Site{Key: shopKey, Gateway: "https://" + chatHost, Provider: "botstar", Consent: snippet.ConsentGiven})
	if err != nil {
		http.Error(out, err.Error(), http.StatusInternalServerError)
		return
	}
	identity, err := visitor.SignIdentity([]byte(backend), "shop", event.Visitor{UserID: r.URL.Query().Get("who")}, time.Now().Add(time.Hour))
	who, encoded := json.Marshal(identity)
	if err != nil || encoded != nil {
		http.Error(out, "no identity", http.StatusInternalServerError)
		return
	}
	stub, rest, _ := strings.Cut(tag, "</script>")
	tag = w.head + stub + ";parley.identify(" + string(who) + ")</script>" + rest
	body := "<!doctype html><html><head>" + tag + `</head><body><h1>shop</h1><div class="chatbot-container"></div></body></html>`
	if r.URL.Path != "/" {
		body = strings.Replace(w.original(r), "</head>", tag+"</head>", 1)
	}
	out.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(out, body)
}

// original is the shop's own page.
func (w *world) original(r *http.Request) string {
	plain, seen := r.Clone(r.Context()), httptest.NewRecorder()
	plain.Header.Del("Accept-Encoding")
	w.shop.ServeHTTP(seen, plain)
	return seen.Body.String()
}

// A guest is a visitor with the page open, and the tab as actions see it.
type guest struct {
	*visitor.Tab

	t    testing.TB
	own  *browser.Tab // what we see of the visitor's own browser
	name string

	mu       sync.Mutex // guards the fields below
	signals  []actions.Signal
	digested int
	state    *actions.State
}

// visit opens the shop in a browser context of its own, and waits until it is
// connected.
func (w *world) visit(t testing.TB, who string) *guest {
	t.Helper()
	return w.visitAt(t, who, "/")
}

// visitAt is visit with another page of the shop.
func (w *world) visitAt(t testing.TB, who, path string) *guest {
	t.Helper()
	g := &guest{t: t, name: event.SessionKey("shop", event.Visitor{UserID: who}), state: &actions.State{}}
	nonce, driver := rand.Text(), actionstest.Watched(actions.Driver{Main: "(function () { return {}; })"})
	var err error
	g.own, err = w.pool.Open(t.Context(), browser.Request{
		URL: shop.Origin + path + "?who=" + strings.ReplaceAll(who, " ", "%20"), Hosts: w.hosts, Label: who,
		Main: actions.Script(actions.WorldMain, nonce, driver.Main), Look: actions.Script(actions.WorldLook, nonce, ""),
	})
	must(t, err)
	ctx := context.WithoutCancel(t.Context())
	t.Cleanup(func() { _ = g.own.Close(ctx) })
	g.Tab = w.await(t, g.name)
	listening, stop := context.WithCancel(ctx)
	var listeners sync.WaitGroup
	listeners.Go(func() { g.listen(listening) })
	t.Cleanup(func() {
		stop()
		listeners.Wait()
		must(t, g.Close(ctx))
	})
	return g
}

// await waits until the visitor is there.
func (w *world) await(t testing.TB, name string) *visitor.Tab {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		tab, err := visitor.Open(ctx, w.bus, "shop", name)
		if err == nil {
			return tab
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the visitor did not come: %v; %+v", err, w.gateway.Stats())
		}
	}
}

func (g *guest) listen(ctx context.Context) {
	for raw, err := range g.Events(ctx) {
		if err != nil {
			return
		}
		var signal actions.Signal
		if err := json.Unmarshal(raw, &signal); err != nil {
			g.t.Errorf("the signal %s: %v", raw, err)
			continue
		}
		g.mu.Lock()
		g.signals = append(g.signals, signal)
		g.mu.Unlock()
	}
}

// Call implements actions.Page. The canary is looked for in the visitor's own
// page, and the state takes note of what the page has said.
func (g *guest) Call(ctx context.Context, name string, arg, out any) error {
	if name == "canary" {
		return g.own.Call(ctx, name, arg, out)
	}
	err := g.Tab.Call(ctx, name, arg, out)
	runtime.Gosched() // Whoever listens goes first.
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, signal := range g.signals[g.digested:] {
		botstar.Provider().Digest(g.state, signal)
	}
	g.digested = len(g.signals)
	return err //nolint:wrapcheck // It is the tab's own.
}

func shopSite() actions.Site {
	return actions.Site{
		Name: "shop", Provider: "botstar", AppID: shop.AppID, BotID: "1", BotName: "Shop Bot", Mode: "livechat",
		URL: shop.Origin + "/", Domains: []string{shop.Host}, Webviews: []string{shop.Origin},
	}
}

func (g *guest) env(v event.Visitor) actions.Env {
	ahead := make(chan time.Duration, 1)
	ahead <- 0
	return actions.Env{
		Page: g, Site: shopSite(), Sites: func() []actions.Site { return []actions.Site{shopSite()} }, Visitor: v,
		State: g.state, Profile: &actions.Profile{}, Fence: 1, Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time { // A clock on which a budget never ends.
			d := <-ahead
			ahead <- d + 2*time.Minute
			return time.Now().Add(d)
		},
	}
}

// calculator is a webview page of the shop.
const calculator = "/webview/calculator.html"

// TestSuite runs the suite of all providers in visitors' own tabs. The visitors
// look at a webview page, which has room for the widget too.
func TestSuite(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	calm := vendor.Faults{Throttle: vendor.Throttle{Limit: 1 << 20}}
	w.vendor.Set(calm)
	page := map[string]any{"parameter_name": "plan", "url": shop.Origin + calculator, "inputs": map[string]any{"plan": "Team", "seats": 3}}
	boot := actionstest.Step{Action: "botstar.widget.boot", Params: map[string]any{}}
	actionstest.Run(t, actionstest.Bench{
		Provider: botstar.Provider(),
		Open: func(t *testing.T, v event.Visitor) actions.Env {
			t.Helper()
			return w.visitAt(t, v.UserID, calculator).env(v)
		},
		Further: func(actions.Env) []actions.Page { return nil },
		Slow: func(t *testing.T, by time.Duration) {
			t.Helper()
			t.Cleanup(func() { w.vendor.Set(calm) })
			w.vendor.Set(vendor.Faults{Throttle: calm.Throttle, Query: vendor.Fault{Delay: by}, Frame: vendor.Fault{Delay: by}})
		},
		Steps: []actionstest.Step{
			boot,
			{Action: "botstar.widget.on_open"},
			{Action: "botstar.widget.on_close"},
			{Action: "botstar.widget.open"},
			{Action: "botstar.widget.close"},
			{Action: "botstar.widget.update", Params: map[string]any{"plan": "pro"}},
			{Action: "botstar.widget.set_mode", Params: map[string]any{"mode": "popup"}},
			{Action: "botstar.session.get_state"},
			{Action: "botstar.user.clear_profile"},
			{Action: "botstar.webview.get_parameter", Params: page},
			{Action: "botstar.webview.send_response", Params: map[string]any{"response": "yes", "url": shop.Origin + calculator}},
			{Action: "botstar.app.list_ids"},
		},
		Slots: slots(w, boot),
	})
}

// slots are the parameters that take free text and reach the vendor.
func slots(w *world, boot actionstest.Step) []actionstest.Slot {
	before := []actionstest.Step{boot}
	invalid := []fault.Reason{fault.SchemaViolation}
	return append([]actionstest.Slot{
		{
			Action: "botstar.widget.update", Parameter: "attributes", Before: before,
			Params: func(texts []string) any { return map[string]any{"first_name": texts[0], "a custom one": texts[0]} },
			Arrived: w.arrived(vendor.Updated, func(e vendor.Entry) []any {
				return []any{e.Attributes["first_name"], e.Attributes["a custom one"]}
			}),
		},
		{
			Action: "botstar.widget.boot", Parameter: "user", Batch: 16,
			Params:  func(texts []string) any { return map[string]any{"user": numbered(texts)} },
			Arrived: w.arrived(vendor.Booted, func(e vendor.Entry) []any { return slices.Collect(maps.Values(e.Attributes)) }),
		},
		{
			Action: "botstar.widget.boot", Parameter: "variables", Batch: 16,
			Params:  func(texts []string) any { return map[string]any{"variables": numbered(texts)} },
			Arrived: w.arrived(vendor.Booted, func(e vendor.Entry) []any { return slices.Collect(maps.Values(e.Variables)) }),
		},
		{
			Action: "botstar.widget.boot", Parameter: "app_id", Refused: invalid,
			Params: func(texts []string) any { return map[string]any{"app_id": texts[0]} },
		},
		{
			Action: "botstar.widget.set_mode", Parameter: "selector", Before: before,
			Refused: []fault.Reason{fault.SchemaViolation, fault.NoInlineTarget},
			Params:  func(texts []string) any { return map[string]any{"mode": "inline", "selector": "#nowhere, " + texts[0]} },
		},
	}, webviewSlots(w)...)
}

// webviewSlots are those of a webview page.
func webviewSlots(w *world) []actionstest.Slot {
	const get, send = "botstar.webview.get_parameter", "botstar.webview.send_response"
	refused := []fault.Reason{fault.NotDeclared, fault.SchemaViolation}
	return []actionstest.Slot{
		{
			Action: get, Parameter: "inputs", Batch: 16,
			Params: func(texts []string) any {
				inputs := numbered(texts)
				inputs["plan"] = texts[0]
				return map[string]any{"parameter_name": "plan", "url": shop.Origin + calculator, "inputs": inputs}
			},
			Arrived: func(t *testing.T, _ actions.Env, texts []string, output json.RawMessage) {
				t.Helper()
				var out botstar.GetParameterOut
				if err := json.Unmarshal(output, &out); err != nil || out.Value == nil || *out.Value != texts[0] {
					t.Errorf("%q came back as %s", texts[0], output)
				}
			},
		},
		{
			Action: get, Parameter: "parameter_name",
			Params: func(texts []string) any { return map[string]any{"parameter_name": texts[0]} },
		},
		{
			Action: send, Parameter: "response and outputs", Batch: 2,
			Params: func(texts []string) any {
				return map[string]any{"response": texts[0], "outputs": map[string]any{"plan": texts[len(texts)-1]}, "url": shop.Origin + calculator}
			},
			Arrived: w.arrived(vendor.Responded, func(e vendor.Entry) []any { return []any{e.Response, e.Outputs["plan"]} }),
		},
		{
			Action: send, Parameter: "outlet_name", Refused: refused,
			Params: func(texts []string) any { return map[string]any{"response": "", "outlet_name": "?" + texts[0]} },
		},
		{
			Action: get, Parameter: "url", Refused: []fault.Reason{fault.WebviewNotAllowed},
			Params: func(texts []string) any { return map[string]any{"parameter_name": "plan", "url": "?" + texts[0]} },
		},
	}
}

// numbered gives each text a name of its own.
func numbered(texts []string) map[string]any {
	values := map[string]any{}
	for i, text := range texts {
		values[fmt.Sprintf("n%02d", i)] = text
	}
	return values
}

// arrived waits until the vendor has been told each of the texts, unchanged, in
// one entry.
func (w *world) arrived(kind vendor.Kind, values func(vendor.Entry) []any) func(*testing.T, actions.Env, []string, json.RawMessage) {
	return func(t *testing.T, env actions.Env, texts []string, _ json.RawMessage) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var last []any
		if _, err := w.vendor.Ledger().Wait(ctx, func(s vendor.Snapshot) bool {
			for _, e := range slices.Backward(s.Entries) {
				if e.Kind != kind || e.Visitor != "" && e.Visitor != env.Visitor.UserID {
					continue
				}
				last = values(e)
				if !slices.ContainsFunc(texts, func(text string) bool { return !slices.Contains(last, any(text)) }) {
					return true
				}
				if e.Visitor != "" {
					return false // Only the latest counts.
				}
			}
			return false
		}); err != nil {
			t.Errorf("%q arrived as %q", texts, last)
		}
	}
}

// pause lets time pass, so that what follows meets another moment of the work.
func pause(t testing.TB, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}
