package model

import (
	"fmt"
	"time"

	"github.com/parley-chat/parley/internal/session"
)

// health is how a worker is.
type health uint8

const (
	up      health = iota
	leaving        // gives its partitions up, and goes
	frozen         // does nothing, and does not know it
	gone
)

// worker is one, through all its lives: a worker that lost its lease joins again
// under its name with a new life.
type worker struct {
	id      int
	name    string
	life    int
	health  health
	policy  *session.Residency
	holds   map[int]*hold
	view    int           // the last one that it has seen
	opening int           // tabs
	used    int64         // bytes, of all tabs
	wakes   time.Duration // when its policy is asked next, or 0
	slept   []event       // what happened to it while it was frozen
}

// hire makes a worker that is not a member yet.
func (w *world) hire() *worker {
	at := &worker{id: len(w.workers), view: -1}
	at.name = fmt.Sprintf("worker-%d", at.id)
	w.workers = append(w.workers, at)
	w.rebirth(at)
	return at
}

// rebirth begins a new life, which holds nothing.
func (w *world) rebirth(at *worker) {
	at.life++
	at.health, at.policy, at.holds = up, w.policy(), map[int]*hold{}
	at.opening, at.wakes, at.slept = 0, 0, nil
	at.used = w.c.Base
	if w.c.Memory > 0 {
		w.plan(w.c.MeasureEach, measured, at, 0, 0)
	}
}

// vacate notes that the session's tab is closed.
func (w *world) vacate(at *worker, s *sess) {
	s.place = false
	at.used -= w.c.Sites[s.site].Tab
}

// plan lets something happen to the worker after a while, unless its life ends
// before.
func (w *world) plan(after time.Duration, k kind, at *worker, what, token int) {
	w.queue.push(event{at: w.now + after, kind: k, worker: at.id, life: at.life, what: what, token: token})
}

// handle lets an event happen.
func (w *world) handle(e event) {
	at := w.workers[e.worker]
	switch {
	case e.kind == struck:
		w.strike()
	case e.kind == hired:
		w.join(w.hire())
	case e.kind == lost:
		w.remove(e)
	case e.life != at.life || at.health == gone:
	case e.kind == resumed:
		w.resume(at)
	case at.health == frozen:
		at.slept = append(at.slept, e)
	default:
		w.happen(at, e)
	}
}

// happen is what a worker that lives does.
func (w *world) happen(at *worker, e event) {
	switch e.kind {
	case viewed:
		if e.what > at.view {
			at.view = e.what
			w.evaluate(at)
		}
	case noticed:
		w.tryTake(at, e.what)
	case acquired:
		w.acquire(at, e.what)
	case released:
		w.release(at, e.what)
	case wake:
		if at.wakes == e.at {
			at.wakes = 0
			w.steps(at)
		}
	case measured:
		at.policy.Measured(at.used)
		w.steps(at)
		w.plan(w.c.MeasureEach, measured, at, 0, 0)
	case opened, effect, done, closed:
		w.advance(at, e)
	case struck, hired, lost, resumed:
	}
}

// steps does what the worker's policy says, and plans when to ask it next.
func (w *world) steps(at *worker) {
	for step, ok := at.policy.Next(w.clock()); ok; step, ok = at.policy.Next(w.clock()) {
		w.step(at, step)
	}
	w.ledger.tabs(at.policy.Stats())
	due, ok := at.policy.Wake()
	if !ok {
		return
	}
	when := max(due.Sub(epoch()), w.now)
	if at.wakes == 0 || when < at.wakes {
		at.wakes = when
		w.plan(when-w.now, wake, at, 0, 0)
	}
}

// step does one thing for one session.
func (w *world) step(at *worker, step session.Step) {
	i := index(step.Key)
	s := &w.sessions[i]
	switch step.Do {
	case session.OpenTab:
		s.lane, s.place = running, true
		at.holds[s.part].running++
		at.opening++
		at.used += w.c.Sites[s.site].Tab
		w.ledger.mostMemory = max(w.ledger.mostMemory, at.used)
		cost := w.c.Costs.Cold
		if s.known {
			cost = w.c.Costs.Restore
		}
		w.ledger.open(s)
		s.known = true
		slower := max(1, float64(at.opening)/float64(max(w.c.Costs.Openers, 1)))
		w.plan(time.Duration(float64(cost.draw(w.costs))*slower), opened, at, i, s.token)
	case session.CloseTab:
		s.closing = true
		w.ledger.closings[step.Why]++
		w.plan(w.c.Costs.Hibernate.draw(w.costs), closed, at, i, s.token)
	case session.RefuseTab:
		at.policy.End(w.clock(), s.key)
		s.lane = free
		w.answer(s, refusal(step.Err))
		w.deliver(i)
	}
}
