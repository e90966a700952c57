package session

import (
	"container/heap"
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// queue holds the openings that wait for a place. Each site has its own line,
// first come, first served. Between the lines the next one is the site that got
// the least so far, by its weight: fair queueing by start times. A site that had
// nothing to wait for begins where the others are, so it saves nothing up.
type queue struct {
	o       ResidencyOptions
	sites   map[string]*siteQueue
	lines   []*siteQueue // sites with waiting openings
	waiting int
	active  int        // sites with a place or a waiting opening
	clock   float64    // the turn of the opening that was let in last
	due     byDeadline // waiting openings that have a deadline
	pushed  []refusal  // to be told

	pace  time.Duration // smoothed, between two openings while others wait
	since time.Time     // the last of them, or the begin of the waiting
}

// siteQueue is what the policy knows of one site.
type siteQueue struct {
	name   string
	weight float64
	known  int // sessions
	load   int // places and waiting openings
	busy   int // sessions that run a command and have a place
	turn   float64
	line   []*opening // the first is next
}

// opening is a session's wait for a place.
type opening struct {
	s        *resident
	asked    time.Time
	deadline time.Time // zero for none
	at       int       // in the heap
}

// refusal is an opening that had to leave the line.
type refusal struct {
	s   *resident
	err error
}

func newQueue(o ResidencyOptions) queue {
	return queue{o: o, sites: map[string]*siteQueue{}, pace: o.Opening}
}

// site returns the site of the name.
func (q *queue) site(name string) *siteQueue {
	st, ok := q.sites[name]
	if !ok {
		st = &siteQueue{name: name, weight: float64(max(q.o.Weights[name], 1))}
		q.sites[name] = st
	}
	return st
}

// forget says that one session of the site is no longer known.
func (q *queue) forget(st *siteQueue) {
	st.known--
	if st.known == 0 {
		delete(q.sites, st.name)
	}
}

// take and give count the places and the waiting openings of a site.
func (q *queue) take(st *siteQueue) {
	if st.load == 0 {
		q.active++
	}
	st.load++
}

func (q *queue) give(st *siteQueue) {
	st.load--
	if st.load == 0 {
		q.active--
	}
}

// push puts the session into its site's line. free is how many places are free
// or can be made free at once, share on how many one site may run commands.
func (q *queue) push(now time.Time, s *resident, deadline time.Time, free, share int) error {
	wait := q.estimate(now, s.site, free, share)
	switch {
	case deadline.IsZero():
	case !now.Before(deadline):
		return fault.New(fault.DeadlineExceeded, "the deadline passed before the session had a tab")
	case wait > 0 && now.Add(wait+q.o.Opening).After(deadline):
		return busy(wait, "all tabs are in use, and none is free before the deadline")
	}
	if q.waiting >= q.o.Waiting && !q.makeRoom(s.site, wait) {
		return busy(max(wait, q.pace), "%d sessions wait for a tab already", q.waiting)
	}
	if q.waiting == 0 {
		q.since = now
	}
	o := &opening{s: s, asked: now, deadline: deadline, at: -1}
	s.waits = o
	if len(s.site.line) == 0 {
		s.site.turn = max(s.site.turn, q.clock)
		q.lines = append(q.lines, s.site)
	}
	s.site.line = append(s.site.line, o)
	q.waiting++
	q.take(s.site)
	if !deadline.IsZero() {
		heap.Push(&q.due, o)
	}
	return nil
}

func busy(after time.Duration, format string, args ...any) error {
	return fault.New(fault.BrowserBusy, format, args...).WithAfter(after)
}

// estimate tells how long a new opening of the site would wait: as many turns as
// are before it, at the pace of late.
func (q *queue) estimate(now time.Time, st *siteQueue, free, share int) time.Duration {
	own := len(st.line)
	before := float64(own)
	for _, other := range q.lines {
		if other != st {
			before += min(float64(len(other.line)), float64(own+1)*other.weight/st.weight)
		}
	}
	if st.busy+own >= share {
		free = 0 // The site waits for itself.
	}
	turns := before - float64(free) + 1
	if turns <= 0 {
		return 0
	}
	return time.Duration(turns * float64(q.paceAt(now)))
}

// paceAt is the time between two openings: that of late, or what has passed
// since the last one when that is longer.
func (q *queue) paceAt(now time.Time) time.Duration {
	if q.waiting == 0 {
		return q.pace
	}
	return max(q.pace, now.Sub(q.since))
}

// makeRoom lets the last opening of the longest line leave. It is false when
// that line is the site's own: then the site has its part of the queue.
func (q *queue) makeRoom(st *siteQueue, wait time.Duration) bool {
	length := func(x *siteQueue) float64 { return float64(len(x.line)) / x.weight }
	longest := st
	for _, other := range q.lines {
		if length(other) > length(longest) || length(other) == length(longest) && longest != st && other.name < longest.name {
			longest = other
		}
	}
	if length(longest) <= float64(len(st.line)+1)/st.weight {
		return false
	}
	last := longest.line[len(longest.line)-1].s
	q.drop(last)
	q.pushed = append(q.pushed, refusal{s: last, err: busy(max(wait, q.pace), "%d sessions wait for a tab, most of them of this site", q.waiting)})
	return true
}

// eligible returns how many openings could have a place now.
func (q *queue) eligible(share int) int {
	n := 0
	for _, st := range q.lines {
		n += max(0, min(len(st.line), share-st.busy))
	}
	return n
}

// pop lets the next session in; nil when none may.
func (q *queue) pop(now time.Time, share int) *resident {
	var next *siteQueue
	for _, st := range q.lines {
		switch {
		case st.busy >= share:
		case next == nil || st.turn < next.turn || st.turn == next.turn && st.name < next.name:
			next = st
		}
	}
	if next == nil {
		return nil
	}
	o := next.line[0]
	if now.After(o.asked) {
		q.pace += (now.Sub(q.since) - q.pace) / 8
	}
	q.since = now
	q.clock = next.turn
	next.turn += 1 / next.weight
	q.drop(o.s)
	return o.s
}

// drop takes the session out of its line, if it waits.
func (q *queue) drop(s *resident) {
	o := s.waits
	if o == nil {
		return
	}
	s.waits = nil
	if i := slices.Index(s.site.line, o); i == 0 {
		s.site.line[0] = nil // Else the array keeps it.
		s.site.line = s.site.line[1:]
	} else {
		s.site.line = slices.Delete(s.site.line, i, i+1)
	}
	if len(s.site.line) == 0 {
		at := slices.Index(q.lines, s.site)
		q.lines = slices.Delete(q.lines, at, at+1)
	}
	if o.at >= 0 {
		heap.Remove(&q.due, o.at)
	}
	q.waiting--
	q.give(s.site)
}

// leave takes the session out of its line, and out of those that are to be told
// of a refusal: its command waits no longer.
func (q *queue) leave(s *resident) {
	q.drop(s)
	q.pushed = slices.DeleteFunc(q.pushed, func(r refusal) bool { return r.s == s })
}

// refuse returns a session that is to be told that it gets no place, with the
// reason; nil when there is none. Less than margin before its deadline is too late
// to begin.
func (q *queue) refuse(now time.Time, margin time.Duration) (*resident, error) {
	if len(q.pushed) > 0 {
		first := q.pushed[0]
		q.pushed = q.pushed[1:]
		return first.s, first.err
	}
	if len(q.due) == 0 || now.Before(q.due[0].deadline.Add(-margin)) {
		return nil, nil
	}
	o := q.due[0]
	q.drop(o.s)
	if !now.Before(o.deadline) {
		return o.s, fault.New(fault.DeadlineExceeded, "the deadline passed while the session waited for a tab")
	}
	return o.s, busy(q.paceAt(now), "all tabs are in use, and none is free before the deadline")
}

// earliest returns when the next opening is to be refused for its deadline.
func (q *queue) earliest() (time.Time, bool) {
	if len(q.due) == 0 {
		return time.Time{}, false
	}
	return q.due[0].deadline.Add(-q.o.Opening), true
}

// byDeadline is a heap.
type byDeadline []*opening

func (h *byDeadline) Len() int           { return len(*h) }
func (h *byDeadline) Less(i, j int) bool { return (*h)[i].deadline.Before((*h)[j].deadline) }

func (h *byDeadline) Swap(i, j int) {
	(*h)[i], (*h)[j] = (*h)[j], (*h)[i]
	(*h)[i].at, (*h)[j].at = i, j
}

// Push adds an opening. It is for container/heap.
func (h *byDeadline) Push(x any) {
	o, _ := x.(*opening)
	o.at = len(*h)
	*h = append(*h, o)
}

// Pop takes the last opening. It is for container/heap.
func (h *byDeadline) Pop() any {
	last := len(*h) - 1
	o := (*h)[last]
	(*h)[last], *h = nil, (*h)[:last]
	o.at = -1
	return o
}
