package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/workflow/machine"
)

const (
	// firstLook is how old what happened may be where nobody has ever led: older
	// events are history.
	firstLook = 10 * time.Minute
	// ahead is how many messages of each stream wait to be folded.
	ahead = 1024
)

// position is how far the log was folded: the message of event.PositionSubject.
type position struct {
	// Flow and Events are the sequences of the last messages that were folded, 0
	// for none.
	Flow   uint64 `json:"flow"`
	Events uint64 `json:"events"`
	// Since is when the first leader began: what is older does not count.
	Since time.Time `json:"since"`
	// Programs names the programs whose schedules were set.
	Programs string    `json:"programs,omitempty"`
	At       time.Time `json:"at"`
	Term     uint64    `json:"term"`
}

// readPosition returns the position, and the sequence of its message.
func readPosition(ctx context.Context, b *bus.Bus, now time.Time) (position, uint64, error) {
	d, ok, err := b.Last(ctx, event.PositionSubject)
	if err != nil {
		return position{}, 0, fmt.Errorf("reading the position: %w", err)
	}
	if !ok {
		return position{Since: now.Add(-firstLook).UTC()}, 0, nil
	}
	var at position
	if err := json.Unmarshal(d.Body, &at); err != nil {
		return position{}, 0, fault.New(fault.InternalError, "reading the position: %s", err)
	}
	return at, d.Sequence, nil
}

// message is one message of the log.
type message struct {
	d   *bus.Delivery
	in  machine.Input
	err error // why it cannot be read
	// none says that it is nothing that workflows listen to.
	none bool
}

// place returns the session that the message is about, if it is about one.
func (m *message) place() (place, bool) {
	at := place{m.in.Site, m.in.Session}
	return at, !m.none && m.err == nil && at.session != "" && at.session != "-"
}

// stream reads one stream into the channel until ctx ends.
func (e *Engine) stream(ctx context.Context, o bus.ReadOptions, into chan<- *message) error {
	for d, err := range e.bus.Read(ctx, o) {
		if err != nil {
			return fmt.Errorf("reading the log: %w", err)
		}
		select {
		case into <- e.read(d):
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// read turns a message into an input.
func (e *Engine) read(d *bus.Delivery) *message {
	m := &message{d: d}
	var envelope event.Envelope
	if !strings.HasPrefix(d.Subject, "due.") { // A timer's message has nothing to say.
		envelope, m.err = d.Envelope()
	}
	var ok bool
	m.in, ok = machine.ReadInput(d.Subject, envelope, e.clock.at(d.StoredAt))
	// Results and facts are the worker's: what is wrong with them is not ours to bury.
	m.none = !ok || m.err != nil && d.Stream == bus.StreamEvents
	return m
}

// inbox is what was read of both streams and not folded yet. Their messages are
// folded in the order in which they were stored, as far as that can be told.
type inbox struct {
	flow, events     <-chan *message
	flowed, happened []*message
}

// more reports whether something was read that was not taken yet.
func (i *inbox) more() bool { return len(i.flow)+len(i.events) > 0 }

// take adds what is there, up to so many messages, without waiting.
func (i *inbox) take(most int) {
	for len(i.flowed) < most {
		select {
		case m := <-i.flow:
			i.flowed = append(i.flowed, m)
			continue
		default:
		}
		break
	}
	for len(i.happened) < most {
		select {
		case m := <-i.events:
			i.happened = append(i.happened, m)
			continue
		default:
		}
		return
	}
}

// next removes the message that was stored first. Of two that were stored at the
// same time the event is first, so that a timer does not overtake it.
func (i *inbox) next() (*message, bool) {
	switch {
	case len(i.flowed) == 0 && len(i.happened) == 0:
		return nil, false
	case len(i.flowed) == 0, len(i.happened) > 0 && !i.happened[0].d.StoredAt.After(i.flowed[0].d.StoredAt):
		m := i.happened[0]
		i.happened = i.happened[1:]
		return m, true
	}
	m := i.flowed[0]
	i.flowed = i.flowed[1:]
	return m, true
}

// wakes reports whether a timer's message waits to be folded.
func (i *inbox) wakes() bool {
	for _, m := range i.flowed {
		if m.in.Wakes() {
			return true
		}
	}
	return false
}
