package workflow

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// fact returns a fact as the worker publishes it.
func fact(tb testing.TB, name string, data any) Happened {
	tb.Helper()
	raw, err := json.Marshal(data)
	if err != nil {
		tb.Fatal(err)
	}
	h, ok, err := ReadHappened(event.Envelope{ID: "f-1", Source: "/workers/w", Type: event.FactType("botstar", name), Data: raw})
	if err != nil || !ok {
		tb.Fatalf("ReadHappened = %t, %v", ok, err)
	}
	return h
}

var happenedAt = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func TestReadHappened(t *testing.T) {
	t.Parallel()
	h := fact(t, event.FactModeChanged, event.WidgetModeChanged{
		Occurrence: event.Occurrence{Site: "shop", Session: "abc", Provider: "botstar", At: happenedAt, Cause: event.CauseAPI, Page: "https://x.test/"},
		From:       "popup", Mode: "livechat",
	})
	if h.Topic != (Topic{Name: "widget.mode_changed", Provider: "botstar"}) || h.Session != "abc" || h.Fact["from"] != "popup" {
		t.Errorf("the fact is %+v", h)
	}
	if got := h.Trigger; got.Site != "shop" || got.Event != "widget.mode_changed" || !got.OccurredAt.Equal(happenedAt) || got.URL != "https://x.test/" {
		t.Errorf("as a trigger it is %+v", got)
	}
	trigger, ok, err := ReadHappened(track(t, "t-1", event.Trigger{Event: "A", Visitor: event.Visitor{UserID: "u"}}))
	if err != nil || !ok || trigger.Topic != (Topic{Kind: "track", Name: "A"}) || trigger.Session != event.SessionKey("shop", event.Visitor{UserID: "u"}) {
		t.Errorf("the trigger is %+v, %t, %v", trigger, ok, err)
	}
	if _, ok, _ := ReadHappened(event.Envelope{Type: event.ResultType("botstar.widget.open")}); ok {
		t.Error("a result was taken for a trigger")
	}
	for _, typ := range []string{event.TriggerType("track"), event.FactType("botstar", event.FactWidgetOpened)} {
		if _, ok, err := ReadHappened(event.Envelope{Type: typ, Data: []byte("[]")}); !ok || fault.From(err).Reason != fault.SchemaViolation {
			t.Errorf("%s with broken data: %t, %v", typ, ok, err)
		}
	}
}

