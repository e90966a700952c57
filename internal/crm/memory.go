package crm

import (
	"context"
	"log/slog"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// remembered is how many visitors are held in memory that need not be.
const remembered = 10_000

// entry is a visitor in memory.
type entry struct {
	v       *Visitor
	rev     uint64 // counts changes
	touched bool   // it changed since the last save began
	saving  bool
	flying  bool      // it is being written
	since   time.Time // when the oldest change was stored that the CRM does not have
}

// busy reports whether the entry may not be forgotten.
func (e *entry) busy() bool { return e.touched || e.saving || e.flying }

// memory holds the visitors that are of interest now. It belongs to one
// goroutine.
type memory struct {
	logger  *slog.Logger
	store   store
	entries map[place]*entry
	sites   map[string]string // of those, by session
}

func newMemory(log *slog.Logger, s store) memory {
	return memory{log, s, map[place]*entry{}, map[string]string{}}
}

// load brings visitors into memory. What is there before may be forgotten when
// nothing of it is under way.
func (m *memory) load(ctx context.Context, places []place) error {
	missing := map[place]bool{}
	for _, p := range places {
		if m.entries[p] == nil {
			missing[p] = true
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if len(m.entries) >= remembered {
		m.shrink(places)
	}
	list := make([]place, 0, len(missing))
	for p := range missing {
		list = append(list, p)
	}
	for {
		found, err := m.store.load(ctx, list)
		if err == nil {
			for p, v := range found {
				m.entries[p], m.sites[p.session] = &entry{v: v}, p.site
			}
			return nil
		}
		if ctx.Err() != nil || !fault.Retryable(err) {
			return err
		}
		m.logger.LogAttrs(ctx, slog.LevelWarn, "the target waits for its records", slog.Any("err", err))
		rest(ctx, retryPause)
	}
}

// shrink makes room, and keeps the places.
func (m *memory) shrink(places []place) {
	keep := map[place]bool{}
	for _, p := range places {
		keep[p] = true
	}
	for p, e := range m.entries {
		if !e.busy() && !keep[p] {
			delete(m.entries, p)
			delete(m.sites, p.session)
		}
		if len(m.entries) < remembered*3/4 {
			return
		}
	}
}

// find returns the place of the visitor with the session, if there is one. One who
// is new is in memory only.
func (m *memory) find(ctx context.Context, session string) (place, bool, error) {
	if site, ok := m.sites[session]; ok {
		return place{site, session}, true, nil
	}
	return m.store.find(ctx, session)
}

// entry returns the visitor.
func (m *memory) entry(ctx context.Context, p place) (*entry, error) {
	if err := m.load(ctx, []place{p}); err != nil {
		return nil, err
	}
	return m.entries[p], nil
}
