//go:build browser

package worker_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/worker"
)

// TestMainJob opens and closes the widget of a new visitor: the worker boots it
// first, every step is verified, and the callbacks become facts with a cause.
func TestMainJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{})
	o := order{visitor: event.Visitor{UserID: "main-job"}}

	o.action = "botstar.widget.on_open"
	w.succeed(o)
	o.action, o.id = "botstar.widget.open", "open-1"
	opened := w.succeed(o)
	if !opened.Verified || len(opened.Steps) != 2 || !opened.Steps[0].Inserted ||
		opened.Steps[0].Action != "botstar.widget.boot" || opened.Steps[0].Verdict != event.Confirmed {
		t.Errorf("open: verified %t, steps %+v", opened.Verified, opened.Steps)
	}
	o.action, o.id = "botstar.widget.close", "close-1"
	closed := w.succeed(o)
	if !closed.Verified || len(closed.Steps) != 1 {
		t.Errorf("close: verified %t, steps %+v", closed.Verified, closed.Steps)
	}
	booted := facts[event.WidgetBooted](w, o, event.FactWidgetBooted, 1)
	if booted[0].Mode != "livechat" || booted[0].Cause != event.CauseAPI || booted[0].CommandID != "open-1" {
		t.Errorf("booted = %+v", booted[0])
	}
	open := facts[event.WidgetOpened](w, o, event.FactWidgetOpened, 1)
	if open[0].Cause != event.CauseAPI || open[0].CommandID != "open-1" || len(open[0].Subscriptions) != 1 {
		t.Errorf("opened = %+v", open[0])
	}
	shut := facts[event.WidgetClosed](w, o, event.FactWidgetClosed, 1)
	if shut[0].Cause != event.CauseAPI || shut[0].CommandID != "close-1" {
		t.Errorf("closed = %+v", shut[0])
	}
	w.count("main-job", botstar.Booted, 1)
	w.count("main-job", botstar.Opened, 1)
	w.count("main-job", botstar.Closed, 1)
}

// TestEveryAlias runs each action by each of its names.
func TestEveryAlias(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{})
	params := map[string]string{
		"botstar.widget.update":         `{"first_name":"Ada"}`,
		"botstar.widget.set_mode":       `{"mode":"popup"}`,
		"botstar.user.clear_profile":    `{"scope":"browser"}`,
		"botstar.webview.get_parameter": `{"parameter_name":"plan","url":"https://shop.example.test/webview/calculator.html","inputs":{"plan":"Team","seats":3}}`,
		"botstar.webview.send_response": `{"response":"Team","outputs":{"plan":"Team","seats":3,"total":29.4},"outlet_name":"Quote Accepted","url":"https://shop.example.test/webview/calculator.html","inputs":{"plan":"Team"}}`,
	}
	for _, spec := range w.catalog.Actions() {
		if spec.Plane == actions.PlaneREST {
			continue // Their tests have an account at the vendor.
		}
		t.Run(spec.Name, func(t *testing.T) {
			t.Parallel()
			w := w.in(t)
			for _, alias := range spec.Aliases {
				result := w.succeed(order{action: spec.Name, alias: alias.Name, params: params[spec.Name], visitor: event.Visitor{UserID: spec.Name}})
				out := map[string]json.RawMessage{}
				must(t, json.Unmarshal(result.Output, &out))
				var snippet string
				if alias.SnippetField != "" {
					must(t, json.Unmarshal(out[alias.SnippetField], &snippet))
				}
				if (snippet != "") != (alias.SnippetField != "") {
					t.Errorf("%s: the snippet in %q is %q", alias.Name, alias.SnippetField, snippet)
				}
			}
		})
	}
}

