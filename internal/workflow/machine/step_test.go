package machine

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// TestSimpleRule shows that a rule of actions alone does what it always did, with
// the ids that its commands always had, and that its run ends with the results.
func TestSimpleRule(t *testing.T) {
	t.Parallel()
	s := simulate(t, "pricing.yaml", `
on: {trigger: track, event: Pricing Viewed}
if: trigger.properties.plan == "pro"
steps:
  - action: botstar.widget.boot
  - {name: greet, action: botstar.widget.open, expires: 1m}
`)
	s.trigger(event.KindTrack, event.Trigger{Event: "Pricing Viewed", Properties: map[string]any{"plan": "free"}})
	s.trigger(event.KindTrack, event.Trigger{Event: "Pricing Viewed", Properties: map[string]any{"plan": "pro"}})
	s.clean()
	if diff := cmp.Diff([]string{"boot", "open"}, s.commands()); diff != "" {
		t.Fatalf("the commands differ (-want +got):\n%s", diff)
	}
	session := event.SessionKey("shop", ada)
	greet := s.messages[1]
	if greet.Subject != "go.w.botstar.widget.open.shop."+session {
		t.Errorf("the subject is %s", greet.Subject)
	}
	want := event.DerivedID("pricing", event.Key("/ingest/cli", "t-2"), "greet")
	if greet.Envelope.ID != want {
		t.Errorf("the id is %s, want %s", greet.Envelope.ID, want)
	}
	wantExtensions := map[string]string{
		"partitionkey": session, "causationid": "t-2", "correlationid": "t-2", "expirytime": "2026-11-25T12:01:00Z",
	}
	if diff := cmp.Diff(wantExtensions, greet.Envelope.Extensions); diff != "" {
		t.Errorf("the extensions differ (-want +got):\n%s", diff)
	}
	if n := len(s.session(ada).Runs); n != 1 {
		t.Fatalf("%d runs are under way, want one that waits for its results", n)
	}
	if len(s.timers) != 0 {
		t.Errorf("the rule needs no timer, and set %v", s.timers)
	}
	s.answer(s.messages[0].Envelope, event.Succeeded, "{}")
	s.answer(s.messages[1].Envelope, event.Succeeded, "{}")
	if diff := cmp.Diff([]string{"pricing succeeded"}, s.outcomes()); diff != "" {
		t.Errorf("the runs differ (-want +got):\n%s", diff)
	}
}

// TestAgainTheSame shows that a trigger that is folded twice runs a workflow
// once.
func TestAgainTheSame(t *testing.T) {
	t.Parallel()
	s := simulate(t, "a.yaml", "on: {trigger: track}\nsteps: [{action: botstar.widget.open}]\n")
	for range 2 {
		s.triggerID("t-1", event.KindTrack, event.Trigger{Event: "Any"})
	}
	s.answer(s.last(), event.Succeeded, "")
	s.triggerID("t-1", event.KindTrack, event.Trigger{Event: "Any"})
	if got := s.commands(); len(got) != 1 {
		t.Errorf("the commands are %v, want one", got)
	}
}

// reopen is the FAQ's case: a chat that was closed is followed up, unless it is
// opened again.
const reopen = `
on: {event: widget.closed}
steps:
  - name: back
    wait_for: {event: widget.opened, timeout: 30m}
  - branch:
      - if: steps.back.status == "happened"
        steps: [{stop: {reason: came back}}]
      - else: true
        steps:
          - http: {url: "https://crm.example.test/mail", body: {who: "${ visitor.user_id }"}}
`

func TestWait(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T) *sim {
		t.Helper()
		s := simulate(t, "reopen.yaml", reopen)
		s.track("Page Viewed") // It tells who the visitor of the session is.
		s.fact(event.FactWidgetClosed, ada, s.now)
		if n := len(s.timers); n != 1 {
			t.Fatalf("%d timers are set, want one", n)
		}
		return s
	}
	t.Run("happened", func(t *testing.T) {
		t.Parallel()
		s := start(t)
		s.pass(29 * time.Minute)
		s.fact(event.FactWidgetOpened, ada, s.now)
		s.pass(time.Hour)
		s.clean()
		if len(s.calls) != 0 || !cmp.Equal(s.outcomes(), []string{"reopen stopped"}) {
			t.Errorf("the calls are %v, and the runs %v", s.calls, s.outcomes())
		}
		if len(s.timers) != 0 {
			t.Errorf("timers are left: %v", s.timers)
		}
	})
	t.Run("timed out", func(t *testing.T) {
		t.Parallel()
		s := start(t)
		s.pass(30*time.Minute - time.Millisecond)
		if len(s.calls) != 0 {
			t.Fatal("it called too early")
		}
		s.pass(time.Millisecond)
		s.clean()
		if len(s.calls) != 1 || string(s.calls[0].Body) != `{"who":"u-42"}` {
			t.Fatalf("the calls are %+v", s.calls)
		}
		s.answerID(s.calls[0].Key, CallAction, s.calls[0].Session, event.Succeeded, `{"code":200}`)
		if !cmp.Equal(s.outcomes(), []string{"reopen succeeded"}) {
			t.Errorf("the runs are %v", s.outcomes())
		}
	})
	t.Run("event before the timer", func(t *testing.T) {
		t.Parallel()
		s := start(t)
		var timer Timer
		for _, timer = range s.timers {
		}
		s.now = timer.Due
		s.fact(event.FactWidgetOpened, ada, s.now) // In the log it is first.
		s.fire(timer)
		if !cmp.Equal(s.outcomes(), []string{"reopen stopped"}) || len(s.calls) != 0 {
			t.Errorf("the runs are %v, and the calls %v", s.outcomes(), s.calls)
		}
	})
	t.Run("timer before the event", func(t *testing.T) {
		t.Parallel()
		s := start(t)
		for _, timer := range s.timers {
			s.now = timer.Due
			s.fire(timer)
			s.fire(timer) // Twice is no more.
		}
		s.fact(event.FactWidgetOpened, ada, s.now)
		if len(s.calls) != 1 {
			t.Errorf("the calls are %v", s.calls)
		}
	})
	t.Run("held", func(t *testing.T) {
		t.Parallel()
		s := start(t)
		var timer Timer
		for _, timer = range s.timers {
		}
		s.now = timer.Due.Add(-time.Second)
		s.fire(timer)
		if len(s.calls) != 0 {
			t.Fatal("it called too early")
		}
		if again := s.timers[timer.Subject()]; !again.Due.Equal(timer.Due) {
			t.Errorf("the timer is set to %s, want %s again", again.Due, timer.Due)
		}
		s.pass(time.Second)
		if len(s.calls) != 1 {
			t.Errorf("it did not call at all")
		}
	})
}

