package workflow

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parley-chat/parley/internal/event"
)

// full is a trigger with everything that one may have.
func full() event.Trigger {
	at := time.Date(2026, 11, 25, 9, 30, 0, 500, time.UTC)
	return event.Trigger{
		Site: "shop", Visitor: event.Visitor{UserID: "u-1", Email: "ada@example.test", AnonymousID: "a-1"}, Event: "Pricing Viewed",
		Properties: map[string]any{"size": 20.0, "page": map[string]any{"depth": 2.0, "path": "/ä"}, "list": []any{1.0, "x", nil, true}, "plan": "pro", "none": nil},
		Traits:     map[string]any{"vip": true}, Group: "acme", URL: "https://shop.example.test/pricing", OccurredAt: at, ReceivedAt: at.Add(time.Second),
		Consent: &event.Consent{Analytics: new(true), Advertising: new(false), Functionality: new(true), Personalization: new(false), GPC: new(true)},
		Origin:  &event.Origin{Provider: "segment", SourceID: "web", MessageID: "m-1", Authenticated: event.AuthenticFirst},
	}
}

// TestWholeIsWhatIsRead shows that a trigger that was glanced at is, in the end,
// the one that ReadHappened reads.
func TestWholeIsWhatIsRead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bare := event.Trigger{Site: "shop", Visitor: event.Visitor{Email: "ada@example.test"}, Event: "x", OccurredAt: full().OccurredAt}
	empty := full()
	empty.Properties, empty.Traits, empty.Consent = map[string]any{}, map[string]any{}, &event.Consent{}
	far := full()
	far.ReceivedAt = far.ReceivedAt.In(time.FixedZone("", 3600))
	for name, data := range map[string]event.Trigger{"full": full(), "bare": bare, "empty": empty, "elsewhere": far} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := track(t, "t-1", data)
			want, _, err := ReadHappened(e)
			if err != nil {
				t.Fatal(err)
			}
			glanced, ok := Glance(e, b.schemas)
			if !ok {
				t.Fatalf("no glance at %s", e.Data)
			}
			if diff := cmp.Diff(want, glanced.Whole(), cmpopts.IgnoreUnexported(Happened{})); diff != "" {
				t.Errorf("(-read +whole):\n%s", diff)
			}
			if diff := cmp.Diff(want, want.Whole(), cmpopts.IgnoreUnexported(Happened{})); diff != "" {
				t.Errorf("what was read is not whole:\n%s", diff)
			}
		})
	}
}

// TestGlanceLeaves does not glance at what has to be read the long way.
func TestGlanceLeaves(t *testing.T) {
	t.Parallel()
	b := setup(t)
	good := track(t, "t-1", full())
	change := func(of func(e *event.Envelope)) event.Envelope {
		e := good
		of(&e)
		return e
	}
	replace := func(old, by string) event.Envelope {
		return change(func(e *event.Envelope) { e.Data = []byte(strings.Replace(string(e.Data), old, by, 1)) })
	}
	for name, e := range map[string]event.Envelope{
		"a fact":         change(func(e *event.Envelope) { e.Type = event.FactType("botstar", event.FactWidgetOpened) }),
		"an unknown one": change(func(e *event.Envelope) { e.Type = event.TriggerType("unheard_of") }),
		"broken":         change(func(e *event.Envelope) { e.Data = e.Data[:20] }),
		"not correct":    replace(`"shop"`, `"Shop!"`),
		"two visitors":   replace(`"event"`, `"previous":{"user_id":"u-0"},"event"`),
		"a leap second":  replace("09:30:01.0000005Z", "23:59:60Z"),
		"a rare number":  replace(`"size":20`, `"size":2e1`),
	} {
		if _, ok := Glance(e, b.schemas); ok {
			t.Errorf("%s: it was glanced at: %s", name, e.Data)
		}
	}
}

