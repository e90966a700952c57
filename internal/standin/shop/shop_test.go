package shop_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/internal/standin"
	"github.com/parley-chat/parley/internal/standin/shop"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// link finds what a page loads or leads to.
var link = regexp.MustCompile(`(?:href|src)="([^"#][^"]*)"`)

func TestEveryLinkLeadsSomewhere(t *testing.T) {
	t.Parallel()
	site := serve(t)
	seen := map[string]bool{}
	waiting := []string{shop.Origin + "/", "https://" + shop.DocsHost + "/"}
	for _, name := range []string{
		"inline", "inline-two", "inline-missing", "popup", "fullpage", "members", "white-label", "captured", "plain",
		"wrong-scope", "unpublished", "loop", "dialogs", "moves-on", "polyfilled",
		"webview/calculator.html", "webview/booking.html", "webview/no-ready.html", "webview/syntax-error.html",
		"webview/ready-throws.html", "webview/misspelt-output.html", "webview/timer.html", "webview/bare.html",
	} {
		waiting = append(waiting, shop.Origin+"/"+name)
	}
	for len(waiting) > 0 {
		address := waiting[0]
		waiting = waiting[1:]
		if seen[address] {
			continue
		}
		seen[address] = true
		page := site.get(t, address)
		if page.status != http.StatusOK {
			t.Errorf("%s answers %d", address, page.status)
		}
		if strings.Contains(page.body, "<no value>") {
			t.Errorf("%s has an empty place", address)
		}
		if !strings.HasPrefix(page.kind, "text/html") {
			continue
		}
		for _, match := range link.FindAllStringSubmatch(page.body, -1) {
			next, err := page.url.Parse(match[1])
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(next.Host, ".example.test") {
				next.Fragment = ""
				waiting = append(waiting, next.String())
			}
		}
	}
	if len(seen) < 30 {
		t.Errorf("only %d addresses were found", len(seen))
	}
}

func TestPagesCarryTheSnippet(t *testing.T) {
	t.Parallel()
	site := serve(t)
	for address, appID := range map[string]string{
		shop.Origin + "/":                     shop.AppID,
		shop.Origin + "/pricing":              shop.AppID,
		"https://" + shop.DocsHost + "/":      shop.DocsAppID,
		"https://" + shop.DocsHost + "/guide": shop.DocsAppID,
	} {
		body := site.get(t, address).body
		for _, want := range []string{
			`window.BotStar = { appId: "` + appID + `", mode: "livechat" };`,
			`(e.q=e.q||[]).push(arguments)`,
			`t.src="https://widget.botstar.com/static/js/widget.js"`,
		} {
			if strings.Count(body, want) != 1 {
				t.Errorf("%s has %d times %s", address, strings.Count(body, want), want)
			}
		}
		if strings.Contains(strings.ToLower(body), "parley") {
			t.Errorf("%s knows of Parley", address)
		}
	}
}

func TestProductPageHasTheWeightOfARealOne(t *testing.T) {
	t.Parallel()
	site := serve(t)
	weight := len(site.get(t, shop.Origin+"/product").body)
	for _, part := range []string{
		"/assets/site.css", "/assets/utilities.css", "/assets/icons.ttf", "/assets/logo.svg",
		"/assets/photo-1.jpg", "/assets/photo-2.jpg", "/assets/photo-3.jpg", "https://analytics.example.test/analytics.js",
	} {
		address := part
		if strings.HasPrefix(part, "/") {
			address = shop.Origin + part
		}
		weight += len(site.get(t, address).body)
	}
	if weight < 130_000 || weight > 180_000 {
		t.Errorf("the product page weighs %d bytes, want about 150,000", weight)
	}
}

func TestVisitsAreCounted(t *testing.T) {
	t.Parallel()
	site := serve(t)
	for range 2 {
		site.get(t, shop.Origin+"/pricing")
	}
	if page := site.get(t, shop.Origin+"/nothing"); page.status != http.StatusNotFound {
		t.Errorf("a page that does not exist answers %d", page.status)
	}
	if got := site.shop.Visits(shop.Host, "/pricing"); got != 2 {
		t.Errorf("/pricing was visited %d times, want 2", got)
	}
	if got := site.shop.Visits(shop.Host, ""); got != 3 {
		t.Errorf("the shop was visited %d times, want 3", got)
	}
	if got := site.shop.Visits(shop.AnalyticsHost, ""); got != 0 {
		t.Errorf("the analytics were visited %d times", got)
	}
}

type site struct {
	shop   *shop.Shop
	client *http.Client
}

func serve(t *testing.T) site {
	t.Helper()
	s := shop.New()
	server, err := standin.Start(slog.New(slog.DiscardHandler), s.Hosts())
	if err != nil {
		t.Fatal(err)
	}
	client := server.Client()
	t.Cleanup(func() {
		client.CloseIdleConnections()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return site{s, client}
}

// A reply is what the shop answered.
type reply struct {
	url    *url.URL
	status int
	kind   string
	body   string
}

func (s site) get(t *testing.T, address string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.Request.URL, res.StatusCode, res.Header.Get("Content-Type"), string(body)}
}
