package machine

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/event"
)

// TestLimits shows which triggers of a series start a run.
func TestLimits(t *testing.T) {
	t.Parallel()
	const rule = "on: {trigger: track, event: A}\nlimits: LIMITS\nsteps: [{action: botstar.widget.open}]\n"
	tests := []struct {
		name, limits string
		feed         func(s *sim)
		want         int
		skipped      string
	}{
		{"once per hour", "{once_per: 1h}", func(s *sim) {
			s.track("A")
			s.pass(time.Hour - 1)
			s.track("A")
			s.pass(1)
			s.track("A")
			s.pass(time.Hour + 1)
			s.track("A")
		}, 3, "once_per"},
		{"per site", "{per_site: 2/h}", func(s *sim) {
			for i := range 4 {
				s.trigger(event.KindTrack, event.Trigger{Event: "A", Visitor: event.Visitor{UserID: string(rune('a' + i))}})
			}
			s.pass(time.Hour)
			s.track("A")
		}, 3, "per_site"},
		{"quiet hours that are skipped", `{quiet_hours: {from: "11:00", to: "13:00"}}`, func(s *sim) {
			s.track("A")
			s.pass(time.Hour)
			s.track("A")
		}, 1, "quiet_hours"},
		{"quiet hours that are waited for", `{quiet_hours: {from: "11:00", to: "13:00", do: wait}}`, func(s *sim) {
			s.track("A")
			s.pass(time.Hour - 1)
			if n := len(s.commands()); n != 0 {
				s.tb.Errorf("it did not wait: %d commands", n)
			}
			s.pass(1)
		}, 1, ""},
		{"debounce", "{debounce: 30s}", func(s *sim) {
			for range 5 {
				s.track("A")
				s.pass(29 * time.Second)
			}
			s.pass(time.Second)
		}, 1, ""},
		{"one at a time", "{concurrency: {on_conflict: skip}}", func(s *sim) {
			s.track("A")
			s.track("A")
			s.answer(s.last(), event.Succeeded, "")
			s.track("A")
		}, 2, "concurrency"},
		{"one after another", "{concurrency: {on_conflict: queue}}", func(s *sim) {
			s.track("A")
			s.track("A")
			s.track("A")
			for i := range 3 {
				if n := len(s.commands()); n != i+1 {
					s.tb.Errorf("%d commands, want %d", n, i+1)
				}
				s.answer(s.last(), event.Succeeded, "")
			}
		}, 3, ""},
		{"one at a time of all visitors", `{concurrency: {key: site.name, on_conflict: queue}}`, func(s *sim) {
			for _, id := range []string{"a", "b", "c"} {
				s.trigger(event.KindTrack, event.Trigger{Event: "A", Visitor: event.Visitor{UserID: id}})
			}
			for i := range 3 {
				if n := len(s.commands()); n != i+1 {
					s.tb.Errorf("%d commands, want %d", n, i+1)
				}
				s.answer(s.last(), event.Succeeded, "")
			}
		}, 3, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := simulate(t, "rule.yaml", replaced(rule, test.limits))
			test.feed(s)
			s.clean()
			if n := len(s.commands()); n != test.want {
				t.Errorf("%d runs were started, want %d", n, test.want)
			}
			skipped := slices.ContainsFunc(s.marks, func(m Mark) bool { return m.What == MarkSkipped && m.Detail == test.skipped })
			if skipped != (test.skipped != "") {
				t.Errorf("the marks are %v", s.marks)
			}
			for name, site := range s.sites {
				if len(site.Locks) > 0 && len(s.session(ada).Runs) == 0 && test.limits[:13] == "{concurrency:" && test.want == 3 {
					t.Errorf("the site %s holds keys of nobody: %v", name, site.Locks)
				}
			}
		})
	}
}

// TestReplace shows a run that takes the place of another one.
func TestReplace(t *testing.T) {
	t.Parallel()
	s := simulate(t, "rule.yaml", `
on: {trigger: track, event: A}
limits: {concurrency: {key: site.name, on_conflict: replace}}
steps: [{after: 1h}, {action: botstar.widget.open}]
`)
	ben := event.Visitor{UserID: "ben"}
	s.track("A")
	s.pass(time.Minute)
	s.trigger(event.KindTrack, event.Trigger{Event: "A", Visitor: ben})
	if diff := cmp.Diff([]string{"rule replaced"}, s.outcomes()); diff != "" {
		t.Errorf("the runs differ (-want +got):\n%s", diff)
	}
	s.pass(2 * time.Hour)
	s.clean()
	if got := s.commands(); len(got) != 1 || s.last().Subject != event.SessionKey("shop", ben) {
		t.Errorf("the commands are %v, of %s", got, s.last().Subject)
	}
}

