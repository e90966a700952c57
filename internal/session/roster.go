package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// Where a session is.
const (
	Held       = "held"       // A tab of ours shows its page.
	Hibernated = "hibernated" // It is stored, and comes back with its next command.
	InVisitor  = "visitor"    // The visitor's own browser shows it.
)

// Info is what an operator may know of a session. It holds nothing personal.
type Info struct {
	Site     string `json:"site"`
	Session  string `json:"session"`
	Provider string `json:"provider,omitempty"`
	// State is Held or Hibernated.
	State     string `json:"state"`
	Partition int    `json:"partition"`
	Fence     uint64 `json:"fence,omitempty"`
	Pinned    bool   `json:"pinned,omitempty"`
	// Busy says that a command runs, or that the session is being stored. Then
	// what follows is not known.
	Busy   bool   `json:"busy,omitempty"`
	Booted bool   `json:"booted"`
	Open   bool   `json:"open"`
	Mode   string `json:"mode,omitempty"`
	// Subscriptions counts the callbacks that somebody asked for.
	Subscriptions int `json:"subscriptions"`
	// UsedAt is when a command had it last on this worker. Zero when none had.
	UsedAt time.Time `json:"used_at,omitzero"`
	// SavedAt is when it was stored last, and Bytes the size of that.
	SavedAt time.Time `json:"saved_at,omitzero"`
	Bytes   int       `json:"bytes,omitempty"`
	// Unsaved says that something changed since.
	Unsaved bool `json:"unsaved,omitempty"`
	// Dropped names what was too large to be stored.
	Dropped []string `json:"dropped,omitempty"`
}

// List returns the sessions that this worker remembers, the last used first.
func (m *Manager) List() []Info {
	all := m.all(func(*held) bool { return true })
	list := make([]Info, len(all))
	for i, h := range all {
		list[i] = h.info()
	}
	return list
}

// Show returns what is known of the session of the key: what this worker
// remembers, else what is stored. The error is fault.UnknownSession when there is
// nothing.
func (m *Manager) Show(ctx context.Context, key string) (Info, error) {
	if h := m.held(key); h != nil {
		return h.info(), nil
	}
	if m.o.Snapshots == nil || !event.IsToken(key) {
		return Info{}, unknown(key)
	}
	keys, err := m.o.Snapshots.Keys(ctx, "", key)
	if err != nil {
		return Info{}, err
	}
	if len(keys) == 0 {
		return Info{}, unknown(key)
	}
	site, _, _ := strings.Cut(keys[0], ".")
	at, found, err := m.o.Snapshots.Load(ctx, site, key)
	if err != nil {
		return Info{}, err
	}
	if !found {
		return Info{}, unknown(key)
	}
	return Info{
		Site: site, Session: key, State: Hibernated, Partition: bus.PartitionOf(site, key), Fence: at.Fence,
		Booted: at.State.Booted, Open: at.State.Open, Mode: at.State.Mode, Subscriptions: len(at.State.Subscriptions),
		SavedAt: at.SavedAt, Bytes: at.Bytes, Dropped: at.Dropped,
	}, nil
}

func unknown(key string) error {
	return fault.New(fault.UnknownSession, "no session %s is here, and none is stored", key)
}

