package machine

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/event"
)

// TestSteps runs workflows step by step, and compares what they did.
func TestSteps(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, rule string
		feed       func(s *sim)
		commands   []string
		outcomes   []string
	}{
		{
			"a branch", `
on: {trigger: track}
steps:
  - branch:
      - if: trigger.event == "VIP"
        steps: [{action: botstar.widget.open}]
      - if: trigger.event == "Other"
        steps: [{action: botstar.widget.close}]
  - action: botstar.widget.boot
`, func(s *sim) { s.track("VIP"); s.track("Other"); s.track("None") },
			[]string{"open", "boot", "close", "boot", "boot"},
			nil,
		},
		{
			"else", `
on: {trigger: track}
if: trigger.event == "VIP"
steps: [{action: botstar.widget.open}]
else: [{action: botstar.widget.close}]
`, func(s *sim) { s.track("VIP"); s.track("Other") }, []string{"open", "close"}, nil,
		},
		{
			"await, and what came of it", `
on: {trigger: track}
steps:
  - {name: greet, action: botstar.widget.open, on_error: continue}
  - branch:
      - if: steps.greet.status == "succeeded" && steps.greet.verified
        steps: [{action: botstar.widget.boot}]
      - else: true
        steps: [{action: botstar.widget.close}]
`, func(s *sim) {
				s.track("A")
				if got := s.commands(); len(got) != 1 {
					s.tb.Errorf("it did not wait for the result: %v", got)
				}
				s.answer(s.last(), event.Succeeded, "{}")
				s.answer(s.last(), event.Succeeded, "{}")
				s.track("B")
				s.answer(s.last(), event.Failed, "")
			},
			[]string{"open", "boot", "open", "close"},
			[]string{"rule succeeded"},
		},
		{
			"a failure ends it", `
on: {trigger: track}
steps:
  - {name: greet, action: botstar.widget.open, await: true}
  - action: botstar.widget.close
`, func(s *sim) { s.track("A"); s.answer(s.last(), event.Failed, "") }, []string{"open"}, []string{"rule failed"},
		},
		{
			"a failure that nobody waits for ends it too", `
on: {trigger: track}
steps:
  - {name: greet, action: botstar.widget.open}
  - after: 1h
  - action: botstar.widget.close
`, func(s *sim) { s.track("A"); s.answer(s.last(), event.Expired, ""); s.pass(2 * time.Hour) }, []string{"open"}, []string{"rule failed"},
		},
		{
			"a result that never comes", `
on: {trigger: track}
steps:
  - {name: greet, action: botstar.widget.open, await: true, expires: 1m, on_error: continue}
  - action: botstar.widget.close
`, func(s *sim) { s.track("A"); s.pass(time.Hour) }, []string{"open", "close"}, nil,
		},
		{
			"after and until", `
on: {trigger: track}
steps:
  - after: 24h
  - action: botstar.widget.open
  - until: ${ trigger.occurred_at + duration("48h") }
  - action: botstar.widget.close
  - until: "2026-11-01T00:00:00Z"
  - action: botstar.widget.boot
`, func(s *sim) {
				s.track("A")
				s.pass(24*time.Hour - time.Nanosecond)
				if got := s.commands(); len(got) != 0 {
					s.tb.Errorf("it was early: %v", got)
				}
				s.pass(time.Nanosecond)
				if got := s.commands(); len(got) != 1 {
					s.tb.Errorf("it was not there in time: %v", got)
				}
				s.pass(24 * time.Hour)
			},
			[]string{"open", "close", "boot"},
			nil,
		},
		{
			"arms that run beside one another and meet", `
on: {trigger: track}
steps:
  - parallel:
      - - after: 1h
        - action: botstar.widget.open
      - - wait_for: {event: widget.closed, timeout: 3h}
        - action: botstar.widget.close
  - action: botstar.widget.boot
`, func(s *sim) {
				s.track("A")
				s.pass(2 * time.Hour)
				if diff := cmp.Diff([]string{"open"}, s.commands()); diff != "" {
					s.tb.Errorf("after two hours:\n%s", diff)
				}
				s.fact(event.FactWidgetClosed, ada, s.now)
			},
			[]string{"open", "close", "boot"},
			nil,
		},
		{
			"stop ends the other arms", `
on: {trigger: track}
steps:
  - parallel:
      - [{after: 1h}, {action: botstar.widget.open}]
      - [{wait_for: {event: widget.closed, timeout: 30m}}, {stop: {reason: "enough of ${ trigger.event }"}}]
`, func(s *sim) { s.track("A"); s.pass(2 * time.Hour) }, nil, []string{"rule stopped"},
		},
		{
			"a stop that does not hold", `
on: {trigger: track}
steps:
  - stop: {if: 'trigger.event == "B"'}
  - action: botstar.widget.open
`, func(s *sim) { s.track("A"); s.track("B") }, []string{"open"}, []string{"rule stopped"},
		},
		{
			"a condition on the event that is waited for", `
on: {trigger: track, event: A}
steps:
  - wait_for:
      trigger: track
      event: B
      if: event.properties.size == trigger.properties.size
      timeout: 1h
      steps: [{action: botstar.widget.update, params: {nickname: "${ event.properties.name }"}}]
      on_timeout: [{stop: {}}]
`, func(s *sim) {
				s.trigger(event.KindTrack, event.Trigger{Event: "A", Properties: map[string]any{"size": 3}})
				s.trigger(event.KindTrack, event.Trigger{Event: "B", Properties: map[string]any{"size": 4}})
				s.trigger(event.KindTrack, event.Trigger{Event: "B", Properties: map[string]any{"size": 3, "name": "Ada"}})
				if !strings.Contains(string(s.last().Data), `"nickname":"Ada"`) {
					s.tb.Errorf("the command is %s", s.last().Data)
				}
			},
			[]string{"update"},
			nil,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := simulate(t, "rule.yaml", test.rule)
			test.feed(s)
			s.clean()
			if diff := cmp.Diff(test.commands, s.commands()); diff != "" {
				t.Errorf("the commands differ (-want +got):\n%s", diff)
			}
			if test.outcomes != nil {
				if diff := cmp.Diff(test.outcomes, s.outcomes()); diff != "" {
					t.Errorf("the runs differ (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// TestEmit shows a workflow that starts another one, and that a chain ends.
func TestEmit(t *testing.T) {
	t.Parallel()
	s := simulate(t,
		"a.yaml", `
on: {trigger: track}
steps:
  - emit: {event: lead.cold, properties: {who: "${ visitor.email }"}}
`,
		"b.yaml", `
on: {trigger: emitted, event: lead.cold}
if: trigger.properties.who == "ada@example.test"
steps: [{action: botstar.widget.open}]
`)
	cause := s.trigger(event.KindTrack, event.Trigger{Event: "Any"})
	s.clean()
	if diff := cmp.Diff([]string{"open"}, s.commands()); diff != "" {
		t.Fatalf("the commands differ (-want +got):\n%s", diff)
	}
	emitted := s.messages[0]
	if want := "in.workflow.emitted.shop." + event.SessionKey("shop", ada); emitted.Subject != want {
		t.Errorf("the subject is %s, want %s", emitted.Subject, want)
	}
	if got := s.last().Extension(event.ExtCorrelationID); got != cause.ID {
		t.Errorf("the command is of the chain %s, want %s", got, cause.ID)
	}
	// A trigger that says it is the ninth of a chain starts nothing.
	e := emitted.Envelope
	e.ID, e.Extensions = "other", map[string]string{extHops: strconv.Itoa(maxHops + 1)}
	in, _ := ReadInput(emitted.Subject, e, s.now)
	s.feed(in)
	if len(s.commands()) != 1 || len(s.refused) != 1 {
		t.Errorf("the chain went on: %v, refused %v", s.commands(), s.refused)
	}
}

// TestCall shows what an HTTP step asks for, and what later steps see of the
// answer.
func TestCall(t *testing.T) {
	t.Parallel()
	s := simulate(t, "rule.yaml", `
on: {trigger: track}
steps:
  - name: crm
    http:
      url: "https://crm.example.test/leads/${ visitor.user_id }"
      headers: {X-Event: "${ trigger.event }"}
      body: {email: "${ visitor.email }"}
      secret: env:CRM
      retries: 2
    await: true
  - action: botstar.widget.update
    params: {nickname: "${ steps.crm.output.body.nick }"}
`)
	s.track("Any")
	s.clean()
	if len(s.calls) != 1 {
		t.Fatalf("the calls are %+v", s.calls)
	}
	call := s.calls[0]
	want := Call{
		Key: event.DerivedID("rule", event.Key("/ingest/cli", "t-1"), "crm"), Site: "shop", Session: event.SessionKey("shop", ada),
		Workflow: "rule", Run: call.Run, Step: "crm", Method: "POST", URL: "https://crm.example.test/leads/u-42",
		Headers: map[string]string{"X-Event": "Any"}, Body: []byte(`{"email":"ada@example.test"}`), Secret: "env:CRM",
		TimeoutMS: 10_000, Retries: 2, ExpiresAt: noon.Add(24 * time.Hour), Cause: "t-1", Correlation: "t-1",
	}
	if diff := cmp.Diff(want, call); diff != "" {
		t.Errorf("the call differs (-want +got):\n%s", diff)
	}
	s.answerID(call.Key, CallAction, call.Session, event.Succeeded, `{"code":200,"body":{"nick":"Countess"}}`)
	s.clean()
	if !strings.Contains(string(s.last().Data), `"nickname":"Countess"`) {
		t.Errorf("the command is %s", s.last().Data)
	}
}

// TestRoom shows that workflows never fill the queue of one session and action,
// and go on as it empties.
func TestRoom(t *testing.T) {
	t.Parallel()
	s := simulate(t, "rule.yaml", "on: {trigger: track}\nsteps: [{action: botstar.widget.open}, {action: botstar.widget.open}]\n")
	const runs = MaxRuns
	for range runs {
		s.track("Any")
	}
	s.clean()
	if got := len(s.commands()); got != maxOpen {
		t.Fatalf("%d commands were issued, want %d", got, maxOpen)
	}
	for i := 0; i < len(s.messages); i++ {
		s.answer(s.messages[i].Envelope, event.Succeeded, "")
	}
	if got := len(s.commands()); got != 2*runs {
		t.Errorf("%d commands were issued, want %d", got, 2*runs)
	}
	if n := len(s.session(ada).Runs); n != 0 {
		t.Errorf("%d runs are still under way", n)
	}
	if len(s.timers) != 0 {
		t.Errorf("timers are left: %v", s.timers)
	}
}

// TestStranger shows that a run that a fact started needs to know its visitor,
// who any trigger tells.
func TestStranger(t *testing.T) {
	t.Parallel()
	s := simulate(t, "rule.yaml", "on: {event: widget.closed}\nsteps: [{action: botstar.widget.open}]\n")
	s.fact(event.FactWidgetClosed, ada, s.now)
	if len(s.refused) != 1 || len(s.commands()) != 0 {
		t.Fatalf("a command for nobody: %v, refused %v", s.commands(), s.refused)
	}
	s.track("Any")
	s.fact(event.FactWidgetClosed, ada, s.now)
	if diff := cmp.Diff([]string{"open"}, s.commands()); diff != "" {
		t.Errorf("the commands differ (-want +got):\n%s", diff)
	}
}
