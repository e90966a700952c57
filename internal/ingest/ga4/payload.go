package ga4

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/ingest"
)

// payload is the body of a request.
type payload struct {
	ingest.Object
	// events are the texts of the events, as they came.
	events []json.RawMessage
}

// instance returns the id of the browser or of the app's installation.
func (p payload) instance() string {
	if id := p.Text("client_id"); id != "" {
		return id
	}
	return p.Text("app_instance_id")
}

// visitor returns whom the request names.
func (p payload) visitor() event.Visitor {
	return event.Visitor{UserID: p.Text("user_id"), AnonymousID: p.instance()}
}

// traits returns the user properties by their names.
func (p payload) traits() map[string]any {
	properties := p.Object.Object("user_properties")
	if len(properties) == 0 {
		return nil
	}
	traits := make(map[string]any, len(properties))
	for name := range properties {
		traits[name] = properties.Get(name, "value")
	}
	return traits
}

// consent returns what the visitor agreed to, or nil when the request does not
// say it.
func (p payload) consent() *event.Consent {
	c := event.Consent{
		Advertising:     granted(p.Get("consent", "ad_user_data")),
		Personalization: granted(p.Get("consent", "ad_personalization")),
	}
	if c == (event.Consent{}) {
		return nil
	}
	return &c
}

func granted(word any) *bool {
	switch word {
	case "GRANTED":
		return new(true)
	case "DENIED":
		return new(false)
	}
	return nil
}

// micros reads a time in microseconds: a number, or its digits in quotes. Zero
// means that there is none.
func micros(o ingest.Object) (at time.Time, ok bool) {
	if o["timestamp_micros"] == nil {
		return time.Time{}, true
	}
	n, err := strconv.ParseInt(o.Text("timestamp_micros"), 10, 64)
	if err != nil || n <= 0 {
		return time.Time{}, false
	}
	return time.UnixMicro(n).UTC(), true
}
