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

// TestCommands makes the commands of a workflow of actions.
func TestCommands(t *testing.T) {
	t.Parallel()
	b := setup(t)
	set := b.rules(t, "pricing.yaml", pricing)
	trigger := track(t, "t-1", event.Trigger{Event: "Pricing Viewed", Properties: map[string]any{"plan": "pro", "price": 49}})
	orders, err := decide(set, trigger, b.site, b.schemas)
	if err != nil {
		t.Fatal(err)
	}
	if len(orders) != 3 {
		t.Fatalf("got %d commands, want 3", len(orders))
	}
	var greet event.Command
	if err := json.Unmarshal(orders[2].Data, &greet); err != nil {
		t.Fatal(err)
	}
	want := event.Command{
		Site: "shop", Visitor: event.Visitor{UserID: "u-42", Email: "ada@example.test"}, Params: json.RawMessage("{}"),
		Alias: "Open chat widget", AutoBoot: new(false), TimeoutMS: new(20000),
	}
	if diff := cmp.Diff(want, greet); diff != "" || orders[2].step != "greet" || orders[2].Spec.Name != "botstar.widget.open" {
		t.Errorf("the command of %s is of %s, and differs (-want +got):\n%s", orders[2].step, orders[2].Spec.Name, diff)
	}
	var updated struct{ Params map[string]any }
	if err := json.Unmarshal(orders[1].Data, &updated); err != nil {
		t.Fatal(err)
	}
	wantParams := map[string]any{
		"email": "ada@example.test", "note": "saw pro for 49 ${eur}", "price": 49.0, "tags": []any{"pricing", "pro"},
	}
	if diff := cmp.Diff(wantParams, updated.Params); diff != "" {
		t.Errorf("the parameters differ (-want +got):\n%s", diff)
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
			orders, err := decide(set, track(t, "t", event.Trigger{Event: "Any", Properties: properties}), b.site, b.schemas)
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
	orders, err := decide(set, track(t, "t", event.Trigger{Event: "Any"}), b.site, b.schemas)
	var rules []string
	for _, order := range orders {
		rules = append(rules, order.rule)
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
