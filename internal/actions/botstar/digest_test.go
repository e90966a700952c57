package botstar

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
)

// TestDigest plays the life of a session's page.
func TestDigest(t *testing.T) {
	t.Parallel()
	const app = "s0a1b2c3d-0000-4000-8000-000000000001"
	state := &actions.State{Subscriptions: []actions.Subscription{
		{ID: "one", Fact: event.FactWidgetOpened}, {ID: "two", Fact: event.FactWidgetClosed},
	}}
	steps := []struct {
		name, data string
		fact       any // nil for nothing to publish
		open       bool
		booted     bool
	}{
		{"page.started", `{}`, nil, false, false},
		{"widget.ready", `{"app_id":"` + app + `","mode":"popup"}`, event.WidgetBooted{AppID: app, Mode: "popup"}, false, true},
		{"widget.opened", `null`, event.WidgetOpened{Subscriptions: []string{"one"}}, true, true},
		{"widget.closed", `null`, event.WidgetClosed{Subscriptions: []string{"two"}}, false, true},
		{"widget.ready", `{"app_id":"` + app + `","mode":"inline","again":true}`, nil, false, true},
		{"widget.ready", `{"app_id":"<script>","mode":"popup"}`, nil, false, true},
		{"something.else", `{}`, nil, false, true},
		{"widget.opened", `null`, event.WidgetOpened{Subscriptions: []string{"one"}}, true, true},
		// The page goes away with its window open: it is closed.
		{"page.started", `{}`, event.WidgetClosed{Subscriptions: []string{"two"}}, false, false},
		{"page.started", `{}`, nil, false, false},
		{
			"webview.responded", `{"url":"https://shop.example.test/w","response":"yes","outputs":{"total":3},"outlet":"Done"}`,
			event.WebviewResponded{URL: "https://shop.example.test/w", Response: "yes", Outputs: map[string]any{"total": 3.0}, Outlet: "Done"},
			false, false,
		},
		{"webview.responded", `{"url":3}`, nil, false, false},
	}
	for i, step := range steps {
		notice, publish := digest(state, actions.Signal{Name: step.name, Data: json.RawMessage(step.data)})
		var got any
		if publish {
			got = notice.Data(event.Occurrence{})
		}
		if diff := cmp.Diff(step.fact, got); diff != "" {
			t.Errorf("step %d, %s (-want +got):\n%s", i, step.name, diff)
		}
		if state.Open != step.open || state.Booted != step.booted {
			t.Errorf("step %d, %s: open %t, booted %t", i, step.name, state.Open, state.Booted)
		}
	}
}
