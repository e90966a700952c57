package model

import (
	"cmp"
	"time"
)

// kind is what an event is.
type kind uint8

const (
	opened   kind = iota // a session's tab is open
	effect               // a command comes to its irreversible step
	done                 // a command has its result
	closed               // a session's tab is closed
	wake                 // a worker's policy has something to say
	measured             // a worker's tabs are measured
	viewed               // a worker sees who is there
	noticed              // a worker sees that a partition is free
	acquired             // a worker begins with a partition
	released             // a worker has given a partition up
	struck               // the next fault is due
	hired                // a worker joins
	lost                 // a worker's key is gone
	resumed              // a frozen worker goes on
)

// event is something that happens at a time, to a worker in one of its lives.
type event struct {
	at     time.Duration
	order  uint64 // of those at one time, the one that was planned first
	kind   kind
	worker int
	life   int
	what   int // a session, a partition or a view
	token  int // of the session, when it was planned
	number int // of the command
}

// agenda is a heap of events.
type agenda struct {
	events  []event
	planned uint64
}

func (e event) before(other event) bool {
	return cmp.Or(cmp.Compare(e.at, other.at), cmp.Compare(e.order, other.order)) < 0
}

// next returns the time of the next event, and false when there is none.
func (a *agenda) next() (time.Duration, bool) {
	if len(a.events) == 0 {
		return 0, false
	}
	return a.events[0].at, true
}

func (a *agenda) push(e event) {
	a.planned++
	e.order = a.planned
	a.events = append(a.events, e)
	at := len(a.events) - 1
	for at > 0 {
		up := (at - 1) / 2
		if !a.events[at].before(a.events[up]) {
			return
		}
		a.events[at], a.events[up] = a.events[up], a.events[at]
		at = up
	}
}

func (a *agenda) pop() event {
	first, last := a.events[0], len(a.events)-1
	a.events[0] = a.events[last]
	a.events = a.events[:last]
	at := 0
	for {
		least := at
		for down := 2*at + 1; down <= 2*at+2 && down < last; down++ {
			if a.events[down].before(a.events[least]) {
				least = down
			}
		}
		if least == at {
			return first
		}
		a.events[at], a.events[least] = a.events[least], a.events[at]
		at = least
	}
}
