//go:build browser

package app

import (
	"context"
	"io"
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/standin"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
	"github.com/parley-chat/parley/internal/workflow/engine"
	"github.com/parley-chat/parley/internal/workflow/machine"
)

// live is an example that runs with a real browser, the vendor's stand-in and
// the demo shop.
type live struct {
	*running
	ledger *vendor.Ledger
	hand   chan string // what the visitor does next on the page /hand
}

// handScript makes a page do what a visitor would.
const handScript = `<script>
(async () => {
  for (;;) {
    const next = await fetch("/hand/next");
    if (await next.text() === "click") document.querySelector('[class^="bs-chatbot-fab"]').click();
  }
})().catch(() => {});
</script>`

// handed adds the page /hand to the shop: a page of the shop on which the test's
// visitor clicks.
func handed(website http.Handler, hand <-chan string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", website)
	mux.HandleFunc("GET /hand", func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = "/pricing"
		website.ServeHTTP(w, r)
		_, _ = io.WriteString(w, handScript) // The browser may be gone.
	})
	mux.HandleFunc("GET /hand/next", func(w http.ResponseWriter, r *http.Request) {
		select {
		case word := <-hand:
			_, _ = io.WriteString(w, word) // As above.
		case <-r.Context().Done():
		}
	})
	return mux
}

