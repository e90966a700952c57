// Package session holds the visitors' sessions: one visitor on one site, with
// its page, its state and its profile. It opens a page when a command needs
// one, keeps the state up to date by what the page reports, publishes the facts
// in order, and closes pages that nobody uses.
//
// A [Manager] holds the sessions, a [Lease] gives one of them to one command.
// DESIGN.md explains the parts.
package session

import (
	"container/list"
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// Source is the CloudEvents source of the facts about sessions.
const Source = "/parley/session"

// Options are the settings of a manager. The first four are needed; the others
// have defaults.
type Options struct {
	Pool    Pool
	Catalog *actions.Catalog
	// Publish stores a fact. It returns nil when the fact is durable; the same
	// envelope may be published again after an error.
	Publish func(ctx context.Context, subject string, e event.Envelope) error
	// Profiles keeps the visitors' profiles.
	Profiles Profiles

	// Visitors finds the visitors' own tabs. Nil means that there is no way to
	// them. Executor says where an action's page is on a site: ExecutorAuto,
	// ExecutorVisitor or ExecutorHeadless. Nil means headless, always.
	Visitors Visitors
	Executor func(site actions.Site, action string) string

	// Snapshots keeps what sessions are brought back from. Nil means that a
	// session ends with its page.
	Snapshots *Store
	// SaveAfter is how soon after a change a session is stored, at most. What
	// changed since is lost with the process. 0 means half a second.
	SaveAfter time.Duration

	// Held is how many pages are kept open at most. Those that are used least
	// make room for new ones: see Residency. 0 means 100.
	Held int
	// Waiting is how many sessions may wait for a page. More are refused at once.
	// 0 means ten times Held.
	Waiting int
	// Weights are the sites' shares when sessions wait for a page. A site that is
	// not named has the weight 1.
	Weights map[string]int
	// Memory is how many bytes the browsers may use, and Used measures that.
	// Above it, fewer pages are held. 0 means no limit.
	Memory int64
	Used   func(ctx context.Context) (int64, error)
	// Measure is the time between two measurements. 0 means 5 s.
	Measure time.Duration
	// Remembered is how many sessions are kept in memory at most, with a page or
	// without. 0 means 10,000.
	Remembered int
	// Idle is how long a page stays open without a command. 0 means 10 minutes.
	Idle time.Duration
	// Queue is how many facts of one session may wait for the bus. When more
	// come, the session ends. 0 means 256.
	Queue int
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	o.Held = orElse(o.Held, 100)
	o.Remembered = max(orElse(o.Remembered, 10_000), o.Held)
	o.Idle = orElse(o.Idle, 10*time.Minute)
	o.SaveAfter = orElse(o.SaveAfter, 500*time.Millisecond)
	o.Measure = orElse(o.Measure, 5*time.Second)
	o.Queue = orElse(o.Queue, 256)
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func orElse[T comparable](value, standard T) T {
	if value == *new(T) {
		return standard
	}
	return value
}

// Manager holds the sessions of one worker. Its methods may be called by many
// goroutines.
type Manager struct {
	log    *slog.Logger
	o      Options
	life   life // ends when Close has done what it could
	work   sync.WaitGroup
	seen   counters
	open   atomic.Int64 // sessions with a page
	used   atomic.Int64 // bytes of the browsers, as they were last measured
	seed   maphash.Seed // of the sums of states
	warden *warden

	mu       sync.Mutex // guards the fields below
	closing  bool
	sessions map[string]*list.Element // of *held, by key
	recent   *list.List               // of *held, the last used first
}

// counters are the manager's counters since its start.
type counters struct {
	opened, ended, evicted, dropped, facts, overflows     atomic.Int64
	hibernated, restored, saved, stale, invalid, unstored atomic.Int64
}

// Stats are what a manager has done, and what it holds.
type Stats struct {
	// Sessions are remembered; Pages of them have a page.
	Sessions, Pages int
	// Opened, Ended and Evicted count pages: evicted ones made room or were
	// idle, and are part of the ended ones.
	Opened, Ended, Evicted int64
	// Dropped counts what pages reported and was no signal.
	Dropped int64
	// Facts counts published facts; Overflows counts sessions that ended because
	// too many waited.
	Facts, Overflows int64
	// Hibernated and Restored count sessions that were put away and brought back;
	// Saved counts snapshots that were stored.
	Hibernated, Restored, Saved int64
	// Stale counts what was refused because another worker owns the session;
	// Invalid counts snapshots that could not be used; Unstored counts those that
	// could not be stored, and are tried again.
	Stale, Invalid, Unstored int64
	// Memory is how many bytes the browsers use, as last measured.
	Memory int64
	// Residency is what the policy has decided.
	Residency ResidencyStats
}

// New returns a manager that holds nothing yet.
func New(log *slog.Logger, o Options) *Manager {
	o = o.withDefaults()
	m := &Manager{
		log: log, o: o, life: newLife(), seed: maphash.MakeSeed(),
		sessions: map[string]*list.Element{}, recent: list.New(),
	}
	m.warden = newWarden(m, ResidencyOptions{
		Held: o.Held, Idle: o.Idle, Memory: o.Memory, Remembered: o.Remembered, Waiting: o.Waiting, Weights: o.Weights,
	})
	if o.Used != nil {
		m.work.Go(func() { m.watch(o.Used) })
	}
	return m
}

// Stats returns the manager's counters.
func (m *Manager) Stats() Stats {
	m.mu.Lock()
	sessions := len(m.sessions)
	m.mu.Unlock()
	return Stats{
		Sessions: sessions, Pages: int(m.open.Load()),
		Opened: m.seen.opened.Load(), Ended: m.seen.ended.Load(), Evicted: m.seen.evicted.Load(),
		Dropped: m.seen.dropped.Load(), Facts: m.seen.facts.Load(), Overflows: m.seen.overflows.Load(),
		Hibernated: m.seen.hibernated.Load(), Restored: m.seen.restored.Load(), Saved: m.seen.saved.Load(),
		Stale: m.seen.stale.Load(), Invalid: m.seen.invalid.Load(), Unstored: m.seen.unstored.Load(),
		Memory: m.used.Load(), Residency: m.warden.stats(),
	}
}

// Acquire gives the session of the visitor on the site to one command. It
// blocks while another command has it. Call Release exactly once. No page is
// opened yet: see [Lease.Open].
func (m *Manager) Acquire(ctx context.Context, site actions.Site, v event.Visitor) (*Lease, error) {
	for {
		h, err := m.find(site, event.SessionKey(site.Name, v))
		if err != nil {
			return nil, err
		}
		select {
		case h.lane <- struct{}{}:
		case <-ctx.Done():
			return nil, fault.From(context.Cause(ctx))
		}
		if h.begin() {
			h.site, h.visitor = site, v
			m.warden.begin(h.key, site.Name)
			return &Lease{h: h}, nil
		}
		<-h.lane // It was forgotten meanwhile: find it anew.
	}
}

// find returns the session of the key, and makes it when there is none.
func (m *Manager) find(site actions.Site, key string) (*held, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing {
		return nil, fault.New(fault.ShuttingDown, "taking a session")
	}
	if at, ok := m.sessions[key]; ok {
		m.recent.MoveToFront(at)
		return heldAt(at), nil
	}
	provider, ok := m.o.Catalog.Provider(site.Provider)
	if !ok {
		return nil, fault.New(fault.BadConfig, "site %s has the provider %q, which does not exist", site.Name, site.Provider)
	}
	h := newHeld(m, provider, site, key)
	m.sessions[key] = m.recent.PushFront(h)
	m.forgetOldest()
	return h, nil
}

func heldAt(at *list.Element) *held {
	h, _ := at.Value.(*held)
	return h
}

// forgetOldest removes sessions without a page beyond the limit. The caller
// holds the lock.
func (m *Manager) forgetOldest() {
	for at := m.recent.Back(); at != nil && len(m.sessions) > m.o.Remembered; {
		h, previous := heldAt(at), at.Prev()
		if h.forget() {
			delete(m.sessions, h.key)
			m.recent.Remove(at)
		}
		at = previous
	}
}

// Close hibernates all sessions: it waits for their commands, publishes what is
// pending, stores them and closes their pages. When ctx ends first, it closes
// what it can, and says in its error what was not published or stored.
func (m *Manager) Close(ctx context.Context) error {
	m.mu.Lock()
	m.closing = true
	m.mu.Unlock()
	m.warden.stop()
	all := m.all(func(*held) bool { return true })
	var together sync.WaitGroup
	errs := make([]error, len(all))
	for i, h := range all {
		together.Go(func() { errs[i] = h.shutdown(ctx) })
	}
	together.Wait()
	m.life.end()
	m.work.Wait()
	return errors.Join(errs...)
}
