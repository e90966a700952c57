package rudderstack

import (
	"maps"
	"net/url"
	"slices"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

// flat reads the form in which an event is in an address. RudderStack puts only
// the properties there, or the traits of an identify: whatever names the event
// and the visitor has to be among them, or in the destination's own address, as
// in ?event=Pricing+Viewed&type=track.
//
// A flat event without a messageId is an event of its own every time.
func flat(query url.Values) ingest.Item {
	o, properties := ingest.Object{}, ingest.Object{}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		values := query[name]
		if len(values) > 1 {
			return ingest.Item{Err: fault.New(fault.SchemaViolation, "is there %d times", len(values)).At(ingest.Pointer(name)).
				WithFix("send the parameter once")}
		}
		if isOfCall(name) {
			o[name] = values[0]
			continue
		}
		properties[name] = values[0]
	}
	kind := o.LooseText("type")
	if kind == "" {
		kind = "track"
	}
	switch {
	case kind == "identify" || kind == "group":
		o["traits"] = properties
	case len(properties) > 0:
		o["properties"] = properties
	}
	if email := properties.LooseText("email"); email != "" && kind != "identify" && kind != "group" {
		o["context"] = ingest.Object{"traits": ingest.Object{"email": email}}
	}
	if page := properties.LooseText("url"); page != "" {
		context, _ := o["context"].(ingest.Object)
		if context == nil {
			context = ingest.Object{}
		}
		context["page"] = ingest.Object{"url": page}
		o["context"] = context
	}
	return ingest.Call(o, kind)
}

// isOfCall reports whether the parameter is a member of the call itself.
func isOfCall(name string) bool {
	one := ingest.Object{name: true}
	for _, member := range []string{"type", "event", "messageId", "userId", "anonymousId", "groupId", "previousId", "timestamp", "originalTimestamp"} {
		if one.Loose(member) != nil {
			return true
		}
	}
	return false
}
