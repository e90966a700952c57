package workflow

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

const pricing = `
on: {trigger: track, event: Pricing Viewed}
if: visitor.identified && trigger.properties.plan == "pro"
steps:
  - action: botstar.widget.boot
  - action: botstar.widget.update
    params:
      email: ${ visitor.email }
      note: "saw ${ trigger.properties.plan } for ${trigger.properties.price} $${eur}"
      price: ${ trigger.properties.price }
      tags: ["pricing", "${ trigger.properties.plan }"]
  - name: greet
    action: Open chat widget
    timeout: 20s
    auto_boot: false
    expires: 1m
`

var arrived = time.Date(2026, 11, 25, 12, 0, 1, 0, time.UTC)

func TestDecide(t *testing.T) {
	t.Parallel()
	b := setup(t)
	set := b.rules(t, "pricing.yaml", pricing)
	trigger := track(t, "t-1", event.Trigger{Event: "Pricing Viewed", Properties: map[string]any{"plan": "pro", "price": 49}})
	orders, err := set.Decide(trigger, arrived, b.site, b.schemas)
	if err != nil {
		t.Fatal(err)
	}
	if len(orders) != 3 {
		t.Fatalf("got %d orders, want 3", len(orders))
	}
	session := event.SessionKey("shop", event.Visitor{UserID: "u-42"})
	greet := orders[2]
	want := Order{
		Rule:    "pricing",
		Subject: "go.w.botstar.widget.open.shop." + session,
		Envelope: event.Envelope{
			ID:     event.DerivedID("pricing", event.Key("/ingest/cli", "t-1"), "greet"),
			Source: "/workflows/pricing", Type: "chat.parley.command.botstar.widget.open.v1",
			Subject: session, Time: arrived,
			Extensions: map[string]string{
				"partitionkey": session, "causationid": "t-1", "correlationid": "t-1",
				"expirytime": "2026-11-25T12:01:01Z",
			},
			Data: greet.Envelope.Data,
		},
	}
	if diff := cmp.Diff(want, greet); diff != "" {
		t.Errorf("the order differs (-want +got):\n%s", diff)
	}
	var command event.Command
	if err := json.Unmarshal(greet.Envelope.Data, &command); err != nil {
		t.Fatal(err)
	}
	if command.Alias != "Open chat widget" || *command.TimeoutMS != 20000 || *command.AutoBoot {
		t.Errorf("the command is %s", greet.Envelope.Data)
	}
	var updated struct{ Params map[string]any }
	if err := json.Unmarshal(orders[1].Envelope.Data, &updated); err != nil {
		t.Fatal(err)
	}
	wantParams := map[string]any{
		"email": "ada@example.test", "note": "saw pro for 49 ${eur}", "price": 49.0, "tags": []any{"pricing", "pro"},
	}
	if diff := cmp.Diff(wantParams, updated.Params); diff != "" {
		t.Errorf("the parameters differ (-want +got):\n%s", diff)
	}
}

