package session

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// Profiles keeps the visitors' profiles; *bus.KV is one. A write against
// another revision than the stored one fails with fault.StaleFence.
type Profiles interface {
	Get(ctx context.Context, key string) (bus.Entry, bool, error)
	Create(ctx context.Context, key string, value []byte, life time.Duration) (uint64, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	Purge(ctx context.Context, key string) error
}

const (
	// storeAttempts is how often a profile is stored while others change it.
	storeAttempts = 8
	// adoptAgain is after how long the profile of a visitor's other identity is
	// read again: a change by another worker is seen then.
	adoptAgain = time.Minute
)

// profile is a visitor's profile and what of it is stored.
type profile struct {
	loaded   bool
	value    actions.Profile
	stored   []byte // nil when nothing is stored
	revision uint64
}

// adoption remembers that the profile of another identity was looked at.
type adoption struct {
	at   time.Time
	kept int64
}

// LoadProfile makes the visitor's profile ready: it is read once, as long as
// the session is remembered. A visitor who was anonymous before takes over what
// was kept for the day of identification.
func (l *Lease) LoadProfile(ctx context.Context) error {
	h := l.h
	if !h.profile.loaded {
		p, err := h.m.readProfile(ctx, h.profileKey())
		if err != nil {
			return err
		}
		h.profile = p
	}
	if h.visitor.Anonymous() {
		return nil
	}
	for _, other := range []event.Visitor{{AnonymousID: h.visitor.AnonymousID}, {Email: h.visitor.Email}} {
		if other.Key() == "" {
			continue
		}
		if err := l.adopt(ctx, event.SessionKey(h.site.Name, other)); err != nil {
			return err
		}
	}
	return nil
}

// StoreProfile stores the visitor's profile when it has changed.
func (l *Lease) StoreProfile(ctx context.Context) error {
	p := &l.h.profile
	if !p.loaded {
		return nil
	}
	changed := keptBefore(p.stored)
	if err := l.h.m.storeProfile(ctx, l.h.profileKey(), p); err != nil {
		return err
	}
	if len(changed) != len(p.value.Kept) || !reflect.DeepEqual(changed, p.value.Kept) {
		l.h.kept.Add(1)
	}
	return nil
}

func (h *held) profileKey() string { return h.site.Name + "." + h.key }

func keptBefore(stored []byte) map[string]any {
	var before actions.Profile
	if len(stored) == 0 || !bytes.Contains(stored, []byte(`"kept"`)) || json.Unmarshal(stored, &before) != nil {
		return nil
	}
	return before.Kept
}

// adopt moves the attributes that were kept for another identity of the visitor
// to this one: first they are stored here, then they are taken away there, so
// that a crash in between repeats the move and loses nothing.
func (l *Lease) adopt(ctx context.Context, other string) error {
	h := l.h
	mark := adoption{at: h.m.o.Now(), kept: h.m.keptOf(other)}
	if last, ok := h.adopted[other]; ok && last.kept == mark.kept && mark.at.Sub(last.at) < adoptAgain {
		return nil
	}
	key := h.site.Name + "." + other
	theirs, err := h.m.readProfile(ctx, key)
	if err != nil {
		return err
	}
	if len(theirs.value.Kept) > 0 {
		if h.profile.value.Kept == nil {
			h.profile.value.Kept = map[string]any{}
		}
		for name, value := range theirs.value.Kept {
			if _, ours := h.profile.value.Kept[name]; !ours {
				h.profile.value.Kept[name] = value
			}
		}
		if err := h.m.storeProfile(ctx, h.profileKey(), &h.profile); err != nil {
			return err
		}
		theirs.value.Kept = nil
		if err := h.m.storeProfile(ctx, key, &theirs); err != nil {
			return err
		}
	}
	h.adopted[other] = mark
	return nil
}

// keptOf counts the changes of what is kept for the session, as far as this
// manager made them.
func (m *Manager) keptOf(key string) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at, ok := m.sessions[key]; ok {
		return heldAt(at).kept.Load()
	}
	return 0
}

