//go:build browser

package snippet_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/chromedp"

	vendor "github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
)

// variants serves the shop's pages with another chat: ?chat=none has none,
// ?chat=parley has our tag in the place of the vendor's snippet.
func variants(t testing.TB, next http.Handler) http.Handler {
	t.Helper()
	made := tag(t, nil)
	made.Nonce = ""
	script := mustTag(t, made)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		chat := r.URL.Query().Get("chat")
		if chat == "" || chat == "vendor" {
			next.ServeHTTP(w, r)
			return
		}
		plain := r.Clone(r.Context())
		plain.Header.Del("Accept-Encoding")
		seen := httptest.NewRecorder()
		next.ServeHTTP(seen, plain)
		page := seen.Body.Bytes()
		at := bytes.Index(page, []byte("window.BotStar ="))
		if at < 0 {
			t.Error("the shop's page has no snippet")
			return
		}
		from, to := bytes.LastIndex(page[:at], []byte("<script>")), at+bytes.Index(page[at:], []byte("</script>"))+len("</script>")
		head, tail := bytes.Clone(page[:from]), page[to:]
		if chat == "parley" {
			head = append(head, script...)
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(append(head, tail...))
	})
}

// visit is what one visit has cost.
type visit struct {
	LCP      float64 `json:"lcp"`      // ms until the largest element was painted
	Blocking float64 `json:"blocking"` // ms of tasks above 50 ms, each
	Bytes    float64 `json:"bytes"`    // of bodies
	Busy     float64 `json:"busy"`     // ms of the main thread
}

// observe resolves a second after the page has loaded.
const observe = `new Promise((resolve) => {
  const seen = { lcp: 0, blocking: 0, bytes: 0, busy: 0 };
  new PerformanceObserver((l) => l.getEntries().forEach((e) => { seen.lcp = e.startTime; })).observe({ type: "largest-contentful-paint", buffered: true });
  new PerformanceObserver((l) => l.getEntries().forEach((e) => { seen.blocking += e.duration - 50; })).observe({ type: "longtask", buffered: true });
  const end = () => setTimeout(() => {
    seen.bytes = performance.getEntriesByType("resource").reduce((sum, e) => sum + e.encodedBodySize, 0);
    resolve(seen);
  }, 1000);
  document.readyState === "complete" ? end() : addEventListener("load", end);
})`

// BenchmarkPageWeight visits the shop without a chat, with the vendor's own
// snippet, and with Parley and a lazy widget, in turns, in fresh browser
// contexts, on a machine that is slowed down four times.
func BenchmarkPageWeight(b *testing.B) {
	w := setup(b, vendor.Options{EntrySize: 100_000})
	kinds := []string{"none", "vendor", "parley"}
	seen := map[string][]visit{}
	for b.Loop() {
		for _, kind := range kinds {
			seen[kind] = append(seen[kind], w.weigh(shop.Origin+"/?chat="+kind))
		}
	}
	for _, of := range []struct {
		name string
		read func(visit) float64
	}{
		{"LCP-ms", func(v visit) float64 { return v.LCP }},
		{"TBT-ms", func(v visit) float64 { return v.Blocking }},
		{"main-ms", func(v visit) float64 { return v.Busy }},
		{"bytes", func(v visit) float64 { return v.Bytes }},
	} {
		for _, kind := range kinds {
			b.ReportMetric(quartile(seen[kind], of.read), kind+"-"+of.name)
		}
	}
	b.ReportMetric(quartile(seen["parley"], func(v visit) float64 { return v.LCP })/quartile(seen["none"], func(v visit) float64 { return v.LCP }), "parley/none-LCP")
}

// quartile returns what a quarter of the visits stay below: others use the
// machine too, and only ever make a visit slower.
func quartile(visits []visit, read func(visit) float64) float64 {
	var all []float64
	for _, v := range visits {
		all = append(all, read(v))
	}
	slices.Sort(all)
	return all[len(all)/4]
}

// weigh visits the address once.
func (w *world) weigh(address string) visit {
	w.t.Helper()
	visitor := w.open("", chromedp.WithNewBrowserContext())
	if _, err := chromedp.Call(visitor.ctx, emulation.SetCPUThrottlingRate, emulation.SetCPUThrottlingRateParams{Rate: 4}); err != nil {
		w.t.Fatal(err)
	}
	if _, err := chromedp.Call(visitor.ctx, performance.Enable, performance.EnableParams{}); err != nil {
		w.t.Fatal(err)
	}
	if err := chromedp.Do(visitor.ctx, chromedp.Navigate(address)); err != nil {
		w.t.Fatal(err)
	}
	v := eval[visit](visitor, observe)
	metrics, err := chromedp.Call(visitor.ctx, performance.GetMetrics, cdp.Empty{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, metric := range metrics.Metrics {
		if metric.Name == "TaskDuration" {
			v.Busy = metric.Value * 1000
		}
	}
	visitor.end()
	return v
}
