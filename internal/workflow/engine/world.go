package engine

import (
	"context"
	"encoding/json"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/workflow/machine"
)

const (
	// cached is how many sessions a generation of the cache holds. There are two
	// generations.
	cached = 20_000
	// readers is how many records are read at the same time.
	readers = 16
)

// place is where a session is.
type place struct{ site, session string }

func placeOf(s *machine.Session) place { return place{s.Site, s.Key} }

// world is what the leader knows of the records: what it changed and has not
// stored yet, and what it has read. It belongs to one goroutine.
type world struct {
	bus *bus.Bus
	// young and old are generations of the cache.
	young, old map[place]*machine.Session
	sites      map[string]*machine.Site
	// pinned are sessions that were changed and are not stored yet.
	pinned map[place]pin
	// recorded are the sessions that have a record, and maybe some others.
	recorded recorded
}

// pin is a session whose last change is not stored yet.
type pin struct {
	now *machine.Session
	// changed is how the last change left it: later ones only took notice.
	changed *machine.Session
}

func newWorld(b *bus.Bus) *world {
	return &world{
		bus: b, young: map[place]*machine.Session{}, old: map[place]*machine.Session{},
		sites: map[string]*machine.Site{}, pinned: map[place]pin{},
	}
}

// machine returns the world as the machine sees it.
func (w *world) machine(ctx context.Context) machine.World {
	return machine.World{
		Session: func(site, key string) (*machine.Session, error) { return w.session(ctx, place{site, key}) },
		Site:    func(name string) (*machine.Site, error) { return w.site(ctx, name) },
		Run:     func(site, session, id string) (*machine.Run, error) { return ReadRun(ctx, w.bus, site, session, id) },
	}
}

// known returns the session as far as it is in memory.
func (w *world) known(at place) *machine.Session {
	if pinned, ok := w.pinned[at]; ok {
		return pinned.now
	}
	if s := w.young[at]; s != nil {
		return s
	}
	if s := w.old[at]; s != nil {
		w.keep(at, s)
		return s
	}
	return nil
}

// keep puts the session into the cache.
func (w *world) keep(at place, s *machine.Session) {
	if len(w.young) >= cached {
		w.young, w.old = map[place]*machine.Session{}, w.young
	}
	w.young[at] = s
}

func (w *world) session(ctx context.Context, at place) (*machine.Session, error) {
	if s := w.known(at); s != nil {
		return s, nil
	}
	if !w.recorded.maybe(at) {
		return &machine.Session{Site: at.site, Key: at.session}, nil
	}
	s, err := readSession(ctx, w.bus, at)
	if err != nil {
		return nil, err
	}
	w.keep(at, s)
	return s, nil
}

// prefetch reads the sessions of the inputs that are not in memory, many at the
// same time.
func (w *world) prefetch(ctx context.Context, inputs []*message) error {
	missing := map[place]struct{}{}
	for i := range inputs {
		if at, ok := inputs[i].place(); ok && w.known(at) == nil && w.recorded.maybe(at) {
			missing[at] = struct{}{}
		}
	}
	if len(missing) < 2 {
		return nil
	}
	read := make(chan *machine.Session, len(missing))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for at := range missing {
		group.Go(func() error {
			s, err := readSession(ctx, w.bus, at)
			if err == nil {
				read <- s
			}
			return err
		})
	}
	err := group.Wait()
	close(read)
	for s := range read {
		w.keep(placeOf(s), s)
	}
	return err
}

func (w *world) site(ctx context.Context, name string) (*machine.Site, error) {
	if s := w.sites[name]; s != nil {
		return s, nil
	}
	s := &machine.Site{Name: name}
	if err := readInto(ctx, w.bus, event.SiteRunsSubject(name), s); err != nil {
		return nil, err
	}
	w.sites[name] = s
	return s, nil
}

// apply makes what a step changed the present state.
func (w *world) apply(change machine.Change) {
	for _, s := range change.Noticed {
		at := placeOf(s)
		if pinned, ok := w.pinned[at]; ok {
			w.pinned[at] = pin{s, pinned.changed}
		}
		w.keep(at, s)
	}
	for _, s := range change.Sessions {
		at := placeOf(s)
		w.pinned[at] = pin{s, s}
		w.keep(at, s)
		w.recorded.add(at)
	}
	for _, s := range change.Sites {
		w.sites[s.Name] = s
	}
}

// stored lets go of a session that was stored, unless it was changed since.
func (w *world) stored(s *machine.Session) {
	at := placeOf(s)
	if pinned := w.pinned[at]; pinned.changed == s {
		w.keep(at, pinned.now)
		delete(w.pinned, at)
	}
}

func readSession(ctx context.Context, b *bus.Bus, at place) (*machine.Session, error) {
	s := &machine.Session{}
	if err := readInto(ctx, b, event.RunsSubject(at.site, at.session), s); err != nil {
		return nil, err
	}
	s.Site, s.Key = at.site, at.session
	return s, nil
}

// ReadRun returns the run that ended, or nil when there is none.
func ReadRun(ctx context.Context, b *bus.Bus, site, session, id string) (*machine.Run, error) {
	if !event.IsToken(id) || !event.IsToken(session) || !event.IsToken(site) {
		return nil, nil //nolint:nilnil // Nothing can have this name.
	}
	run := &machine.Run{}
	err := readInto(ctx, b, event.RunSubject(site, session, id), run)
	if err != nil || run.ID == "" {
		return nil, err
	}
	return run, nil
}

// readInto reads the record of the subject, if there is one.
func readInto(ctx context.Context, b *bus.Bus, subject string, into any) error {
	d, ok, err := b.Last(ctx, subject)
	if err != nil {
		return fmt.Errorf("reading the record %s: %w", subject, err)
	}
	if !ok {
		return nil
	}
	if err := json.Unmarshal(d.Body, into); err != nil {
		return fault.New(fault.InternalError, "reading the record %s: %s", subject, err)
	}
	return nil
}
