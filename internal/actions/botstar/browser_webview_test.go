//go:build browser

package botstar_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
)

const (
	getAction  = "botstar.webview.get_parameter"
	sendAction = "botstar.webview.send_response"
	calculator = shop.Origin + "/webview/calculator.html"
)

// TestWebview opens a customer's page with inputs, reads them, and answers.
func TestWebview(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	s := w.open(t, site(), event.Visitor{UserID: "web"})
	inputs := map[string]any{"plan": "Team", "seats": 12}
	get := func(params map[string]any) botstar.GetParameterOut {
		t.Helper()
		c := s.must(event.Confirmed, getAction, params)
		var out botstar.GetParameterOut
		if err := json.Unmarshal(c.Output, &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	if _, err := s.do(getAction, map[string]any{"parameter_name": "plan"}); fault.From(err) == nil || fault.From(err).Reason != fault.WebviewNotOpen {
		t.Errorf("without a page: %v", err)
	}
	want := botstar.GetParameterOut{Name: "plan", Value: new("Team"), Declared: true, Type: "string", Description: "The plan that is preselected"}
	if diff := cmp.Diff(want, get(map[string]any{"parameter_name": "plan", "url": calculator, "inputs": inputs})); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	opened := s.webview
	if opened == nil {
		t.Fatal("the page is not open")
	}
	if out := get(map[string]any{"parameter_name": "seats", "url": calculator, "inputs": inputs}); *out.Value != "12" || out.Type != "number" {
		t.Errorf("seats: %+v", out)
	}
	if out := get(map[string]any{"parameter_name": "nothing"}); out.Value != nil || out.Declared || out.Type != "" {
		t.Errorf("nothing: %+v", out)
	}
	if s.webview != opened {
		t.Error("the same page with the same inputs was opened again")
	}
	get(map[string]any{"parameter_name": "plan", "url": calculator, "inputs": map[string]any{"plan": "Solo"}})
	if s.webview == opened {
		t.Error("other inputs did not open the page again")
	}

	for _, tt := range []struct {
		name   string
		params map[string]any
		reason fault.Reason
		field  string
	}{
		{"output", map[string]any{"response": "x", "outputs": map[string]any{"totl": 3}}, fault.NotDeclared, "/params/outputs/totl"},
		{"type", map[string]any{"response": "x", "outputs": map[string]any{"total": "3"}}, fault.SchemaViolation, "/params/outputs/total"},
		{"outlet", map[string]any{"response": "x", "outlet_name": "Elsewhere"}, fault.NotDeclared, "/params/outlet_name"},
		{"inputs", map[string]any{"response": "x", "inputs": map[string]any{"plan": "Company"}}, fault.SchemaViolation, "/params/inputs"},
		{"origin", map[string]any{"response": "x", "url": "https://" + shop.DocsHost + "/"}, fault.WebviewNotAllowed, "/params/url"},
	} {
		_, err := s.do(sendAction, tt.params)
		if f := fault.From(err); f == nil || f.Reason != tt.reason || f.Field != tt.field {
			t.Errorf("%s gives %v", tt.name, err)
		}
	}
	c := s.must(event.Confirmed, sendAction, map[string]any{
		"response": "Team for 12 people", "outputs": map[string]any{"plan": "Team", "total": 117.6}, "outlet_name": "Quote Accepted",
	})
	if string(c.Output) != `{"resolved":true,"closed":true}` || s.webview != nil {
		t.Errorf("send_response answers %s", c.Output)
	}
	fact := c.Outcome.Notices[0].Data(event.Occurrence{})
	if diff := cmp.Diff(event.WebviewResponded{
		URL: calculator, Response: "Team for 12 people", Outputs: map[string]any{"plan": "Team", "total": 117.6}, Outlet: "Quote Accepted",
	}, fact); diff != "" {
		t.Errorf("the fact (-want +got):\n%s", diff)
	}
	entry := w.reached(t, "", vendor.Responded, 1)[0]
	if entry.Response != "Team for 12 people" || entry.Outlet != "Quote Accepted" || entry.Outputs["total"] != 117.6 {
		t.Errorf("the vendor got %+v", entry)
	}
	if len(s.all()) > 0 {
		for _, signal := range s.all() {
			if signal.Name == "webview.responded" {
				t.Errorf("our own response was told twice: %+v", signal)
			}
		}
	}
}

// TestWebviewOfThePage hears of the response that the page itself sends.
func TestWebviewOfThePage(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	s := w.open(t, site(), event.Visitor{UserID: "self"})
	if _, err := s.do(getAction, map[string]any{"parameter_name": "x", "url": shop.Origin + "/webview/timer.html"}); err != nil {
		t.Fatal(err)
	}
	signal := s.heard("webview.responded", 1)[0]
	notice, publish := botstar.Provider().Digest(s.env.State, signal)
	if !publish || signal.Cause != "visitor" {
		t.Fatalf("the page's own response: %+v", signal)
	}
	fact, ok := notice.Data(event.Occurrence{}).(event.WebviewResponded)
	if !ok || !strings.HasSuffix(fact.URL, "/webview/timer.html") {
		t.Errorf("the fact: %+v", fact)
	}
	w.reached(t, "", vendor.Responded, 1)
}

// TestBrokenWebviews gives each broken page a reason, within the deadline.
func TestBrokenWebviews(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	for _, tt := range []struct {
		page   string
		reason fault.Reason
		says   string
	}{
		{"no-ready.html", fault.WebviewNotReady, "onChatBotReady"},
		{"ready-throws.html", fault.WebviewScriptError, "onChatBotReady"},
		{"syntax-error.html", fault.WebviewScriptError, "SyntaxError"},
	} {
		t.Run(tt.page, func(t *testing.T) {
			t.Parallel()
			s := w.open(t, site(), event.Visitor{UserID: tt.page})
			start := time.Now()
			_, err := s.do(sendAction, map[string]any{"response": "", "url": shop.Origin + "/webview/" + tt.page})
			f := fault.From(err)
			if f == nil || f.Reason != tt.reason || !strings.Contains(f.Error(), tt.says) {
				t.Errorf("the page gives %v", err)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("the page took %s to fail", took)
			}
			if s.webview != nil {
				t.Error("the broken page is still open")
			}
		})
	}
	for _, page := range []string{"bare.html", "booking.html"} {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			s := w.open(t, site(), event.Visitor{UserID: page})
			s.must(event.Confirmed, sendAction, map[string]any{"response": "", "url": shop.Origin + "/webview/" + page})
		})
	}
	t.Run("a response at once", func(t *testing.T) {
		t.Parallel()
		s := w.open(t, site(), event.Visitor{UserID: "misspelt"})
		c := s.must(event.Confirmed, sendAction, map[string]any{
			"response": "done", "outputs": map[string]any{"total": 12}, "url": shop.Origin + "/webview/misspelt-output.html?token=secret",
		})
		if len(c.Outcome.Notices) != 2 {
			t.Fatalf("it tells %d facts", len(c.Outcome.Notices))
		}
		want := event.WebviewOpened{URL: shop.Origin + "/webview/misspelt-output.html"}
		if diff := cmp.Diff(want, c.Outcome.Notices[0].Data(event.Occurrence{})); diff != "" {
			t.Errorf("the first fact (-want +got):\n%s", diff)
		}
	})
}
