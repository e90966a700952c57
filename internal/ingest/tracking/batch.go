package tracking

import (
	"encoding/json"
	"maps"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/ingest"
)

// merge adds the context and the integrations of the batch to the call, whose own
// win.
func merge(batch, o ingest.Object) ingest.Object {
	for _, name := range []string{"context", "integrations"} {
		general := batch.Object(name)
		if len(general) == 0 {
			continue
		}
		own, isObject := o[name].(ingest.Object)
		if o[name] != nil && !isObject {
			continue // Wrong, or Integrations: false; the check says so.
		}
		o[name] = over(general, own)
	}
	return o
}

// over returns the general object with the own members over it, at any depth.
func over(general, own ingest.Object) ingest.Object {
	both := make(ingest.Object, len(general)+len(own))
	maps.Copy(both, general)
	for name, value := range own {
		below, belowIs := both[name].(ingest.Object)
		mine, mineIs := value.(ingest.Object)
		if belowIs && mineIs {
			value = over(below, mine)
		}
		both[name] = value
	}
	return both
}

// contentID returns an id that follows from what the call says: all but what
// changes from try to try.
func contentID(o ingest.Object) string {
	same := maps.Clone(o)
	for _, name := range []string{"sentAt", "sent_at", "writeKey"} {
		delete(same, name)
	}
	text, err := json.Marshal(same) // Sorted, so that the order of members says nothing.
	if err != nil {
		return "" // What was parsed can be written.
	}
	return event.DerivedID("tracking", string(text))
}