// TestDecideAgain shows that a trigger that comes twice names the same commands.
func TestDecideAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	set := b.rules(t, "pricing.yaml", pricing)
	properties := map[string]any{"plan": "pro", "price": 49}
	decide := func(id string) []Order {
		orders, err := set.Decide(track(t, id, event.Trigger{Event: "Pricing Viewed", Properties: properties}), arrived, b.site, b.schemas)
		if err != nil {
			t.Fatal(err)
		}
		return orders
	}
	if diff := cmp.Diff(decide("t-1"), decide("t-1")); diff != "" {
		t.Errorf("the same trigger gave other commands:\n%s", diff)
	}
	for i, order := range decide("t-2") {
		if order.Envelope.ID == decide("t-1")[i].Envelope.ID {
			t.Errorf("another trigger gave the same id %s", order.Envelope.ID)
		}
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	properties := map[string]any{
		"plan": "pro", "price": 49.5, "count": 3, "tags": []any{"a", "b"}, "cart": map[string]any{"total": 10},
	}
	tests := []struct {
		condition string
		want      bool
		fails     bool
	}{
		{`true`, true, false},
		{`trigger.properties.plan == "pro"`, true, false},
		{`trigger.properties.price > 49`, true, false},
		{`trigger.properties.count == 3`, true, false},
		{`trigger.properties.cart.total >= 10.0`, true, false},
		{`"b" in trigger.properties.tags`, true, false},
		{`trigger.properties.tags.exists(t, t.startsWith("c"))`, false, false},
		{`trigger.properties.missing == "x"`, false, false},
		{`!(trigger.properties.missing == "x")`, false, false},
		{`trigger.properties.?missing.orValue("none") == "none"`, true, false},
		{`has(trigger.properties.plan)`, true, false},
		{`has(trigger.properties.missing)`, false, false},
		{`trigger.properties.missing == "x" || visitor.identified`, true, false},
		{`visitor.email.endsWith("@example.test")`, true, false},
		{`site.name == "shop" && site.mode == "livechat"`, true, false},
		{`trigger.occurred_at < timestamp("2027-01-01T00:00:00Z")`, true, false},
		{`trigger.kind == "track" && trigger.source == "ingest/cli"`, true, false},
		{`trigger.properties.plan.contains(trigger.properties.count)`, false, true},
		{`trigger.properties.plan`, false, true},
		{`[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, [1,2,3,4,5,6,7,8,9].all(c, [1,2,3,4,5,6,7,8,9].all(d, a+b+c+d > 0))))`, false, true},
	}
	for _, test := range tests {
		t.Run(test.condition, func(t *testing.T) {
			t.Parallel()
			rule := "on: {trigger: track}\nif: '" + test.condition + "'\nsteps: [{action: botstar.widget.open}]\n"
			set := b.rules(t, "rule.yaml", rule)
			orders, err := set.Decide(track(t, "t", event.Trigger{Event: "Any", Properties: properties}), arrived, b.site, b.schemas)
			if got := len(orders) == 1; got != test.want {
				t.Errorf("holds = %t, want %t (%v)", got, test.want, err)
			}
			if (err != nil) != test.fails {
				t.Errorf("error %v, want one: %t", err, test.fails)
			}
			if err != nil && fault.From(err).Reason != fault.BadRule {
				t.Errorf("the reason is %s", fault.From(err).Reason)
			}
		})
	}
}

// TestOneRuleFails shows that a rule that cannot be evaluated does not stop the
// others, and gives no half of its own commands.
func TestOneRuleFails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	set := b.rules(t,
		"a.yaml", "on: {trigger: track}\nsteps: [{action: botstar.widget.open}]\n",
		"b.yaml", "on: {trigger: track}\nsteps: [{action: botstar.widget.open}, {action: botstar.widget.update, params: {email: '${ trigger.traits.email }'}}]\n",
		"c.yaml", "on: {trigger: track, event: Any}\nsteps: [{action: botstar.widget.close}]\n",
		"d.yaml", "on: {trigger: track, sites: [docs]}\nsteps: [{action: botstar.widget.close}]\n",
		"e.yaml", "on: {trigger: track, event: Other}\nsteps: [{action: botstar.widget.close}]\n",
		"f.yaml", "on: {trigger: track}\nsteps: [{action: botstar.widget.update, params: {gender: '${ trigger.event }'}}]\n",
	)
	orders, err := set.Decide(track(t, "t", event.Trigger{Event: "Any"}), arrived, b.site, b.schemas)
	var rules []string
	for _, order := range orders {
		rules = append(rules, order.Rule)
	}
	if diff := cmp.Diff([]string{"a", "c"}, rules); diff != "" {
		t.Errorf("the rules that gave orders (-want +got):\n%s", diff)
	}
	const want = "rule b: step 2: params: email: ${ trigger.traits.email }: evaluating: no such key: email\n" +
		"rule f: step 1: the parameters of botstar.widget.update do not fit: /params/gender: "
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got the error\n%v\nwant it to begin\n%s", err, want)
	}
}
