//go:build browser

package botstar_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/actionstest"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
)

// TestSuite runs the suite of all providers.
func TestSuite(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.vendor.Set(vendor.Faults{Throttle: vendor.Throttle{Limit: 1 << 20}})
	boot := actionstest.Step{Action: "botstar.widget.boot", Params: map[string]any{}}
	page := map[string]any{"parameter_name": "plan", "url": calculator, "inputs": map[string]any{"plan": "Team", "seats": 3}}
	actionstest.Run(t, actionstest.Bench{
		Provider: botstar.Provider(),
		Open: func(t *testing.T, v event.Visitor) actions.Env {
			t.Helper()
			s := w.open(t, site(), v)
			s.env.Now = bottomless(w.clock)
			return s.env
		},
		Further: func(env actions.Env) []actions.Page {
			if s, ok := env.Browser.(*session); ok && s.webview != nil {
				return []actions.Page{s.webview}
			}
			return nil
		},
		Slow: func(t *testing.T, by time.Duration) {
			t.Helper()
			t.Cleanup(func() { w.vendor.Set(vendor.Faults{Throttle: vendor.Throttle{Limit: 1 << 20}}) })
			w.vendor.Set(vendor.Faults{Throttle: vendor.Throttle{Limit: 1 << 20}, Query: vendor.Fault{Delay: by}, Frame: vendor.Fault{Delay: by}})
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
			{Action: "botstar.webview.send_response", Params: map[string]any{"response": "yes", "url": calculator}},
			{Action: "botstar.app.list_ids"},
		},
		Slots: slots(w, boot),
	})
}

// bottomless returns a clock on which a budget never ends: every look at it
// finds that a while has passed.
func bottomless(c *clock) func() time.Time {
	ahead := make(chan time.Duration, 1)
	ahead <- 0
	return func() time.Time {
		d := <-ahead
		ahead <- d + 2*time.Minute
		return c.Now().Add(d)
	}
}

// slots are all parameters of the catalogue that take free text.
func slots(w *world, boot actionstest.Step) []actionstest.Slot {
	before := []actionstest.Step{boot}
	invalid := []fault.Reason{fault.SchemaViolation}
	return append([]actionstest.Slot{
		{
			Action: "botstar.widget.update", Parameter: "attributes", Before: before,
			Params:  func(texts []string) any { return map[string]any{"first_name": texts[0], "a custom one": texts[0]} },
			Arrived: w.arrived(vendor.Updated, attributes("first_name", "a custom one")),
		},
		{
			Action: "botstar.widget.update", Parameter: "tags", Before: before, Batch: 8,
			Params:  func(texts []string) any { return map[string]any{"tags": texts} },
			Arrived: w.arrived(vendor.Updated, func(e vendor.Entry) []any { return anys(e.After.Tags) }),
		},
		{
			Action: "botstar.widget.update", Parameter: "the name of an attribute", Before: before, Refused: invalid,
			Params: func(texts []string) any { return map[string]any{texts[0]: texts[0]} },
			Arrived: w.arrived(vendor.Updated, func(e vendor.Entry) []any {
				return slices.Collect(maps.Values(e.Attributes))
			}),
		},
		{
			Action: "botstar.widget.boot", Parameter: "user", Batch: 16,
			Params:  func(texts []string) any { return map[string]any{"user": numbered(texts)} },
			Arrived: w.arrived(vendor.Booted, func(e vendor.Entry) []any { return inOrder(e.Attributes) }),
		},
		{
			Action: "botstar.widget.boot", Parameter: "variables", Batch: 16,
			Params:  func(texts []string) any { return map[string]any{"variables": numbered(texts)} },
			Arrived: w.arrived(vendor.Booted, func(e vendor.Entry) []any { return inOrder(e.Variables) }),
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
		{
			// A session holds 100 subscriptions.
			Action: "botstar.widget.on_open", Parameter: "callback", Before: before, Refused: []fault.Reason{fault.BudgetExhausted},
			Params: func(texts []string) any { return map[string]any{"callback": texts[0]} },
		},
		{
			Action: "botstar.widget.on_close", Parameter: "callback_code", Before: before, Refused: []fault.Reason{fault.BudgetExhausted},
			Params: func(texts []string) any { return map[string]any{"callback_code": texts[0]} },
		},
	}, webviewSlots(w)...)
}

func webviewSlots(w *world) []actionstest.Slot {
	before := []actionstest.Step{{Action: getAction, Params: map[string]any{"parameter_name": "plan", "url": calculator}}}
	refused := []fault.Reason{fault.NotDeclared, fault.SchemaViolation}
	return []actionstest.Slot{
		{
			Action: getAction, Parameter: "inputs", Batch: 16,
			Params: func(texts []string) any {
				inputs := numbered(texts)
				inputs["plan"] = texts[0]
				return map[string]any{"parameter_name": "plan", "url": calculator, "inputs": inputs}
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
			Action: getAction, Parameter: "parameter_name", Before: before,
			Params: func(texts []string) any { return map[string]any{"parameter_name": texts[0]} },
		},
		{
			Action: sendAction, Parameter: "response and outputs", Batch: 2,
			Params: func(texts []string) any {
				return map[string]any{"response": texts[0], "outputs": map[string]any{"plan": texts[len(texts)-1]}, "url": calculator}
			},
			Arrived: w.arrived(vendor.Responded, func(e vendor.Entry) []any { return []any{e.Response, e.Outputs["plan"]} }),
		},
		{
			Action: sendAction, Parameter: "outlet_name", Before: before, Refused: refused,
			Params: func(texts []string) any { return map[string]any{"response": "", "outlet_name": "?" + texts[0]} },
		},
		{
			Action: sendAction, Parameter: "the name of an output", Before: before, Refused: refused,
			Params: func(texts []string) any {
				return map[string]any{"response": "", "outputs": map[string]any{texts[0]: "x"}}
			},
		},
		{
			Action: getAction, Parameter: "url", Refused: []fault.Reason{fault.WebviewNotAllowed},
			Params: func(texts []string) any { return map[string]any{"parameter_name": "plan", "url": "?" + texts[0]} },
		},
	}
}

func attributes(keys ...string) func(vendor.Entry) []any {
	return func(e vendor.Entry) []any {
		var values []any
		for _, key := range keys {
			values = append(values, e.Attributes[key])
		}
		return values
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

// inOrder returns the values that numbered gave names to.
func inOrder(values map[string]any) []any {
	var found []any
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if key[0] == 'n' {
			found = append(found, values[key])
		}
	}
	return found
}

func anys(texts []string) []any {
	var values []any
	for _, text := range texts {
		values = append(values, text)
	}
	return values
}

// arrived waits until the vendor has been told each of the texts, unchanged,
// in one entry.
func (w *world) arrived(kind vendor.Kind, values func(vendor.Entry) []any) func(*testing.T, actions.Env, []string, json.RawMessage) {
	return func(t *testing.T, env actions.Env, texts []string, _ json.RawMessage) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var last []any
		_, err := w.vendor.Ledger().Wait(ctx, func(s vendor.Snapshot) bool {
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
		})
		if err != nil {
			t.Errorf("it arrived changed (-want +got):\n%s", cmp.Diff(anys(texts), last))
		}
	}
}
