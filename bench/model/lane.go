package model

import (
	"hash/fnv"
	"strconv"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// lane is what the owner's lane of a session does.
type lane uint8

const (
	free    lane = iota
	waiting      // for a tab
	running      // its first command, or opens the tab for it
)

// sess is a session, and what the stream holds for it.
type sess struct {
	key     string
	site    int
	part    int
	known   bool // has a snapshot
	pending []pending
	asked   int      // commands so far
	acted   []uint64 // a bit for each command that had its effect
	last    int      // the last of them

	// What its owner does, until the owner changes.
	lane    lane
	place   bool
	closing bool
	token   int // changes with the owner
}

// pending is a command without an answer.
type pending struct {
	at      time.Duration
	number  int // in its session, from 1
	started bool
	acted   bool // had its effect
}

func newSessions(l Load, partitions int) []sess {
	var all []sess
	for i, site := range l.Sites {
		for range site.Sessions {
			s := sess{key: strconv.Itoa(len(all)), site: i}
			h := fnv.New32a()
			_, _ = h.Write([]byte(site.Name + "." + s.key)) // A hash takes all.
			s.part = int(h.Sum32() % uint32(partitions))    //nolint:gosec // a number of partitions is small.
			all = append(all, s)
		}
	}
	return all
}

// index returns the session of the key.
func index(key string) int {
	i, err := strconv.Atoi(key)
	if err != nil {
		return -1 // The keys are ours: the index fails loudly.
	}
	return i
}

// refusal is the kind of answer that the error is.
func refusal(err error) answer {
	if fault.CodeOf(err) == fault.Expired {
		return expired
	}
	return refused
}

// arrive puts a command into the stream.
func (w *world) arrive(c Command) {
	s := &w.sessions[c.Session]
	s.asked++
	w.ledger.ask(c.Site)
	if len(s.pending) >= maxPending {
		w.ledger.answer(c.Site, full, 0)
		return
	}
	s.pending = append(s.pending, pending{at: c.At, number: s.asked})
	w.deliver(c.Session)
}

// answer takes the first command of the session out of the stream.
func (w *world) answer(s *sess, a answer) {
	first := s.pending[0]
	s.pending = s.pending[1:]
	if len(s.pending) == 0 {
		s.pending = nil
	}
	w.ledger.answer(s.site, a, w.now-first.at)
}

// deliver begins the session's next command, when its owner is there and free.
func (w *world) deliver(i int) {
	s := &w.sessions[i]
	rec := w.records[s.part]
	if rec.owner == nobody || s.lane != free || s.closing {
		return
	}
	at := w.workers[rec.owner]
	h := at.holds[s.part]
	if at.life != rec.life || at.health == frozen || at.health == gone || h == nil || !h.active() {
		return
	}
	for len(s.pending) > 0 && s.lane == free {
		w.start(at, h, i)
	}
	w.steps(at)
}

// start asks for the tab, and begins when it is open.
func (w *world) start(at *worker, h *hold, i int) {
	s := &w.sessions[i]
	var deadline time.Time
	if w.c.Deadline > 0 {
		deadline = epoch().Add(s.pending[0].at + w.c.Deadline)
		if w.clock().After(deadline) {
			w.answer(s, expired)
			return
		}
	}
	warm, err := at.policy.Want(w.clock(), s.key, w.c.Sites[s.site].Name, deadline)
	switch {
	case err != nil:
		at.policy.End(w.clock(), s.key)
		w.answer(s, refusal(err))
	case warm:
		s.lane = running
		h.running++
		w.act(at, i)
	default:
		s.lane = waiting
	}
}

// act brings the command to its irreversible step. One that another owner has
// begun costs a look at the page more.
func (w *world) act(at *worker, i int) {
	s := &w.sessions[i]
	first := &s.pending[0]
	cost := w.cost(s.site) / 2
	if first.started {
		cost *= 2
		w.ledger.reconciled++
	}
	first.started = true
	w.queue.push(event{
		at: w.now + cost, kind: effect, worker: at.id, life: at.life, what: i, token: s.token, number: first.number,
	})
}

// cost is what a command of the site takes in an open tab.
func (w *world) cost(site int) time.Duration {
	from := w.c.Length * 3 / 4
	if site == 1 && w.now >= from && w.now < from+w.c.HangLength {
		return w.c.HangTime
	}
	if w.costs.Float64() < w.c.Costs.SlowPart {
		return w.c.Costs.Slow.draw(w.costs)
	}
	return w.c.Costs.Warm.draw(w.costs)
}

// advance is the way of a command on its owner. What was planned for an owner
// that the session no longer has is refused.
func (w *world) advance(at *worker, e event) {
	s := &w.sessions[e.what]
	writes := e.kind == effect || e.kind == done
	if e.kind == opened {
		at.opening--
	}
	switch {
	case e.token != s.token && writes:
		w.ledger.stale++
	case e.token != s.token:
	case e.kind == opened:
		w.act(at, e.what)
	case e.kind == effect:
		w.perform(at, s)
		w.plan(w.cost(s.site)/2, done, at, e.what, s.token)
	case e.kind == done:
		w.finish(at, e.what)
	case e.kind == closed:
		s.closing = false
		w.vacate(at, s)
		at.policy.Closed(s.key)
		w.steps(at)
		w.deliver(e.what)
	}
}

// perform is the irreversible step, unless a look at the page has shown that it
// was done.
func (w *world) perform(at *worker, s *sess) {
	first := &s.pending[0]
	w.ledger.owner(w.records[s.part], at)
	if first.acted {
		return
	}
	first.acted = true
	w.ledger.act(w.now, s, first.number)
}

// finish publishes the result, and goes on.
func (w *world) finish(at *worker, i int) {
	s := &w.sessions[i]
	h := at.holds[s.part]
	s.lane = free
	h.running--
	at.policy.End(w.clock(), s.key)
	w.answer(s, succeeded)
	if h.draining {
		w.drained(at, s.part)
	} else {
		w.deliver(i)
	}
	w.steps(at)
}
