package session

import (
	"container/list"
	"time"
)

// Residency decides which sessions keep a tab, and who gets the next one. It is
// policy alone: it opens and closes nothing, reads no clock and starts no
// goroutine. The caller tells what happens, asks [Residency.Next] after it what
// to do, and does it. Equal calls have equal answers.
//
// A session has a place from the moment when Next lets it open a tab until
// Closed. Sessions that run a command, are pinned, or are being closed are never
// chosen to give way. The one that does is the one with the fewest commands to
// expect (residency_rate.go); who comes next is fair between sites
// (residency_queue.go).
//
// It is not safe for concurrent use: the caller holds its lock.
type Residency struct {
	o       ResidencyOptions
	limit   int // places at most now: Options.Held, or fewer under memory pressure
	placed  int // sessions with a place
	closing int // of those, on their way out
	seen    ResidencyStats

	sessions map[string]*resident
	resting  *list.List // of *resident: those that may give way, the longest idle first
	away     *list.List // of *resident: those that are only remembered, the oldest first
	queue    queue
}

// ResidencyOptions are the settings of a Residency. Zero values have defaults.
type ResidencyOptions struct {
	// Held is how many tabs there are at most. 0 means 100.
	Held int
	// Idle is how long a tab stays open without a command. 0 means 10 minutes.
	Idle time.Duration
	// Memory is how many bytes all tabs may use, as told by Measured. Until the
	// first time, there is a quarter of the tabs at most. 0 means no limit.
	Memory int64
	// Remembered is for how many sessions without a tab it is kept how much they
	// were used. 0 means 10,000.
	Remembered int
	// Waiting is how many openings may wait for a place. 0 means 10 for each
	// place.
	Waiting int
	// Opening is how long it takes to open a tab, about. 0 means 100 ms.
	Opening time.Duration
	// Share is the part of the places on which one site may run commands, while
	// the worker knows other sites. 0 means three quarters.
	Share float64
	// Weights are the sites' shares in what is opened when openings wait. A site
	// that is not named has the weight 1.
	Weights map[string]int
}

func (o ResidencyOptions) withDefaults() ResidencyOptions {
	o.Held = max(orElse(o.Held, 100), 1)
	o.Idle = orElse(o.Idle, 10*time.Minute)
	o.Remembered = orElse(o.Remembered, 10_000)
	o.Waiting = orElse(o.Waiting, 10*o.Held)
	o.Opening = orElse(o.Opening, 100*time.Millisecond)
	o.Share = orElse(o.Share, 0.75)
	return o
}

// ResidencyStats are what a Residency has decided, and how it stands.
type ResidencyStats struct {
	// Placed sessions have a tab, or open one; Running of them run a command.
	// Limit is how many there may be now; Waiting openings have no place yet.
	Placed, Running, Limit, Waiting int
	// Opened counts places that were given; Hits counts commands that found
	// their tab open.
	Opened, Hits int64
	// Evicted, Idled and Pressed count tabs that were closed to make room, for
	// idleness, and for memory.
	Evicted, Idled, Pressed int64
	// Refused counts openings that got no place: too many waited, or the
	// deadline was too near.
	Refused int64
}

// Deed is what the caller is to do.
type Deed int

// The deeds.
const (
	// OpenTab: open the session's tab. Call Closed when that fails.
	OpenTab Deed = iota + 1
	// CloseTab: close the session's tab, keeping its state. Call Closed after it,
	// or Begin when the session runs a command after all.
	CloseTab
	// RefuseTab: tell the session's command the error. It no longer waits.
	RefuseTab
)

// Step is one thing to do for one session.
type Step struct {
	Do  Deed
	Key string
	// Why says why a tab is closed: "evicted" to make room, "idle" or "memory".
	Why string
	// Err is the reason of a refusal.
	Err error
}

// Why a tab is closed.
const (
	whyRoom   = "evicted"
	whyIdle   = "idle"
	whyMemory = "memory"
)

// resident is what is known of one session. It is in one of the lists, or in
// none while it runs, waits, closes or is pinned with a place.
type resident struct {
	key     string
	site    *siteQueue
	use     rate
	since   time.Time // the end of its last command
	running bool
	pinned  bool
	placed  bool
	closing bool
	waits   *opening      // nil when it does not wait
	in      *list.List    // the list that it is in, or nil
	at      *list.Element // its place in that list
}

