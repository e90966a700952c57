package workflow

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// FuzzRuleCompile reads any text as a rule: it is compiled, or refused as a bad
// rule with a message.
func FuzzRuleCompile(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(pricing)
	full, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(full))
	b := setup(f)
	f.Fuzz(func(t *testing.T, text string) {
		set, err := b.compiler.Load(fstest.MapFS{"rule.yaml": {Data: []byte(text)}}, "rule.yaml")
		if err == nil {
			if set.Len() != 1 || len(set.Rules()[0].Steps) == 0 {
				t.Errorf("an empty rule was accepted: %q", text)
			}
			for _, p := range set.Programs() {
				whole(t, p)
			}
			return
		}
		if e := fault.From(err); e.Reason != fault.BadRule || strings.TrimSpace(err.Error()) == "" {
			t.Errorf("%q is refused with %v", text, err)
		}
	})
}

// whole checks that every way through the program leads to an op of it, and
// that no op comes after itself.
func whole(t *testing.T, p *Program) {
	t.Helper()
	if len(p.Ops) > 2*maxSteps {
		t.Errorf("the program has %d ops", len(p.Ops))
	}
	seen := map[string]bool{}
	for i, op := range p.Ops {
		if op.Index != i || op.Kind == "" || op.ID == "" || seen[op.ID] {
			t.Errorf("op %d is %+v", i, op)
		}
		seen[op.ID] = true
		ways := []int{op.Next}
		for _, arm := range op.Arms {
			ways = append(ways, arm.Then)
		}
		if op.Wait != nil {
			ways = append(ways, op.Wait.Then, op.Wait.OnTimeout)
		}
		if op.Parallel != nil {
			ways = append(append(ways, op.Parallel.Join), op.Parallel.Arms...)
		}
		for _, to := range ways {
			if to != End && (to <= i || to >= len(p.Ops)) {
				t.Errorf("from op %d a way leads to %d, of %d", i, to, len(p.Ops))
			}
		}
		if op.Event >= i {
			t.Errorf("op %d sees the event of %d", i, op.Event)
		}
	}
}

// FuzzRuleEval evaluates any expression on any properties: every command that
// comes out fits its schema, and every error is the rule's.
func FuzzRuleEval(f *testing.F) {
	f.Add(`trigger.properties.plan == "pro"`, `{"plan":"pro"}`)
	f.Add(`trigger.properties.a[0].b > 1 || visitor.email.matches("a+$")`, `{"a":[{"b":2}]}`)
	f.Add(`trigger.properties.map(k, k).size() > 2`, `{"a":null,"b":1e300,"c":"\u0000"}`)
	f.Add(`"x" + string(trigger.occurred_at) == trigger.url`, `{}`)
	f.Add(`trigger.properties.x.charAt(3) == "é"`, `{"x":"日本é"}`)
	b := setup(f)
	f.Fuzz(func(t *testing.T, expression, properties string) {
		var given map[string]any
		if json.Unmarshal([]byte(properties), &given) != nil || strings.ContainsAny(expression, "\x00") {
			t.Skip("no properties")
		}
		quoted, err := json.Marshal(expression)
		if err != nil {
			t.Skip("no text")
		}
		param, err := json.Marshal("${" + expression + "}")
		if err != nil {
			t.Skip("no text")
		}
		rule := "on: {trigger: track}\nif: " + string(quoted) + "\nsteps: [{action: botstar.widget.update, params: {x: " + string(param) + "}}]\n"
		set, err := b.compiler.Load(fstest.MapFS{"rule.yaml": {Data: []byte(rule)}}, "rule.yaml")
		if err != nil {
			t.Skip("no rule")
		}
		orders, err := decide(set, track(t, "t", event.Trigger{Event: "Any", Properties: given}), b.site, b.schemas)
		if err != nil && fault.From(err).Reason != fault.BadRule {
			t.Errorf("%s on %s: %v", expression, properties, err)
		}
		for _, order := range orders {
			if err := b.schemas.Validate(event.CommandType(order.Spec.Name), order.Data); err != nil {
				t.Errorf("%s on %s gave %s: %v", expression, properties, order.Data, err)
			}
		}
	})
}
