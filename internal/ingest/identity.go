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
	// the event is stored, that it has; it is nil when there is nothing to say.
	previous *event.Visitor
	told     func(ctx context.Context) error
}

func newResolver(bucket Bucket, life time.Duration, size int) *resolver {
	return &resolver{bucket: bucket, life: life, cache: newCache[found](size)}
}

// resolve finds the visitor behind the ids of an event with the key, and links
// those ids. alias is who the visitor was, as an alias says it; it may be nil.
func (r *resolver) resolve(ctx context.Context, site, key string, v event.Visitor, alias *event.Visitor) (resolved, error) {
	who, passed, err := r.follow(ctx, site, v)
	if err != nil {
		return resolved{}, err
	}
	out := resolved{visitor: who}
	lesser, err := r.lesser(ctx, site, v, who, alias)
	if err != nil {
		return resolved{}, err
	}
	for _, one := range lesser {
		told, err := r.merge(ctx, site, merging{key: key, lesser: one, who: who, passed: passed, aliased: alias != nil}, &out)
		if err != nil {
			return resolved{}, err
		}
		if told != nil {
			out.told = told
		}
	}
	return out, nil
}

// lesser returns the identities that are to lead to the visitor, the one first
// whose merge is the most urgent to tell.
func (r *resolver) lesser(ctx context.Context, site string, v, who event.Visitor, alias *event.Visitor) ([]event.Visitor, error) {
	var all []event.Visitor
	add := func(one event.Visitor) {
		if one.Key() != "" && one.Key() != who.Key() {
			all = append(all, one)
		}
	}
	if alias != nil {
		add(event.Visitor{UserID: alias.UserID})
		add(event.Visitor{AnonymousID: alias.AnonymousID})
		add(event.Visitor{UserID: alias.AnonymousID}) // A sender may not know which of the two it was.
	}
	add(event.Visitor{UserID: v.UserID})
	if who.UserID == "" && who.Email == "" {
		return all, nil
	}
	if who.UserID != "" && v.AnonymousID != "" {
		l, err := r.look(ctx, site, event.Visitor{AnonymousID: v.AnonymousID})
		if err != nil {
			return nil, err
		}
		if l.To.UserID == "" {
			add(event.Visitor{Email: l.To.Email}) // It was known by its address, and now by its id.
		}
	}
	add(event.Visitor{AnonymousID: v.AnonymousID})
	if who.UserID != "" {
		add(event.Visitor{Email: v.Email})
	}
	return all, nil
}

// follow goes from link to link, and returns where they lead and the keys of what
// it passed.
func (r *resolver) follow(ctx context.Context, site string, v event.Visitor) (who event.Visitor, passed map[string]bool, err error) {
	who, passed = v, map[string]bool{}
	for range maxHops {
		if passed[who.Key()] {
			break
		}
		passed[who.Key()] = true
		l, err := r.look(ctx, site, who)
		if err != nil {
			return v, nil, err
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
		return who, passed, nil
	}
	// An address that is not known yet, on a device that is: the same person,
	// unless that one has another address.
	l, err := r.look(ctx, site, event.Visitor{AnonymousID: who.AnonymousID})
	if err != nil {
		return v, nil, err
	}
	if l.To.UserID != "" && (l.To.Email == "" || strings.EqualFold(l.To.Email, who.Email)) {
		who.UserID = l.To.UserID
	}
	return who, passed, nil
}

// merging is what an event says: the lesser identity is the visitor.
type merging struct {
	key         string
	lesser, who event.Visitor
	passed      map[string]bool // what lay on the way to who
	aliased     bool            // an alias says it
}

// merge makes the lesser identity lead to the visitor. When this event is to
// tell of it, merge sets out.previous and returns what says that it has.
func (r *resolver) merge(ctx context.Context, site string, m merging, out *resolved) (func(context.Context) error, error) {
	for range maxRaces {
		l, err := r.look(ctx, site, m.lesser)
		if err != nil {
			return nil, err
		}
		next, tells, change := l.next(m, out.previous == nil, r.life)
		if change {
			l, err = r.write(ctx, site, m.lesser, l.revision, next)
		}
		if e := fault.From(err); e != nil && e.Reason == fault.StaleFence {
			continue
		}
		if err != nil || !tells {
			return nil, err
		}
		out.previous = &m.lesser
		return r.teller(site, m.lesser, l), nil
	}
	return nil, fault.New(fault.BusUnavailable, "too many change one identity at the same time")
}

// next says what becomes of the link, whether the event tells of the merge, and
// whether the link is to be written. free says that the event tells of no other
// merge; otherwise a later event tells of this one.
func (l found) next(m merging, free bool, life time.Duration) (next link, tells, change bool) {
	now, to := time.Now().UTC(), identity{UserID: m.who.UserID, Email: m.who.Email}
	same := l.revision != 0 && l.To.visitor().Key() == to.visitor().Key()
	switch {
	case same && l.Told:
		next = l.link
		next.At = now
		return next, false, now.Sub(l.At) > life/2 // Used, so it lives on.
	case same && l.By == m.key && free:
		return l.link, true, false // The event comes again.
	case same && (!free || l.By != "" && now.Sub(l.At) < claimLife):
		return l.link, false, false // Another event tells of it.
	case !same && l.revision != 0 && m.passed[l.To.visitor().Key()], !same && l.To.UserID == "" && l.To.Email != "":
		next = l.link // A short cut, to where the link leads by now.
		next.To = to
		return next, false, true
	case !same && l.revision != 0 && (!m.aliased || m.lesser.UserID == ""):
		return link{To: to, At: now, Told: true}, false, true // One device, another person.
	}
	next = link{To: to, At: now}
	if free {
		next.By = m.key
	}
	return next, free, true
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
