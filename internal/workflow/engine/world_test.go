package engine

import (
	"context"
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/workflow/machine"
)

// TestRecorded knows of every session that has a record, whoever stored it.
func TestRecorded(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	r, err := readRecorded(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	at := place{"shop", "s-1"}
	if r.maybe(at) {
		t.Error("where nothing is stored, a session has a record")
	}
	r.add(at)
	if !r.maybe(at) || r.maybe(place{"shop", "s-2"}) || r.maybe(place{"docs", "s-1"}) {
		t.Error("another session than the one that was added has a record")
	}
	if _, err := b.Commit(t.Context(), []bus.FlowMsg{{Subject: event.RunsSubject("shop", "s-2"), Data: []byte("{}"), Only: true}}); err != nil {
		t.Fatal(err)
	}
	if r, err = readRecorded(t.Context(), b); err != nil || !r.maybe(place{"shop", "s-2"}) || r.maybe(at) {
		t.Errorf("the session with a record is not the one that has one: %v", err)
	}
	if zero := (recorded{}); !zero.maybe(at) {
		t.Error("who knows nothing says no")
	}
}

// TestRecordedGivesUp shows that a leader who knows too many sessions looks for
// all of them, and misses none.
func TestRecordedGivesUp(t *testing.T) {
	t.Parallel()
	r, err := readRecorded(t.Context(), bustest.Start(t))
	if err != nil {
		t.Fatal(err)
	}
	r.most = 100
	for i := range r.most {
		r.add(place{"shop", strconv.Itoa(i)})
	}
	if r.some == nil || r.maybe(place{"shop", "new"}) {
		t.Error("it gave up too early")
	}
	for i := range r.most + 1 {
		r.add(place{"shop", strconv.Itoa(i)})
	}
	if r.some != nil || !r.maybe(place{"shop", "new"}) {
		t.Error("it still knows all")
	}
}

// TestWorldReadsOnlyRecords shows what a world reads: a record that is there, and
// nothing where none is.
func TestWorldReadsOnlyRecords(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	stored := &machine.Session{Site: "shop", Key: "s-1", Moved: "s-9"}
	raw, err := json.Marshal(stored)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Commit(t.Context(), []bus.FlowMsg{{Subject: event.RunsSubject("shop", "s-1"), Data: raw, Only: true}}); err != nil {
		t.Fatal(err)
	}
	w := newWorld(b)
	if w.recorded, err = readRecorded(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	read, err := w.session(t.Context(), place{"shop", "s-1"})
	if err != nil || read.Moved != "s-9" {
		t.Errorf("the record reads as %+v, %v", read, err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel() // Whoever asks the bus now gets an error.
	if _, err := w.session(over, place{"shop", "s-2"}); err != nil {
		t.Errorf("it asked for a record that is not there: %v", err)
	}
	w.recorded = recorded{}
	if _, err := w.session(over, place{"shop", "s-2"}); err == nil {
		t.Error("it did not ask for a record that may be there")
	}
}

// TestPins keeps a session in memory until its last change is stored, with what
// was noticed meanwhile.
func TestPins(t *testing.T) {
	t.Parallel()
	w := newWorld(bustest.Start(t))
	session := func() *machine.Session { return &machine.Session{Site: "shop", Key: "s-1"} }
	first, second := session(), session()
	noticed := session()
	noticed.Seen = map[string]time.Time{"/a": time.Unix(1, 0)}
	at := placeOf(first)
	w.apply(machine.Change{Sessions: []*machine.Session{first}})
	w.apply(machine.Change{Sessions: []*machine.Session{second}})
	w.stored(first)
	if w.pinned[at].changed != second {
		t.Fatal("the second change was let go with the first")
	}
	w.apply(machine.Change{Noticed: []*machine.Session{noticed}})
	if w.known(at) != noticed {
		t.Error("what was noticed is not known")
	}
	w.stored(second)
	if len(w.pinned) > 0 {
		t.Error("a session that is stored stays pinned")
	}
	if w.known(at) != noticed {
		t.Error("what was noticed is forgotten with the pin")
	}
}
