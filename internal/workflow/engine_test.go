package workflow

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// start runs an engine on the bus until the returned function is called, and
// reports the outcomes that it counted.
func start(t *testing.T, b testBundle, on *bus.Bus, set *Set) (stop func(), outcomes chan string) {
	t.Helper()
	outcomes = make(chan string, 100)
	engine := New(bustest.Log(t), on, Options{
		Rules: set, Schemas: b.schemas, Counted: func(outcome string) { outcomes <- outcome },
		Sites: func(name string) (actions.Site, bool) { return b.site, name == "shop" },
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v", err)
		}
	}, outcomes
}

// publish publishes a trigger as a source would.
func publish(t *testing.T, on *bus.Bus, trigger event.Envelope, site string) {
	t.Helper()
	session := event.SessionKey(site, event.Visitor{UserID: "u-42"})
	if _, err := on.Publish(t.Context(), event.TriggerSubject("cli", "track", site, session), trigger); err != nil {
		t.Fatal(err)
	}
}

// queued returns the subjects and ids of the workflow commands on the bus.
func queued(t *testing.T, on *bus.Bus) []string {
	t.Helper()
	var got []string
	for d, err := range on.Tail(t.Context(), bus.TailOptions{Subjects: []string{event.SiteFilters("")[1]}, All: true, ToEnd: true}) {
		if err != nil {
			t.Fatal(err)
		}
		e, err := d.Envelope()
		if err != nil {
			t.Fatal(err)
		}
		action, _ := event.ActionOfType(e.Type)
		got = append(got, action+" of "+e.Extension(event.ExtCausationID))
	}
	return got
}

func TestEngine(t *testing.T) {
	t.Parallel()
	b, on := setup(t), bustest.Start(t)
	stop, outcomes := start(t, b, on, b.rules(t, "pricing.yaml", pricing))
	pro := map[string]any{"plan": "pro", "price": 49}
	publish(t, on, track(t, "t-1", event.Trigger{Event: "Pricing Viewed", Properties: pro}), "shop")
	publish(t, on, track(t, "t-2", event.Trigger{Event: "Pricing Viewed", Properties: map[string]any{"plan": "free"}}), "shop")
	if got := []string{<-outcomes, <-outcomes}; !cmp.Equal(got, []string{"matched", "ignored"}) {
		t.Errorf("the outcomes are %v", got)
	}
	stop()

	// The consumer is durable: what came while no engine ran is not lost, and
	// what was settled does not come again.
	publish(t, on, track(t, "t-3", event.Trigger{Event: "Pricing Viewed", Properties: pro}), "shop")
	stop, outcomes = start(t, b, on, b.rules(t, "pricing.yaml", pricing))
	if got := <-outcomes; got != "matched" {
		t.Errorf("the outcome is %s", got)
	}
	stop()
	want := []string{
		"botstar.widget.boot of t-1", "botstar.widget.update of t-1", "botstar.widget.open of t-1",
		"botstar.widget.boot of t-3", "botstar.widget.update of t-3", "botstar.widget.open of t-3",
	}
	if diff := cmp.Diff(want, queued(t, on)); diff != "" {
		t.Errorf("the commands differ (-want +got):\n%s", diff)
	}
}

// TestEngineAgain shows that a trigger that is looked at twice gives its
// commands once.
func TestEngineAgain(t *testing.T) {
	t.Parallel()
	b, on := setup(t), bustest.Start(t)
	set := b.rules(t, "pricing.yaml", pricing)
	trigger := track(t, "t-1", event.Trigger{Event: "Pricing Viewed", Properties: map[string]any{"plan": "pro", "price": 49}})
	for range 2 {
		orders, err := set.Decide(trigger, arrived, b.site, b.schemas)
		if err != nil {
			t.Fatal(err)
		}
		for _, order := range orders {
			if _, err := on.Publish(t.Context(), order.Subject, order.Envelope); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := queued(t, on); len(got) != 3 {
		t.Errorf("the commands are %v, want three", got)
	}
}

// TestEngineBuries shows that a trigger that a rule cannot evaluate becomes a
// dead letter, after the commands of the other rules.
func TestEngineBuries(t *testing.T) {
	t.Parallel()
	b, on := setup(t), bustest.Start(t)
	set := b.rules(t,
		"a.yaml", "on: {trigger: track}\nsteps: [{action: botstar.widget.open}]\n",
		"b.yaml", "on: {trigger: track}\nsteps: [{action: botstar.widget.update, params: {email: '${ trigger.traits.email }'}}]\n",
	)
	stop, _ := start(t, b, on, set)
	publish(t, on, track(t, "t-1", event.Trigger{Event: "Any"}), "shop")
	dead := bustest.NextOn[event.DeadLetter](t, on, "dead.bad_rule.shop.*")
	if dead.Problem.Reason != string(fault.BadRule) || dead.Attempts != 1 {
		t.Errorf("the dead letter is %+v", dead.Problem)
	}
	publish(t, on, track(t, "t-2", event.Trigger{Event: "Any", Site: "elsewhere"}), "elsewhere")
	if dead := bustest.NextOn[event.DeadLetter](t, on, "dead.unknown_site.*.*"); dead.Problem.Field != "/site" {
		t.Errorf("the dead letter is %+v", dead.Problem)
	}
	stop()
	if got := queued(t, on); !cmp.Equal(got, []string{"botstar.widget.open of t-1"}) {
		t.Errorf("the commands are %v", got)
	}
}
