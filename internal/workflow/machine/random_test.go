package machine

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/event"
)

// zoo is workflows with everything that there is.
func zoo() []string {
	return []string{
		"a.yaml", `
on: {trigger: track, event: A}
limits: {once_per: 10m, cancel_on: [{event: widget.closed}]}
steps:
  - {name: one, action: botstar.widget.open, await: true, on_error: continue}
  - parallel:
      - [{after: 5m}, {action: botstar.widget.close}]
      - [{wait_for: {event: widget.opened, timeout: 7m, steps: [{emit: {event: seen}}], on_timeout: [{stop: {if: 'trigger.event == "B"'}}]}}]
  - http: {url: "https://crm.example.test/", retries: 1}
`,
		"b.yaml", `
on: [{trigger: track, event: B}, {trigger: emitted, event: seen}]
limits: {concurrency: {key: site.name, on_conflict: queue}}
steps: [{action: botstar.widget.boot, await: true}, {after: 1m}]
`,
		"c.yaml", `
on: {trigger: track, event: B}
limits: {concurrency: {key: visitor.user_id, on_conflict: replace}, debounce: 20s}
steps: [{after: 2m}, {action: botstar.widget.update, params: {nickname: "${ trigger.event }"}}]
`,
		"d.yaml", `
on: {event: widget.closed}
limits: {quiet_hours: {from: "12:10", to: "12:30", do: wait}, per_site: 50/h}
holdout: {percent: 30}
steps:
  - wait_for: {event: widget.opened, timeout: 30m}
  - action: botstar.widget.open
`,
	}
}

// people are the visitors of a random history, and who they turn out to be.
func people() (all, later []event.Visitor) {
	for i := range 4 {
		all = append(all, event.Visitor{AnonymousID: fmt.Sprintf("anon-%d", i)})
		later = append(later, event.Visitor{UserID: fmt.Sprintf("u-%d", i/2)}) // Two of them are one.
	}
	return all, later
}

// TestRandomHistories plays random histories of triggers, facts, results in any
// order, repetitions, late events, merges and time, and holds what is true of
// every one of them. A seed that failed is to be kept here.
func TestRandomHistories(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 20261125))
			s := simulate(t, zoo()...)
			visitors, later := people()
			answered := 0
			for range 150 {
				i := random.IntN(len(visitors))
				who := visitors[i]
				switch random.IntN(8) {
				case 0, 1:
					s.trigger(event.KindTrack, event.Trigger{
						Event: []string{"A", "B", "C"}[random.IntN(3)], Visitor: who,
						OccurredAt: s.now.Add(-time.Duration(random.IntN(90)) * time.Second),
					})
				case 2:
					s.triggerID(fmt.Sprintf("again-%d-%d", i, random.IntN(5)), event.KindTrack, event.Trigger{Event: "B", Visitor: who})
				case 3, 4:
					name := []string{event.FactWidgetOpened, event.FactWidgetClosed}[random.IntN(2)]
					s.fact(name, who, s.now.Add(-time.Duration(random.IntN(60))*time.Second))
				case 5:
					answered = s.answerSome(random, answered)
				case 6:
					s.pass(time.Duration(random.IntN(180)) * time.Second)
				case 7:
					if random.IntN(10) == 0 {
						s.trigger(event.KindIdentify, event.Trigger{Event: "identify", Visitor: later[i], Previous: &who})
						visitors[i] = later[i]
					}
				}
				s.consistent()
			}
			for range 40 { // What waits for results or time comes to its end.
				s.answerSome(nil, 0)
				s.pass(3 * time.Hour)
				s.consistent()
			}
			for _, session := range s.sessions {
				for _, run := range session.Runs {
					t.Errorf("the run %s of %s never ended: %+v", run.ID, run.Workflow, run.Threads[0].Wait)
				}
			}
			for _, site := range s.sites {
				if len(site.Locks) > 0 {
					t.Errorf("keys of nobody are held: %v", site.Locks)
				}
			}
		})
	}
}

// answerSome answers commands and calls: with a source of chance one of them, or
// none twice; without, all.
func (s *sim) answerSome(random *rand.Rand, from int) int {
	s.tb.Helper()
	for from < len(s.messages) {
		m := s.messages[from]
		from++
		if _, ok := event.ActionOfType(m.Envelope.Type); !ok {
			continue
		}
		status := event.Succeeded
		if random != nil && random.IntN(5) == 0 {
			status = event.Failed
		}
		s.answer(m.Envelope, status, "{}")
		if random != nil {
			return from
		}
	}
	if random == nil {
		for _, call := range s.calls {
			s.answerID(call.Key, CallAction, call.Session, event.Succeeded, `{"code":200}`)
		}
	}
	return from
}

// consistent holds what is true between any two inputs.
func (s *sim) consistent() {
	s.tb.Helper()
	ids := map[string]bool{}
	for _, m := range s.messages {
		if ids[m.Envelope.ID] {
			s.tb.Fatalf("the command %s was issued twice", m.Envelope.ID)
		}
		ids[m.Envelope.ID] = true
	}
	active, timers := map[string]bool{}, map[string]bool{}
	for _, session := range s.sessions {
		for _, run := range session.Runs {
			if active[run.ID] || s.ended[run.ID] != nil {
				s.tb.Fatalf("the run %s is there twice", run.ID)
			}
			active[run.ID] = true
			for _, thread := range run.Threads {
				w := thread.Wait
				if w == nil || w.Timer == "" || w.Due.IsZero() {
					continue
				}
				subject := event.TimerSubject(run.Site, run.Session, run.ID+"-"+w.Timer)
				timers[subject] = true
				if timer, ok := s.timers[subject]; !ok || timer.Due.After(w.Due) {
					s.tb.Fatalf("the run %s of %s waits for %+v, and no timer will wake it", run.ID, run.Workflow, w)
				}
			}
		}
	}
	for subject := range s.timers {
		if !timers[subject] {
			s.tb.Fatalf("the timer %s will wake nobody", subject)
		}
	}
	for _, site := range s.sites {
		for _, lock := range site.Locks {
			if !active[lock.Holder.Run] {
				s.tb.Fatalf("the run %s holds a key, and is not under way", lock.Holder.Run)
			}
		}
	}
}
