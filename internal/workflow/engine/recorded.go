package engine

import (
	"context"
	"hash/maphash"
	"strings"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
)

// mostRecorded is how many sessions the leader knows to have a record. Where
// there are more, it looks for the record of each that it does not have in
// memory.
const mostRecorded = 1_000_000

// recorded are the sessions that have a record, so that nobody asks for the
// others: a number for each, which two may share. It may hold more than there
// are, and never fewer. The zero value holds all. It belongs to one goroutine.
type recorded struct {
	seed maphash.Seed
	some map[uint64]struct{} // nil is all
	most int
}

// readRecorded asks which sessions have a record. Whoever leads asks after it has
// read the position: what another one stores later breaks its fence.
func readRecorded(ctx context.Context, b *bus.Bus) (recorded, error) {
	subjects, all, err := b.Subjects(ctx, event.RunsSubject("*", "*"))
	if err != nil || !all {
		return recorded{}, err
	}
	r := recorded{maphash.MakeSeed(), make(map[uint64]struct{}, len(subjects)), mostRecorded}
	for _, subject := range subjects {
		if tokens := strings.Split(subject, "."); len(tokens) == 3 {
			r.add(place{tokens[1], tokens[2]})
		}
	}
	return r, nil
}

// number returns the number of the session.
func (r *recorded) number(at place) uint64 { return maphash.Comparable(r.seed, at) }

// maybe reports whether the session may have a record.
func (r *recorded) maybe(at place) bool {
	if r.some == nil {
		return true
	}
	_, ok := r.some[r.number(at)]
	return ok
}

// add adds a session that has a record from now on.
func (r *recorded) add(at place) {
	if r.some == nil {
		return
	}
	if r.some[r.number(at)] = struct{}{}; len(r.some) > r.most {
		r.some = nil
	}
}
