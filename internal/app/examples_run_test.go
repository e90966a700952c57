package app

import (
	"strconv"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/event"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
)

// ada is the visitor of the examples.
func ada() event.Visitor { return event.Visitor{UserID: "u-ada", Email: "ada@example.test"} }

func closed(o event.Occurrence) any { return event.WidgetClosed{Occurrence: o} }
func opened(o event.Occurrence) any { return event.WidgetOpened{Occurrence: o} }

// whoIs is an event that tells who the visitor is, and starts nothing.
const whoIs = `{"event":"Signed In","user_id":"u-ada","email":"ada@example.test"}`

// TestExamplesRun runs each example through the real edge, bus and engine. The test
// is the browser: it answers commands and tells facts.
func TestExamplesRun(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string // what it shows
		example string
		replace []string
		play    func(r *running)
	}{
		{"prices viewed, the chat opens", "pricing", nil, func(r *running) {
			r.post("/v1/page", `{"userId":"u-ada","name":"Pricing","messageId":"m-1","properties":{"plan":"pro","url":"https://shop.example.test/pricing"}}`)
			r.wantCommands(
				`shop widget.boot {"app_id":"s0a1b2c3d-0000-4000-8000-000000000001"}`,
				`shop widget.update {"plan_of_interest":"pro"}`,
				`shop widget.open {}`,
			)
			r.answer(nil)
			r.wantEmitted("Chat Offered null")
			r.wantRuns("pricing-help succeeded")
			// The SDK's repetition is the same event, and another view comes too soon.
			r.post("/v1/page", `{"userId":"u-ada","name":"Pricing","messageId":"m-1","properties":{"plan":"pro","url":"https://shop.example.test/pricing"}}`)
			r.post("/v1/track", `{"userId":"u-ada","event":"Pricing Viewed","messageId":"m-2","context":{"page":{"url":"https://shop.example.test/pricing"}}}`)
			r.post("/v1/track", `{"userId":"u-bob","event":"Pricing Viewed","messageId":"m-3","context":{"page":{"url":"https://shop.example.test/pricing"}}}`)
			r.wantRuns("pricing-help succeeded", "pricing-help running")
			r.answer(nil, "botstar.widget.open")
			r.wantEmitted("Chat Offered null", `Chat Not Offered {"reason":"widget_not_ready"}`)
		}},
		{"prices viewed without consent", "pricing", nil, func(r *running) {
			r.post("/v1/page", `{"userId":"u-ada","name":"Pricing","messageId":"m-1","properties":{"url":"https://shop.example.test/"},"context":{"consent":{"categoryPreferences":{"functional":false}}}}`)
			r.wantRuns("pricing-help consent_missing")
			r.wantCommands()
		}},
		{"a closed chat is opened again", "follow-up", nil, func(r *running) {
			r.post("/in/web", whoIs)
			r.fact(event.FactWidgetClosed, "shop", ada(), closed)
			r.waits(map[string]time.Duration{"chat-abandoned": 24 * time.Hour})
			if n := r.timers(); n != 1 {
				r.t.Errorf("%d timers are set, want 1", n)
			}
			r.fact(event.FactWidgetOpened, "shop", ada(), opened)
			r.wantRuns("chat-abandoned cancelled")
			wants(r, 0, r.timers)
			r.fact(event.FactWidgetClosed, "shop", ada(), closed)
			r.fact(event.FactWidgetClosed, "shop", ada(), closed)
			r.wantRuns("chat-abandoned cancelled", "chat-abandoned replaced", "chat-abandoned running")
			r.wantEmitted()
			r.wantCalls()
		}},
		{"a closed chat stays closed", "follow-up", []string{"after: 24h", "after: 300ms", "https://mail.example.test", "CALLS"}, func(r *running) {
			r.post("/in/web", whoIs)
			r.fact(event.FactWidgetClosed, "shop", ada(), closed)
			r.wantCalls(`/send {"template":"chat-abandoned","to":"ada@example.test"}`)
			r.wantCommands(`shop widget.update {"lead_status":"inactive"}`)
			r.answer(nil)
			r.wantRuns("chat-abandoned succeeded", "follow-up-mail succeeded")
			r.wantEmitted("Chat Abandoned null", "Lead Inactive null")
			// A second time there is no mail: once in 30 days.
			r.fact(event.FactWidgetClosed, "shop", ada(), closed)
			r.wantEmitted("Chat Abandoned null", "Lead Inactive null", "Chat Abandoned null")
			r.wantRuns("chat-abandoned succeeded", "chat-abandoned succeeded", "follow-up-mail succeeded")
			r.wantCalls(`/send {"template":"chat-abandoned","to":"ada@example.test"}`)
		}},
		{"a VIP by BotStar's webhook, and by a trait", "vip", []string{"debounce: 2s", "debounce: 200ms"}, func(r *running) {
			hook := vendor.Hook{Event: vendor.HookAttribute, Environment: vendor.HookLive, URL: "http://" + r.system.edge.address() + "/in/bot/" + exampleSecret}
			sender := vendor.NewWebhooks(vendor.WebhooksOptions{BotID: "b-1", Hooks: []vendor.Hook{hook}, Copies: 1})
			for _, tier := range []string{"ordinary", "vip"} {
				if err := sender.Happen(r.t.Context(), vendor.Happening{
					Event: vendor.HookAttribute, Environment: vendor.HookLive, At: time.Now(), Attribute: "tier", Value: tier,
					User: vendor.HookUser{ID: "s-1", Attributes: map[string]any{"user_id": "u-ada"}},
				}); err != nil {
					r.t.Fatal(err)
				}
			}
			r.post("/in/shop", `{"kind":"identify","user_id":"u-ada","traits":{"tier":"vip"}}`)
			r.wantCommands(
				`shop widget.update {"tier":"vip"}`,
				`shop widget.boot {"block":"s0b10c000-0000-4000-8000-00000000001f","variables":{"tier":"vip"}}`,
				`shop widget.open {}`,
			)
			r.answer(nil)
			r.wantRuns("vip-branch succeeded")
		}},
		{"the calculator answers into its page", "webview", []string{"https://quotes.example.test", "CALLS", "https://calendar.example.test", "CALLS"}, func(r *running) {
			r.calls.says["/quote"] = `{"total": 117.6}`
			r.post("/in/pages", `{"event":"Calculator Opened","user_id":"u-ada","properties":{"plan":"Team"}}`)
			open := `shop webview.get_parameter {"inputs":{"plan":"Team","seats":1},"parameter_name":"plan","url":"https://shop.example.test/webview/calculator.html"}`
			r.wantCommands(open)
			r.answer(map[string]string{"botstar.webview.get_parameter": `{"name":"plan","value":"Team","declared":true,"type":"string"}`})
			r.waits(map[string]time.Duration{"calculator": 10 * time.Minute})
			r.post("/in/pages", `{"event":"Calculator Submitted","user_id":"u-ada","properties":{"plan":"Team","seats":12}}`)
			r.wantCalls(`/quote {"plan":"Team","seats":12}`)
			r.wantCommands(open, `shop webview.send_response {"outlet_name":"Quote Accepted","outputs":{"plan":"Team","seats":12,"total":117.6},"response":"Team for 12 people"}`)
			for _, e := range r.envelopes("go.*.botstar.webview.send_response.*.*") {
				if expires := e.Extension(event.ExtExpiryTime); expires == "" {
					r.t.Error("the response has no deadline")
				} else if at, err := time.Parse(time.RFC3339, expires); err != nil || time.Until(at) > 30*time.Second {
					r.t.Errorf("the deadline of the response is %s, %v", expires, err)
				}
			}
			r.answer(nil)
			r.wantRuns("calculator succeeded")
			r.wantEmitted("Quote Given null")
		}},
		{"the calculator without a price", "webview", []string{"https://quotes.example.test", "http://127.0.0.1:1", "retries: 1", "retries: 0"}, func(r *running) {
			r.post("/in/pages", `{"event":"Calculator Opened","user_id":"u-ada"}`)
			open := `shop webview.get_parameter {"inputs":{"plan":"Solo","seats":1},"parameter_name":"plan","url":"https://shop.example.test/webview/calculator.html"}`
			r.wantCommands(open)
			r.answer(nil)
			r.waits(map[string]time.Duration{"calculator": 10 * time.Minute})
			r.post("/in/pages", `{"event":"Calculator Submitted","user_id":"u-ada"}`)
			r.wantCommands(open, `shop webview.send_response {"outlet_name":"Talk To Sales","response":"A colleague will tell you the price."}`)
		}},
		{"nobody fills the calculator in", "webview", []string{"timeout: 10m", "timeout: 200ms"}, func(r *running) {
			r.post("/in/pages", `{"event":"Calculator Opened","user_id":"u-ada"}`)
			wants(r, 1, func() int { return len(r.commands()) })
			r.answer(nil)
			r.wantRuns("calculator stopped")
		}},
		{"the booking form", "webview", []string{"https://calendar.example.test", "CALLS"}, func(r *running) {
			r.post("/in/pages", `{"event":"Booking Opened","user_id":"u-ada","properties":{"name":"Ada"}}`)
			open := `shop webview.get_parameter {"inputs":{"name":"Ada"},"parameter_name":"name","url":"https://shop.example.test/webview/booking.html"}`
			r.wantCommands(open)
			r.answer(nil)
			r.waits(map[string]time.Duration{"booking": 15 * time.Minute})
			r.fact(event.FactWebviewResponded, "shop", ada(), func(o event.Occurrence) any {
				return event.WebviewResponded{
					Occurrence: o, URL: "https://shop.example.test/webview/booking.html", Response: "2027-01-11 at 10",
					Outputs: map[string]any{"day": "2027-01-11", "hour": 10}, Outlet: "Call Booked",
				}
			})
			r.wantCalls(`/calls {"day":"2027-01-11","hour":10,"who":"u-ada"}`)
			r.wantCommands(open, `shop widget.update {"call_booked":"2027-01-11 at 10"}`)
			r.answer(nil)
			r.wantRuns("booking succeeded")
		}},
		{"one workflow on three domains", "three-sites", nil, func(r *running) {
			for _, page := range []string{"shop.example.test/cart", "laden.example.test/", "shop.example.test/de/korb", "docs.example.test/start"} {
				r.post("/in/web", `{"event":"Help Wanted","user_id":"u-`+string(page[len(page)-1])+`","url":"https://`+page+`"}`)
			}
			r.wantCommands(
				`shop widget.boot {"app_id":"s0a1b2c3d-0000-4000-8000-000000000001","variables":{"asked_on":"shop"}}`, `shop widget.open {}`,
				`shop-de widget.boot {"app_id":"s0a1b2c3d-0000-4000-8000-000000000003","variables":{"asked_on":"shop-de"}}`, `shop-de widget.open {}`,
				`shop-de widget.boot {"app_id":"s0a1b2c3d-0000-4000-8000-000000000003","variables":{"asked_on":"shop-de"}}`, `shop-de widget.open {}`,
				`docs widget.boot {"app_id":"s0a1b2c3d-0000-4000-8000-000000000002","variables":{"asked_on":"docs"}}`, `docs widget.open {}`,
			)
		}},
		{"words of analytics tools", "vocabulary", []string{
			"holdout: {percent: 10, salt: exit-offer}", "", `quiet_hours: {from: "22:00", to: "08:00", zone: Europe/Berlin}`, "",
		}, func(r *running) {
			google := func(name, visitor, more string) {
				r.post("/in/google", `{"event_name":"`+name+`","client_id":"`+visitor+`","page_location":"https://shop.example.test/`+name+`","x-ga-page_id":`+
					strconv.Itoa(len(r.envelopes(event.TriggerFilter())))+`,`+more+`}`)
			}
			google("page_view", "c-1", `"ga_session_number":1`)
			google("page_view", "c-1", `"ga_session_number":1`)
			google("page_view", "c-2", `"ga_session_number":7`)
			google("scroll", "c-1", `"percent_scrolled":25`)
			google("scroll", "c-1", `"percent_scrolled":90`)
			r.post("/in/tag", `{"what":"leave","cid":"c-1","page":"https://shop.example.test/leave"}`)
			r.wantEmitted(
				`First Visit {"page":"https://shop.example.test/page_view"}`, `Return Visit {"page":"https://shop.example.test/page_view"}`,
				`Page Read {"page":"https://shop.example.test/scroll"}`, `Exit Intent {"page":"https://shop.example.test/leave"}`,
			)
			r.wantCommands(
				`shop widget.update {"visit":"First Visit"}`, `shop widget.update {"visit":"Return Visit"}`,
				`shop widget.update {"visit":"Page Read"}`, `shop widget.open {}`,
			)
			r.answer(nil)
			r.wantRuns(
				"visits succeeded", "visits succeeded", "vocabulary succeeded", "vocabulary succeeded", "vocabulary succeeded",
				"welcome succeeded", "welcome succeeded", "welcome succeeded", "exit-offer succeeded",
			)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			calls := receiveCalls(t)
			for i, text := range test.replace {
				if text == "CALLS" {
					test.replace[i] = calls.URL
				}
			}
			test.play(runExample(t, test.example, calls, test.replace...))
		})
	}
}
