package ingest

import (
	"context"
	"strconv"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// Backfill stores events of the source that happened in the past and did not
// come over HTTP. They are proved by whoever calls. They go the way of all
// others, but for the quota; live or not, an event that is there already is a
// duplicate. Unless live is set, nothing acts on them: see event.PastSubject.
//
// An error means that not all of them could be stored: the same call again is
// harmless.
func (e *Edge) Backfill(ctx context.Context, source string, items []Item, live bool) ([]Result, error) {
	for _, m := range e.table.mounts {
		if m.Settings.Name != source {
			continue
		}
		results, err := e.take(ctx, m, &Request{Token: true, At: time.Now().UTC(), past: !live}, items)
		if err != nil {
			return nil, err
		}
		return results, nil
	}
	return nil, fault.New(fault.InternalError, "the edge has no source %q", source)
}

// Again takes a request of the source that came before and was rejected, as it
// was or corrected. Whoever calls vouches for it. It goes the way of all others:
// an event that is stored by now is a duplicate. An event without an id of its
// own is known by the given one, so that taking it again twice stores it once.
func (e *Edge) Again(ctx context.Context, source, id string, r Request) ([]Result, error) {
	for _, m := range e.table.mounts {
		if m.Settings.Name != source {
			continue
		}
		r.Token = true
		received, failed := e.parse(ctx, m, &r)
		if failed != nil {
			return nil, failed
		}
		if len(received.Items) == 0 {
			return nil, fault.New(fault.SchemaViolation, "the request holds no event")
		}
		for i := range received.Items {
			item := &received.Items[i]
			item.Authenticated = event.AuthenticFull
			if item.ID == "" {
				item.ID = event.DerivedID("again", id, strconv.Itoa(i))
			}
		}
		results, failed := e.take(ctx, m, &r, received.Items)
		if failed != nil {
			return nil, failed
		}
		return results, nil
	}
	return nil, fault.New(fault.InternalError, "the edge has no source %q", source)
}
