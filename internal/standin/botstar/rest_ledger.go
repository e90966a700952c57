package botstar

import (
	"slices"
	"sync"
	"time"
)

// RESTCall is one call that reached the REST API.
type RESTCall struct {
	// Seq counts the calls from 1.
	Seq          int
	At           time.Time
	Operation    Operation
	Method, Path string
	// Status is what was answered, or would have been.
	Status int
	// Changed is true when the call took effect: something of the vendor's is not
	// what it was before.
	Changed bool
	// Fault names the fault that spoiled the call, or "".
	Fault string
}

// restLedger records the calls.
type restLedger struct {
	keep int

	mu      sync.Mutex // guards the fields below
	calls   []RESTCall
	last    int
	applied map[Operation]int
}

func (l *restLedger) add(c RESTCall) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	c.Seq = l.last
	if len(l.calls) >= 2*l.keep {
		l.calls = slices.Clone(l.calls[len(l.calls)-l.keep:])
	}
	l.calls = append(l.calls, c)
	if c.Changed {
		l.applied[c.Operation]++
	}
}

// Calls returns the calls that reached the API, the latest last; of one
// operation, or of all when it is "".
func (r *REST) Calls(op Operation) []RESTCall {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	var calls []RESTCall
	for _, c := range r.ledger.calls {
		if op == "" || c.Operation == op {
			calls = append(calls, c)
		}
	}
	return calls
}

// Effects returns how often the operation took effect.
func (r *REST) Effects(op Operation) int {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	return r.ledger.applied[op]
}