// browse starts the example with a browser, until the test ends.
func browse(t *testing.T, name string, calls *callLedger, replace ...string) *live {
	t.Helper()
	x := readExample(t, name, replace...)
	botstar, hand := vendor.New(vendor.Options{Bots: devBots(x.cfg)}), make(chan string)
	hosts := map[string]http.Handler{}
	maps.Copy(hosts, botstar.Hosts())
	maps.Copy(hosts, shop.New().Hosts())
	hosts[shop.Host] = handed(hosts[shop.Host], hand)
	server, err := standin.Start(bustest.Log(t), hosts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	parts := Parts{Resolve: server.Resolve(), TrustSPKI: []string{server.SPKI()}, Roots: server.Roots()}
	return &live{x.runWith(parts, calls), botstar.Ledger(), hand}
}

// reached waits until the vendor has so many entries of the kind for the visitor,
// and returns them.
func (l *live) reached(visitor string, kind vendor.Kind, n int) []vendor.Entry {
	l.t.Helper()
	of := func(s vendor.Snapshot) []vendor.Entry {
		var all []vendor.Entry
		for _, e := range s.Kind(kind) {
			if visitor == "" || e.Visitor == visitor {
				all = append(all, e)
			}
		}
		return all
	}
	ctx, cancel := context.WithTimeout(l.t.Context(), 30*time.Second)
	defer cancel()
	s, err := l.ledger.Wait(ctx, func(s vendor.Snapshot) bool { return len(of(s)) >= n })
	if err != nil {
		l.t.Fatalf("the vendor has %d of %s, want %d: %v", len(of(s)), kind, n, err)
	}
	return of(s)
}

// opens has Parley open the visitor's chat.
func (l *live) opens(v event.Visitor) {
	l.t.Helper()
	o, err := l.c.order(request{Action: "botstar.widget.open", Site: "shop", Visitor: v})
	if err != nil {
		l.t.Fatal(err)
	}
	pending, err := l.c.send(l.t.Context(), l.bus, o)
	if err != nil {
		l.t.Fatal(err)
	}
	if result, err := pending.result(l.t.Context()); err != nil || !result.Verified {
		l.t.Fatalf("opening the chat ends with %+v, %v", result.Problem, err)
	}
}

// clicks has the visitor click on the chat's button.
func (l *live) clicks() {
	l.t.Helper()
	select {
	case l.hand <- "click":
	case <-time.After(30 * time.Second):
		l.t.Fatal("the visitor's page does not ask what to do")
	}
}

// listening returns how many runs wait for an event.
func (l *live) listening() int {
	l.t.Helper()
	n := 0
	for run, err := range engine.ListRuns(l.t.Context(), l.bus, engine.Filter{Status: machine.Running}) {
		if err != nil {
			l.t.Fatal(err)
		}
		for _, thread := range run.Threads {
			if thread.Wait != nil && thread.Wait.Kind == "event" {
				n++
			}
		}
	}
	return n
}

// TestLivePricing has a page call of Segment's SDK open a chat in a browser, and
// the workflow see that it is open.
func TestLivePricing(t *testing.T) {
	t.Parallel()
	l := browse(t, "pricing", nil)
	l.post("/v1/page", `{"userId":"u-ada","name":"Pricing","messageId":"m-1","properties":{"plan":"pro","url":"https://shop.example.test/pricing"}}`)
	l.wantEmitted("Chat Offered null")
	l.wantRuns("pricing-help succeeded")
	boot, open := l.reached("u-ada", vendor.Booted, 1), l.reached("u-ada", vendor.Opened, 1)
	if boot[0].AppID != shop.AppID || len(open) != 1 {
		t.Errorf("the vendor saw %+v, %+v", boot, open)
	}
	if got := l.reached("u-ada", vendor.Updated, 1)[0].After.Attributes["plan_of_interest"]; got != "pro" {
		t.Errorf("the bot was told the plan %v", got)
	}
}

// TestLiveFollowUp has a visitor close the chat, come back, and close it again:
// of two timers one is cancelled, and one leads to exactly one mail.
func TestLiveFollowUp(t *testing.T) {
	t.Parallel()
	calls := receiveCalls(t)
	l := browse(t, "follow-up", calls, "after: 24h", "after: 5s", "https://mail.example.test", calls.URL,
		"url: https://shop.example.test/", "url: https://shop.example.test/hand\n    page: full")
	l.post("/in/web", whoIs)
	l.opens(ada())
	l.clicks() // closes it
	l.wantRuns("chat-abandoned running")
	l.clicks() // opens it
	l.wantRuns("chat-abandoned cancelled")
	l.clicks() // closes it
	l.wantRuns("chat-abandoned cancelled", "chat-abandoned running")
	l.wantCalls() // Not before its time.
	l.wantCalls(`/send {"template":"chat-abandoned","to":"ada@example.test"}`)
	l.wantRuns("chat-abandoned cancelled", "chat-abandoned succeeded", "follow-up-mail succeeded")
	l.wantEmitted("Chat Abandoned null", "Lead Inactive null")
	if got := l.reached("u-ada", vendor.Updated, 1)[0].After.Attributes["lead_status"]; got != "inactive" {
		t.Errorf("the lead is %v", got)
	}
	if opened := l.reached("u-ada", vendor.Opened, 2); len(opened) != 2 {
		t.Errorf("the chat was opened %d times, want 2", len(opened))
	}
	l.wantCalls(`/send {"template":"chat-abandoned","to":"ada@example.test"}`)
}

// TestLiveVIP has an attribute lead the bot to the block of its VIP branch, also
// when the chat runs already.
func TestLiveVIP(t *testing.T) {
	t.Parallel()
	l := browse(t, "vip", nil, "debounce: 2s", "debounce: 100ms")
	l.opens(ada())
	l.post("/in/shop", `{"kind":"identify","user_id":"u-ada","email":"ada@example.test","traits":{"tier":"vip"}}`)
	l.wantRuns("vip-branch succeeded")
	boots := l.reached("u-ada", vendor.Booted, 2)
	first, vip := boots[0], boots[1]
	if first.Block != "" || vip.Block != "s0b10c000-0000-4000-8000-00000000001f" || vip.Variables["tier"] != "vip" || vip.After.Attributes["tier"] != "vip" {
		t.Errorf("the bot began with %+v, then with %+v", first, vip)
	}
	for _, command := range l.envelopes("go.*.botstar.widget.open.*.*") {
		if result := bustest.Next[event.Result](t, l.bus, command, event.ResultType("botstar.widget.open")); !result.Verified {
			t.Errorf("the chat is not open: %+v", result)
		}
	}
}

// TestLiveWebview answers into the page of the calculator, with a price from
// elsewhere.
func TestLiveWebview(t *testing.T) {
	t.Parallel()
	calls := receiveCalls(t)
	calls.says["/quote"] = `{"total": 117.6}`
	l := browse(t, "webview", calls, "https://quotes.example.test", calls.URL)
	l.post("/in/pages", `{"event":"Calculator Opened","user_id":"u-ada","properties":{"plan":"Team","seats":3}}`)
	wants(l.running, 1, l.listening) // The page is open, and waits for the visitor.
	l.post("/in/pages", `{"event":"Calculator Submitted","user_id":"u-ada","properties":{"plan":"Team","seats":12}}`)
	l.wantCalls(`/quote {"plan":"Team","seats":12}`)
	entry := l.reached("", vendor.Responded, 1)[0]
	if entry.Response != "Team for 12 people" || entry.Outlet != "Quote Accepted" || entry.Outputs["total"] != 117.6 ||
		entry.Webview != shop.Origin+"/webview/calculator.html" {
		t.Errorf("the vendor got %+v", entry)
	}
	l.wantRuns("calculator succeeded")
	if n := len(l.reached("", vendor.Responded, 1)); n != 1 {
		t.Errorf("the vendor got %d responses", n)
	}
}