// info describes the session without waiting for it.
func (h *held) info() Info {
	i := Info{
		Site: h.name, Session: h.key, Provider: h.provider.Name, State: Hibernated,
		Partition: bus.PartitionOf(h.name, h.key), Pinned: h.pinned.Load(),
	}
	if h.tab.Load() != nil {
		i.State = Held
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if i.Busy = h.owned; i.Busy {
		return i
	}
	state := h.wanted()
	i.Fence, i.Booted, i.Open, i.Mode, i.Subscriptions = h.fence, state.Booted, state.Open, state.Mode, len(state.Subscriptions)
	i.UsedAt, i.SavedAt, i.Bytes, i.Unsaved, i.Dropped = h.used, h.mem.savedAt, h.mem.bytes, h.dirty, h.mem.dropped
	return i
}

// Evict hibernates the session now. Its next command brings it back. It waits
// for the command that has it.
func (m *Manager) Evict(ctx context.Context, key string) error {
	h := m.held(key)
	if h == nil {
		return unknown(key)
	}
	return h.with(ctx, func() error { return h.hibernate(ctx, asked) })
}

// with gives the session to the function, as its owner.
func (h *held) with(ctx context.Context, do func() error) error {
	if !h.take(ctx) {
		return fault.From(context.Cause(ctx))
	}
	if !h.begin() {
		<-h.lane
		return unknown(h.key)
	}
	defer h.end(false)
	return do()
}

// Pin keeps the session's page open, or lets it be closed again: neither idle
// time nor others' needs close a pinned one. A browser that is replaced, a
// hand-over and a stop do.
func (m *Manager) Pin(key string, pinned bool) error {
	h := m.held(key)
	if h == nil {
		return unknown(key)
	}
	h.pinned.Store(pinned)
	m.warden.pin(key, h.name, pinned)
	return nil
}

// Erase forgets the visitor on the site, under each identity that is given: the
// page, what is remembered, the snapshot, the profile. What is on the bus of
// the session holds nothing personal, and stays. Run it where the session is
// owned; elsewhere the owner finds out with its next write, and forgets too.
func (m *Manager) Erase(ctx context.Context, site string, v event.Visitor) error {
	var errs []error
	for _, one := range []event.Visitor{{UserID: v.UserID}, {Email: v.Email}, {AnonymousID: v.AnonymousID}} {
		if one.Key() != "" {
			errs = append(errs, m.erase(ctx, site, event.SessionKey(site, one)))
		}
	}
	return errors.Join(errs...)
}

func (m *Manager) erase(ctx context.Context, site, key string) error {
	gone := func() error {
		if m.o.Snapshots != nil {
			if err := m.o.Snapshots.Erase(ctx, site, key); err != nil {
				return err
			}
		}
		if err := m.o.Profiles.Purge(ctx, storeKey(site, key)); err != nil {
			return fmt.Errorf("erasing a profile: %w", err)
		}
		return nil
	}
	h := m.held(key)
	if h == nil {
		return gone()
	}
	return h.with(ctx, func() error {
		h.clear(ctx)
		h.visitor = event.Visitor{}
		h.behind.clear()
		return gone()
	})
}

// handing is how many sessions are hibernated at the same time when they are
// handed over.
const handing = 16

// HandOver hibernates the partition's sessions, because another worker takes
// them over: when it returns without an error, that worker finds all that was
// known here. Their commands have ended before. The error names what could not
// be stored.
func (m *Manager) HandOver(ctx context.Context, partition int) error {
	all := m.all(func(h *held) bool { return bus.PartitionOf(h.name, h.key) == partition })
	errs := make([]error, len(all))
	places := make(chan struct{}, handing)
	var together sync.WaitGroup
	for i, h := range all {
		places <- struct{}{}
		together.Go(func() {
			defer func() { <-places }()
			errs[i] = h.with(ctx, func() error {
				err := h.hibernate(ctx, handover)
				m.drop(h)
				return errors.Join(err, h.out.flush(ctx))
			})
			for _, reason := range []fault.Reason{fault.UnknownSession, fault.StaleFence} {
				if errors.Is(errs[i], fault.New(reason, "")) {
					errs[i] = nil // Somebody else has it.
				}
			}
		})
	}
	together.Wait()
	return errors.Join(errs...)
}

// Lose drops the partition's sessions at once, because another worker has them
// already: their pages are closed under the commands that still run, and
// nothing more of them is stored.
func (m *Manager) Lose(partition int) {
	for _, h := range m.all(func(h *held) bool { return bus.PartitionOf(h.name, h.key) == partition }) {
		h.lost.Store(true)
		m.drop(h)
		m.warden.closed(h.key)
		h.m.work.Go(func() {
			if p := h.tab.Load(); p != nil {
				p.why.CompareAndSwap(nil, "lost")
				h.silence(h.m.life, p)
			}
		})
	}
}

// drop has the manager remember the session no longer: its next command finds
// it anew.
func (m *Manager) drop(h *held) {
	m.mu.Lock()
	if at, ok := m.sessions[h.key]; ok && heldAt(at) == h {
		delete(m.sessions, h.key)
		m.recent.Remove(at)
	}
	m.mu.Unlock()
	h.saver.Stop()
	h.mu.Lock()
	h.forgotten = true
	h.mu.Unlock()
}

// held returns the session of the key, or nil.
func (m *Manager) held(key string) *held {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at, ok := m.sessions[key]; ok {
		return heldAt(at)
	}
	return nil
}

// all returns the sessions that the function wants, the last used first.
func (m *Manager) all(wanted func(*held) bool) []*held {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*held
	for at := m.recent.Front(); at != nil; at = at.Next() {
		if h := heldAt(at); wanted(h) {
			all = append(all, h)
		}
	}
	return slices.Clip(all)
}
