package crm

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestQueue: the urgent first; those who wait for more go along, and those of the
// past fill what is left, or go when a call is spare.
func TestQueue(t *testing.T) {
	t.Parallel()
	at := func(seconds int) time.Time { return noon().Add(time.Duration(seconds) * time.Second) }
	of := func(name string) place { return place{"shop", name} }
	q := newQueue()
	q.later(of("p1"), at(-10))
	q.later(of("p2"), at(-9))
	q.later(of("p3"), at(-8))
	q.put(of("n1"), at(-1))
	q.collect(of("n2"), at(5))
	q.put(of("n3"), at(6))
	q.later(of("n1"), at(-20)) // It is urgent already.
	q.put(of("p2"), at(-2))    // It is urgent now.
	if !q.holds(of("p2")) || q.holds(of("p1")) || q.waiting() != 6 {
		t.Errorf("the lanes are wrong: %d wait", q.waiting())
	}
	take := func(most int, spare bool) string {
		var names []string
		for _, p := range q.take(noon(), most, spare) {
			names = append(names, p.session)
		}
		return fmt.Sprint(names)
	}
	if next, some := q.next(true); !some || !next.Equal(at(-10)) {
		t.Errorf("next with a spare call: %v", next)
	}
	if next, some := q.next(false); !some || !next.Equal(at(-2)) {
		t.Errorf("next without one: %v", next)
	}
	for i, step := range []struct {
		most  int
		spare bool
		want  string
	}{{1, false, "[p2]"}, {4, false, "[n1 n2 p1 p3]"}, {4, true, "[]"}} {
		if got := take(step.most, step.spare); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
	}
	q.later(of("p4"), at(-1))
	if got := take(4, false); got != "[]" {
		t.Errorf("without a spare call: %s", got)
	}
	if got := take(4, true); got != "[p4]" {
		t.Errorf("with one: %s", got)
	}
}

// TestBackfillLeavesRoom: while a backfill of 2,000 visitors takes a slow CRM a
// quarter of an hour, what happens now is there within a few calls.
func TestBackfillLeavesRoom(t *testing.T) {
	t.Parallel()
	for _, parallel := range []int{1, 4} {
		synctest.Test(t, func(t *testing.T) {
			const people, fresh = 2000, 30
			w := newWorld(t, newLedger(1, Limits{Contacts: 10, Activities: 10, Parallel: parallel}), Options{Window: 100 * time.Millisecond})
			for n := range people {
				w.identify(n, map[string]any{"name": "old"})
			}
			for w.pass(time.Second); w.target.Figures().Waiting > 0; w.pass(time.Second) {
				continue
			}
			w.crm.mu.Lock()
			w.crm.late = 4 * time.Second
			w.crm.mu.Unlock()
			l := w.leader
			places := make([]place, people)
			for n := range people {
				places[n] = place{"shop", w.session(n)}
			}
			for _, p := range places {
				l.resend <- p
			}
			var waits []time.Duration
			for n := range fresh {
				w.identify(n*7, map[string]any{"name": "new"})
				began := time.Now()
				for w.crm.name(w.session(n*7)) != "new" {
					w.pass(500 * time.Millisecond)
				}
				waits = append(waits, time.Since(began))
			}
			left := w.target.Figures().Waiting
			for w.target.Figures().Waiting > 0 {
				w.pass(time.Minute)
			}
			slices.Sort(waits)
			t.Logf("%d calls at once: what was new came after %v at the median and %v at most; %d of the past waited still", parallel, waits[fresh/2], waits[fresh-1], left)
			if most := waits[fresh-1]; most > 15*time.Second || left == 0 {
				t.Errorf("what was new came after %v, while %d waited", most, left)
			}
			if n := len(w.crm.contacts); n != people {
				t.Errorf("the CRM has %d contacts, want %d", n, people)
			}
			w.end()
		})
	}
}
