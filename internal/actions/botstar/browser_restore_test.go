//go:build browser

package botstar_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
)

// restored opens another page of the visitor, as full page or light, and has it
// made like the state.
func (w *world) restored(t *testing.T, s actions.Site, v event.Visitor, state actions.State, light string) (*session, error) {
	t.Helper()
	made := w.visit(t, s, v, light)
	state.Opened, state.Closed = 0, 0
	made.env.State, made.env.Key = &state, "restore"
	err := botstar.Provider().Restore(t.Context(), made.env)
	made.catchUp()
	return made, err
}

func TestRestore(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	tests := []struct {
		name, mode string
		open, full bool
	}{
		{"closed", "livechat", false, false},
		{"open", "livechat", true, false},
		{"open in another mode than the site's", "popup", true, false},
		{"inline", "inline", false, false},
		{"a full page", "livechat", true, true},
		{"a full page in another mode than its own", "popup", true, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			v := event.Visitor{UserID: test.name}
			first := w.open(t, site(), v)
			first.must(event.Confirmed, "botstar.widget.boot", map[string]any{
				"mode": test.mode, "user": map[string]any{"plan": "Team"}, "variables": map[string]any{"seats": 3},
			})
			if test.open {
				first.must(event.Confirmed, "botstar.widget.open", nil)
				first.heard("widget.opened", 1)
			}
			first.catchUp()
			before := *first.env.State
			at, light := site(), botstar.Provider().Light(site())
			if test.full {
				at.URL, light = shop.Origin+"/", ""
			}
			second, err := w.restored(t, at, v, before, light)
			if err != nil {
				t.Fatal(err)
			}
			after := *second.env.State
			ignore := func(s actions.State) actions.State {
				s.Opened, s.Closed, s.Sight = 0, 0, actions.Sight{}
				return s
			}
			if diff := cmp.Diff(ignore(before), ignore(after)); diff != "" {
				t.Errorf("the state (-before +after):\n%s", diff)
			}
			facts, err := botstar.Provider().Observe(t.Context(), second.env)
			if err != nil || !facts[actions.Booted] || facts[actions.Open] != test.open {
				t.Errorf("seen from the isolated world: %v, %v", facts, err)
			}
			for _, signal := range second.all() { // So that the session knows them for its own.
				if signal.Name == "widget.opened" && signal.Key != "restore/restore" {
					t.Errorf("a signal of a restored page: %+v", signal)
				}
			}
			entries := w.reached(t, test.name, vendor.Booted, 2)
			if last := entries[len(entries)-1]; last.Attributes["plan"] != "Team" || last.Variables["seats"] != 3.0 {
				t.Errorf("the vendor was told %v, %v", last.Attributes, last.Variables)
			}
			if test.open { // The listeners are there: a close is heard.
				second.must(event.Confirmed, "botstar.widget.close", nil)
			}
		})
	}
}

// TestRestoreOfABrokenWidget says so, and leaves the state empty, so that a
// boot begins anew.
func TestRestoreOfABrokenWidget(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.vendor.Set(vendor.Faults{Chunk: vendor.Fault{Status: 404}})
	state := actions.State{AppID: shop.AppID, Mode: "livechat", Booted: true, Open: true}
	began := time.Now()
	s, err := w.restored(t, site(), event.Visitor{UserID: "u"}, state, botstar.Provider().Light(site()))
	if reason := fault.From(err).Reason; reason != fault.WidgetNotReady && reason != fault.WidgetFailed {
		t.Errorf("restoring a widget that does not load: %v", err)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it took %s to notice", took)
	}
	if s.env.State.Booted {
		t.Error("the state says booted")
	}
}

func TestStateOfAHibernatedSession(t *testing.T) {
	t.Parallel()
	spec := specOf(t, "botstar.session.get_state")
	for params, want := range map[string]bool{``: true, `{}`: true, `{"include":["dom"]}`: true, `{"wake":true}`: false, `[`: false} {
		if got := spec.Asleep(json.RawMessage(params)); got != want {
			t.Errorf("answers %q asleep: %t", params, got)
		}
	}
	env := actions.Env{
		State:   &actions.State{Booted: true, Open: true, Mode: "popup", AppID: shop.AppID, Subscriptions: []actions.Subscription{{ID: "a"}}},
		Profile: &actions.Profile{}, Now: time.Now, Visitor: event.Visitor{UserID: "u"},
	}
	o, err := spec.Run(t.Context(), env, nil)
	if err != nil {
		t.Fatal(err)
	}
	out, _ := o.Output.(botstar.StateOut)
	want := &botstar.DomState{
		Booted: botstar.Flag{Value: new(true), Origin: "record"}, Open: botstar.Flag{Value: new(true), Origin: "record"},
		Mode: botstar.Text{Value: new("popup"), Origin: "record"}, AppID: botstar.Text{Value: new(shop.AppID), Origin: "record"},
		FrameLoaded: botstar.Flag{Origin: "unknown"}, Listening: botstar.Flag{Origin: "unknown"},
		Containers: botstar.Count{Origin: "unknown"}, QueueLength: botstar.Count{Origin: "unknown"}, PageErrors: botstar.Count{Origin: "unknown"},
	}
	if diff := cmp.Diff(want, out.Dom); diff != "" || out.State != "hibernated" || len(out.Subscriptions.Value) != 1 {
		t.Errorf("%s %v (-want +got):\n%s", out.State, out.Subscriptions, diff)
	}
	if proof, err := spec.Verify(t.Context(), env, nil, o); err != nil || proof.Verdict != event.Unverifiable {
		t.Errorf("verified: %+v, %v", proof, err)
	}
}

func specOf(t *testing.T, name string) actions.Spec {
	t.Helper()
	for _, spec := range botstar.Provider().Actions {
		if spec.Name == name {
			return spec
		}
	}
	t.Fatalf("there is no action %s", name)
	return actions.Spec{}
}
