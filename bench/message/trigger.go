package message

import (
	"fmt"
	"time"

	"github.com/parley-chat/parley/internal/event"
)

// Pricing is the name of the events.
const Pricing = "Pricing Viewed"

// BatchOf is how many events come in a batch.
const BatchOf = 100

// sourceName is the source of the events, as the configuration names it.
const sourceName = "web"

// Call returns the JSON of an event as Segment's client for Node sends it to
// /v1/track, and in the list of /v1/batch.
func Call(id string, visitor int, at time.Time) string {
	return fmt.Sprintf(`{"timestamp":%q,"integrations":{},"event":%q,"type":"track",`+
		`"properties":{"plan":"pro","price":19.99,"currency":"EUR","size":%d,"items":[{"sku":"a-1","n":2},{"sku":"b-2","n":1}]},`+
		`"context":{"page":{"url":"https://shop.example.test/pricing","title":"Pricing","referrer":"https://search.example.test/"},`+
		`"library":{"name":"@segment/analytics-node","version":"3.1.0"},"userAgent":"Mozilla/5.0","locale":"de-DE"},`+
		`"messageId":%q,"userId":"u-%d","anonymousId":"anon-%d","_metadata":{"nodeVersion":"20.20.2"}}`,
		at.Format(time.RFC3339Nano), Pricing, 20, id, visitor, visitor)
}

// Viewed returns the trigger that follows from the call.
func Viewed(id string, visitor, size int, at time.Time) event.Trigger {
	return event.Trigger{
		Site:    Site,
		Visitor: event.Visitor{UserID: fmt.Sprintf("u-%d", visitor), AnonymousID: fmt.Sprintf("anon-%d", visitor)},
		Event:   Pricing,
		Properties: map[string]any{
			"plan": "pro", "price": 19.99, "currency": "EUR", "size": size,
			"items": []any{map[string]any{"sku": "a-1", "n": 2}, map[string]any{"sku": "b-2", "n": 1}},
		},
		URL: "https://shop.example.test/pricing", OccurredAt: at, ReceivedAt: at,
		Origin: &event.Origin{Provider: "tracking", SourceID: sourceName, MessageID: id, Authenticated: event.AuthenticPath},
	}
}

// Size is the property size of the n-th event: of every tenth it is above 10.
func Size(n int) int {
	if n%10 == 0 {
		return 20
	}
	return 5
}

// Big returns how many of so many events have a size above 10.
func Big(events int) int { return (events + 9) / 10 }

// Trigger returns the message of the trigger, and its subject, as the edge
// stores it.
func Trigger(id string, data event.Trigger) (string, event.Envelope, error) {
	session := event.SessionKey(data.Site, data.Visitor)
	e, err := event.New("/ingest/tracking/"+sourceName, event.TriggerType(event.KindTrack), session, data)
	if err != nil {
		return "", event.Envelope{}, fmt.Errorf("making a trigger: %w", err)
	}
	e.ID, e.Time = id, data.OccurredAt
	e.Extensions[event.ExtPartitionKey] = session
	e.Extensions[event.ExtCorrelationID] = id
	return event.TriggerSubject(sourceName, event.KindTrack, data.Site, session), e, nil
}
