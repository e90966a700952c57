package oauth

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// Kind says what happened.
type Kind string

// The kinds.
const (
	Asked         Kind = "asked"     // A person saw what an app asks for.
	Consented     Kind = "consented" // A person allowed it.
	Declined      Kind = "declined"  // A person did not.
	Exchanged     Kind = "exchanged" // A code became the first pair.
	Refreshed     Kind = "refreshed" // A refresh token became the next pair.
	Reused        Kind = "reused"    // A refresh token or a code came twice.
	FamilyRevoked Kind = "family_revoked"
	Refused       Kind = "refused" // The token endpoint refused, for another reason.
	Busied        Kind = "busied"  // Another refresh was being worked on.
	Revoked       Kind = "revoked" // An app ended a token.
	Used          Kind = "used"    // The API took a token.
	Denied        Kind = "denied"  // The API did not.
	Issued        Kind = "issued"  // A token was made by hand.
	Spoiled       Kind = "spoiled" // A fault answered, and nothing was done.
)

// Entry is one thing that happened.
type Entry struct {
	Vendor string
	Kind   Kind
	Client string
	// Token names a token without telling it.
	Token string
	// Family numbers what came from one consent; 0 where it does not matter.
	Family int
	// Problem is the name of the error.
	Problem string
}

// Ledger records what happened. It is safe for use by many goroutines.
type Ledger struct {
	mu      sync.Mutex // guards the fields below
	entries []Entry
	changed chan struct{} // closed at the next change
}

func newLedger() *Ledger { return &Ledger{changed: make(chan struct{})} }

func (l *Ledger) add(e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, e)
	close(l.changed)
	l.changed = make(chan struct{})
}

// Entries returns all of a vendor, in the order in which they happened.
func (l *Ledger) Entries(vendor string) []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []Entry
	for _, e := range l.entries {
		if e.Vendor == vendor {
			all = append(all, e)
		}
	}
	return all
}

// Count returns how often it happened at the vendor.
func (l *Ledger) Count(vendor string, kinds ...Kind) int {
	n := 0
	for _, e := range l.Entries(vendor) {
		if slices.Contains(kinds, e.Kind) {
			n++
		}
	}
	return n
}

// Wait returns when what the vendor's entries say is true.
func (l *Ledger) Wait(ctx context.Context, vendor string, is func(entries []Entry) bool) error {
	for {
		l.mu.Lock()
		changed := l.changed
		l.mu.Unlock()
		entries := l.Entries(vendor)
		if is(entries) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the ledger of %s, which has %d entries: %w", vendor, len(entries), context.Cause(ctx))
		}
	}
}
