package event

import "time"

// Trigger is the data of a trigger: something that happened outside, in one
// normal form whatever its source.
type Trigger struct {
	// Site is the name of a site in the configuration.
	Site string `json:"site" jsonschema:"minLength=1,maxLength=63,pattern=^[a-z0-9][a-z0-9-]*$"`
	// Visitor is whom it happened to, as far as Parley could find out.
	Visitor Visitor `json:"visitor"`
	// Previous is who the visitor was until now: what waits for that one waits
	// for Visitor from here on. Only where two identities became one.
	Previous *Visitor `json:"previous,omitempty"`
	// Event is the name of what happened, as the analytics tool calls it.
	Event string `json:"event" jsonschema:"minLength=1,maxLength=256"`
	// Properties are the event's own.
	Properties map[string]any `json:"properties,omitempty"`
	// Traits describe the visitor.
	Traits map[string]any `json:"traits,omitempty"`
	// Group is the visitor's company or team, of a group call.
	Group string `json:"group,omitempty" jsonschema:"maxLength=256"`
	// URL is the page where it happened.
	URL string `json:"url,omitempty" jsonschema:"maxLength=2048"`
	// OccurredAt is when it happened, by the sender's clock.
	OccurredAt time.Time `json:"occurred_at"`
	// ReceivedAt is when Parley received it.
	ReceivedAt time.Time `json:"received_at,omitzero"`
	// Consent is what the visitor agreed to, as far as the sender says it.
	Consent *Consent `json:"consent,omitempty"`
	// Origin says where it comes from, and how far that is proved.
	Origin *Origin `json:"origin,omitempty"`
}

// Consent is what the visitor agreed to. A nil flag was not told.
type Consent struct {
	Analytics       *bool `json:"analytics,omitempty"`
	Advertising     *bool `json:"advertising,omitempty"`
	Functionality   *bool `json:"functionality,omitempty"`
	Personalization *bool `json:"personalization,omitempty"`
	// GPC is the browser's Global Privacy Control: the visitor does not want
	// data to be sold or shared.
	GPC *bool `json:"gpc,omitempty"`
}

// Authenticity says how far the sender of a trigger is proved.
type Authenticity string

// The authenticities.
const (
	AuthenticFull  Authenticity = "full"           // A signature covers the whole event, or the connection is ours.
	AuthenticFirst Authenticity = "first_of_batch" // A signature covers another event of the same request.
	AuthenticPath  Authenticity = "path_or_header" // A secret in the address or in a header.
)

// Origin says where a trigger comes from.
type Origin struct {
	// Provider is the sender's kind, such as "segment".
	Provider string `json:"provider" jsonschema:"minLength=1,maxLength=63"`
	// SourceID is the name of the source in the configuration.
	SourceID string `json:"source_id,omitempty" jsonschema:"maxLength=63"`
	// MessageID is the sender's own id of the event.
	MessageID     string       `json:"message_id,omitempty" jsonschema:"maxLength=256"`
	Authenticated Authenticity `json:"authenticated,omitempty"`
}

// The kinds of triggers: the last tokens of their types.
const (
	KindTrack    = "track"
	KindIdentify = "identify"
	KindPage     = "page"
	KindScreen   = "screen"
	KindGroup    = "group"
	KindAlias    = "alias"
	KindDelete   = "delete"
	KindManual   = "manual"   // A person started a workflow.
	KindSchedule = "schedule" // A workflow's own clock.
	KindEmitted  = "emitted"  // A step of another workflow.

	KindCheckpoint  = "checkpoint_recorded"
	KindSubscriber  = "subscriber_added"
	KindAttribute   = "user_attribute_updated"
	KindTakeover    = "human_takeover_requested"
	KindTag         = "tag_added"
	KindCMSItem     = "cms_item_created"
	KindUserCapture = "user_capture_response"
)

// TriggerKinds returns the kinds of triggers: analytics calls, Parley's own,
// and the webhooks of vendors.
func TriggerKinds() []string {
	return []string{
		KindTrack, KindIdentify, KindPage, KindScreen, KindGroup, KindAlias, KindDelete,
		KindManual, KindSchedule, KindEmitted,
		KindCheckpoint, KindSubscriber, KindAttribute, KindTakeover, KindTag, KindCMSItem, KindUserCapture,
	}
}

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
