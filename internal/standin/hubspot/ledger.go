package hubspot

import (
	"slices"
	"sync"
	"time"
)

// Call is one call that reached the API.
type Call struct {
	// Number counts the calls from 1.
	Number int
	At     time.Time
	// Operation is upsert, update, read, search, merge, gdpr-delete, properties,
	// property, group, associate, event, or none.
	Operation, Path string
	// Status is what was answered, or would have been; 0 for nothing.
	Status int
	// Inputs is how many a batch had.
	Inputs int
	// Fault names the fault that spoiled the call, or "".
	Fault string
}

// Write is one record that was made or changed.
type Write struct {
	// Number counts the writes from 1.
	Number int
	At     time.Time
	Kind   string
	// ID is HubSpot's, and Key the value by which the writer named the record.
	ID, Key string
	Created bool
	// Properties are those that were sent.
	Properties map[string]string
}

// ledger records calls and writes.
type ledger struct {
	keep int

	mu     sync.Mutex // guards the fields below
	calls  []Call
	count  map[string]int
	last   int
	writes []Write
}

func newLedger(keep int) *ledger { return &ledger{keep: keep, count: map[string]int{}} }

func (l *ledger) call(c Call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	c.Number = l.last
	l.count[c.Operation]++
	l.calls = append(l.trimmed(), c)
}

// trimmed returns the calls that are kept. l.mu is held.
func (l *ledger) trimmed() []Call {
	if len(l.calls) < 2*l.keep {
		return l.calls
	}
	return slices.Clone(l.calls[l.keep:])
}

func (l *ledger) write(w Write) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w.Number = len(l.writes) + 1
	l.writes = append(l.writes, w)
}

// Calls returns the calls of an operation, or of all when it is "".
func (s *Standin) Calls(operation string) []Call {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	return only(s.ledger.calls, func(c Call) bool { return operation == "" || c.Operation == operation })
}

// only returns those that are meant.
func only[T any](all []T, meant func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(all), func(one T) bool { return !meant(one) })
}

// Count returns how many calls of an operation there were, or of all when it is
// "".
func (s *Standin) Count(operation string) int {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	if operation == "" {
		return s.ledger.last
	}
	return s.ledger.count[operation]
}

// Writes returns what was written of the kind, in order.
func (s *Standin) Writes(kind string) []Write {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	return only(s.ledger.writes, func(w Write) bool { return w.Kind == kind })
}
