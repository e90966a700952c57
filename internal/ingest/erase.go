package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// Forget removes what is remembered of who the visitor is: the links of the ids
// that are given, and every link that leads to the visitor, from whatever device
// or address. It returns what IDs returns.
//
// It reads all links of the site, so that it costs more than other calls. What
// was given goes last: after an error, the same call does the rest. Another edge
// may believe a link for a minute more.
func Forget(ctx context.Context, bucket Bucket, site string, v event.Visitor) ([]event.Visitor, error) {
	found, _, err := forget(ctx, bucket, site, v)
	return found, err
}

// IDs returns the ids of the visitor, one in each: those that are given first,
// then what the links know. An anonymous id that leads to the visitor is not
// among them, because the bucket knows it by a digest only.
func IDs(ctx context.Context, bucket Bucket, site string, v event.Visitor) ([]event.Visitor, error) {
	them, _, err := personaOf(ctx, bucket, site, v)
	if err != nil {
		return nil, err
	}
	return them.ids, nil
}

// forget is Forget, and returns the keys of what it removed, too.
func forget(ctx context.Context, bucket Bucket, site string, v event.Visitor) (found []event.Visitor, keys []string, err error) {
	them, links, err := personaOf(ctx, bucket, site, v)
	if err != nil {
		return nil, nil, err
	}
	var last []string
	for key := range links {
		switch {
		case slices.Contains(them.given, key):
			last = append(last, key)
		case them.keys[key]:
			keys = append(keys, key)
		}
	}
	keys = append(keys, last...)
	for _, key := range keys {
		if err := bucket.Purge(ctx, key); err != nil {
			return nil, nil, fmt.Errorf("forgetting who a visitor is: %w", err)
		}
	}
	return them.ids, keys, nil
}

// persona is what belongs to one visitor.
type persona struct {
	site  string
	ids   []event.Visitor // one id each
	keys  map[string]bool // in the bucket
	given []string        // the keys of what was asked for
}

// personaOf follows the links of the site in both directions. An id leads to the
// next, whatever their order.
func personaOf(ctx context.Context, bucket Bucket, site string, v event.Visitor) (*persona, map[string]link, error) {
	links, err := linksOf(ctx, bucket, site)
	if err != nil {
		return nil, nil, err
	}
	them := &persona{site: site, keys: map[string]bool{}}
	them.add(v)
	them.given = slices.Collect(maps.Keys(them.keys))
	for before := -1; len(them.keys) > before; {
		before = len(them.keys)
		for key, l := range links {
			if to := l.To.visitor(); them.keys[key] || them.has(to) {
				them.keys[key] = true
				them.add(to)
			}
		}
	}
	return them, links, nil
}

func (p *persona) add(v event.Visitor) {
	for _, one := range []event.Visitor{{UserID: v.UserID}, {Email: v.Email}, {AnonymousID: v.AnonymousID}} {
		if one.Key() != "" && !slices.ContainsFunc(p.ids, func(id event.Visitor) bool { return id.Key() == one.Key() }) {
			p.ids = append(p.ids, one)
			p.keys[identityKey(p.site, one)] = true
		}
	}
}

// has reports whether the better id of the two is the visitor's. An address may
// be on the links of several users.
func (p *persona) has(to event.Visitor) bool {
	if to.UserID != "" {
		to = event.Visitor{UserID: to.UserID}
	}
	return to.Key() != "" && p.keys[identityKey(p.site, to)]
}

func linksOf(ctx context.Context, bucket Bucket, site string) (map[string]link, error) {
	links := map[string]link{}
	err := bucket.Each(ctx, site+".*", func(key string, value []byte) error {
		var l link
		if err := json.Unmarshal(value, &l); err != nil {
			return fault.New(fault.SnapshotInvalid, "reading who a visitor is").Because(err)
		}
		links[key] = l
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading who is who: %w", err)
	}
	return links, nil
}

// erase forgets the visitors of the stored events of the kind "delete". An error
// means that the sender has to try again.
func (e *Edge) erase(ctx context.Context, r *Request, items []Item, all []ready, results []Result) *fault.Error {
	if e.resolver == nil || r.past {
		return nil
	}
	for i, item := range items {
		if item.Kind != event.KindDelete || results[i].Rejected != nil || results[i].Conflict {
			continue
		}
		_, keys, err := forget(ctx, e.o.Identities, all[i].site, item.Trigger.Visitor)
		if err != nil {
			return later(fault.From(err))
		}
		for _, key := range keys {
			e.resolver.cache.drop(key)
		}
	}
	return nil
}