// TestLate shows that what was overtaken does not end a wait.
func TestLate(t *testing.T) {
	t.Parallel()
	s := simulate(t, "reopen.yaml", reopen)
	s.track("Page Viewed")
	s.pass(time.Minute)
	s.fact(event.FactWidgetClosed, ada, s.now)
	s.fact(event.FactWidgetOpened, ada, s.now.Add(-time.Second)) // It was open before it was closed.
	run := s.session(ada).Runs
	if len(run) != 1 || run[0].Threads[0].Wait.Kind != waitEvent {
		t.Fatalf("the late event ended the wait: %v", s.outcomes())
	}
	if last := run[0].History[len(run[0].History)-1]; last.What != "late" {
		t.Errorf("the last entry of the history is %+v", last)
	}
	s.fact(event.FactWidgetOpened, ada, s.now.Add(time.Second))
	if !cmp.Equal(s.outcomes(), []string{"reopen stopped"}) {
		t.Errorf("the runs are %v", s.outcomes())
	}
}

// TestRefusals shows what becomes of a trigger that cannot be handled, or only
// in part.
func TestRefusals(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		feed   func(s *sim)
		reason fault.Reason
		did    []string
	}{
		{"unknown site", func(s *sim) { s.trigger(event.KindTrack, event.Trigger{Event: "Any", Site: "elsewhere"}) }, fault.UnknownSite, nil},
		{"schema", func(s *sim) { s.trigger(event.KindTrack, event.Trigger{}) }, fault.SchemaViolation, nil},
		{"one rule fails", func(s *sim) { s.track("Any") }, fault.BadRule, []string{"open"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := simulate(t,
				"a.yaml", "on: {trigger: track}\nsteps: [{action: botstar.widget.open}]\n",
				"b.yaml", "on: {trigger: track}\nsteps: [{action: botstar.widget.open}, {action: botstar.widget.update, params: {email: '${ trigger.traits.email }'}}]\n",
			)
			test.feed(s)
			if len(s.refused) != 1 || fault.From(s.refused[0]).Reason != test.reason {
				t.Fatalf("refused: %v", s.refused)
			}
			if diff := cmp.Diff(test.did, s.commands()); diff != "" {
				t.Errorf("the commands differ (-want +got):\n%s", diff)
			}
			if test.reason == fault.BadRule && !cmp.Equal(s.outcomes(), []string{"b failed"}) {
				t.Errorf("the runs are %v", s.outcomes())
			}
		})
	}
}

// TestTooLarge shows that a message that no queue takes fails its run only.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]string{
		"call": `{http: {url: "https://crm.example.test/", body: {x: "${ trigger.properties.x }"}}}`,
		"emit": `{emit: {event: big, properties: {x: "${ trigger.properties.x }${ trigger.properties.x }"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := simulate(t, "a.yaml", "on: {trigger: track}\nsteps: ["+step+"]\n", "b.yaml", "on: {trigger: track}\nsteps: [{action: botstar.widget.open}]\n")
			s.trigger(event.KindTrack, event.Trigger{Event: "Any", Properties: map[string]any{"x": strings.Repeat("x", maxBody)}})
			if len(s.refused) != 1 || fault.From(s.refused[0]).Reason != fault.TooLarge || !cmp.Equal(s.commands(), []string{"open"}) {
				t.Errorf("refused: %v, commands %v", s.refused, s.commands())
			}
			if !cmp.Equal(s.outcomes(), []string{"a failed"}) {
				t.Errorf("the runs are %v", s.outcomes())
			}
		})
	}
}

// TestTooManyRuns shows that the runs of a visitor are bounded.
func TestTooManyRuns(t *testing.T) {
	t.Parallel()
	s := simulate(t, "a.yaml", "on: {trigger: track}\nsteps: [{after: 1h}]\n")
	for range MaxRuns + 3 {
		s.track("Any")
	}
	if n := len(s.session(ada).Runs); n != MaxRuns {
		t.Errorf("%d runs are under way, want %d", n, MaxRuns)
	}
	if len(s.refused) != 3 || fault.From(s.refused[0]).Reason != fault.QueueFull {
		t.Errorf("refused: %v", s.refused)
	}
	if !strings.Contains(s.refused[0].Error(), "rule a") {
		t.Errorf("the refusal does not name the rule: %v", s.refused[0])
	}
}