func (m *Manager) readProfile(ctx context.Context, key string) (profile, error) {
	entry, found, err := m.o.Profiles.Get(ctx, key)
	if err != nil {
		return profile{}, fmt.Errorf("reading a profile: %w", err)
	}
	p := profile{loaded: true}
	if !found {
		return p, nil
	}
	p.stored, p.revision = entry.Value, entry.Revision
	if err := json.Unmarshal(entry.Value, &p.value); err != nil {
		return profile{}, fault.New(fault.InternalError, "the stored profile %s cannot be read", key).Because(err)
	}
	return p, nil
}

// storeProfile stores the profile when it has changed. When somebody else
// changed it meanwhile, both changes are kept.
func (m *Manager) storeProfile(ctx context.Context, key string, p *profile) error {
	for range storeAttempts {
		value, err := json.Marshal(p.value)
		if err != nil {
			return fault.New(fault.InternalError, "encoding a profile").Because(err)
		}
		if bytes.Equal(value, p.stored) || p.stored == nil && string(value) == "{}" {
			return nil
		}
		var revision uint64
		if p.revision == 0 {
			revision, err = m.o.Profiles.Create(ctx, key, value, 0)
		} else {
			revision, err = m.o.Profiles.Update(ctx, key, value, p.revision)
		}
		if err == nil {
			p.stored, p.revision = value, revision
			return nil
		}
		if !errors.Is(err, fault.New(fault.StaleFence, "")) {
			return fmt.Errorf("storing a profile: %w", err)
		}
		theirs, err := m.readProfile(ctx, key)
		if err != nil {
			return err
		}
		var base actions.Profile
		if p.stored != nil {
			if err := json.Unmarshal(p.stored, &base); err != nil {
				return fault.New(fault.InternalError, "reading a profile again").Because(err)
			}
		}
		theirs.value = rebase(base, p.value, theirs.value)
		*p = theirs
	}
	return fault.New(fault.BusUnavailable, "the profile changed %d times while it was stored", storeAttempts)
}

// rebase applies to theirs what changed from base to ours.
func rebase(base, ours, theirs actions.Profile) actions.Profile {
	merged := actions.Profile{
		Kept:    rebaseMap(base.Kept, ours.Kept, theirs.Kept),
		Pending: rebaseMap(base.Pending, ours.Pending, theirs.Pending),
		FlushAt: theirs.FlushAt,
		SentFor: theirs.SentFor, VendorID: theirs.VendorID, ClearedAt: theirs.ClearedAt,
	}
	if ours.VendorID != base.VendorID {
		merged.VendorID = ours.VendorID
	}
	if ours.ClearedAt.After(merged.ClearedAt) {
		merged.ClearedAt = ours.ClearedAt
	}
	if ours.SentFor != base.SentFor {
		merged.SentFor = ours.SentFor // The call that is running now must not be counted again.
	}
	if !ours.FlushAt.Equal(base.FlushAt) {
		merged.FlushAt = ours.FlushAt
	}
	for _, id := range slices.Concat(theirs.PendingFrom, ours.PendingFrom) {
		gone := slices.Contains(base.PendingFrom, id) &&
			(!slices.Contains(ours.PendingFrom, id) || !slices.Contains(theirs.PendingFrom, id))
		if !gone && !slices.Contains(merged.PendingFrom, id) {
			merged.PendingFrom = append(merged.PendingFrom, id)
		}
	}
	for name := range mergedKeys(ours.Sent, theirs.Sent) {
		times := slices.SortedFunc(slices.Values(slices.Concat(ours.Sent[name], theirs.Sent[name])), time.Time.Compare)
		if merged.Sent == nil {
			merged.Sent = map[string][]time.Time{}
		}
		merged.Sent[name] = slices.CompactFunc(times, time.Time.Equal)
	}
	return merged
}

func rebaseMap(base, ours, theirs map[string]any) map[string]any {
	merged := maps.Clone(theirs)
	for name := range mergedKeys(base, ours) {
		value, kept := ours[name]
		before, was := base[name]
		switch {
		case !kept:
			delete(merged, name)
		case was && reflect.DeepEqual(before, value): // not our change
		default:
			if merged == nil {
				merged = map[string]any{}
			}
			merged[name] = value
		}
	}
	if len(merged) == 0 {
		return nil
	}
	return merged
}

func mergedKeys[V any](a, b map[string]V) map[string]struct{} {
	all := map[string]struct{}{}
	for name := range a {
		all[name] = struct{}{}
	}
	for name := range b {
		all[name] = struct{}{}
	}
	return all
}
