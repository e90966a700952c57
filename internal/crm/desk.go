package crm

import (
	"container/heap"
	"time"
)

// place names a visitor.
type place struct{ site, session string }

// due says when a visitor is to be written.
type due struct {
	place place
	at    time.Time
	fresh bool // it only waits for more changes
	past  bool // it is in the lane of the past
	index int
}

// queue is what waits to be written, the most urgent first, in two lanes: what
// happens now, and what a backfill brings, which goes when there is room. It holds
// the places only, so that an outage costs little memory however long it is.
type queue struct {
	now, past lane
	known     map[place]*due
}

func newQueue() *queue { return &queue{known: map[place]*due{}} }

// put adds the visitor, or moves it to the earlier time.
func (q *queue) put(p place, at time.Time) { q.add(due{place: p, at: at}) }

// collect adds the visitor, who may also go along with others earlier.
func (q *queue) collect(p place, at time.Time) { q.add(due{place: p, at: at, fresh: true}) }

// later adds the visitor behind what happens now, unless it is there already.
func (q *queue) later(p place, at time.Time) {
	if q.known[p] == nil {
		q.push(&due{place: p, at: at, past: true})
	}
}

// holds reports whether the visitor is in the lane of what happens now.
func (q *queue) holds(p place) bool { return q.known[p] != nil && !q.known[p].past }

func (q *queue) add(d due) {
	old := q.known[d.place]
	if old != nil && old.past {
		heap.Remove(&q.past, old.index)
		old = nil
	}
	if old == nil {
		q.push(&d)
	} else if d.at.Before(old.at) {
		old.at, old.fresh = d.at, d.fresh
		heap.Fix(&q.now, old.index)
	}
}

func (q *queue) push(d *due) {
	q.known[d.place] = d
	if d.past {
		heap.Push(&q.past, d)
		return
	}
	heap.Push(&q.now, d)
}

// take removes up to so many that are due. When there is one, others who only
// wait for more changes go along, so that a call is worth it, and then those of the
// past; these go alone when there is a spare call.
func (q *queue) take(now time.Time, most int, spare bool) []place {
	all := q.now.take(now, most)
	if len(all) > 0 || spare {
		all = append(all, q.past.take(now, most-len(all))...)
	}
	for _, p := range all {
		delete(q.known, p)
	}
	return all
}

// next returns when the first one is due that can be taken.
func (q *queue) next(spare bool) (time.Time, bool) {
	at, some := q.now.next()
	if past, more := q.past.next(); more && spare && (!some || past.Before(at)) {
		return past, true
	}
	return at, some
}

// waiting returns how many wait.
func (q *queue) waiting() int { return len(q.known) }

// lane is a heap of visitors by time.
type lane []*due

func (l *lane) take(now time.Time, most int) []place {
	var all []place
	for len(all) < most && len(*l) > 0 && (!(*l)[0].at.After(now) || len(all) > 0 && (*l)[0].fresh) {
		all = append(all, heap.Pop(l).(*due).place) //nolint:forcetypeassert // Nothing else is there.
	}
	return all
}

func (l *lane) next() (time.Time, bool) {
	if len(*l) == 0 {
		return time.Time{}, false
	}
	return (*l)[0].at, true
}

// Len is of heap.Interface, as are the others.
func (l *lane) Len() int { return len(*l) }

// Less orders by time.
func (l *lane) Less(i, j int) bool { return (*l)[i].at.Before((*l)[j].at) }

// Swap swaps two.
func (l *lane) Swap(i, j int) {
	(*l)[i], (*l)[j] = (*l)[j], (*l)[i]
	(*l)[i].index, (*l)[j].index = i, j
}

// Push adds one.
func (l *lane) Push(x any) {
	d := x.(*due) //nolint:forcetypeassert // Nothing else is put there.
	d.index = len(*l)
	*l = append(*l, d)
}

// Pop removes the last one.
func (l *lane) Pop() any {
	last := (*l)[len(*l)-1]
	(*l)[len(*l)-1] = nil
	*l = (*l)[:len(*l)-1]
	return last
}
