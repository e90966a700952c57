package event

import "time"

// RejectedType is the CloudEvents type of an event that came in and could not
// be taken.
const RejectedType = typePrefix + "rejected.event.v1"

// RejectedEvent is the data of a rejected event: what a sender sent, and why nobody
// saw it. Its site is in its subject: see DeadSubject.
type RejectedEvent struct {
	// Source is the name of the source in the configuration, Provider its kind.
	Source   string `json:"source" jsonschema:"minLength=1,maxLength=63"`
	Provider string `json:"provider" jsonschema:"minLength=1,maxLength=63"`
	// Path is the address that the request came to, below the source's own.
	Path string `json:"path,omitempty" jsonschema:"maxLength=2048"`
	// MessageID is the sender's own id of the event, where it could be read.
	MessageID string `json:"message_id,omitempty" jsonschema:"maxLength=1024"`
	// Kind is the kind of trigger that it would have been, where it could be
	// read.
	Kind string `json:"kind,omitempty" jsonschema:"maxLength=63"`
	// Problem says what is wrong. Its field is a JSON pointer into the request's
	// body, or into the trigger when it fits no schema.
	Problem Problem `json:"problem"`
	// Body is the event, or the whole request, as it came: base64 in JSON.
	Body []byte `json:"body,omitempty"`
	// Bytes is how many the body had. Body is the beginning when it has fewer.
	Bytes      int       `json:"bytes"`
	ReceivedAt time.Time `json:"received_at"`
}
