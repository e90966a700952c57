// Package ingest turns outside events into triggers: one normal form, whatever
// the source. A source that receives over the network is one folder below.
package ingest

import (
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// Kind is the kind of trigger of an analytics call.
const Kind = "track"

// Trigger returns the trigger of an outside event, and the subject that it is
// published on. The source is one token, such as "cli"; id is the source's own
// id of the event, by which a repetition is known, or "" for a new one.
func Trigger(source, id string, data event.Trigger) (subject string, e event.Envelope, err error) {
	if data.Visitor.Key() == "" {
		return "", event.Envelope{}, fault.New(fault.SchemaViolation, "the event names no visitor").At("/visitor").
			WithFix("give a user id, an e-mail address or an anonymous id")
	}
	if !event.IsToken(source) || !event.IsToken(data.Site) {
		return "", event.Envelope{}, fault.New(fault.SchemaViolation, "%q is no name for a site", data.Site).At("/site")
	}
	if data.OccurredAt.IsZero() {
		data.OccurredAt = time.Now().UTC()
	}
	session := event.SessionKey(data.Site, data.Visitor)
	e, err = event.New("/ingest/"+source, event.TriggerType(Kind), session, data)
	if err != nil {
		return "", event.Envelope{}, err
	}
	if id != "" {
		e.ID = id
	}
	e.Time = data.OccurredAt
	e.Extensions[event.ExtPartitionKey] = session
	e.Extensions[event.ExtCorrelationID] = e.ID
	return event.TriggerSubject(source, Kind, data.Site, session), e, nil
}
