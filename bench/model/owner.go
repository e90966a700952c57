package model

import (
	"slices"

	"github.com/parley-chat/parley/internal/bus"
)

// nobody owns a partition that was given up.
const nobody = -1

// record is the lease of a partition. The epoch is its fence.
type record struct {
	owner, life int
	epoch       int
	stopped     stop // since when, and why, its commands wait
}

// hold is a partition as its owner has it.
type hold struct {
	epoch    int
	begun    bool
	draining bool
	running  int // commands
	released bool
}

// active reports whether new commands may begin.
func (h *hold) active() bool { return h.begun && !h.draining }

// view is who was there at a time, and who should own what.
type view struct {
	lives  map[int]int // by worker
	owners []int       // by partition
}

// publish makes a view of the members, which each worker sees a little later.
func (w *world) publish() {
	v := view{lives: map[int]int{}, owners: make([]int, w.c.Partitions)}
	var names []string
	byName := map[string]int{"": nobody}
	for id, life := range w.members {
		if w.workers[id].health == leaving {
			continue // Its key says so.
		}
		v.lives[id] = life
		names = append(names, w.workers[id].name)
		byName[w.workers[id].name] = id
	}
	for p, name := range bus.Assign(names, w.c.Partitions) {
		v.owners[p] = byName[name]
	}
	if len(w.views) > 0 {
		w.ledger.change(w.views[len(w.views)-1], v)
	}
	w.views = append(w.views, v)
	for _, at := range w.workers {
		if at.health != gone && w.members[at.id] == at.life {
			w.plan(w.c.Costs.Watch.draw(w.costs), viewed, at, len(w.views)-1, 0)
		}
	}
}

// evaluate brings what the worker holds to what its view says.
func (w *world) evaluate(at *worker) {
	if at.health != up {
		return
	}
	for p, owner := range w.views[at.view].owners {
		h := at.holds[p]
		switch {
		case owner == at.id && h == nil:
			w.tryTake(at, p)
		case owner != at.id && h != nil && !h.draining:
			w.handOver(at, p)
		}
	}
}

// tryTake takes a partition that the worker should own, when nobody has it or
// its owner's key is gone. It looks at the key itself: a view may be too old to
// know the owner.
func (w *world) tryTake(at *worker, p int) {
	if at.health != up || at.view < 0 || w.views[at.view].owners[p] != at.id || at.holds[p] != nil {
		return
	}
	rec := &w.records[p]
	if rec.owner != nobody {
		if life, member := w.members[rec.owner]; member && life == rec.life {
			return // It will be told when the partition is free.
		}
	}
	rec.owner, rec.life = at.id, at.life
	rec.epoch++
	for _, i := range w.parts[p] {
		w.sessions[i].leave()
	}
	w.ledger.move(w.now, p, *rec)
	at.holds[p] = &hold{epoch: rec.epoch}
	w.plan(w.c.Costs.TakeOver.draw(w.costs), acquired, at, p, 0)
}

// leave forgets what the last owner did with the session.
func (s *sess) leave() {
	s.lane, s.place, s.closing = free, false, false
	s.token++
}

// acquire begins with a partition: what its stream holds is delivered.
func (w *world) acquire(at *worker, p int) {
	h := at.holds[p]
	h.begun = true
	w.ledger.served(&w.records[p], w.now)
	if h.draining {
		w.drained(at, p)
		return
	}
	for _, i := range w.parts[p] {
		if len(w.sessions[i].pending) > 0 {
			w.deliver(int(i))
		}
	}
}

// handOver stops the partition's commands: who runs may end, who waits for a tab
// goes back into the stream.
func (w *world) handOver(at *worker, p int) {
	h := at.holds[p]
	h.draining = true
	w.records[p].stop(w.now, planned)
	for _, i := range w.parts[p] {
		if s := &w.sessions[i]; s.lane == waiting {
			s.lane = free
			at.policy.Closed(s.key)
			at.policy.End(w.clock(), s.key)
		}
	}
	w.drained(at, p)
	w.steps(at)
}

// drained goes on with a hand-over when no command runs any more.
func (w *world) drained(at *worker, p int) {
	h := at.holds[p]
	if h.running > 0 || !h.begun || h.released {
		return
	}
	h.released = true
	for _, i := range w.parts[p] {
		s := &w.sessions[i]
		if s.place {
			w.vacate(at, s)
			at.policy.Closed(s.key)
		}
		s.leave()
	}
	w.plan(w.c.Costs.HandOver.draw(w.costs), released, at, p, 0)
}

// release gives the partition up. Who should have it sees that soon.
func (w *world) release(at *worker, p int) {
	delete(at.holds, p)
	w.records[p].owner = nobody
	if next := w.views[len(w.views)-1].owners[p]; next != nobody {
		w.plan(w.c.Costs.Watch.From, noticed, w.workers[next], p, 0)
	}
	w.steps(at)
	w.part(at)
}

// held returns the partitions of the worker, in order.
func (at *worker) held() []int {
	var all []int
	for p := range at.holds {
		all = append(all, p)
	}
	slices.Sort(all)
	return all
}