// NewResidency returns a policy that knows no session.
func NewResidency(o ResidencyOptions) *Residency {
	o = o.withDefaults()
	limit := o.Held
	if o.Memory > 0 {
		limit = min(o.Held, max(4, o.Held/4))
	}
	return &Residency{
		o: o, limit: limit, sessions: map[string]*resident{},
		resting: list.New(), away: list.New(), queue: newQueue(o),
	}
}

// Begin says that a command of the session runs: its tab stays open until End.
// It calls off a closing that has not begun. To repeat it is harmless.
func (r *Residency) Begin(key, site string) {
	s := r.find(key, site)
	if s.closing {
		s.closing = false
		r.closing--
	}
	if !s.running {
		s.running = true
		r.seen.Running++
		if s.placed {
			s.site.busy++
		}
	}
	r.settle(s)
}

// Want says that the session's running command needs the tab. It is true when
// the tab is open. Otherwise the command waits for Next to say OpenTab or
// RefuseTab, until Closed gives up. The error is the refusal of a command that
// need not wait, because it would wait in vain; it says when to come again. The
// zero deadline is none.
func (r *Residency) Want(now time.Time, key, site string, deadline time.Time) (bool, error) {
	r.Begin(key, site)
	s := r.sessions[key]
	s.use.add(now)
	if s.placed {
		r.seen.Hits++
		return true, nil
	}
	if s.waits != nil {
		return false, nil
	}
	free := r.limit - r.placed + r.closing + r.resting.Len()
	if err := r.queue.push(now, s, deadline, free, r.share()); err != nil {
		r.seen.Refused++
		return false, err
	}
	return false, nil
}

// End says that the session's command has ended.
func (r *Residency) End(now time.Time, key string) {
	s, ok := r.sessions[key]
	if !ok || !s.running {
		return
	}
	s.running, s.since = false, now
	r.seen.Running--
	if s.placed {
		s.site.busy--
	}
	r.queue.leave(s)
	r.settle(s)
}

// Closed says that the session has no tab and waits for none: it was closed,
// could not be opened, or crashed, or its command gave up.
func (r *Residency) Closed(key string) {
	s, ok := r.sessions[key]
	if !ok {
		return
	}
	r.queue.leave(s)
	if s.closing {
		s.closing = false
		r.closing--
	}
	if s.placed {
		s.placed = false
		r.placed--
		r.queue.give(s.site)
		if s.running {
			s.site.busy--
		}
	}
	r.settle(s)
}

// Pin says whether the session's tab is to stay open, used or not.
func (r *Residency) Pin(key, site string, pinned bool) {
	s := r.find(key, site)
	s.pinned = pinned
	r.settle(s)
}

// Next says what to do next, and false when there is nothing to do now. Call it
// until then after every change, and at the time of [Residency.Wake].
func (r *Residency) Next(now time.Time) (Step, bool) {
	if step, ok := r.refuse(now, 0); ok {
		return step, true
	}
	if r.placed < r.limit {
		if s := r.queue.pop(now, r.share()); s != nil {
			return r.in(s), true
		}
	}
	if step, ok := r.refuse(now, r.o.Opening); ok {
		return step, true
	}
	staying := r.placed - r.closing
	if staying > r.limit {
		if s := r.victim(now); s != nil {
			r.seen.Pressed++
			return r.out(s, whyMemory), true
		}
	}
	if r.queue.eligible(r.share()) > r.limit-staying {
		if s := r.victim(now); s != nil {
			r.seen.Evicted++
			return r.out(s, whyRoom), true
		}
	}
	if front := r.resting.Front(); front != nil {
		if s := residentAt(front); !now.Before(s.since.Add(r.o.Idle)) {
			r.seen.Idled++
			return r.out(s, whyIdle), true
		}
	}
	return Step{}, false
}

