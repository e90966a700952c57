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
	index int
}

// queue is what waits to be written, the most urgent first. It holds the places
// only, so that an outage costs little memory however long it is.
type queue struct {
	list  []*due
	known map[place]*due
}

func newQueue() *queue { return &queue{known: map[place]*due{}} }

// put adds the visitor, or moves it to the earlier time.
func (q *queue) put(p place, at time.Time) { q.add(due{place: p, at: at}) }

// collect adds the visitor, who may also go along with others earlier.
func (q *queue) collect(p place, at time.Time) { q.add(due{place: p, at: at, fresh: true}) }

func (q *queue) add(d due) {
	old := q.known[d.place]
	if old == nil {
		heap.Push(q, &d)
	} else if d.at.Before(old.at) {
		old.at, old.fresh = d.at, d.fresh
		heap.Fix(q, old.index)
	}
}

// take removes up to so many that are due. When there is one, others who only
// wait for more changes go along, so that a call is worth it.
func (q *queue) take(now time.Time, most int) []place {
	var all []place
	for len(all) < most && len(q.list) > 0 && (!q.list[0].at.After(now) || len(all) > 0 && q.list[0].fresh) {
		all = append(all, heap.Pop(q).(*due).place) //nolint:forcetypeassert // Nothing else is there.
	}
	return all
}

// next returns when the first one is due.
func (q *queue) next() (time.Time, bool) {
	if len(q.list) == 0 {
		return time.Time{}, false
	}
	return q.list[0].at, true
}

// Len is of heap.Interface, as are the others.
func (q *queue) Len() int { return len(q.list) }

// Less orders by time.
func (q *queue) Less(i, j int) bool { return q.list[i].at.Before(q.list[j].at) }

// Swap swaps two.
func (q *queue) Swap(i, j int) {
	q.list[i], q.list[j] = q.list[j], q.list[i]
	q.list[i].index, q.list[j].index = i, j
}

// Push adds one.
func (q *queue) Push(x any) {
	d := x.(*due) //nolint:forcetypeassert // Nothing else is put there.
	d.index = len(q.list)
	q.list, q.known[d.place] = append(q.list, d), d
}

// Pop removes the last one.
func (q *queue) Pop() any {
	last := q.list[len(q.list)-1]
	q.list[len(q.list)-1] = nil
	q.list = q.list[:len(q.list)-1]
	delete(q.known, last.place)
	return last
}