// TestDebounceLast shows that a debounced run sees the last trigger.
func TestDebounceLast(t *testing.T) {
	t.Parallel()
	s := simulate(t, "rule.yaml", `
on: {trigger: track, event: A}
limits: {debounce: 10s}
steps: [{action: botstar.widget.update, params: {nickname: "${ trigger.properties.name }"}}]
`)
	for _, name := range []string{"one", "two", "three"} {
		s.trigger(event.KindTrack, event.Trigger{Event: "A", Properties: map[string]any{"name": name}})
	}
	s.pass(time.Minute)
	s.clean()
	if n := len(s.commands()); n != 1 {
		t.Fatalf("%d commands, want 1", n)
	}
	if data := string(s.last().Data); !contains(data, `"three"`) {
		t.Errorf("the command is %s", data)
	}
}

// TestCancelOn shows events that end a run under way, and one that is too late
// to.
func TestCancelOn(t *testing.T) {
	t.Parallel()
	s := simulate(t, "rule.yaml", `
on: {trigger: track, event: A}
limits: {cancel_on: [{event: widget.opened}, {trigger: track, event: Bought, if: event.properties.sum > 10}]}
steps: [{after: 1h}, {action: botstar.widget.open}]
`)
	s.fact(event.FactWidgetClosed, ada, s.now)
	s.track("A")
	s.trigger(event.KindTrack, event.Trigger{Event: "Bought", Properties: map[string]any{"sum": 5}})
	s.trigger(event.KindTrack, event.Trigger{Event: "Bought", OccurredAt: s.now.Add(-time.Minute), Properties: map[string]any{"sum": 50}})
	if n := len(s.session(ada).Runs); n != 1 {
		t.Fatalf("%d runs are under way, want 1: %v", n, s.outcomes())
	}
	s.trigger(event.KindTrack, event.Trigger{Event: "Bought", Properties: map[string]any{"sum": 50}})
	if diff := cmp.Diff([]string{"rule cancelled"}, s.outcomes()); diff != "" {
		t.Errorf("the runs differ (-want +got):\n%s", diff)
	}
	s.pass(2 * time.Hour)
	if n := len(s.commands()); n != 0 || len(s.timers) != 0 {
		t.Errorf("%d commands and %d timers", n, len(s.timers))
	}
}

// TestPromises shows runs that must do nothing, and are recorded.
func TestPromises(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	tests := []struct {
		name, head string
		consent    *event.Consent
		disclosure bool
		want       Status
	}{
		{"no consent asked for", "", &event.Consent{Functionality: &no}, false, Running},
		{"consent denied", "requires: [consent]\n", &event.Consent{Functionality: &no}, false, ConsentMissing},
		{"consent given", "requires: [consent]\n", &event.Consent{Functionality: &yes}, false, Running},
		{"privacy control", "requires: [consent]\n", &event.Consent{GPC: &yes}, false, ConsentMissing},
		{"not disclosed", "requires: [disclosure]\n", nil, false, Undisclosed},
		{"disclosed", "requires: [disclosure]\n", nil, true, Running},
		{"all held out", "holdout: {percent: 99.999}\n", nil, false, HeldOut},
		{"none held out", "holdout: {percent: 0.001}\n", nil, false, Running},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := simulate(t, "rule.yaml", "on: {trigger: track}\n"+test.head+"steps: [{action: botstar.widget.open}]\n")
			s.site.Disclosure = test.disclosure
			s.trigger(event.KindTrack, event.Trigger{Event: "A", Consent: test.consent})
			s.clean()
			if test.want == Running {
				if n := len(s.commands()); n != 1 {
					t.Errorf("%d commands, want 1", n)
				}
				return
			}
			if n := len(s.commands()); n != 0 {
				t.Errorf("%d commands, want none", n)
			}
			if diff := cmp.Diff([]string{"rule " + string(test.want)}, s.outcomes()); diff != "" {
				t.Errorf("the runs differ (-want +got):\n%s", diff)
			}
		})
	}
}

// TestHoldout shows that the control group is as large as it should be, and the
// same each time.
func TestHoldout(t *testing.T) {
	t.Parallel()
	s := simulate(t, "rule.yaml", "on: {trigger: track}\nholdout: {percent: 20}\nsteps: [{action: botstar.widget.open}]\n")
	const visitors = 1000
	for i := range visitors {
		for range 2 {
			s.trigger(event.KindTrack, event.Trigger{Event: "A", Visitor: event.Visitor{UserID: string(rune('a'+i%26)) + time.Duration(i).String()}})
		}
	}
	held := map[string]int{}
	for _, run := range s.ended {
		if run.Status == HeldOut {
			held[run.Session]++
		}
	}
	if n := len(held); n < visitors*15/100 || n > visitors*25/100 {
		t.Errorf("%d of %d visitors are held out, want about a fifth", n, visitors)
	}
	for session, n := range held {
		if n != 2 {
			t.Errorf("the visitor %s was held out %d times of 2", session, n)
		}
	}
}