// Wake returns the time at which Next has something to say though nothing
// happens; false when there is none.
func (r *Residency) Wake() (time.Time, bool) {
	at, ok := r.queue.earliest()
	if front := r.resting.Front(); front != nil {
		if idle := residentAt(front).since.Add(r.o.Idle); !ok || idle.Before(at) {
			return idle, true
		}
	}
	return at, ok
}

// Measured says how many bytes all tabs use together. Above Options.Memory
// there are to be fewer tabs, in proportion. Below it there may be as many as
// fit if the others are like those that are open; when few are open, that is no
// measure, and all stays as it is.
func (r *Residency) Measured(used int64) {
	if r.o.Memory <= 0 || used <= 0 {
		return
	}
	const careful = 0.95
	fit := float64(r.placed) * float64(r.o.Memory) / float64(used)
	switch {
	case used > r.o.Memory:
		r.limit = max(1, min(r.limit, int(fit)))
	case 2*r.placed >= r.limit:
		r.limit = min(r.o.Held, max(int(careful*fit), min(r.placed, r.limit)))
	}
}

// Forget drops what is known of a session that has no tab and no command. It is
// false when it has.
func (r *Residency) Forget(key string) bool {
	s, ok := r.sessions[key]
	if !ok {
		return true
	}
	if s.in != r.away {
		return false
	}
	r.forget(s)
	return true
}

// Known is how many sessions there are that have a tab or are remembered.
func (r *Residency) Known() int { return len(r.sessions) }

// Stats returns the counters.
func (r *Residency) Stats() ResidencyStats {
	seen := r.seen
	seen.Placed, seen.Limit, seen.Waiting = r.placed, r.limit, r.queue.waiting
	return seen
}

// find returns what is known of the session.
func (r *Residency) find(key, site string) *resident {
	s, ok := r.sessions[key]
	if !ok {
		s = &resident{key: key, site: r.queue.site(site)}
		s.site.known++
		r.sessions[key] = s
	}
	return s
}

// settle puts the session into the list where it belongs now.
func (r *Residency) settle(s *resident) {
	var to *list.List
	switch {
	case s.running || s.waits != nil || s.closing || s.pinned:
	case s.placed:
		to = r.resting
	default:
		to = r.away
	}
	if to == s.in {
		return
	}
	if s.in != nil {
		s.in.Remove(s.at)
	}
	s.in, s.at = to, nil
	if to == nil {
		return
	}
	s.at = to.PushBack(s)
	for r.away.Len() > r.o.Remembered {
		r.forget(residentAt(r.away.Front()))
	}
}

// forget drops a session that is away.
func (r *Residency) forget(s *resident) {
	r.away.Remove(s.at)
	delete(r.sessions, s.key)
	r.queue.forget(s.site)
}

// victim returns the resting session with the fewest commands to expect, of
// equal ones the longest idle; nil when none may give way.
func (r *Residency) victim(now time.Time) *resident {
	var chosen *resident
	least := 0.0
	for at := r.resting.Front(); at != nil; at = at.Next() {
		s := residentAt(at)
		if expected := s.use.at(now); chosen == nil || expected < least {
			chosen, least = s, expected
		}
	}
	return chosen
}

// refuse says which opening comes too late, when there is one.
func (r *Residency) refuse(now time.Time, margin time.Duration) (Step, bool) {
	s, err := r.queue.refuse(now, margin)
	if s == nil {
		return Step{}, false
	}
	r.seen.Refused++
	return Step{Do: RefuseTab, Key: s.key, Err: err}, true
}

// in gives the session a place. It runs a command, or it would not have waited.
func (r *Residency) in(s *resident) Step {
	s.placed = true
	s.site.busy++
	r.placed++
	r.queue.take(s.site)
	r.seen.Opened++
	return Step{Do: OpenTab, Key: s.key}
}

// out begins to close the session's tab.
func (r *Residency) out(s *resident, why string) Step {
	s.closing = true
	r.closing++
	r.settle(s)
	return Step{Do: CloseTab, Key: s.key, Why: why}
}

// share is on how many places one site may run commands.
func (r *Residency) share() int {
	if r.queue.active < 2 {
		return r.limit
	}
	return max(1, int(r.o.Share*float64(r.limit)))
}

func residentAt(at *list.Element) *resident {
	s, _ := at.Value.(*resident)
	return s
}
