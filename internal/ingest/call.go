package ingest

import (
	"encoding/json"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// Calls are the kinds of calls of the Segment spec, which RudderStack and many
// others share.
func Calls() []string {
	return []string{
		event.KindTrack, event.KindIdentify, event.KindPage, event.KindScreen, event.KindGroup, event.KindAlias, event.KindDelete,
	}
}

const (
	// maxID is how long the id of a person or of an event may be.
	maxID = 256
	// maxURL is how long the address of a page may be.
	maxURL = 2048
	// maxEmail is how long an e-mail address may be.
	maxEmail = 320
)

// Call reads one call of the Segment spec into the normal form. The kind is the
// call's type where the request's address says it, or "" where the call does.
// What is wrong is in the item's error, whose pointer begins at the call.
//
// The names of members may be written in any case, with or without "_", "-" and
// spaces: messageId, message_id, "Message ID". Where two spellings of one name
// contradict each other, the spec's own counts, and without it the call is wrong.
// Names within properties and traits stay as they came.
func Call(o Object, kind string) Item {
	f, err := fieldsOf(o)
	item := Item{ID: f.text("messageId"), Kind: kind}
	if item.Kind == "" {
		item.Kind = strings.ToLower(f.text("type"))
	}
	item.Trigger = f.trigger(item.Kind)
	if err == nil {
		item.Trigger.OccurredAt, err = f.time()
	}
	if err == nil {
		err = f.check(item)
	}
	if err != nil {
		item.Err = err
	}
	return item
}

// fields are the members of a call by their folded names.
type fields map[string]field

type field struct {
	// name is how the sender spells it.
	name  string
	value any
	exact bool
}

// fold makes the spellings of a name one.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '_' || r == '-' || r == ' ':
			return -1
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		}
		return r
	}, name)
}

// spelling returns how the spec spells a member that Call reads, from its folded
// name.
func spelling(folded string) string {
	switch folded {
	case "type", "event", "name", "properties", "traits", "context", "timestamp":
		return folded
	case "messageid":
		return "messageId"
	case "anonymousid":
		return "anonymousId"
	case "userid":
		return "userId"
	case "originaltimestamp":
		return "originalTimestamp"
	case "sentat":
		return "sentAt"
	case "receivedat":
		return "receivedAt"
	case "groupid":
		return "groupId"
	case "previousid":
		return "previousId"
	}
	return ""
}

// fieldsOf returns the members that the spec knows.
func fieldsOf(o Object) (fields, error) {
	f := make(fields, len(o))
	var err error
	for _, name := range slices.Sorted(maps.Keys(o)) { // Sorted, so that one call has one error.
		key := fold(name)
		proper := spelling(key)
		if proper == "" || o[name] == nil {
			continue
		}
		now := field{name, o[name], name == proper}
		switch before, twice := f[key]; {
		case !twice || now.exact:
			f[key] = now
		case !before.exact && !reflect.DeepEqual(before.value, now.value):
			err = fault.New(fault.SchemaViolation, "contradicts the member %s", before.name).At(Pointer(name)).
				WithFix("send %s once, spelled like this", proper)
		}
	}
	return f, err
}

func (f fields) value(name string) any { return f[fold(name)].value }

func (f fields) text(name string) string {
	return Object{name: f.value(name)}.Text(name)
}

func (f fields) object(name string) Object {
	object, _ := f.value(name).(Object)
	return object
}

// at returns the pointer of the member as the sender spells it.
func (f fields) at(name string) string {
	if found, ok := f[fold(name)]; ok {
		return Pointer(found.name)
	}
	return Pointer(name)
}

// Loose returns the value of the member whose name is the given one but for case,
// "_", "-" and spaces; nil when there is none. An exact match comes first, then
// the first in alphabetical order.
func (o Object) Loose(path ...string) any {
	var at any = o
	for _, name := range path {
		object, ok := at.(Object)
		if !ok {
			return nil
		}
		at = object.loose(name)
	}
	return at
}

