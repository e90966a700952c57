//go:build browser

package botstar_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/parley-chat/parley/internal/standin"
	"github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
)

// A world is one stand-in, one shop, and one real browser that reaches both
// under their real names.
type world struct {
	t       *testing.T
	vendor  *botstar.Standin
	shop    *shop.Shop
	browser context.Context
}

// setup starts a world. Pages are further pages of the shop by path.
func setup(t *testing.T, o botstar.Options, pages map[string]string) *world {
	t.Helper()
	w := &world{t: t, vendor: botstar.New(o), shop: shop.New()}
	hosts := maps.Clone(w.vendor.Hosts())
	maps.Copy(hosts, w.shop.Hosts())
	rest := hosts[shop.Host]
	hosts[shop.Host] = http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		body, ok := pages[r.URL.Path]
		if !ok {
			rest.ServeHTTP(out, r)
			return
		}
		out.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(out, body)
	})
	server, err := standin.Start(slog.New(slog.DiscardHandler), hosts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	var rules []string
	for host, addr := range server.Resolve() {
		rules = append(rules, "MAP "+host+" "+addr)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("/usr/lib/chromium/chromium-headless-shell"),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.WindowSize(1280, 800),
		chromedp.Flag("disable-gpu", true),
		chromedp.Flag("site-per-process", true),
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

// within returns the world for a subtest.
func (w *world) within(t *testing.T) *world {
	t.Helper()
	inner := *w
	inner.t = t
	return &inner
}

// picture writes a screenshot of the tab among the test's artifacts.
func (tab *tab) picture(name string) {
	tab.t.Helper()
	picture, err := chromedp.Run(tab.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		tab.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tab.t.ArtifactDir(), name+".png"), picture, 0o600); err != nil {
		tab.t.Fatal(err)
	}
}

// A tab is one visitor's page.
type tab struct {
	t      *testing.T
	ctx    context.Context
	stop   context.CancelFunc
	output chan chromedp.ConsoleMessage
}

// open opens the address in a browser context of its own, and waits until the
// document and its scripts have loaded. Scripts run before the page's own.
func (w *world) open(address string, scripts ...string) *tab {
	w.t.Helper()
	tab := w.prepared(scripts)
	tab.do(chromedp.Navigate(address))
	return tab
}

// prepared returns an empty tab that runs the scripts before each page's own.
func (w *world) prepared(scripts []string) *tab {
	w.t.Helper()
	tab := w.blank()
	for _, script := range scripts {
		if _, err := chromedp.Call(tab.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script}); err != nil {
			w.t.Fatal(err)
		}
	}
	return tab
}

// start begins to load the address, and does not wait for it.
func (w *world) start(address string, scripts ...string) *tab {
	w.t.Helper()
	tab := w.prepared(scripts)
	if _, err := chromedp.Call(tab.ctx, page.Navigate, page.NavigateParams{URL: address}); err != nil {
		w.t.Fatal(err)
	}
	return tab
}

func (w *world) blank() *tab {
	w.t.Helper()
	ctx, end := chromedp.NewContext(w.browser, chromedp.WithNewBrowserContext())
	w.t.Cleanup(end)
	if err := chromedp.Do(ctx); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("the test's page took more than 30 s"))
	w.t.Cleanup(cancel)
	tab := &tab{t: w.t, ctx: ctx, stop: end, output: make(chan chromedp.ConsoleMessage, 256)}
	messages := chromedp.Console(ctx)
	go func() {
		for message, err := range messages {
			if err != nil {
				return
			}
			select {
			case tab.output <- message:
			default:
			}
		}
	}()
	return tab
}

func (tab *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	tab.t.Helper()
	if err := chromedp.Do(tab.ctx, steps...); err != nil {
		tab.t.Fatal(err)
	}
}

// logs returns the first console message that holds the text.
func (tab *tab) logs(text string) chromedp.ConsoleMessage {
	tab.t.Helper()
	for {
		select {
		case message := <-tab.output:
			if strings.Contains(message.Text, text) {
				return message
			}
		case <-tab.ctx.Done():
			tab.t.Fatalf("the page never logged %q", text)
		}
	}
}

// eval returns what the expression gives; a promise is awaited.
func eval[T any](tab *tab, expression string) T {
	tab.t.Helper()
	value, err := chromedp.Run(tab.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise, userGesture))
	if err != nil {
		tab.t.Fatalf("evaluating %s: %v", expression, err)
	}
	return value
}

func userGesture(p *runtime.EvaluateParams) { p.UserGesture = new(true) }

// run evaluates the expression for its effect.
func (tab *tab) run(expression string) {
	tab.t.Helper()
	eval[chromedp.Void](tab, expression)
}

// wait returns the first ledger that satisfies the condition.
func (w *world) wait(condition func(botstar.Snapshot) bool) botstar.Snapshot {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	snapshot, err := w.vendor.Ledger().Wait(ctx, condition)
	if err != nil {
		w.t.Fatal(err)
	}
	return snapshot
}

// booted waits until a frame of the page at the address has booted, and returns that entry.
func (w *world) booted(address string) botstar.Entry {
	w.t.Helper()
	ofPage := func(s botstar.Snapshot) []botstar.Entry {
		var found []botstar.Entry
		for _, e := range s.Kind(botstar.Booted) {
			if e.Page == address {
				found = append(found, e)
			}
		}
		return found
	}
	found := ofPage(w.wait(func(s botstar.Snapshot) bool { return len(ofPage(s)) > 0 }))
	return found[len(found)-1]
}

// reached waits until the ledger counts n entries of the kind, and returns the
// last one.
func (w *world) reached(kind botstar.Kind, n int) botstar.Entry {
	w.t.Helper()
	entries := w.wait(func(s botstar.Snapshot) bool { return s.Counts[kind] >= n }).Kind(kind)
	return entries[len(entries)-1]
}

// inFrame returns the tab of a frame in another site, which is a target of its
// own, once it exists.
func (w *world) inFrame(tab *tab, prefix string) *tab {
	w.t.Helper()
	own := chromedp.FromContext(tab.ctx).BrowserContextID
	for {
		infos, err := chromedp.Targets(tab.ctx)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, info := range infos {
			if info.Type == "iframe" && info.BrowserContextID == own && strings.HasPrefix(info.URL, prefix) {
				ctx, cancel := chromedp.NewContext(tab.ctx, chromedp.WithTargetID(info.TargetID))
				w.t.Cleanup(cancel)
				frame := *tab
				frame.ctx = ctx
				return &frame
			}
		}
		if tab.ctx.Err() != nil {
			w.t.Fatalf("there is no frame %s", prefix)
		}
	}
}

// html returns a page of the shop with the content in its body.
func html(content string) string {
	return "<!doctype html><html><head><title>test</title></head><body>" + content + "</body></html>"
}

// snippet is BotStar's install snippet with the configuration.
func snippet(config string) string {
	return `<script>window.BotStar = ` + config + `;
!function(t,a){var e=function(){(e.q=e.q||[]).push(arguments)};e.q=e.q||[],t.BotStarApi=e;!function(){var t=a.createElement("script");t.type="text/javascript",t.async=1,t.src="https://widget.botstar.com/static/js/widget.js";var e=a.getElementsByTagName("script")[0];e.parentNode.insertBefore(t,e)}()}(window,document);</script>`
}