// TestExpressionsOnAGlance evaluates conditions on a trigger that was glanced at,
// and on the same one that was read: the values are the same.
func TestExpressionsOnAGlance(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, expression := range []string{
		"trigger.properties", "trigger.traits", "trigger.properties.page", "trigger.properties.page.depth", "trigger.properties.list",
		"trigger.properties.list[1]", "trigger.properties.list.map(x, type(x) == string)", "trigger.properties.none", "size(trigger.properties)",
		"trigger.properties.map(k, k).size()", "trigger.properties.?missing.hasValue()", "trigger.properties['plan']", "'plan' in trigger.properties",
		"has(trigger.properties.plan)", "has(trigger.properties.missing)", "trigger.properties == trigger.properties", "trigger.properties == trigger.traits",
		"trigger", "trigger.consent", "trigger.origin", "trigger.origin.provider", "trigger.consent.gpc", "trigger.group", "trigger.url", "trigger.received_at",
		"trigger.occurred_at", "trigger.id", "trigger.kind", "trigger.source", "trigger.event", "trigger.site", "type(trigger.properties) == map",
		"visitor.email", "visitor.identified", "dyn(trigger).properties.size", "event.properties.size",
	} {
		t.Run(expression, func(t *testing.T) {
			t.Parallel()
			p := b.program(t, fmt.Sprintf("on: {trigger: track, event: x}\nsteps: [{emit: {event: e, properties: {value: \"${%s}\"}}}]\n", expression))
			e := track(t, "t-1", full())
			read, _, err := ReadHappened(e)
			if err != nil {
				t.Fatal(err)
			}
			glanced, ok := Glance(e, b.schemas)
			if !ok {
				t.Fatal("no glance")
			}
			want, wantErr := p.Ops[0].Emit.Properties.Value(p.Vars(&Scene{Start: read, Site: b.site}))
			got, gotErr := p.Ops[0].Emit.Properties.Value(p.Vars(&Scene{Start: glanced, Site: b.site}))
			if diff := cmp.Diff(want, got); diff != "" || fmt.Sprint(wantErr) != fmt.Sprint(gotErr) || wantErr != nil {
				t.Errorf("(-read +glanced):\n%s%v, %v", diff, wantErr, gotErr)
			}
		})
	}
}

// TestQuick holds quick evaluation against CEL: where it is sure, CEL says the
// same, and of ordinary conditions and values it is sure.
func TestQuick(t *testing.T) {
	t.Parallel()
	b := setup(t)
	values := map[string]any{
		"less": 9.0, "same": 10.0, "more": 10.5, "negative": -1e6, "zero": 0.0, "text": "pro", "other text": "free", "empty": "", "null": nil,
		"flag": true, "list": []any{}, "object": map[string]any{"depth": 10.0}, "deep null": map[string]any{"depth": nil}, "bare object": map[string]any{},
	}
	for condition, ordinary := range map[string]bool{
		"x > 10": true, "x >= 10": true, "x < 10": true, "x <= 10": true, "x == 10": true, "x != 10": true, "x > 10.25": true, "x == 10.0": true,
		`x == "pro"`: true, `x != "pro"`: true, "x > -3": true, `x.depth >= 10`: true, "x > 5 && x < 10": true, `x == "pro" && y == 1`: true,
		`y == 1 && x > 10`: true, `y == 2 && x > 10`: true, `z == 1 && x > 10`: true, `x > 10 && z == 1 && y == 1`: true,
		"x > 9007199254740993": false, `x > "a"`: false, "x == true": false, "x > 10 || y == 1": false, "!(x > 10)": false, "10 < x": false, "has(x)": false,
		"x > y": false, "x in [1, 2]": false, "x == null": false,
	} {
		text := strings.NewReplacer("x", "trigger.properties.x", "y", "trigger.properties.y", "z", "trigger.properties.z").Replace(condition)
		text = strings.ReplaceAll(text, "trigger.properties.x", "trigger.properties.value")
		t.Run(condition, func(t *testing.T) {
			t.Parallel()
			p := b.program(t, fmt.Sprintf("on: {trigger: track, event: x}\nif: '%s'\nsteps: [{action: botstar.widget.open}]\n", text))
			for name, value := range values {
				sure := b.quickly(t, p, name, value)
				if _, number := value.(float64); number && ordinary && !strings.Contains(condition, `"`) && !strings.Contains(condition, "depth") && !sure {
					t.Errorf("%s: it is not sure", name)
				}
				if sure && !ordinary {
					t.Errorf("%s: it is sure of what it does not know", name)
				}
			}
		})
	}
}

// quickly reports whether quick evaluation is sure, and fails when CEL says
// something else.
func (b testBundle) quickly(t *testing.T, p *Program, name string, value any) bool {
	t.Helper()
	data := full()
	data.Properties = map[string]any{"value": value, "y": 1.0}
	h, ok := Glance(track(t, "t-1", data), b.schemas)
	if !ok {
		t.Fatalf("%s: no glance", name)
	}
	quick, sure := p.Cond.Quick(&h)
	slow, err := p.Cond.Bool(p.Vars(&Scene{Start: h.Whole(), Site: b.site}))
	if sure && (err != nil || slow != quick) {
		t.Errorf("%s: quickly it is %v, and slowly %v, %v", name, quick, slow, err)
	}
	whole := h.Whole()
	if _, sure := p.Cond.Quick(&whole); sure {
		t.Errorf("%s: it is sure of what it did not glance at", name)
	}
	return sure
}
