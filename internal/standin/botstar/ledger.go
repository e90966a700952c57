package botstar

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Kind says what reached the vendor.
type Kind string

// The kinds.
const (
	Booted    Kind = "booted"    // A frame asked for its bot, and got it.
	Refused   Kind = "refused"   // A frame asked for an app that is not published.
	Opened    Kind = "opened"    // The chat window opened.
	Closed    Kind = "closed"    // The chat window closed.
	Updated   Kind = "updated"   // An update was applied.
	Ignored   Kind = "ignored"   // An update was ignored, beyond the limit.
	Messaged  Kind = "messaged"  // The visitor wrote a message.
	Responded Kind = "responded" // A webview page sent its response.
)

// Entry is one thing that reached the vendor.
type Entry struct {
	// Seq counts the entries from 1.
	Seq int
	// At is the vendor's time.
	At   time.Time
	Kind Kind
	// AppID is the app, as the frame named it.
	AppID string
	// Visitor is the user_id, or the anonymous id of the widget's storage.
	Visitor   string
	Anonymous bool
	// Instance names one load of one frame.
	Instance string
	// Mode and Page are the widget's mode and the address of the host page.
	Mode, Page string
	// Block is the start block of a boot.
	Block string
	// Cause of an open or close: "api" or "visitor".
	Cause string
	// Attributes and Variables are what a boot or an update sent.
	Attributes, Variables map[string]any
	// After is what the vendor knows of the visitor afterwards.
	After Profile
	// Text is the visitor's message.
	Text string
	// Response, Outputs, Outlet and Webview are a webview's answer, and the
	// address of its page.
	Response string
	Outputs  map[string]any
	Outlet   string
	Webview  string
}

// Profile is what the vendor knows of a visitor.
type Profile struct {
	// ID is the vendor's own id of the visitor.
	ID string
	// Attributes has neither user_id nor tags.
	Attributes map[string]any
	Tags       []string
	Variables  map[string]any
}

// Snapshot is the ledger at one moment. It does not change.
type Snapshot struct {
	// Entries are in the order in which they happened, the latest last. Only
	// the last Options.Keep of them are kept.
	Entries []Entry
	// Counts counts all entries by kind, the forgotten ones too.
	Counts Counts
}

// Counts is the number of entries by kind.
type Counts map[Kind]int

// Of returns the entries of one visitor: a user_id or an anonymous id.
func (s Snapshot) Of(visitor string) []Entry {
	return s.where(func(e Entry) bool { return e.Visitor == visitor })
}

// Kind returns the entries of one kind.
func (s Snapshot) Kind(kind Kind) []Entry {
	return s.where(func(e Entry) bool { return e.Kind == kind })
}

// Count returns how many kept entries the visitor has of the kind.
func (s Snapshot) Count(visitor string, kind Kind) int {
	return len(s.where(func(e Entry) bool { return e.Visitor == visitor && e.Kind == kind }))
}

func (s Snapshot) where(match func(Entry) bool) []Entry {
	var found []Entry
	for _, e := range s.Entries {
		if match(e) {
			found = append(found, e)
		}
	}
	return found
}

// Ledger records what reached the vendor. It is safe for use by many
// goroutines.
type Ledger struct {
	keep int

	mu      sync.Mutex // guards the fields below
	entries []Entry    // only appended to, so that a snapshot can share it
	counts  Counts
	last    int
	changed chan struct{} // closed at the next change
}

func newLedger(keep int) *Ledger {
	return &Ledger{keep: keep, counts: Counts{}, changed: make(chan struct{})}
}

// Snapshot returns the ledger as it is now.
func (l *Ledger) Snapshot() Snapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.snapshot()
}

// Counts returns the number of entries by kind since the start or the last
// Reset.
func (l *Ledger) Counts() Counts { return l.Snapshot().Counts }

// Wait returns the first snapshot that satisfies the condition, beginning with
// the present one. When ctx ends first it returns the last snapshot and an error
// that says what the ledger holds.
func (l *Ledger) Wait(ctx context.Context, condition func(Snapshot) bool) (Snapshot, error) {
	for {
		l.mu.Lock()
		now, changed := l.snapshot(), l.changed
		l.mu.Unlock()
		if condition(now) {
			return now, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return now, fmt.Errorf("waiting for the vendor's ledger, which holds %v: %w", now.Counts, context.Cause(ctx))
		}
	}
}

// Reset forgets all entries and counts. The visitors stay known.
func (l *Ledger) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries, l.counts, l.last = nil, Counts{}, 0
	l.wake()
}

func (l *Ledger) add(e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	e.Seq = l.last
	if len(l.entries) >= 2*l.keep {
		l.entries = slices.Clone(l.entries[len(l.entries)-l.keep:])
	}
	l.entries = append(l.entries, e)
	l.counts[e.Kind]++
	l.wake()
}

func (l *Ledger) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *Ledger) snapshot() Snapshot {
	from := max(0, len(l.entries)-l.keep)
	return Snapshot{Entries: slices.Clip(l.entries[from:]), Counts: maps.Clone(l.counts)}
}
