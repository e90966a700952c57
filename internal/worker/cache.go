package worker

import (
	"sync"

	"github.com/parley-chat/parley/internal/event"
)

// resultsKept is how many results are kept in memory.
const resultsKept = 1024

// stored is a result as it was published, and what its command asked for.
type stored struct {
	Params   string         `json:"params"`
	Envelope event.Envelope `json:"envelope"`
	Status   event.Status   `json:"status"`
}

// results keeps the last results by their command's key, so that a repeated
// command costs nothing.
type results struct {
	mu    sync.Mutex // guards the fields below
	byKey map[string]stored
	order []string // a ring, the oldest at next
	next  int
}

func newResults(most int) *results {
	return &results{byKey: make(map[string]stored, most), order: make([]string, most)}
}

func (r *results) find(key string) (stored, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.byKey[key]
	return s, ok
}

func (r *results) keep(key string, s stored) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.byKey[key]; !known {
		delete(r.byKey, r.order[r.next])
		r.order[r.next] = key
		r.next = (r.next + 1) % len(r.order)
	}
	r.byKey[key] = s
}
