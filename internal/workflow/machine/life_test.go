package machine

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// TestMerge shows that what waits for a visitor goes on for the one whom that
// turned out to be, whatever name the events have.
func TestMerge(t *testing.T) {
	t.Parallel()
	const rule = `
on: {trigger: track, event: A}
limits: {once_per: 24h}
steps:
  - wait_for: {event: widget.opened, timeout: 1h}
  - action: botstar.widget.boot
`
	anonymous := event.Visitor{AnonymousID: "anon-1"}
	start := func(t *testing.T) *sim {
		t.Helper()
		s := simulate(t, "rule.yaml", rule)
		s.trigger(event.KindTrack, event.Trigger{Event: "A", Visitor: anonymous})
		s.trigger(event.KindIdentify, event.Trigger{Event: "identify", Visitor: ada, Previous: &anonymous})
		if n := len(s.session(ada).Runs); n != 1 {
			t.Fatalf("%d runs moved, want 1", n)
		}
		if old := s.session(anonymous); old.Moved != event.SessionKey("shop", ada) || len(old.Runs) != 0 {
			t.Fatalf("the former session is %+v", old)
		}
		return s
	}
	check := func(t *testing.T, s *sim) {
		t.Helper()
		s.clean()
		if diff := cmp.Diff([]string{"boot"}, s.commands()); diff != "" {
			t.Fatalf("the commands differ (-want +got):\n%s", diff)
		}
		if s.last().Subject != event.SessionKey("shop", ada) {
			t.Errorf("the command is for %s", s.last().Subject)
		}
	}
	t.Run("its timer", func(t *testing.T) {
		t.Parallel()
		s := start(t)
		if n := len(s.timers); n != 1 {
			t.Errorf("%d timers are set, want 1", n)
		}
		s.pass(time.Hour)
		check(t, s)
	})
	t.Run("an event under the old name", func(t *testing.T) {
		t.Parallel()
		s := start(t)
		s.fact(event.FactWidgetOpened, anonymous, s.now)
		check(t, s)
	})
	t.Run("an event under the new name", func(t *testing.T) {
		t.Parallel()
		s := start(t)
		s.fact(event.FactWidgetOpened, ada, s.now)
		check(t, s)
	})
	t.Run("a timer of before", func(t *testing.T) {
		t.Parallel()
		s := start(t)
		for _, timer := range s.timers {
			timer.Session = event.SessionKey("shop", anonymous)
			s.now = timer.Due
			s.fire(timer)
		}
		check(t, s)
	})
	t.Run("its limits", func(t *testing.T) {
		t.Parallel()
		s := start(t)
		s.track("A")
		if n := len(s.session(ada).Runs); n != 1 {
			t.Errorf("%d runs are under way: the limit was forgotten", n)
		}
	})
	t.Run("twice", func(t *testing.T) {
		t.Parallel()
		s := start(t)
		s.trigger(event.KindIdentify, event.Trigger{Event: "identify", Visitor: ada, Previous: &anonymous})
		if n := len(s.session(ada).Runs); n != 1 {
			t.Errorf("%d runs are under way", n)
		}
	})
}

// TestSchedule shows a workflow with its own clock: it runs at its times, once
// after a long absence, and not any more when its schedule is gone.
func TestSchedule(t *testing.T) {
	t.Parallel()
	s := simulate(t, "rule.yaml", `
on: {schedule: "0 9 * * *", site: shop}
steps: [{action: botstar.widget.open}]
`)
	if n := len(s.timers); n != 1 {
		t.Fatalf("%d timers are set, want 1", n)
	}
	s.pass(21*time.Hour - 1)
	if n := len(s.commands()); n != 0 {
		t.Fatal("it ran too early")
	}
	s.pass(1)
	s.pass(24 * time.Hour)
	if n := len(s.commands()); n != 2 {
		t.Fatalf("it ran %d times, want 2", n)
	}
	s.feed(Clocks(s.now)) // Another leader: the clock goes on.
	for _, timer := range s.timers {
		s.now = timer.Due.Add(5*24*time.Hour + time.Minute) // Nobody was there.
		s.fire(timer)
		s.fire(timer)
	}
	if n := len(s.commands()); n != 3 {
		t.Errorf("it ran %d times, want 3", n)
	}
	set, validators := compile(t)
	s.machine = New(NewLibrary(set), s.machine.sites, validators)
	s.pass(48 * time.Hour)
	s.clean()
	if n := len(s.commands()); n != 3 || len(s.timers) != 0 || len(s.sites["shop"].Clocks) != 0 {
		t.Errorf("%d runs, timers %v, clocks %v", n, s.timers, s.sites["shop"].Clocks)
	}
}