// TestExpressions evaluates expressions on a run that a fact started and that
// has done some steps.
func TestExpressions(t *testing.T) {
	t.Parallel()
	const head = `
on: {event: widget.mode_changed}
steps:
  - {name: open-it, action: botstar.widget.open}
  - {name: skipped, action: botstar.widget.open}
  - {name: state, action: botstar.session.get_state}
  - {name: call, http: {url: "https://x.test/"}}
  - {name: answer, wait_for: {event: webview.responded, timeout: 1m}}
  - {name: bought, wait_for: {trigger: track, event: Bought, timeout: 1m}}
  - emit:
      event: Told
      properties: {it: `
	b := setup(t)
	denied := false
	scene := func() *Scene {
		return &Scene{
			Start: fact(t, event.FactModeChanged, event.WidgetModeChanged{
				Occurrence: event.Occurrence{Site: "shop", Session: "abc", Provider: "botstar", At: happenedAt, Cause: event.CauseVisitor},
				From:       "popup", Mode: "livechat",
			}),
			Visitor: event.Visitor{UserID: "u-1"}, Site: b.site,
			Run: RunInfo{ID: "r-1", Version: 3, StartedAt: happenedAt, Now: happenedAt.Add(time.Hour)},
			Steps: map[string]Outcome{
				"open-it": {Status: "succeeded", Verified: true, Output: map[string]any{"open": true, "changed": false}},
				"call":    {Status: "failed", Reason: "no_route", Output: map[string]any{"code": 404.0, "body": map[string]any{"why": "gone"}}},
				"answer":  {Status: "happened", Output: map[string]any{"response": "yes", "outputs": map[string]any{"n": 3.0}, "at": "2026-11-25T12:00:00Z"}},
				"bought": {Status: "happened", Output: map[string]any{
					"event": "Bought", "properties": map[string]any{"total": 12.5}, "consent": map[string]any{"analytics": denied},
				}},
			},
		}
	}
	tests := []struct {
		text string
		want any
	}{
		{`event.from + ">" + event.mode`, "popup>livechat"},
		{`event.cause == "visitor"`, true},
		{`has(event.command_id)`, false},
		{`event.command_id == ""`, true},
		{`event.at`, "2026-11-25T12:00:00Z"},
		{`trigger.kind + " " + trigger.event + " " + trigger.properties.from`, "fact widget.mode_changed popup"},
		{`visitor.identified && visitor.user_id == "u-1"`, true},
		{`has(trigger.consent.analytics) || trigger.consent.analytics`, false},
		{`steps.open_it.status`, "succeeded"},
		{`steps.open_it.verified && steps.open_it.output.open && !steps.open_it.output.changed`, true},
		{`steps.skipped.status == "" && !steps.skipped.verified && !steps.skipped.output.open`, true},
		{`has(steps.skipped.output)`, false},
		{`has(steps.skipped)`, false},
		{`steps.call.output.code == 404 && steps.call.output.body.why == "gone" && steps.call.reason == "no_route"`, true},
		{`steps.answer.output.response + string(steps.answer.output.outputs.n)`, "yes3"},
		{`steps.answer.output.at == event.at`, true},
		{`steps.answer.output.?outlet.orValue("none")`, "none"},
		{`steps.bought.output.properties.total * 2.0`, 25.0},
		{`has(steps.bought.output.consent.analytics) && !steps.bought.output.consent.analytics`, true},
		{`run.id + "/" + run.workflow + "/" + string(run.version)`, "r-1/test/3"},
		{`run.now - run.started_at == duration("1h")`, true},
		{`[steps.open_it, steps.call].filter(s, s.verified).size()`, int64(1)},
		{`steps.open_it.output`, map[string]any{"open": true, "changed": false}},
		{`steps.state.output.state`, ""},
		{`dyn(steps).open_it.status`, "succeeded"},
		{`(visitor.identified ? dyn(steps.open_it) : dyn(steps.call)).status`, "succeeded"},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			t.Parallel()
			quoted, err := json.Marshal("${" + test.text + "}")
			if err != nil {
				t.Fatal(err)
			}
			p := b.program(t, head+string(quoted)+"}\n")
			op := p.Ops[len(p.Ops)-1]
			got, err := op.Emit.Properties.Value(p.Vars(scene()))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string]any{"it": test.want}, got); diff != "" {
				t.Errorf("the value differs (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEventOfWait shows that the steps of a wait see the event that ended it.
func TestEventOfWait(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.program(t, `
on: {trigger: track, event: A}
steps:
  - wait_for:
      event: webview.responded
      if: event.response == trigger.properties.want
      timeout: 1h
      steps:
        - stop: {reason: "${ event.response } on ${ trigger.event }"}
`)
	answer := fact(t, event.FactWebviewResponded, event.WebviewResponded{Response: "yes"})
	start, _, err := ReadHappened(track(t, "t", event.Trigger{Event: "A", Properties: map[string]any{"want": "yes"}}))
	if err != nil {
		t.Fatal(err)
	}
	vars := p.Vars(&Scene{Start: start, Event: &answer, Site: b.site})
	if ok, err := p.Ops[0].Wait.If.Bool(vars); err != nil || !ok {
		t.Errorf("the wait's condition is %t, %v", ok, err)
	}
	if got, err := p.Ops[1].Stop.Reason.Value(vars); err != nil || got != "yes on A" {
		t.Errorf("the reason is %v, %v", got, err)
	}
	if p.Ops[1].Event != 0 {
		t.Errorf("the inner step sees the event of %d", p.Ops[1].Event)
	}
}

// TestTimes evaluates waits that are computed.
func TestTimes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	start, _, err := ReadHappened(track(t, "t", event.Trigger{Event: "A", Properties: map[string]any{"wait": "2d", "at": "2027-01-01T00:00:00Z", "bad": 5.0}}))
	if err != nil {
		t.Fatal(err)
	}
	scene := &Scene{Start: start, Site: b.site}
	delay := func(step string) (*DelayOp, *Vars) {
		p := b.program(t, "on: {trigger: track}\nsteps: [{"+step+"}]\n")
		return p.Ops[0].Delay, p.Vars(scene)
	}
	for text, want := range map[string]time.Duration{
		`duration("90m")`: 90 * time.Minute, `trigger.properties.wait`: 48 * time.Hour, `duration("-1h")`: 0,
	} {
		d, vars := delay(`after: '${ ` + text + ` }'`)
		if got, err := d.Span.Span(vars); err != nil || got != want {
			t.Errorf("after %s: %s, %v; want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]time.Time{
		`trigger.occurred_at + duration("1h")`: happenedAt.Add(time.Hour), `trigger.properties.at`: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		d, vars := delay(`until: '${ ` + text + ` }'`)
		if got, err := d.Until.Time(vars); err != nil || !got.Equal(want) {
			t.Errorf("until %s: %s, %v; want %s", text, got, err, want)
		}
	}
	if d, _ := delay("until: '2027-01-31T09:00:00+01:00'"); !d.At.Equal(time.Date(2027, 1, 31, 8, 0, 0, 0, time.UTC)) {
		t.Errorf("a fixed time is %s", d.At)
	}
	d, vars := delay(`after: '${ trigger.properties.bad }'`)
	if _, err := d.Span.Span(vars); fault.From(err).Reason != fault.BadRule {
		t.Errorf("a number as a duration: %v", err)
	}
	d, vars = delay(`until: '${ trigger.properties.bad }'`)
	if _, err := d.Until.Time(vars); fault.From(err).Reason != fault.BadRule {
		t.Errorf("a number as a time: %v", err)
	}
}

// TestRequest makes the call of an HTTP step.
func TestRequest(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.program(t, `
on: {trigger: track}
steps:
  - http:
      url: https://crm.example.test/leads/${ visitor.user_id }
      method: PUT
      headers: {X-Plan: "${ trigger.properties.plan }"}
      body: {visitor: "${ visitor.user_id }", plans: ["${ trigger.properties.plan }"]}
`)
	vars := func(plan any) *Vars {
		start, _, err := ReadHappened(track(t, "t", event.Trigger{Event: "A", Properties: map[string]any{"plan": plan}}))
		if err != nil {
			t.Fatal(err)
		}
		return p.Vars(&Scene{Start: start, Site: b.site})
	}
	got, err := p.Ops[0].HTTP.Request(vars("pro"))
	want := Request{"PUT", "https://crm.example.test/leads/u-42", map[string]string{"X-Plan": "pro"}, []byte(`{"plans":["pro"],"visitor":"u-42"}`)}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("the call differs (-want +got):\n%s%v", diff, err)
	}
	odd := vars("pro")
	odd.scene.Visitor = event.Visitor{UserID: "../a b?c=d&é"}
	if got, err := p.Ops[0].HTTP.Request(odd); err != nil || got.URL != "https://crm.example.test/leads/..%2Fa%20b%3Fc%3Dd%26%C3%A9" {
		t.Errorf("an odd id gives %s, %v", got.URL, err)
	}
	odd = vars("pro")
	odd.scene.Visitor = event.Visitor{UserID: ".."}
	if got, err := p.Ops[0].HTTP.Request(odd); fault.From(err).Reason != fault.BadRule {
		t.Errorf("two dots give %s, %v", got.URL, err)
	}
	if _, err := p.Ops[0].HTTP.Request(vars("a\r\nHost: evil")); fault.From(err).Reason != fault.BadRule {
		t.Errorf("a header of two lines: %v", err)
	}
}
