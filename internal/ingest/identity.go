package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

const (
	// missLife is how long an edge believes that an anonymous visitor is still
	// unknown. Another edge may have learnt better within it.
	missLife = 2 * time.Second
	// hitLife is how long an edge believes a link, and that a user id is no
	// former one.
	hitLife = time.Minute
	// claimLife is how long an event that makes a link has to be stored. After
	// it another event tells of the merge.
	claimLife = time.Minute
	// maxHops bounds a chain of links: anonymous id, address, former user id, and
	// one to spare.
	maxHops = 4
	// maxRaces is how often a link is tried that others change at the same time.
	maxRaces = 8
)

// A link says that an identity is another, better one.
type link struct {
	To identity `json:"to"`
	// By is the key of the event that tells of the merge; "" is nobody yet. At is
	// when it took that on.
	By string    `json:"by,omitempty"`
	At time.Time `json:"at"`
	// Told says that the event is stored. After that the merge is never told
	// again.
	Told bool `json:"told,omitempty"`
}

// identity is a visitor without the anonymous id.
type identity struct {
	UserID string `json:"user_id,omitempty"`
	Email  string `json:"email,omitempty"`
}

func (i identity) visitor() event.Visitor { return event.Visitor{UserID: i.UserID, Email: i.Email} }

// resolver finds out who a visitor is. It remembers for a short while, and the
// bucket is the truth for all edges: links change by compare-and-set.
type resolver struct {
	bucket Bucket
	life   time.Duration
	cache  *cache[found]
}

// found is a link with its revision. Revision 0 is none.
type found struct {
	link
	revision uint64
}

// resolved is who a visitor is.
type resolved struct {
	visitor event.Visitor
	// previous is set for the one event that tells of a merge. told says, once
	// the event is stored, that it has.
	previous *event.Visitor
	told     func(ctx context.Context) error
}

func newResolver(bucket Bucket, life time.Duration, size int) *resolver {
	return &resolver{bucket: bucket, life: life, cache: newCache[found](size)}
}

// resolve finds the visitor behind the ids of an event with the key, and links
// those ids. alias is who the visitor was, as an alias says it; it may be nil.
func (r *resolver) resolve(ctx context.Context, site, key string, v event.Visitor, alias *event.Visitor) (resolved, error) {
	who, err := r.follow(ctx, site, v)
	if err != nil {
		return resolved{}, err
	}
	out := resolved{visitor: who, told: func(context.Context) error { return nil }}
	for _, lesser := range lesserOf(v, who, alias) {
		told, err := r.merge(ctx, site, key, lesser, who, &out)
		if err != nil {
			return resolved{}, err
		}
		if told != nil {
			out.told = told
		}
	}
	return out, nil
}

// lesserOf returns the identities that are to lead to the visitor, the one first
// whose merge is the most urgent to tell.
func lesserOf(v, who event.Visitor, alias *event.Visitor) []event.Visitor {
	var all []event.Visitor
	add := func(one event.Visitor) {
		if one.Key() != "" && one.Key() != who.Key() {
			all = append(all, one)
		}
	}
	if alias != nil {
		add(event.Visitor{UserID: alias.UserID})
		add(event.Visitor{AnonymousID: alias.AnonymousID})
		add(event.Visitor{Email: alias.Email})
	}
	if who.UserID != "" || who.Email != "" {
		add(event.Visitor{AnonymousID: v.AnonymousID})
	}
	if who.UserID != "" {
		add(event.Visitor{Email: v.Email})
	}
	return all
}

// follow goes from link to link, as far as the event's own ids do not say more.
func (r *resolver) follow(ctx context.Context, site string, v event.Visitor) (event.Visitor, error) {
	who, seen := v, map[string]bool{}
	for range maxHops {
		at := who.Key()
		if seen[at] {
			break
		}
		seen[at] = true
		l, err := r.look(ctx, site, who)
		if err != nil {
			return v, err
		}
		if l.revision == 0 {
			break
		}
		if l.To.UserID != "" {
			who.UserID = l.To.UserID
		}
		if who.Email == "" {
			who.Email = l.To.Email
		}
	}
	if who.UserID != "" || who.Email == "" || who.AnonymousID == "" {
		return who, nil
	}
	// An address that is not known yet, on a device that is: the same person,
	// unless that one has another address.
	l, err := r.look(ctx, site, event.Visitor{AnonymousID: who.AnonymousID})
	if err != nil {
		return v, err
	}
	if l.To.UserID != "" && (l.To.Email == "" || strings.EqualFold(l.To.Email, who.Email)) {
		who.UserID = l.To.UserID
	}
	return who, nil
}

