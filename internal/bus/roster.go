package bus

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"
)

// forgotten is how many lives of its key a worker may be silent before it is
// forgotten, in case the end of its key was never told.
const forgotten = 3

// roster is what a worker knows of the bucket: who works, and whose the
// partitions are. It does nothing by itself, and belongs to one goroutine.
type roster struct {
	group string
	seats map[place]seat // workers of all groups
	owned map[int]entry  // records of the group's partitions
}

// seat is a worker's key.
type seat struct {
	presence
	revision uint64
	seen     time.Time
}

// entry is a partition's record.
type entry struct {
	record
	revision uint64
}

func newRoster(group string) *roster {
	return &roster{group: group, seats: map[place]seat{}, owned: map[int]entry{}}
}

// apply notes what a key holds since the revision. A value that is nil means
// that the key is gone. What is older than what is known is ignored.
func (r *roster) apply(key string, value []byte, revision uint64, now time.Time) error {
	kind, group, name, ok := parseKey(key)
	if !ok {
		return nil
	}
	if kind == "p" {
		partition, err := strconv.Atoi(name)
		if err != nil || group != r.group || revision <= r.owned[partition].revision {
			return nil //nolint:nilerr // It is no key of ours.
		}
		at := entry{revision: revision}
		if value != nil {
			err = json.Unmarshal(value, &at.record)
		}
		r.owned[partition] = at
		return err
	}
	at := place{group, name}
	if revision <= r.seats[at].revision {
		return nil
	}
	if value == nil {
		delete(r.seats, at)
		return nil
	}
	s := seat{revision: revision, seen: now}
	err := json.Unmarshal(value, &s.presence)
	r.seats[at] = s
	return err
}

// forget drops workers that have not been heard of for very long.
func (r *roster) forget(now time.Time) {
	maps.DeleteFunc(r.seats, func(_ place, s seat) bool { return now.Sub(s.seen) > forgotten*max(s.TTL, time.Second) })
}

// live returns the workers of the group that take partitions, in order.
func (r *roster) live() []string {
	var all []string
	for at, s := range r.seats {
		if at.group == r.group && !s.Leaving {
			all = append(all, at.name)
		}
	}
	slices.Sort(all)
	return all
}

// free reports whether nobody alive owns the partition, and what its record
// holds.
func (r *roster) free(partition int) (entry, bool) {
	at := r.owned[partition]
	s, there := r.seats[place{r.group, at.Worker}]
	return at, !there || s.ID != at.ID
}

// others returns the workers of the group but ours.
func (r *roster) others(self string) map[place]seat {
	all := maps.Clone(r.seats)
	maps.DeleteFunc(all, func(at place, _ seat) bool { return at.group != r.group || at.name == self })
	return all
}

// neighbour returns the worker of the group that comes after ours, in a ring. So
// each is watched by one other.
func (r *roster) neighbour(self string) (string, seat, bool) {
	var after, first string // the next one, and the one that begins the ring
	for at := range r.others(self) {
		if at.name > self && (after == "" || at.name < after) {
			after = at.name
		}
		if first == "" || at.name < first {
			first = at.name
		}
	}
	name := orWord(after, first)
	s, ok := r.seats[place{r.group, name}]
	return name, s, ok
}

// rivals returns the workers of other groups that take commands which the
// filters take too.
func (r *roster) rivals(filters []string) map[place]seat {
	all := map[place]seat{}
	for at, s := range r.seats {
		if at.group != r.group && overlap(s.Filters, filters) {
			all[at] = s
		}
	}
	return all
}
