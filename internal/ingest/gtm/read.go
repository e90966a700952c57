package gtm

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

const (
	// maxEvents is how many events a request may have. The tag sends one.
	maxEvents = 500
	// maxID bounds an event's own id; a longer one is hashed.
	maxID = 256
)

// read takes a body apart: one object, or a list of them.
func read(body []byte, now time.Time) ([]ingest.Item, error) {
	list, array, err := ingest.Split(body)
	if err != nil {
		return nil, err //nolint:wrapcheck // It says what is wrong, and where.
	}
	if len(list) > maxEvents {
		return nil, fault.New(fault.TooLarge, "the body has %d events, and %d are the most", len(list), maxEvents)
	}
	items := make([]ingest.Item, 0, len(list))
	for i, raw := range list {
		at := ""
		if array {
			at = "/" + strconv.Itoa(i)
		}
		items = append(items, readOne(raw, at, now))
	}
	return items, nil
}

// readOne reads the event at the JSON pointer.
func readOne(raw json.RawMessage, at string, now time.Time) ingest.Item {
	item := ingest.Item{Kind: event.KindTrack, Raw: raw}
	object, err := ingest.ParseObject(raw)
	if err != nil {
		e := fault.From(err)
		item.Err = e.At(at + e.Field)
		return item
	}
	d := data{object}
	name, _ := object["event_name"].(string)
	item.Kind, item.ID = kindOf(name), d.id(name, raw, now)
	item.Trigger = event.Trigger{
		Visitor: event.Visitor{UserID: d.Text("user_id"), Email: ingest.Email(d.email()), AnonymousID: d.Text("client_id")},
		Event:   name, Properties: d.properties(), Traits: d.traits(), URL: ingest.Page(d.Text("page_location")), Consent: d.consent(),
	}
	switch {
	case name == "":
		item.Err = fault.New(fault.SchemaViolation, "the event has no name").At(at + "/event_name").
			WithFix("let the tag send all event data")
	case item.Trigger.Visitor.Key() == "":
		item.Err = fault.New(fault.SchemaViolation, "the event names no visitor").At(at + "/client_id").
			WithFix("let the tag send client_id, user_id or user_data.email_address")
	}
	return item
}

// kindOf returns the kind of trigger: views are views, whatever tool saw them.
func kindOf(name string) string {
	switch name {
	case "page_view":
		return event.KindPage
	case "screen_view":
		return event.KindScreen
	}
	return event.KindTrack
}

// data is the event data of a server container.
type data struct{ ingest.Object }

// id returns the name of the event: its own id, or what tells the requests of a
// page apart. Without both, equal events of one minute are one event.
func (d data) id(name string, raw json.RawMessage, now time.Time) string {
	if id := d.Text("event_id"); id != "" {
		if len(id) > maxID {
			return event.DerivedID("gtm", id)
		}
		return id
	}
	page, count := d.Text("x-ga-page_id"), d.Text("x-ga-request_count")
	if page == "" || count == "" {
		return event.DerivedID("gtm", "body", string(raw), now.UTC().Truncate(time.Minute).Format(time.RFC3339))
	}
	return event.DerivedID("gtm", "page", page, count, d.Text("client_id"), name)
}

// email returns the visitor's address, as the tag sends it nested or flat. Where
// there are several it is the first. Hashes of addresses name nobody.
func (d data) email() string {
	if several, ok := d.Get("user_data", "email_address").([]any); ok && len(several) > 0 {
		first, _ := several[0].(string)
		return first
	}
	for _, path := range [][]string{
		{"user_data", "email_address"}, {"user_data", "email"}, {"user_data.email_address"}, {"user_data_email_address"},
	} {
		if text, ok := d.Get(path...).(string); ok && text != "" {
			return text
		}
	}
	return ""
}

// traits returns what is known of the visitor: user data without hashes, and
// the user properties.
func (d data) traits() map[string]any {
	traits := map[string]any{}
	for _, group := range []string{"x-ga-mp2-user_properties", "user_properties", "user_data"} {
		for name, value := range d.Object.Object(group) {
			if strings.HasPrefix(name, "sha256_") || strings.HasPrefix(name, "_") {
				continue
			}
			if property, ok := value.(ingest.Object); ok && property["value"] != nil {
				value = property["value"]
			}
			traits[name] = value
		}
	}
	if len(traits) == 0 {
		return nil
	}
	return traits
}

// properties returns the event's own members: not the container's plumbing, and
// not who the visitor is.
func (d data) properties() map[string]any {
	own := map[string]any{}
	for name, value := range d.Object {
		if !isPlumbing(name) {
			own[name] = value
		}
	}
	return own
}

// isPlumbing reports whether the member is none of the event's own.
func isPlumbing(name string) bool {
	switch name {
	case "event_name", "event_id", "client_id", "user_id", "user_properties", "ip_override",
		"consent", "consent_state", "gpc", "global_privacy_control":
		return true
	}
	return strings.HasPrefix(name, "x-ga-") || strings.HasPrefix(name, "x-sst-") || strings.HasPrefix(name, "user_data")
}

// consent returns what the event says of consent mode and of Global Privacy
// Control, or nil when it says nothing. Of two words on the same thing a no wins.
func (d data) consent() *event.Consent {
	c := event.Consent{}
	if state := ingest.ConsentState(d.Text("x-ga-gcs")); state != nil {
		c = *state
	}
	for _, group := range []string{"consent", "consent_state"} {
		said := d.Object.Object(group)
		for _, flag := range []struct {
			name string
			of   **bool
		}{
			{"ad_storage", &c.Advertising},
			{"ad_user_data", &c.Advertising},
			{"analytics_storage", &c.Analytics},
			{"functionality_storage", &c.Functionality},
			{"personalization_storage", &c.Personalization},
			{"ad_personalization", &c.Personalization},
		} {
			*flag.of = strictest(*flag.of, ingest.Granted(said[flag.name]))
		}
	}
	for _, name := range []string{"gpc", "global_privacy_control"} {
		if said := ingest.Granted(d.word(name)); said != nil {
			c.GPC = said
		}
	}
	if c == (event.Consent{}) {
		return nil
	}
	return &c
}

// word returns the member for ingest.Granted: a number as its digits.
func (d data) word(name string) any {
	if text := d.Text(name); text != "" {
		return text
	}
	return d.Get(name)
}

func strictest(a, b *bool) *bool {
	if b == nil || a != nil && !*a {
		return a
	}
	return b
}