// merge makes the lesser identity lead to the visitor. When this event is to
// tell of it, merge sets out.previous and returns what says that it has.
func (r *resolver) merge(ctx context.Context, site, key string, lesser, who event.Visitor, out *resolved) (func(context.Context) error, error) {
	to := identity{UserID: who.UserID, Email: who.Email}
	for range maxRaces {
		l, err := r.look(ctx, site, lesser)
		if err != nil {
			return nil, err
		}
		next, previous, change := l.next(to, lesser, key, out.previous == nil, r.life)
		if !change {
			if previous != nil {
				out.previous = previous
				return r.teller(site, lesser, l), nil
			}
			return nil, nil //nolint:nilnil // There is nothing to tell.
		}
		written, err := r.write(ctx, site, lesser, l.revision, next)
		if fault.From(err) != nil && fault.From(err).Reason == fault.StaleFence {
			continue
		}
		if err != nil {
			return nil, err
		}
		if previous != nil {
			out.previous = previous
			return r.teller(site, lesser, written), nil
		}
		return nil, nil //nolint:nilnil // There is nothing to tell.
	}
	return nil, fault.New(fault.BusUnavailable, "too many change one identity at the same time")
}

// next says what becomes of the link when an event with the key shows that the
// lesser identity is the visitor. previous is set when the event is to tell of
// the merge; free says that it tells of no other.
func (l found) next(to identity, lesser event.Visitor, key string, free bool, life time.Duration) (next link, previous *event.Visitor, change bool) {
	now := time.Now().UTC()
	same := l.revision != 0 && l.To.visitor().Key() == to.visitor().Key()
	switch {
	case l.revision == 0:
		next, previous = link{To: to, At: now}, &lesser
	case same && !l.Told:
		if l.By == key && free {
			return l.link, &lesser, false // The event comes again.
		}
		if !free || l.By != "" && now.Sub(l.At) < claimLife {
			return l.link, nil, false // Another event tells it.
		}
		next, previous = l.link, &lesser
		next.At = now
	case same:
		next = l.link
		next.At = now
		return next, nil, now.Sub(l.At) > life/2 // Used, so it lives on.
	case l.To.UserID == "" && to.UserID != "":
		before := l.To.visitor() // It was known by its address, and now by its id.
		next, previous = link{To: to, At: now}, &before
	case lesser.UserID != "":
		next, previous = link{To: to, At: now}, &lesser
	default:
		return link{To: to, At: now, Told: true}, nil, true // One device, another person.
	}
	if !free {
		return next, nil, true // A later event tells it.
	}
	next.By = key
	return next, previous, true
}

// teller returns what says that the merge has been told.
func (r *resolver) teller(site string, lesser event.Visitor, l found) func(context.Context) error {
	return func(ctx context.Context) error {
		l.Told = true
		_, err := r.write(ctx, site, lesser, l.revision, l.link)
		return err
	}
}

// identityKey names the identity in the bucket, without telling who it is.
func identityKey(site string, v event.Visitor) string {
	return site + "." + event.DerivedID("identity", site, v.Key())
}

// look returns the link of the identity.
func (r *resolver) look(ctx context.Context, site string, v event.Visitor) (found, error) {
	key := identityKey(site, v)
	if l, ok := r.cache.get(key); ok {
		return l, nil
	}
	value, revision, ok, err := r.bucket.Get(ctx, key)
	if err != nil {
		return found{}, fmt.Errorf("looking up a visitor: %w", err)
	}
	if !ok {
		life := missLife
		if v.UserID != "" {
			life = hitLife
		}
		r.cache.put(key, found{}, life)
		return found{}, nil
	}
	l := found{revision: revision}
	if err := json.Unmarshal(value, &l.link); err != nil {
		return found{}, fault.New(fault.SnapshotInvalid, "reading who a visitor is").Because(err)
	}
	if l.Told {
		r.cache.put(key, l, hitLife)
	}
	return l, nil
}

// write stores the link, if it still has the revision.
func (r *resolver) write(ctx context.Context, site string, v event.Visitor, revision uint64, l link) (found, error) {
	key := identityKey(site, v)
	r.cache.drop(key) // Whatever comes of it: what was remembered is old.
	value, err := json.Marshal(l)
	if err != nil {
		return found{}, fmt.Errorf("encoding who a visitor is: %w", err)
	}
	if revision == 0 {
		revision, err = r.bucket.Create(ctx, key, value, r.life)
	} else {
		revision, err = r.bucket.Replace(ctx, key, value, revision, r.life)
	}
	if err != nil {
		return found{}, fmt.Errorf("remembering who a visitor is: %w", err)
	}
	if l.Told {
		r.cache.put(key, found{l, revision}, hitLife)
	}
	return found{l, revision}, nil
}