func (o Object) loose(name string) any {
	if value, ok := o[name]; ok {
		return value
	}
	found, key := "", fold(name)
	for other := range o {
		if (found == "" || other < found) && fold(other) == key {
			found = other
		}
	}
	return o[found]
}

// LooseText is Text with names as in Loose.
func (o Object) LooseText(path ...string) string {
	return Object{"": o.Loose(path...)}.Text("")
}

func (f fields) trigger(kind string) event.Trigger {
	context := f.object("context")
	t := event.Trigger{
		Visitor:    event.Visitor{UserID: f.text("userId"), AnonymousID: f.text("anonymousId")},
		Event:      f.event(kind),
		Properties: f.object("properties").Plain(),
		Traits:     f.traits(kind, context).Plain(),
		Group:      f.text("groupId"),
		URL:        Page(firstText(context.LooseText("page", "url"), f.pageURL(kind))),
		Consent:    consentOf(context),
	}
	if t.Visitor.AnonymousID == t.Visitor.UserID {
		t.Visitor.AnonymousID = "" // RudderStack's clients fill it in with the user id.
	}
	if kind != event.KindGroup { // There, the traits are the group's.
		t.Visitor.Email = emailOf(t.Traits)
	}
	if t.Group == "" {
		t.Group = context.LooseText("groupId")
	}
	if previous := f.text("previousId"); kind == event.KindAlias && previous != "" {
		t.Previous = &event.Visitor{AnonymousID: previous}
	}
	return t
}

// event returns what happened, in the sender's words.
func (f fields) event(kind string) string {
	switch kind {
	case event.KindTrack:
		return f.text("event")
	case event.KindPage, event.KindScreen:
		return firstText(f.text("name"), f.object("properties").LooseText("name"), kind)
	}
	return kind
}

// pageURL returns the address that a page call has among its properties.
func (f fields) pageURL(kind string) string {
	if kind != event.KindPage {
		return ""
	}
	return f.object("properties").LooseText("url")
}

// traits returns the traits of the call itself, over those of its context. A
// group call's are the group's.
func (f fields) traits(kind string, context Object) Object {
	own := f.object("traits")
	general, _ := context.Loose("traits").(Object)
	if len(general) == 0 || kind == event.KindGroup {
		return own
	}
	both := make(Object, len(own)+len(general))
	maps.Copy(both, general)
	maps.Copy(both, own)
	return both
}

// time returns when it happened: the sender's timestamp, which is corrected
// already where a call comes by way of the vendor's servers; or else the
// correction of the spec. A call's own receivedAt is the same on every try.
func (f fields) time() (time.Time, error) {
	times := map[string]time.Time{}
	for _, name := range []string{"timestamp", "originalTimestamp", "sentAt", "receivedAt"} {
		at, err := moment(f.value(name))
		if err != nil {
			return time.Time{}, err.At(f.at(name))
		}
		times[name] = at
	}
	original, sent, received := times["originalTimestamp"], times["sentAt"], times["receivedAt"]
	switch {
	case !times["timestamp"].IsZero():
		return times["timestamp"], nil
	case original.IsZero():
		return received, nil
	case sent.IsZero() || received.IsZero():
		return original, nil
	}
	return received.Add(original.Sub(sent)).UTC(), nil
}

// moment reads a time as senders write it: RFC 3339, or milliseconds.
func moment(value any) (time.Time, *fault.Error) {
	wrong := fault.New(fault.SchemaViolation, "is no time").WithFix("write the time as in RFC 3339, such as 2026-11-24T09:30:00Z")
	switch value := value.(type) {
	case nil:
		return time.Time{}, nil
	case json.Number:
		ms, err := value.Int64()
		if err != nil || ms < 0 || ms > 1<<48 {
			return time.Time{}, wrong
		}
		return time.UnixMilli(ms).UTC(), nil
	case string:
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700", "2006-01-02 15:04:05.999999999Z07:00"} {
			if at, err := time.Parse(layout, value); err == nil && at.Year() >= 1970 && at.Year() <= 9999 {
				return at.UTC(), nil
			}
		}
		if value == "" {
			return time.Time{}, nil
		}
	}
	return time.Time{}, wrong
}

