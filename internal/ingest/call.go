package ingest

import (
	"encoding/json"
	"maps"
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
	item := Item{ID: f.text(callMessageID), Kind: kind}
	if item.Kind == "" {
		item.Kind = strings.ToLower(f.text(callType))
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

func (f *fields) trigger(kind string) event.Trigger {
	context := f.object(callContext)
	t := event.Trigger{
		Visitor:    event.Visitor{UserID: f.text(callUserID), AnonymousID: f.text(callAnonymousID)},
		Event:      f.event(kind),
		Properties: f.object(callProperties).Plain(),
		Traits:     f.traits(kind, context).Plain(),
		Group:      f.text(callGroupID),
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
	if previous := f.text(callPreviousID); kind == event.KindAlias && previous != "" {
		t.Previous = Former(previous)
	}
	return t
}

// event returns what happened, in the sender's words.
func (f *fields) event(kind string) string {
	switch kind {
	case event.KindTrack:
		return f.text(callEvent)
	case event.KindPage, event.KindScreen:
		return firstText(f.text(callName), f.object(callProperties).LooseText("name"), kind)
	}
	return kind
}

// pageURL returns the address that a page call has among its properties.
func (f *fields) pageURL(kind string) string {
	if kind != event.KindPage {
		return ""
	}
	return f.object(callProperties).LooseText("url")
}

// traits returns the traits of the call itself, over those of its context. A
// group call's are the group's.
func (f *fields) traits(kind string, context Object) Object {
	own := f.object(callTraits)
	general, _ := context.Loose("traits").(Object)
	switch {
	case len(general) == 0 || kind == event.KindGroup:
		return own
	case len(own) == 0:
		return general
	}
	both := make(Object, len(own)+len(general))
	maps.Copy(both, general)
	maps.Copy(both, own)
	return both
}

// time returns when it happened: the sender's timestamp, which is corrected
// already where a call comes by way of the vendor's servers; or else the
// correction of the spec. A call's own receivedAt is the same on every try.
func (f *fields) time() (time.Time, error) {
	var times [memberCount]time.Time
	for m := callTimestamp; m <= callReceivedAt; m++ {
		at, ok := moment(f[m].value)
		if !ok {
			return time.Time{}, fault.New(fault.SchemaViolation, "is no time").At(f.at(m)).
				WithFix("write the time as in RFC 3339, such as 2026-11-24T09:30:00Z")
		}
		times[m] = at
	}
	original, sent, received := times[callOriginal], times[callSentAt], times[callReceivedAt]
	switch {
	case !times[callTimestamp].IsZero():
		return times[callTimestamp], nil
	case original.IsZero():
		return received, nil
	case sent.IsZero() || received.IsZero():
		return original, nil
	}
	return received.Add(original.Sub(sent)).UTC(), nil
}

// check says what is wrong with the call, or nil.
func (f *fields) check(item Item) error {
	bad := func(m member, format string, args ...any) *fault.Error {
		return fault.New(fault.SchemaViolation, format, args...).At(f.at(m))
	}
	t := item.Trigger
	switch {
	case !slices.Contains(Calls(), item.Kind):
		return bad(callType, "is no type of call").WithFix("use one of %s", strings.Join(Calls(), ", "))
	case t.Visitor.UserID == "" && t.Visitor.AnonymousID == "" && t.Visitor.Email == "":
		return bad(callUserID, "no_user_anon_id: the call names no visitor").WithFix("send userId or anonymousId")
	case t.Event == "":
		return bad(callEvent, "a track call has no name of an event").WithFix("send the event's name in event")
	case item.Kind == event.KindGroup && t.Group == "":
		return bad(callGroupID, "a group call names no group").WithFix("send groupId")
	case item.Kind == event.KindAlias && (t.Previous == nil || t.Visitor.UserID == ""):
		return bad(callPreviousID, "an alias call needs the previous and the new id").WithFix("send previousId and userId")
	}
	for _, m := range [...]member{callMessageID, callUserID, callAnonymousID, callGroupID, callPreviousID, callEvent, callName} {
		switch value := f[m].value.(type) {
		case string:
			if utf8.RuneCountInString(value) > maxID {
				return bad(m, "is longer than %d characters", maxID).WithFix("send a shorter %s", m)
			}
		case nil, json.Number:
		default:
			return bad(m, "is no text").WithFix("send %s as a text", m)
		}
	}
	for _, m := range [...]member{callProperties, callTraits, callContext} {
		if _, ok := f[m].value.(Object); !ok && f[m].value != nil {
			return bad(m, "is no object").WithFix("send an object: {…}")
		}
	}
	return nil
}

func firstText(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}
