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

// world is what the leader knows of the records: what it changed and has not
// stored yet, and what it has read. It belongs to one goroutine.
type world struct {
	bus *bus.Bus
	// young and old are generations of the cache, by subject.
	young, old map[string]*machine.Session
	sites      map[string]*machine.Site
	// pinned are sessions that were changed and are not stored yet: the number of
	// changes that wait, by subject.
	pinned map[string]*machine.Session
}

func newWorld(b *bus.Bus) *world {
	return &world{
		bus: b, young: map[string]*machine.Session{}, old: map[string]*machine.Session{},
		sites: map[string]*machine.Site{}, pinned: map[string]*machine.Session{},
	}
}

// machine returns the world as the machine sees it.
func (w *world) machine(ctx context.Context) machine.World {
	return machine.World{
		Session: func(site, key string) (*machine.Session, error) { return w.session(ctx, site, key) },
		Site:    func(name string) (*machine.Site, error) { return w.site(ctx, name) },
		Run:     func(site, session, id string) (*machine.Run, error) { return ReadRun(ctx, w.bus, site, session, id) },
	}
}

// known returns the session as far as it is in memory.
func (w *world) known(subject string) *machine.Session {
	if s := w.pinned[subject]; s != nil {
		return s
	}
	if s := w.young[subject]; s != nil {
		return s
	}
	if s := w.old[subject]; s != nil {
		w.keep(subject, s)
		return s
	}
	return nil
}

// keep puts the session into the cache.
func (w *world) keep(subject string, s *machine.Session) {
	if len(w.young) >= cached {
		w.young, w.old = map[string]*machine.Session{}, w.young
	}
	w.young[subject] = s
}

func (w *world) session(ctx context.Context, site, key string) (*machine.Session, error) {
	subject := event.RunsSubject(site, key)
	if s := w.known(subject); s != nil {
		return s, nil
	}
	s, err := readSession(ctx, w.bus, site, key)
	if err != nil {
		return nil, err
	}
	w.keep(subject, s)
	return s, nil
}

// prefetch reads the sessions of the inputs that are not in memory, many at the
// same time.
func (w *world) prefetch(ctx context.Context, inputs []message) error {
	type place struct{ site, session string }
	missing := map[string]place{}
	for _, m := range inputs {
		if m.none || m.err != nil || m.in.Session == "" || m.in.Session == "-" {
			continue
		}
		subject := event.RunsSubject(m.in.Site, m.in.Session)
		if w.known(subject) == nil {
			missing[subject] = place{m.in.Site, m.in.Session}
		}
	}
	if len(missing) < 2 {
		return nil
	}
	read := make(chan *machine.Session, len(missing))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for _, at := range missing {
		group.Go(func() error {
			s, err := readSession(ctx, w.bus, at.site, at.session)
			if err == nil {
				read <- s
			}
			return err
		})
	}
	err := group.Wait()
	close(read)
	for s := range read {
		w.keep(event.RunsSubject(s.Site, s.Key), s)
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
		subject := event.RunsSubject(s.Site, s.Key)
		if w.pinned[subject] != nil {
			w.pinned[subject] = s
		}
		w.keep(subject, s)
	}
	for _, s := range change.Sessions {
		subject := event.RunsSubject(s.Site, s.Key)
		w.pinned[subject] = s
		w.keep(subject, s)
	}
	for _, s := range change.Sites {
		w.sites[s.Name] = s
	}
}

// stored lets go of a session that was stored, unless it was changed since.
func (w *world) stored(subject string, s *machine.Session) {
	if w.pinned[subject] == s {
		delete(w.pinned, subject)
	}
}

func readSession(ctx context.Context, b *bus.Bus, site, key string) (*machine.Session, error) {
	s := &machine.Session{}
	if err := readInto(ctx, b, event.RunsSubject(site, key), s); err != nil {
		return nil, err
	}
	s.Site, s.Key = site, key
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