// TestRepeat shows a run that a person repeats.
func TestRepeat(t *testing.T) {
	t.Parallel()
	const rule = `
on: {trigger: track, event: A}
steps:
  - {name: one, action: botstar.widget.boot, await: true}
  - parallel:
      - [{name: two, action: botstar.widget.update, params: {nickname: "${ trigger.properties.name }"}, await: true}]
      - [{action: botstar.widget.close}]
  - {name: three, action: botstar.widget.open}
`
	start := func(t *testing.T) (*sim, *Run) {
		t.Helper()
		s := simulate(t, "rule.yaml", rule)
		s.trigger(event.KindTrack, event.Trigger{Event: "A", Properties: map[string]any{"name": "Ada"}})
		s.answer(s.last(), event.Succeeded, "{}")
		s.answer(s.messages[1].Envelope, event.Failed, "")
		if !cmp.Equal(s.outcomes(), []string{"rule failed"}) {
			t.Fatalf("the runs are %v", s.outcomes())
		}
		for _, run := range s.ended {
			return s, run
		}
		return nil, nil
	}
	again := func(s *sim, c Control) {
		var properties map[string]any
		raw, err := json.Marshal(c)
		if err == nil {
			err = json.Unmarshal(raw, &properties)
		}
		if err != nil {
			s.tb.Fatal(err)
		}
		s.trigger(event.KindManual, event.Trigger{Event: EventRepeat, Properties: properties})
	}
	t.Run("from the start", func(t *testing.T) {
		t.Parallel()
		s, run := start(t)
		again(s, Control{Run: run.ID})
		s.clean()
		if got := s.commands(); len(got) != 4 || got[3] != "boot" {
			t.Fatalf("the commands are %v", got)
		}
		if s.last().ID == s.messages[0].Envelope.ID {
			t.Error("the repetition has the ids of the first time, so nothing would be done")
		}
		if s.session(ada).Runs[0].Of != run.ID {
			t.Error("the run does not tell what it repeats")
		}
	})
	t.Run("from the failed step", func(t *testing.T) {
		t.Parallel()
		s, run := start(t)
		again(s, Control{Run: run.ID, From: FromFailed})
		s.answer(s.last(), event.Succeeded, "{}")
		s.answer(s.last(), event.Succeeded, "{}")
		s.clean()
		if got := s.commands(); !cmp.Equal(got[3:], []string{"update", "open"}) {
			t.Errorf("the commands are %v", got)
		}
		if got := s.outcomes(); !slices.Contains(got, "rule succeeded") {
			t.Errorf("the runs are %v", got)
		}
	})
	t.Run("with another input", func(t *testing.T) {
		t.Parallel()
		s, run := start(t)
		var data event.Trigger
		if err := json.Unmarshal(run.Trigger.Data, &data); err != nil {
			t.Fatal(err)
		}
		data.Properties = map[string]any{"name": "Grace"}
		raw, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		again(s, Control{Run: run.ID, From: "two", Input: raw})
		s.clean()
		if !contains(string(s.last().Data), `"Grace"`) {
			t.Errorf("the command is %s", s.last().Data)
		}
	})
	t.Run("on the current version", func(t *testing.T) {
		t.Parallel()
		s, run := start(t)
		set, validators := compile(t, "rule.yaml", "on: {trigger: track, event: A}\nsteps: [{action: botstar.widget.close}]\n")
		s.machine = New(NewLibrary(set), s.machine.sites, validators)
		again(s, Control{Run: run.ID})
		if len(s.refused) != 1 || fault.From(s.refused[0]).Reason != fault.UnknownRun {
			t.Fatalf("the old version is gone, and it says %v", s.refused)
		}
		again(s, Control{Run: run.ID, Current: true})
		if got := s.commands(); len(got) != 4 || got[3] != "close" {
			t.Errorf("the commands are %v", got)
		}
	})
	t.Run("what is not there", func(t *testing.T) {
		t.Parallel()
		s, run := start(t)
		again(s, Control{Run: "nothing"})
		again(s, Control{Run: run.ID, From: "nowhere"})
		if len(s.refused) != 2 || len(s.session(ada).Runs) != 0 {
			t.Errorf("refused: %v", s.refused)
		}
	})
}

// TestControl shows a run that a person starts, and one that a person ends.
func TestControl(t *testing.T) {
	t.Parallel()
	s := simulate(t, "rule.yaml", "on: {manual: true}\nsteps: [{after: 1h}, {action: botstar.widget.open}]\n")
	s.trigger(event.KindManual, event.Trigger{Event: "rule"})
	run := s.session(ada).Runs
	if len(run) != 1 {
		t.Fatalf("%d runs are under way, want 1", len(run))
	}
	s.trigger(event.KindManual, event.Trigger{Event: EventCancel, Properties: map[string]any{"run": run[0].ID}})
	s.pass(2 * time.Hour)
	s.clean()
	if diff := cmp.Diff([]string{"rule cancelled"}, s.outcomes()); diff != "" || len(s.commands()) != 0 {
		t.Errorf("the commands are %v, and the runs differ (-want +got):\n%s", s.commands(), diff)
	}
	s.trigger(event.KindManual, event.Trigger{Event: EventCancel, Properties: map[string]any{"run": run[0].ID}})
	if len(s.refused) != 1 {
		t.Errorf("a run that ended was cancelled again: %v", s.refused)
	}
}

// TestVersionGone shows that a run whose version is gone ends, and says so.
func TestVersionGone(t *testing.T) {
	t.Parallel()
	s := simulate(t, "rule.yaml", "on: {trigger: track}\nsteps: [{after: 1h}, {action: botstar.widget.open}]\n")
	s.track("A")
	old := s.machine.programs.All()[0]
	set, validators := compile(t, "rule.yaml", "on: {trigger: track}\nsteps: [{action: botstar.widget.close}]\n")
	s.machine = New(NewLibrary(set, old), s.machine.sites, validators)
	s.track("B")
	s.pass(2 * time.Hour)
	s.clean()
	if diff := cmp.Diff([]string{"close", "open"}, s.commands()); diff != "" {
		t.Errorf("a run does not keep its version (-want +got):\n%s", diff)
	}
	other := simulate(t, "rule.yaml", "on: {trigger: track}\nsteps: [{after: 1h}, {action: botstar.widget.open}]\n")
	other.track("A")
	other.machine = New(NewLibrary(set), other.machine.sites, validators)
	other.pass(2 * time.Hour)
	if diff := cmp.Diff([]string{"rule failed"}, other.outcomes()); diff != "" {
		t.Errorf("the runs differ (-want +got):\n%s", diff)
	}
}
