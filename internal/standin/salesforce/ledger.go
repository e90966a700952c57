package salesforce

import "slices"

// Effect is what happened to records of an object.
type Effect struct {
	Object string
	What   Verb
}

// Verb is what was done to a record.
type Verb string

// The verbs. Same is a write that changed nothing.
const (
	Created Verb = "created"
	Changed Verb = "changed"
	Same    Verb = "same"
	Deleted Verb = "deleted"
)

// Call is one request that was answered, or not.
type Call struct {
	Method, Path string
	Status       int
	Fault        Kind
}

// ledger counts what took effect. The org's lock guards it.
type ledger struct {
	calls   []Call
	effects map[Effect]int
	events  []map[string]any
}

// Effects returns how often something was done to records of the object.
func (o *Org) Effects(object string, what Verb) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ledger.effects[Effect{object, what}]
}

// Calls returns the requests, the latest last.
func (o *Org) Calls() []Call {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.ledger.calls)
}

// Spoiled returns how many requests a fault of the kind has spoiled.
func (o *Org) Spoiled(kind Kind) int {
	n := 0
	for _, c := range o.Calls() {
		if c.Fault == kind {
			n++
		}
	}
	return n
}

// Events returns the platform events that were published.
func (o *Org) Events() []map[string]any {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.ledger.events)
}

// Forget empties the list of calls; records and counts stay.
func (o *Org) Forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ledger.calls = nil
}
