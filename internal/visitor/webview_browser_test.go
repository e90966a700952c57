//go:build browser

package visitor_test

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions/actionstest"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/session"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
	"github.com/parley-chat/parley/internal/visitor"
)

const (
	getParameter = "botstar.webview.get_parameter"
	sendResponse = "botstar.webview.send_response"
)

// do runs an action of the guest.
func (g *guest) do(t *testing.T, key, action string, params any) (actionstest.Command, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	if _, _, _, err := g.There(ctx); err != nil { // As a session asks before each command.
		t.Fatal(err)
	}
	return actionstest.Do(ctx, g.env(event.Visitor{UserID: "guest"}), botstar.Provider(), action, key, params)
}

// parameter reads the plan of the page that the guest looks at.
func (g *guest) parameter(t *testing.T, key string, params map[string]any) (actionstest.Command, botstar.GetParameterOut) {
	t.Helper()
	params["parameter_name"] = "plan"
	c, err := g.do(t, key, getParameter, params)
	must(t, err)
	var out botstar.GetParameterOut
	must(t, json.Unmarshal(c.Output, &out))
	return c, out
}

// named are the names of the facts that the command tells.
func named(c actionstest.Command) []string {
	var names []string
	for _, n := range c.Outcome.Notices {
		names = append(names, n.Name)
	}
	return names
}

// A webview page that the visitor looks at is spoken to as one in a browser of
// ours; what we may not do with it is said.
func TestWebviewInTheVisitorsTab(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.visitAt(t, "guest", calculator)
	address := shop.Origin + calculator
	c, out := g.parameter(t, "a", map[string]any{"url": address, "inputs": map[string]any{"plan": "Team"}})
	want := botstar.GetParameterOut{Name: "plan", Value: new("Team"), Declared: true, Type: "string", Description: "The plan that is preselected"}
	if diff := cmp.Diff(want, out); diff != "" || c.Proof.Verdict != event.Confirmed {
		t.Errorf("it is %s (-want +got):\n%s", c.Proof.Verdict, diff)
	}
	if diff := cmp.Diff([]string{event.FactWebviewOpened}, named(c)); diff != "" {
		t.Errorf("the facts (-want +got):\n%s", diff)
	}
	fact := c.Outcome.Notices[0].Data(event.Occurrence{})
	if diff := cmp.Diff(event.WebviewOpened{URL: address}, fact); diff != "" { // Not who it is, which is in the query.
		t.Errorf("the fact (-want +got):\n%s", diff)
	}
	if c, out = g.parameter(t, "b", map[string]any{}); *out.Value != "Team" || named(c) != nil {
		t.Errorf("the page that is open: %v, with %v", *out.Value, named(c))
	}
	document := w.document(t, g)
	if _, out = g.parameter(t, "c", map[string]any{"url": address + "#part", "inputs": map[string]any{"plan": "Team"}}); *out.Value != "Team" || w.document(t, g) != document {
		t.Errorf("the same inputs: %v, in another document: %t", *out.Value, w.document(t, g) != document)
	}
	if c, out = g.parameter(t, "d", map[string]any{"url": address, "inputs": map[string]any{"plan": "Solo"}}); *out.Value != "Solo" || w.document(t, g) == document {
		t.Errorf("other inputs: %v, in another document: %t", *out.Value, w.document(t, g) != document)
	}
	if diff := cmp.Diff([]string{event.FactWebviewOpened}, named(c)); diff != "" {
		t.Errorf("the facts of a page that was loaded again (-want +got):\n%s", diff)
	}
	g.refuses(t)
	c, err := g.do(t, "send", sendResponse, map[string]any{
		"response": "Solo for 1", "outputs": map[string]any{"plan": "Solo", "total": 19.5}, "outlet_name": "Quote Accepted",
	})
	must(t, err)
	if string(c.Output) != `{"resolved":true,"closed":false}` || c.Proof.Verdict != event.Confirmed || !strings.Contains(c.Outcome.Advice, "stays open") {
		t.Errorf("the response is %s, %s, %q", c.Output, c.Proof.Verdict, c.Outcome.Advice)
	}
	_, err = g.do(t, "send", sendResponse, map[string]any{"response": "Solo for 1"}) // A command that is repeated.
	must(t, err)
	g.parameter(t, "e", map[string]any{}) // The page is there.
	entries := w.responses(t, 1)
	if len(entries) != 1 || entries[0].Response != "Solo for 1" || entries[0].Outlet != "Quote Accepted" || entries[0].Outputs["total"] != 19.5 {
		t.Errorf("the vendor got %+v", entries)
	}
}

// refuses tries what the page does not declare, and what is not in this tab.
func (g *guest) refuses(t *testing.T) {
	t.Helper()
	for name, tt := range map[string]struct {
		params map[string]any
		reason fault.Reason
		field  string
	}{
		"inputs":  {map[string]any{"response": "x", "inputs": map[string]any{"plan": "Company"}}, fault.SchemaViolation, "/params/inputs"},
		"output":  {map[string]any{"response": "x", "outputs": map[string]any{"totl": 3}}, fault.NotDeclared, "/params/outputs/totl"},
		"outlet":  {map[string]any{"response": "x", "outlet_name": "Elsewhere"}, fault.NotDeclared, "/params/outlet_name"},
		"origin":  {map[string]any{"response": "x", "url": "https://" + shop.DocsHost + "/"}, fault.WebviewNotAllowed, "/params/url"},
		"another": {map[string]any{"response": "x", "url": shop.Origin + "/webview/booking.html"}, fault.WebviewNotOpen, "/params/url"},
		"query":   {map[string]any{"response": "x", "url": shop.Origin + calculator + "?who=else"}, fault.WebviewNotOpen, "/params/url"},
	} {
		_, err := g.do(t, "refused-"+name, sendResponse, tt.params)
		if f := fault.From(err); f == nil || f.Reason != tt.reason || f.Field != tt.field {
			t.Errorf("%s gives %v", name, err)
		}
	}
}

