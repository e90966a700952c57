package event

import "time"

// Trigger is the data of a trigger: something that happened outside, in one
// normal form whatever its source.
type Trigger struct {
	// Site is the name of a site in the configuration.
	Site string `json:"site" jsonschema:"minLength=1,maxLength=63,pattern=^[a-z0-9][a-z0-9-]*$"`
	// Visitor is whom it happened to.
	Visitor Visitor `json:"visitor"`
	// Event is the name of what happened, as the analytics tool calls it.
	Event string `json:"event" jsonschema:"minLength=1,maxLength=256"`
	// Properties are the event's own.
	Properties map[string]any `json:"properties,omitempty"`
	// Traits describe the visitor.
	Traits map[string]any `json:"traits,omitempty"`
	// URL is the page where it happened.
	URL string `json:"url,omitempty" jsonschema:"maxLength=2048"`
	// OccurredAt is when it happened, by the sender's clock.
	OccurredAt time.Time `json:"occurred_at"`
}

// TriggerKinds returns the kinds of triggers: the last tokens of their types.
func TriggerKinds() []string { return []string{"track"} }

// DeadLetter is the data of a dead letter: what could not be done, and why. The
// original message travels beside it, unchanged.
type DeadLetter struct {
	// Stream and Sequence say where the message was.
	Stream   string  `json:"stream"`
	Sequence uint64  `json:"sequence"`
	Subject  string  `json:"subject"`
	Problem  Problem `json:"problem"`
	Attempts int     `json:"attempts"`
	// Headers and Body are the original message; Body is base64 in JSON.
	Headers map[string][]string `json:"headers,omitempty"`
	Body    []byte              `json:"body,omitempty"`
	DiedAt  time.Time           `json:"died_at"`
}
