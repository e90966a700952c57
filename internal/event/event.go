// Package event holds the nouns on the wire: the CloudEvents envelope, the
// payloads of commands, results, events and triggers, the names of types and
// subjects, and the codec between an envelope and a NATS message.
//
// The CloudEvents type is the discriminator: one type, one schema, one Go
// struct. Subjects, message ids and types are made here and nowhere else.
package event

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Envelope is a CloudEvent 1.0 with JSON data.
type Envelope struct {
	// ID is unique within Source. Two envelopes with the same Source and ID are
	// one event.
	ID     string
	Source string
	// Type names the schema of Data: see CommandType, ResultType, FactType and
	// TriggerType.
	Type    string
	Subject string
	Time    time.Time
	// DataSchema is the URI of the schema of Data, or "".
	DataSchema string
	// DataContentType is "application/json" when it is "".
	DataContentType string
	// Extensions holds the extension attributes by their lower-case names.
	Extensions map[string]string
	// Data is the payload as it travels.
	Data json.RawMessage
}

// The extension attributes that Parley uses, by their CloudEvents names.
const (
	ExtPartitionKey  = "partitionkey"  // the session's key
	ExtCorrelationID = "correlationid" // the id of the trigger that began it all
	ExtCausationID   = "causationid"   // the id of the direct cause
	ExtExpiryTime    = "expirytime"    // RFC 3339; a command after it is not run
	ExtTraceParent   = "traceparent"   // W3C trace context
	ExtRecordedTime  = "recordedtime"  // when the worker recorded it
)

// Extension returns the extension attribute, or "".
func (e Envelope) Extension(name string) string { return e.Extensions[name] }

// Expiry returns the time after which the envelope is stale. It is zero when
// there is none.
func (e Envelope) Expiry() (time.Time, error) {
	text := e.Extensions[ExtExpiryTime]
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the expiry time: %w", err)
	}
	return at, nil
}

// New returns an envelope with the data as JSON, a UUIDv7 as its id, and the
// present time.
func New(source, typ, subject string, data any) (Envelope, error) {
	raw, err := json.Marshal(data)
	if err != nil {
		return Envelope{}, fmt.Errorf("encoding the data of %s: %w", typ, err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Envelope{}, fmt.Errorf("making an id: %w", err)
	}
	return Envelope{
		ID: id.String(), Source: source, Type: typ, Subject: subject,
		Time: time.Now().UTC(), Data: raw, Extensions: map[string]string{},
	}, nil
}
