//go:build browser

package snippet_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"

	"github.com/parley-chat/parley/internal/standin"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
	"github.com/parley-chat/parley/internal/visitor/snippet"
)

const (
	siteHost    = "site.example.test"
	site        = "https://" + siteHost
	gatewayHost = "chat.example.test"
)

// world is a vendor, a gateway, a site, and a real browser in which all have
// their real names.
type world struct {
	t       testing.TB
	gateway *gateway
	vendor  *vendor.Standin
	browser context.Context

	mu    sync.Mutex // guards the field below
	pages map[string]http.HandlerFunc
}

// the tag of the tests' site.
func tag(t testing.TB, change func(*snippet.Site)) snippet.Site {
	t.Helper()
	s := snippet.Site{Key: "pk_site", Gateway: "https://" + gatewayHost, Provider: "botstar", Consent: snippet.ConsentGiven, Nonce: "n0nce"}
	if change != nil {
		change(&s)
	}
	return s
}

// The headless shell has no back/forward cache; the whole browser has.
const (
	shell = "/usr/lib/chromium/chromium-headless-shell"
	whole = "/usr/lib/chromium/chromium"
)

func mustTag(t testing.TB, s snippet.Site) string {
	t.Helper()
	made, err := snippet.Tag(s)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func setup(t testing.TB, o vendor.Options) *world {
	t.Helper()
	return start(t, o, shell)
}

// start starts a world with the browser.
func start(t testing.TB, o vendor.Options, binary string) *world {
	t.Helper()
	w := &world{t: t, gateway: newGateway(t), vendor: vendor.New(o), pages: map[string]http.HandlerFunc{}}
	hosts := maps.Clone(w.vendor.Hosts())
	maps.Copy(hosts, shop.New().Hosts())
	hosts[shop.Host] = variants(t, hosts[shop.Host])
	hosts[gatewayHost] = w.gateway.handler()
	hosts[siteHost] = http.HandlerFunc(w.serve)
	server, err := standin.Start(slog.New(slog.DiscardHandler), hosts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.gateway.cut(0)
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	var rules []string
	for host, addr := range server.Resolve() {
		rules = append(rules, "MAP "+host+" "+addr)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(binary),
		chromedp.Flag("headless", headless(binary)),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.WindowSize(1280, 800),
		chromedp.Flag("disable-gpu", true),
		chromedp.Flag("disable-features", "Translate"),
		chromedp.Flag("enable-features", "BackForwardCache"),
		chromedp.Flag("host-resolver-rules", strings.Join(rules, ", ")),
		chromedp.Flag("ignore-certificate-errors-spki-list", server.SPKI()),
		chromedp.Flag("ip-address-space-overrides", server.Addr()+"=public"),
	)
	allocator, stop := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	t.Cleanup(stop)
	browser, end := chromedp.NewContext(allocator)
	t.Cleanup(end)
	t.Cleanup(func() {
		if err := chromedp.Cancel(browser); err != nil {
			t.Errorf("closing the browser: %v", err)
		}
	})
	if err := chromedp.Do(browser); err != nil {
		t.Fatal(err)
	}
	w.browser = browser
	return w
}

func headless(binary string) any {
	if binary == whole {
		return "new"
	}
	return true
}

// serve answers with a page of the site.
func (w *world) serve(out http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	handler := w.pages[r.URL.Path]
	w.mu.Unlock()
	if handler == nil {
		http.NotFound(out, r)
		return
	}
	handler(out, r)
}

// page puts a page with the tag on the site, under exactly the policy that the
// snippet publishes, and default-src 'none'. head comes before the tag. The
// page notes what the policy refuses, what is thrown, and how long tasks take.
func (w *world) page(path string, s snippet.Site, head string) {
	w.t.Helper()
	policy, err := snippet.CSP(s)
	if err != nil {
		w.t.Fatal(err)
	}
	policy["default-src"] = []string{"'none'"}
	policy["img-src"] = append(policy["img-src"], "'self'") // for the icon
	script := mustTag(w.t, s)
	watch := `<script nonce="n0nce">
window.noted = { refused: [], thrown: [], long: [] };
addEventListener("securitypolicyviolation", (e) => noted.refused.push(e.violatedDirective + " " + e.blockedURI));
addEventListener("error", (e) => noted.thrown.push(String(e.message)));
addEventListener("unhandledrejection", (e) => noted.thrown.push("rejection: " + String(e.reason)));
new PerformanceObserver((l) => l.getEntries().forEach((e) => noted.long.push(e.duration))).observe({ type: "longtask", buffered: true });
</script>`
	body := `<!doctype html><html><head><meta charset="utf-8"><title>site</title><link rel="icon" href="/icon.png">` + watch + `<script nonce="n0nce">` + snippet.Stub() + `</script>` + head + script +
		`</head><body><h1>site</h1><a id="next" href="/next">next</a><div style="height:3000px"></div></body></html>`
	w.put(path, func(out http.ResponseWriter, _ *http.Request) {
		out.Header().Set("Content-Type", "text/html; charset=utf-8")
		out.Header().Set("Content-Security-Policy", policy.String())
		_, _ = io.WriteString(out, body)
	})
}

func (w *world) put(path string, handler http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pages[path] = handler
}

// A tab is one tab of a visitor.
type tab struct {
	t   testing.TB
	ctx context.Context
	end context.CancelFunc
}

// visitor opens the path in a browser context of its own.
func (w *world) visitor(path string) *tab {
	w.t.Helper()
	return w.open(path, chromedp.WithNewBrowserContext())
}

// another opens the path in a further tab of the same visitor, in front.
func (w *world) another(of *tab, path string) *tab {
	w.t.Helper()
	id := chromedp.FromContext(of.ctx).BrowserContextID
	made, err := chromedp.CallBrowser(w.browser, target.CreateTarget, target.CreateTargetParams{URL: "about:blank", BrowserContextID: id})
	if err != nil {
		w.t.Fatal(err)
	}
	next := w.open(path, chromedp.WithTargetID(made.TargetID))
	return next
}

func (w *world) open(path string, option chromedp.ContextOption) *tab {
	w.t.Helper()
	ctx, end := chromedp.NewContext(w.browser, option)
	w.t.Cleanup(end)
	if err := chromedp.Do(ctx); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 4*time.Minute, errors.New("the test's page took more than 4 minutes"))
	w.t.Cleanup(cancel)
	made := &tab{t: w.t, ctx: ctx, end: end}
	made.front()
	if path == "" {
		return made
	}
	made.visit(path)
	return made
}

// front makes the visitor look at the tab.
func (tab *tab) front() {
	tab.t.Helper()
	if _, err := chromedp.Call(tab.ctx, page.BringToFront, cdp.Empty{}); err != nil {
		tab.t.Fatal(err)
	}
}

func (tab *tab) visit(path string) {
	tab.t.Helper()
	if err := chromedp.Do(tab.ctx, chromedp.Navigate(site+path)); err != nil {
		tab.t.Fatal(err)
	}
}

// eval returns what the expression gives; a promise is awaited. The browser
// evaluates it: the page's policy does not bind it.
func eval[T any](tab *tab, expression string) T {
	tab.t.Helper()
	value, err := chromedp.Run(tab.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise, gesture))
	if err != nil {
		tab.t.Fatalf("evaluating %s: %v", expression, err)
	}
	return value
}