// document names the page's document: a reload makes another one.
func (w *world) document(t *testing.T, g *guest) string {
	t.Helper()
	here, there, err := visitor.Find(t.Context(), w.bus, "shop", g.name)
	if err != nil || !there {
		t.Fatalf("the visitor is there: %t, %v", there, err)
	}
	return here.Life
}

// responses waits until the vendor has n responses of webviews, and returns all.
func (w *world) responses(t *testing.T, n int) []vendor.Entry {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := w.vendor.Ledger().Wait(ctx, func(s vendor.Snapshot) bool { return s.Counts[vendor.Responded] >= n })
	must(t, err)
	return slices.DeleteFunc(s.Entries, func(e vendor.Entry) bool { return e.Kind != vendor.Responded })
}

// Where no webview page is, that is said at once, and nothing waits for one.
func TestNoWebviewInTheVisitorsTab(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.visit(t, "guest")
	env := g.env(event.Visitor{UserID: "guest"})
	env.Site.Webviews = []string{"https://" + shop.DocsHost}
	_, err := actionstest.Do(t.Context(), env, botstar.Provider(), getParameter, "a", map[string]any{"parameter_name": "plan"})
	if f := fault.From(err); f == nil || f.Reason != fault.WebviewNotOpen {
		t.Errorf("a page of another origin gives %v", err)
	}
	for page, reason := range map[string]fault.Reason{"no-ready": fault.WebviewNotReady, "ready-throws": fault.WebviewScriptError} {
		g := w.visitAt(t, page, "/webview/"+page+".html")
		if _, err := g.do(t, page, getParameter, map[string]any{"parameter_name": "x"}); fault.From(err) == nil || fault.From(err).Reason != reason {
			t.Errorf("%s gives %v", page, err)
		}
	}
}

// A document tells that it has begun once, however many drivers it has; and the
// widget's state is not forgotten for the webview's driver.
func TestTwoDriversInOneDocument(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.visitAt(t, "guest", calculator)
	for i, action := range []string{"botstar.widget.boot", "botstar.widget.open"} {
		_, err := g.do(t, strconv.Itoa(i), action, map[string]any{})
		must(t, err)
	}
	g.parameter(t, "read", map[string]any{"inputs": map[string]any{"plan": "Team"}})
	must(t, g.Tab.Call(t.Context(), "state", map[string]any{}, nil))
	begun := 0
	g.mu.Lock()
	for _, signal := range g.signals {
		if signal.Name == "page.started" {
			begun++
		}
	}
	state := *g.state
	g.mu.Unlock()
	if begun != 1 || !state.Booted || !state.Open {
		t.Errorf("the document began %d times, booted %t, open %t", begun, state.Booted, state.Open)
	}
}

// A worker whose policy sends webviews to visitors' tabs has them done there.
func TestWebviewIsRouted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.work(t, session.ExecutorVisitor)
	ada := event.Visitor{UserID: "ada"}
	g := w.visitAt(t, "ada", calculator)
	r := w.sendWith(t, errand{action: getParameter, class: event.ClassRead, visitor: ada, params: `{"parameter_name":"plan","inputs":{"plan":"Team"}}`})()
	if r.Status != event.Succeeded || !r.Verified || r.Executor != session.ExecutorVisitor || !strings.Contains(string(r.Output), `"value":"Team"`) {
		t.Errorf("reading: %s in %s, %s: %+v", r.Status, r.Executor, r.Output, r.Problem)
	}
	r = w.sendWith(t, errand{action: sendResponse, class: event.ClassWrite, visitor: ada, params: `{"response":"yes"}`})()
	if r.Status != event.Succeeded || !r.Verified || r.Executor != session.ExecutorVisitor {
		t.Errorf("answering: %s in %s: %+v", r.Status, r.Executor, r.Problem)
	}
	var told event.WebviewResponded
	must(t, json.Unmarshal(w.history("evt.botstar.webview.responded.shop."+g.name, 1)[0].Data, &told))
	if told.Response != "yes" || told.CommandID != r.CommandID {
		t.Errorf("the fact is %+v", told)
	}
	r = w.sendWith(t, errand{action: "botstar.user.clear_profile", class: event.ClassWrite, visitor: ada, params: `{}`})()
	if r.Status != event.Succeeded || r.Verified || r.Executor != session.ExecutorVisitor || !strings.Contains(string(r.Output), `"browser_cleared":false,"page_cleared":true`) {
		t.Errorf("clearing: %s in %s, %s: %+v", r.Status, r.Executor, r.Output, r.Problem)
	}
	if n := len(w.responses(t, 1)); n != 1 {
		t.Errorf("the vendor got %d responses", n)
	}
}