// TestRepeatedCommand sends the same id again, and another time with other
// parameters.
func TestRepeatedCommand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{})
	visitor := event.Visitor{UserID: "repeated"}
	first := w.succeed(order{action: "botstar.widget.open", visitor: visitor, id: "same"})
	w.succeed(order{action: "botstar.widget.close", visitor: visitor})
	o := order{action: "botstar.widget.open", visitor: visitor, id: "same"}
	for i := range 2 {
		w.again(o)
		if diff := cmp.Diff(first, w.repeated()); diff != "" {
			t.Errorf("repetition %d has another result:\n%s", i, diff)
		}
		w.restart() // The next one is known by its effect record only.
	}
	if reports := w.ran("same"); len(reports) != 1 {
		t.Errorf("the command ran %d times", len(reports))
	}
	w.count("repeated", botstar.Opened, 1)
	if results := w.history(event.ResultSubject("botstar.widget.open", "shop", event.SessionKey("shop", visitor)), 1); len(results) != 1 {
		t.Errorf("%d results are stored, want one", len(results))
	}
	w.healthy(order{visitor: visitor})
}

// TestReusedID sends an id again with other parameters.
func TestReusedID(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{})
	o := order{action: "botstar.widget.update", visitor: event.Visitor{UserID: "reused"}, id: "one", params: `{"city":"London"}`}
	w.succeed(o)
	o.params = `{"city":"Paris"}`
	for i := range 2 {
		w.again(o)
		bustest.Until(t, "another result", func() bool { return len(w.ran("one")) == i+2 })
		result := w.ran("one")[i+1]
		if result.Status != event.Rejected || reasonOf(result) != string(fault.IDReused) {
			t.Errorf("the same id with other parameters: %s %+v", result.Status, result.Problem)
		}
		w.restart() // The next one is known by its effect record only.
	}
	w.count("reused", botstar.Updated, 1)
	w.healthy(o)
}

func TestAutoBootForbidden(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{})
	visitor := event.Visitor{UserID: "no-boot"}
	result := w.do(order{action: "botstar.widget.open", visitor: visitor, noBoot: true})
	if result.Status != event.Rejected || reasonOf(result) != string(fault.NotBooted) {
		t.Errorf("open without boot: %s %+v", result.Status, result.Problem)
	}
	w.succeed(order{action: "botstar.widget.boot", visitor: visitor})
	w.succeed(order{action: "botstar.widget.open", visitor: visitor, noBoot: true})
	w.count("no-boot", botstar.Booted, 1)
}

// TestAnonymousThenIdentified proves that what an anonymous visitor said is not
// lost: it reaches the vendor once the visitor is identified.
func TestAnonymousThenIdentified(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{})
	anonymous := event.Visitor{AnonymousID: "anon-7"}
	result := w.succeed(order{action: "botstar.widget.update", visitor: anonymous, params: `{"first_name":"Ada","city":"London"}`})
	var out struct {
		Persisted bool `json:"persisted"`
	}
	must(t, json.Unmarshal(result.Output, &out))
	if out.Persisted || result.Advice == "" {
		t.Errorf("an anonymous update: persisted %t, advice %q", out.Persisted, result.Advice)
	}
	known := event.Visitor{UserID: "known-7", AnonymousID: "anon-7"}
	w.succeed(order{action: "botstar.widget.boot", visitor: known})
	w.count("known-7", botstar.Booted, 1)
	entries := w.vendor.Ledger().Snapshot().Of("known-7")
	if got := entries[0].Attributes["first_name"]; got != "Ada" {
		t.Errorf("the vendor got first_name %v of %+v", got, entries[0].Attributes)
	}
	// It is given once: a later change of the identified visitor stays.
	w.succeed(order{action: "botstar.widget.update", visitor: known, params: `{"first_name":"Grace"}`})
	w.succeed(order{action: "botstar.widget.update", visitor: known, params: `{"city":"Paris"}`})
	w.count("known-7", botstar.Updated, 2)
	last := w.vendor.Ledger().Snapshot().Of("known-7")
	if got := last[len(last)-1].After.Attributes["first_name"]; got != "Grace" {
		t.Errorf("the vendor knows first_name %v", got)
	}
}