func gesture(p *runtime.EvaluateParams) { p.UserGesture = new(true) }

// run evaluates the expression for its effect.
func (tab *tab) run(expression string) {
	tab.t.Helper()
	eval[chromedp.Void](tab, expression)
}

// noted is what the page's own watch has seen.
type noted struct {
	Refused []string  `json:"refused"`
	Thrown  []string  `json:"thrown"`
	Long    []float64 `json:"long"`
}

// clean fails when the policy refused something, or something was thrown into
// the page.
func (tab *tab) clean() {
	tab.t.Helper()
	seen := eval[noted](tab, "noted")
	if len(seen.Refused) > 0 || len(seen.Thrown) > 0 {
		tab.t.Errorf("the page's policy refused %q, and the page saw the errors %q", seen.Refused, seen.Thrown)
	}
}

// settings are those of the driver's boot.
func settings() map[string]any {
	return map[string]any{"settings": map[string]any{"appId": shop.AppID, "mode": "livechat"}, "usual_mode": "livechat", "wait_ms": 15000}
}

func waiting() map[string]any { return map[string]any{"wait_ms": 10000} }

// ledger waits until the vendor has counted n of the kind, and returns how many
// it has then.
func (w *world) ledger(kind vendor.Kind, n int) int {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	snapshot, err := w.vendor.Ledger().Wait(ctx, func(s vendor.Snapshot) bool { return s.Counts[kind] >= n })
	if err != nil {
		w.t.Fatalf("waiting for %d times %s: %v", n, kind, err)
	}
	return snapshot.Counts[kind]
}
