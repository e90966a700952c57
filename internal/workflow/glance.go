package workflow

import (
	"cmp"
	"strings"

	"github.com/parley-chat/parley/internal/event"
)

// Glance reads of a trigger what tells whom it concerns: its topic, the site, the
// visitor and the time. Expressions read the rest when they ask for it; other
// callers ask for Whole. It is not ok for what has to be read the long way, by
// Validate and ReadHappened: what is not correct, what makes two visitors one,
// and what is rare. An event that it is ok for is correct.
func Glance(e event.Envelope, schemas Validator) (h Happened, ok bool) {
	kind, trigger := triggerKind(e.Type)
	if !trigger {
		return h, false
	}
	g := &glance{}
	if !schemas.Scan(e.Type, e.Data, g.member) || g.rare || g.h.Trigger.OccurredAt.IsZero() {
		return Happened{}, false
	}
	h = g.h
	h.ID, h.Source, h.Topic = e.ID, e.Source, Topic{Kind: kind, Name: h.Trigger.Event}
	h.Session, h.rest = event.SessionKey(h.Trigger.Site, h.Trigger.Visitor), &g.rest
	return h, true
}

// glance is a glance under way.
type glance struct {
	h    Happened
	rest rest
	rare bool // It has to be read the long way.
}

// member takes note of a member of the trigger.
func (g *glance) member(name []byte, value event.Raw) {
	t := &g.h.Trigger
	switch string(name) {
	case "site":
		t.Site = value.Text()
	case "visitor":
		t.Visitor = visitorOf(value)
	case "event":
		t.Event = value.Text()
	case "occurred_at":
		t.OccurredAt = value.Moment()
	case "received_at":
		t.ReceivedAt = value.Moment()
		g.rare = g.rare || t.ReceivedAt.IsZero()
	case "previous":
		g.rare = true
	default:
		g.rest.keep(name, value)
	}
}

// triggerKind returns the kind of a trigger's type.
func triggerKind(typ string) (string, bool) {
	name, ok := strings.CutPrefix(typ, "chat.parley.trigger.")
	return strings.TrimSuffix(name, ".v1"), ok
}

// visitorOf reads a visitor.
func visitorOf(raw event.Raw) (v event.Visitor) {
	raw.Members(func(name []byte, value event.Raw) bool {
		switch string(name) {
		case "user_id":
			v.UserID = value.Text()
		case "email":
			v.Email = value.Text()
		case "anonymous_id":
			v.AnonymousID = value.Text()
		}
		return true
	})
	return v
}

// rest is what a glance left unread of a trigger.
type rest struct {
	properties, traits, group, url, consent, origin event.Raw
}

// keep keeps the member for later.
func (r *rest) keep(name []byte, value event.Raw) {
	switch string(name) {
	case "properties":
		r.properties = value
	case "traits":
		r.traits = value
	case "group":
		r.group = value
	case "url":
		r.url = value
	case "consent":
		r.consent = value
	case "origin":
		r.origin = value
	}
}

// Whole returns the trigger with everything that it tells. It is the same when
// it was not glanced at.
func (h Happened) Whole() Happened {
	if h.rest == nil {
		return h
	}
	r, t := h.rest, &h.Trigger
	h.rest = nil
	t.Properties, t.Traits = mapOf(r.properties), mapOf(r.traits)
	t.Group, t.URL = r.group.Text(), r.url.Text()
	t.Consent, t.Origin = consentOf(r.consent), originOf(r.origin)
	return h
}

// mapOf reads an object; nil when there is none.
func mapOf(raw event.Raw) map[string]any {
	if raw == nil {
		return nil
	}
	return raw.Map()
}

func consentOf(raw event.Raw) *event.Consent {
	if raw == nil {
		return nil
	}
	c := &event.Consent{}
	raw.Members(func(name []byte, value event.Raw) bool {
		flag := value.Flag()
		switch string(name) {
		case "analytics":
			c.Analytics = &flag
		case "advertising":
			c.Advertising = &flag
		case "functionality":
			c.Functionality = &flag
		case "personalization":
			c.Personalization = &flag
		case "gpc":
			c.GPC = &flag
		}
		return true
	})
	return c
}

func originOf(raw event.Raw) *event.Origin {
	if raw == nil {
		return nil
	}
	o := &event.Origin{}
	raw.Members(func(name []byte, value event.Raw) bool {
		switch text := value.Text(); string(name) {
		case "provider":
			o.Provider = text
		case "source_id":
			o.SourceID = text
		case "message_id":
			o.MessageID = text
		case "authenticated":
			o.Authenticated = event.Authenticity(text)
		}
		return true
	})
	return o
}

// seeTrigger returns a member of the trigger as expressions see it, if it is
// there.
func seeTrigger(h *Happened, name string) (value any, ok bool) {
	t := &h.Trigger
	switch name {
	case "id":
		return h.ID, true
	case "kind":
		return cmp.Or(h.Topic.Kind, KindFact), true
	case "source":
		return strings.TrimPrefix(h.Source, "/"), true
	case "event":
		return t.Event, true
	case "site":
		return t.Site, true
	case "occurred_at":
		return t.OccurredAt, true
	case "received_at":
		return t.ReceivedAt, true
	}
	if h.rest != nil {
		return h.rest.see(name)
	}
	return seeRest(t, name)
}

// seeRest is seeTrigger for the members that a glance leaves unread.
func seeRest(t *event.Trigger, name string) (value any, ok bool) {
	switch name {
	case "properties":
		return anyMap(t.Properties), true
	case "traits":
		return anyMap(t.Traits), true
	case "group":
		return t.Group, true
	case "url":
		return t.URL, true
	case "consent":
		return seeConsent(t.Consent)
	case "origin":
		return seeOrigin(t.Origin)
	}
	return nil, false
}

// see is seeRest for what was left unread.
func (r *rest) see(name string) (value any, ok bool) {
	switch name {
	case "properties":
		return &unread{raw: r.properties}, true
	case "traits":
		return &unread{raw: r.traits}, true
	case "group":
		return r.group.Text(), true
	case "url":
		return r.url.Text(), true
	case "consent":
		return seeConsent(consentOf(r.consent))
	case "origin":
		return seeOrigin(originOf(r.origin))
	}
	return nil, false
}

func seeConsent(c *event.Consent) (any, bool) {
	if c == nil {
		return nil, false
	}
	return flags(map[string]*bool{
		"analytics": c.Analytics, "advertising": c.Advertising, "functionality": c.Functionality,
		"personalization": c.Personalization, "gpc": c.GPC,
	}), true
}

func seeOrigin(o *event.Origin) (any, bool) {
	if o == nil {
		return nil, false
	}
	return map[string]any{
		"provider": o.Provider, "source_id": o.SourceID, "message_id": o.MessageID, "authenticated": string(o.Authenticated),
	}, true
}
