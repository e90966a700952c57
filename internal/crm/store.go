package crm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

const (
	// loaders is how many visitors are loaded at the same time.
	loaders = 64
	// mostMessages and mostBytes bound a commit: the server takes no more than a
	// thousand messages, and eight MiB.
	mostMessages, mostBytes = 900, 4 << 20
	// tombstone is how long the end of a mark stays.
	tombstone = 2 * time.Second
)

// Position is how far the log was folded for a target: the message of
// event.CRMPositionSubject.
type Position struct {
	// Flow and Events are the sequences of the last messages that were folded, 0
	// for none.
	Flow   uint64 `json:"flow"`
	Events uint64 `json:"events"`
	// Since is when the target began: what is older does not count.
	Since time.Time `json:"since"`
	// At is when the last of them was stored.
	At   time.Time `json:"at,omitzero"`
	Term uint64    `json:"term"`
	// Cursor is how far changes in the CRM were told: see ChangeReader.
	Cursor string `json:"cursor,omitempty"`
	// Health is how the CRM was.
	Health Health `json:"health,omitzero"`
	// Backfill is the backfill under way, or nil.
	Backfill *Ask `json:"backfill,omitempty"`
}

// store keeps visitors and the position.
type store interface {
	// find returns the place of the visitor with the session, if there is one.
	find(ctx context.Context, session string) (place, bool, error)
	// load returns the visitors; one who is not known is new.
	load(ctx context.Context, places []place) (map[place]*Visitor, error)
	// save begins to store visitors, their updates, and the position, all or nothing.
	// It has read them when it returns.
	save(ctx context.Context, visitors []*Visitor, at Position) (saving, error)
}

// saving is a save under way.
type saving interface {
	Done() <-chan struct{}
	finish(ctx context.Context) error
}

// onBus keeps them on the bus. It belongs to one goroutine.
type onBus struct {
	bus    *bus.Bus
	target string
	fence  uint64   // the sequence of the position's message
	stored Position // the last one that was stored
}

// openPosition returns the position and the store behind it.
func openPosition(ctx context.Context, b *bus.Bus, target string, since time.Time) (Position, *onBus, error) {
	s := &onBus{bus: b, target: target}
	d, ok, err := b.Last(ctx, event.CRMPositionSubject(target))
	if err != nil {
		return Position{}, nil, fmt.Errorf("reading the position: %w", err)
	}
	if !ok {
		s.stored.Since = since.UTC()
		return s.stored, s, nil
	}
	var at Position
	if err := json.Unmarshal(d.Body, &at); err != nil {
		return Position{}, nil, fault.New(fault.InternalError, "reading the position: %s", err)
	}
	s.fence, s.stored = d.Sequence, at
	return at, s, nil
}

func (s *onBus) load(ctx context.Context, places []place) (map[place]*Visitor, error) {
	found := make(map[place]*Visitor, len(places))
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(loaders)
	for _, p := range places {
		group.Go(func() error {
			v, err := loadVisitor(ctx, s.bus, s.target, p)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			found[p] = v
			return nil
		})
	}
	return found, group.Wait() //nolint:wrapcheck // It says all.
}

func loadVisitor(ctx context.Context, b *bus.Bus, target string, p place) (*Visitor, error) {
	v := &Visitor{}
	subject := event.CRMSubject(target, p.site, p.session)
	d, ok, err := b.Last(ctx, subject)
	if err != nil {
		return nil, fmt.Errorf("reading the record %s: %w", subject, err)
	}
	if ok {
		if err := json.Unmarshal(d.Body, v); err != nil {
			return nil, fault.New(fault.InternalError, "reading the record %s: %s", subject, err)
		}
	}
	v.Site, v.Session = p.site, p.session
	return v, nil
}

// committing is a commit under way.
type committing struct {
	*bus.Commitment
	store *onBus
}

func (s *onBus) save(ctx context.Context, visitors []*Visitor, at Position) (saving, error) {
	w := &letters{store: s}
	for _, v := range visitors {
		if err := w.visitor(v); err != nil {
			return nil, err
		}
		// What is folded twice is the same, so records may be ahead of the position.
		if len(w.msgs) >= mostMessages || w.bytes >= mostBytes {
			part, err := w.commit(ctx, s.stored)
			if err != nil {
				return nil, err
			}
			if err := part.finish(ctx); err != nil {
				return nil, err
			}
		}
	}
	c, err := w.commit(ctx, at)
	if err != nil {
		return nil, err
	}
	s.stored = at
	return c, nil
}

// letters are the messages of one commit.
type letters struct {
	store *onBus
	msgs  []bus.FlowMsg
	bytes int
}

func (w *letters) put(subject string, of any, life time.Duration) error {
	data, err := json.Marshal(of)
	if err != nil {
		return fault.New(fault.InternalError, "writing %s: %s", subject, err)
	}
	w.msgs, w.bytes = append(w.msgs, bus.FlowMsg{Subject: subject, Data: data, Only: true, TTL: life}), w.bytes+len(data)
	return nil
}

// visitor adds the visitor with its marks: that it waits, and what was rejected.
func (w *letters) visitor(v *Visitor) error {
	due, dead := event.CRMDueSubject(w.store.target, v.Site, v.Session), event.CRMDeadSubject(w.store.target, v.Site, v.Session)
	var errs []error
	switch {
	case v.Dirty && !v.Marked:
		v.Marked, errs = true, append(errs, w.put(due, true, 0))
	case !v.Dirty && v.Marked:
		v.Marked, errs = false, append(errs, w.put(due, nil, tombstone))
	}
	switch rejected := v.rejected(); {
	case len(rejected) > 0:
		v.Buried, errs = true, append(errs, w.put(dead, rejected, 0))
	case v.Buried:
		v.Buried, errs = false, append(errs, w.put(dead, nil, tombstone))
	}
	for _, msg := range v.updates {
		w.msgs, w.bytes = append(w.msgs, msg), w.bytes+len(msg.Envelope.Data)+1024
	}
	return errors.Join(append(errs, w.put(event.CRMSubject(w.store.target, v.Site, v.Session), v, 0))...)
}

// commit begins to store what was put, with the position behind it.
func (w *letters) commit(ctx context.Context, at Position) (*committing, error) {
	if err := w.put(event.CRMPositionSubject(w.store.target), at, 0); err != nil {
		return nil, err
	}
	fence := w.store.fence
	w.msgs[len(w.msgs)-1].At = &fence
	c := &committing{w.store.bus.CommitAsync(ctx, w.msgs), w.store}
	w.msgs, w.bytes = nil, 0
	return c, nil
}

// gone reports whether the body is that of a mark that was taken back.
func gone(body []byte) bool { return len(body) == 0 || string(body) == "null" }

func (c *committing) finish(ctx context.Context) error {
	sequences, err := c.Wait(ctx)
	if err != nil {
		return fmt.Errorf("storing what the CRM has: %w", err)
	}
	last := sequences[len(sequences)-1]
	if last == 0 { // It is stored, and nobody knows where: read it.
		d, _, err := c.store.bus.Last(ctx, event.CRMPositionSubject(c.store.target))
		if err != nil {
			return fmt.Errorf("reading the position: %w", err)
		}
		last = d.Sequence
	}
	c.store.fence = last
	return nil
}
