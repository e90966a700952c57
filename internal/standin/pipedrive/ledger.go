package pipedrive

import "slices"

// Effect is what happened to records of a kind: persons, activities or notes.
type Effect struct {
	Records string
	What    Verb
}

// Verb is what was done to a record.
type Verb string

// The verbs.
const (
	Created Verb = "created"
	Changed Verb = "changed"
	Deleted Verb = "deleted"
	Merged  Verb = "merged"
)

// Call is one request that was answered, or not.
type Call struct {
	Method, Path string
	Status, Cost int
	Fault        Kind
}

// ledger counts what took effect. The account's lock guards it.
type ledger struct {
	calls   []Call
	effects map[Effect]int
}

// Effects returns how often something was done to records.
func (a *Account) Effects(records string, what Verb) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ledger.effects[Effect{records, what}]
}

// Calls returns the requests, the latest last.
func (a *Account) Calls() []Call {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.ledger.calls)
}

// Spoiled returns how many requests a fault of the kind has spoiled.
func (a *Account) Spoiled(kind Kind) int {
	n := 0
	for _, c := range a.Calls() {
		if c.Fault == kind {
			n++
		}
	}
	return n
}

// Tokens returns how many tokens were used.
func (a *Account) Tokens() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tokens
}
