package ingest

import (
	"context"
	"time"

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
