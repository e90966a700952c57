package posthog

import (
	"encoding/json"
	"maps"
	"unicode/utf8"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

// maxID is how long the id of a person or of an event may be.
const maxID = 256

// read reads one event into the normal form. The person is what PostHog knows of
// the visitor; it may be nil.
func (s *Source) read(e, person ingest.Object) ingest.Item {
	p := e.Object("properties")
	name := e.Text("event")
	item := ingest.Item{ID: e.Text("uuid"), Kind: kindOf(name)}
	if item.ID == "" {
		item.ID = p.Text("$insert_id")
	}
	set := [...]ingest.Object{person.Object("properties"), p.Object("$set_once"), e.Object("$set_once"), p.Object("$set"), e.Object("$set")}
	traits := ingest.Object{}
	for _, some := range set {
		maps.Copy(traits, some)
	}
	if item.Kind == event.KindGroup {
		traits = p.Object("$group_set")
	}
	item.Trigger = event.Trigger{
		Visitor: s.visitor(name, e, p), Event: name, Properties: p.Plain(), Group: groupOf(p),
		URL: ingest.Page(p.Text("$current_url")),
	}
	if len(traits) > 0 {
		item.Trigger.Traits = traits.Plain()
	}
	if item.Kind != event.KindGroup {
		item.Trigger.Visitor.Email = ingest.Email(traits.Text("email"))
	}
	if alias := p.Text("alias"); item.Kind == event.KindAlias && alias != "" {
		item.Trigger.Previous = ingest.Former(alias)
	}
	at, err := e.Time("timestamp")
	item.Trigger.OccurredAt = at
	if err == nil {
		err = check(e, item)
	}
	item.Err = err
	return item
}

// kindOf returns the kind of the event: PostHog's own have a $.
func kindOf(name string) string {
	switch name {
	case "$pageview":
		return event.KindPage
	case "$screen":
		return event.KindScreen
	case "$identify", "$set":
		return event.KindIdentify
	case "$groupidentify":
		return event.KindGroup
	case "$create_alias", "$merge_dangerously":
		return event.KindAlias
	}
	return event.KindTrack
}

// visitor returns whom the event names. A distinct_id is a user id once PostHog
// says that it is identified.
func (s *Source) visitor(name string, e, p ingest.Object) event.Visitor {
	id := distinct(e)
	device := p.Text("$anon_distinct_id")
	if device == "" {
		device = p.Text("$device_id")
	}
	identified := s.known && device == "" || p.Get("$is_identified") == true || p.Text("$user_id") == id ||
		kindOf(name) == event.KindAlias || name == "$identify"
	switch {
	case id == "" || !identified && device == "":
		return event.Visitor{AnonymousID: id}
	case !identified:
		return event.Visitor{AnonymousID: device}
	case device == id:
		device = ""
	}
	return event.Visitor{UserID: id, AnonymousID: device}
}

func distinct(e ingest.Object) string {
	for _, path := range [][]string{{"distinct_id"}, {"$distinct_id"}, {"properties", "distinct_id"}, {"properties", "$distinct_id"}} {
		if id := e.Text(path...); id != "" {
			return id
		}
	}
	return ""
}

// groupOf returns the group of a group call, or the only group that the event
// belongs to.
func groupOf(p ingest.Object) string {
	if key := p.Text("$group_key"); key != "" {
		return key
	}
	groups := p.Object("$groups")
	for name := range groups {
		if len(groups) == 1 {
			return groups.Text(name)
		}
	}
	return ""
}

// check says what is wrong with the event, or nil.
func check(e ingest.Object, item ingest.Item) error {
	bad := func(name, format string, args ...any) *fault.Error {
		return fault.New(fault.SchemaViolation, format, args...).At(ingest.Pointer(name))
	}
	t := item.Trigger
	switch {
	case t.Event == "":
		return bad("event", "the event has no name").WithFix("send the name in event")
	case t.Visitor.UserID == "" && t.Visitor.AnonymousID == "" && t.Visitor.Email == "":
		return bad("distinct_id", "the event names no visitor").WithFix("send distinct_id")
	case item.Kind == event.KindAlias && t.Previous == nil:
		return bad("properties", "an alias needs the other id").WithFix("send it in properties.alias")
	case item.Kind == event.KindGroup && t.Group == "":
		return bad("properties", "the event names no group").WithFix("send properties.$group_key")
	}
	for _, field := range [][2]string{{"uuid", item.ID}, {"event", t.Event}, {"distinct_id", distinct(e)}} {
		if utf8.RuneCountInString(field[1]) > maxID {
			return bad(field[0], "is longer than %d characters", maxID).WithFix("send a shorter one")
		}
	}
	if value := e["properties"]; value != nil && e.Object("properties") == nil {
		return bad("properties", "is no object").WithFix("send an object: {…}")
	}
	return nil
}

// contentID returns an id that follows from what the event says.
func contentID(o ingest.Object) string {
	same := maps.Clone(o)
	for _, name := range []string{"sent_at", "offset", "api_key", "token"} {
		delete(same, name)
	}
	text, err := json.Marshal(same) // Sorted, so that the order of members says nothing.
	if err != nil {
		return "" // What was parsed can be written.
	}
	return event.DerivedID("posthog", string(text))
}