// check says what is wrong with the call, or nil.
func (f fields) check(item Item) error {
	bad := func(name, format string, args ...any) *fault.Error {
		return fault.New(fault.SchemaViolation, format, args...).At(f.at(name))
	}
	t := item.Trigger
	switch {
	case !slices.Contains(Calls(), item.Kind):
		return bad("type", "is no type of call").WithFix("use one of %s", strings.Join(Calls(), ", "))
	case t.Visitor.UserID == "" && t.Visitor.AnonymousID == "" && t.Visitor.Email == "":
		return bad("userId", "no_user_anon_id: the call names no visitor").WithFix("send userId or anonymousId")
	case t.Event == "":
		return bad("event", "a track call has no name of an event").WithFix("send the event's name in event")
	case item.Kind == event.KindGroup && t.Group == "":
		return bad("groupId", "a group call names no group").WithFix("send groupId")
	case item.Kind == event.KindAlias && (t.Previous == nil || t.Visitor.UserID == ""):
		return bad("previousId", "an alias call needs the previous and the new id").WithFix("send previousId and userId")
	}
	for _, name := range []string{"messageId", "userId", "anonymousId", "groupId", "previousId", "event", "name"} {
		switch value := f.value(name).(type) {
		case string:
			if utf8.RuneCountInString(value) > maxID {
				return bad(name, "is longer than %d characters", maxID).WithFix("send a shorter %s", name)
			}
		case nil, json.Number:
		default:
			return bad(name, "is no text").WithFix("send %s as a text", name)
		}
	}
	for _, name := range []string{"properties", "traits", "context"} {
		if value := f.value(name); value != nil {
			if _, ok := value.(Object); !ok {
				return bad(name, "is no object").WithFix("send an object: {…}")
			}
		}
	}
	return nil
}

// emailOf returns the e-mail address among the traits, or "".
func emailOf(traits map[string]any) string {
	return Email(Object(traits).LooseText("email"))
}

// Email returns the text if it looks like an e-mail address, and "" otherwise.
func Email(text string) string {
	text = strings.TrimSpace(text)
	name, host, ok := strings.Cut(text, "@")
	if !ok || name == "" || host == "" || len(text) > maxEmail || strings.ContainsAny(text, " \t\r\n\x00") {
		return ""
	}
	return text
}

// Page returns the address of a page as a trigger may have it: an absolute
// address of at most 2048 characters, without its query and fragment where it
// would be longer; "" for anything else.
func Page(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return ""
	}
	if utf8.RuneCountInString(text) <= maxURL {
		return text
	}
	u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = "", false, "", ""
	if text = u.String(); utf8.RuneCountInString(text) <= maxURL {
		return text
	}
	return ""
}

// consentOf reads what the visitor agreed to: Segment's categories, which the
// customer names, and RudderStack's lists of them.
func consentOf(context Object) *event.Consent {
	c := event.Consent{}
	set := func(name string, value *bool) {
		switch fold(name) {
		case "analytics", "performance", "statistics", "measurement":
			c.Analytics = value
		case "advertising", "marketing", "targeting", "adstorage":
			c.Advertising = value
		case "functional", "functionality", "preferences":
			c.Functionality = value
		case "personalization", "personalisation":
			c.Personalization = value
		}
	}
	categories, _ := context.Loose("consent", "categoryPreferences").(Object)
	for _, name := range slices.Sorted(maps.Keys(categories)) {
		set(name, Granted(categories[name]))
	}
	for list, value := range [...]bool{true, false} { // What is denied too is denied.
		ids, _ := context.Loose("consentManagement", [...]string{"allowedConsentIds", "deniedConsentIds"}[list]).([]any)
		for _, id := range ids {
			if name, ok := id.(string); ok {
				set(name, &value)
			}
		}
	}
	if c == (event.Consent{}) {
		return nil
	}
	return &c
}

func firstText(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}