// TestBudget spends the vendor's budget: the next update waits, is sent by a
// timer as soon as the budget allows, and an event names whose it was.
func TestBudget(t *testing.T) {
	t.Parallel()
	clock := &stopped{at: time.Now()} // However long the commands take, they come before the budget is back.
	w := newWorld(t, plan{worker: worker.Options{Now: clock.now}})
	o := order{action: "botstar.widget.update", visitor: event.Visitor{UserID: "eager"}, timeout: 60_000}
	// Twenty updates were sent almost half an hour ago.
	var sent []time.Time
	for range 20 {
		sent = append(sent, clock.now().Add(-1800*time.Second+time.Second))
	}
	raw, err := json.Marshal(actions.Profile{Sent: map[string][]time.Time{o.action: sent}})
	must(t, err)
	kv, err := w.bus.KV(t.Context(), bus.BucketProfiles)
	must(t, err)
	_, err = kv.Put(t.Context(), "shop."+event.SessionKey("shop", o.visitor), raw)
	must(t, err)

	o.id, o.params = "eager-1", `{"city":"London"}`
	first := w.do(o)
	o.id, o.params = "eager-2", `{"city":"Paris","plan":"Team"}`
	second := w.do(o)
	clock.run()
	for _, result := range []event.Result{first, second} {
		var out struct {
			Throttled   bool       `json:"throttled"`
			QueuedUntil *time.Time `json:"queued_until"`
		}
		must(t, json.Unmarshal(result.Output, &out))
		if result.Status != event.Queued || !out.Throttled || out.QueuedUntil == nil {
			t.Errorf("%s: %s", result.Status, result.Output)
		}
	}
	updated := facts[event.UserUpdated](w, o, event.FactUserUpdated, 1)[0]
	want := event.UserUpdated{
		Occurrence: updated.Occurrence, Attributes: []string{"city", "plan"},
		Persisted: true, Flushed: true, Commands: []string{"eager-1", "eager-2"},
	}
	if diff := cmp.Diff(want, updated); diff != "" {
		t.Error(diff)
	}
	w.count("eager", botstar.Updated, 1)
	last := w.vendor.Ledger().Snapshot().Kind(botstar.Updated)[0]
	if last.Attributes["city"] != "Paris" || last.Attributes["plan"] != "Team" {
		t.Errorf("the vendor got %+v", last.Attributes)
	}
	w.healthy(o)
}

// TestWebviewAnswerIsOneFact sends a webview's response, twice by the same id.
func TestWebviewAnswerIsOneFact(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{})
	o := order{
		action: "botstar.webview.send_response", visitor: event.Visitor{UserID: "answering"}, id: "answer",
		params: `{"response":"Team","outputs":{"plan":"Team","seats":3,"total":29.4},"outlet_name":"Quote Accepted","url":"https://shop.example.test/webview/calculator.html","inputs":{"plan":"Team"}}`,
	}
	if result := w.succeed(o); !result.Verified {
		t.Errorf("%+v", result)
	}
	w.again(o)
	w.repeated()
	responded := facts[event.WebviewResponded](w, o, event.FactWebviewResponded, 1)[0]
	if responded.Response != "Team" || responded.Outlet != "Quote Accepted" || responded.CommandID != "answer" {
		t.Errorf("%+v", responded)
	}
	for page, reason := range map[string]fault.Reason{
		"no-ready.html": fault.WebviewNotReady, "ready-throws.html": fault.WebviewScriptError, "syntax-error.html": fault.WebviewScriptError,
	} {
		o.id, o.timeout = page, 5000
		o.params = `{"response":"x","url":"https://shop.example.test/webview/` + page + `"}`
		if result := w.do(o); reasonOf(result) != string(reason) && reasonOf(result) != string(fault.WebviewNotReady) {
			t.Errorf("%s: %s %+v, want %s", page, result.Status, result.Problem, reason)
		}
	}
	w.healthy(o)
}
