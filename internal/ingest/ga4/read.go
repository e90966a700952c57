package ga4

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

// read takes the body of a request apart: an item for each event, and what is
// wrong. A problem of the request spoils all of its events; where none can be
// told, one item stands for them all.
func read(body []byte, app bool, value int, now time.Time) (items []ingest.Item, problems []problem) {
	c := &checker{now: now, value: value}
	members, events, err := ingest.Batch(body, "events")
	p := payload{members, events}
	switch {
	case len(body) > maxBody:
		c.report(everyEvent, valueOutOfBounds, "", "", "The request has %d bytes, and %d are the most.", len(body), maxBody)
	case err != nil:
		c.unreadable(everyEvent, "", err)
	default:
		c.request(p, app)
	}
	if len(p.events) == 0 || len(p.events) > maxEvents || len(body) > maxBody {
		return []ingest.Item{{Kind: event.KindTrack, Raw: body, Err: c.errorOf(everyEvent)}}, c.problems
	}
	seen := map[string]int{}
	for i, raw := range p.events {
		e, err := ingest.ParseObject(raw)
		if err != nil {
			c.unreadable(i, "/events/"+strconv.Itoa(i), err)
		} else {
			c.call(i, e)
		}
		item := p.item(raw, e, now, seen)
		item.Err = c.errorOf(i)
		items = append(items, item)
	}
	return items, c.problems
}

// unreadable reports what is no request, or at the pointer no event, at all.
func (c *checker) unreadable(at int, pointer string, err error) {
	e, code := fault.From(err), valueInvalid
	switch {
	case e.Message == "is there twice":
		code = nameDuplicated
	case at == everyEvent && e.Field == "/events":
		code = valueRequired
	}
	pointer += e.Field
	c.report(at, code, fieldOf(pointer), pointer, "The request is not a measurement: %s.", clip(err.Error()))
}

// errorOf returns what is first wrong with the event, or with all of them, for
// the rejected list; nil when nothing is.
func (c *checker) errorOf(i int) error {
	for _, p := range c.problems {
		if p.event == i || p.event == everyEvent {
			return fault.New(reasonOf(p), "%s (%s)", p.Description, p.ValidationCode).At(p.pointer).
				WithFix("send the request to /debug/mp/collect: it says all that is wrong")
		}
	}
	return nil
}

func reasonOf(p problem) fault.Reason {
	if p.pointer == "" {
		return fault.Malformed
	}
	return fault.SchemaViolation
}

// item returns the event in the normal form. seen counts equal events of the
// request, which are events of their own.
func (p payload) item(raw json.RawMessage, e ingest.Object, now time.Time, seen map[string]int) ingest.Item {
	at, stamp := p.when(e, now)
	return ingest.Item{
		ID: p.id(raw, e, stamp, seen), Kind: kindOf(e.Text("name")), Raw: raw,
		Trigger: event.Trigger{
			Visitor: p.visitor(), Event: e.Text("name"), Properties: e.Object("params").Plain(), Traits: p.traits(),
			URL: ingest.Page(e.Text("params", "page_location")), OccurredAt: at, Consent: p.consent(),
		},
	}
}

// when returns when the event happened, and what names the time. Without a time
// nothing tells a repetition from a second event, except how soon it comes; the
// time of arrival is the pipeline's to set.
func (p payload) when(e ingest.Object, now time.Time) (at time.Time, stamp string) {
	for _, o := range []ingest.Object{e, p.Object} {
		if at, _ := micros(o); !at.IsZero() {
			return at, o.Text("timestamp_micros")
		}
	}
	return time.Time{}, now.UTC().Truncate(time.Minute).Format(time.RFC3339)
}

// id returns the name of the event.
func (p payload) id(raw json.RawMessage, e ingest.Object, stamp string, seen map[string]int) string {
	if own := e.Text("params", "event_id"); len(own) > maxID {
		return event.DerivedID("ga4", own)
	} else if own != "" {
		return own
	}
	id := event.DerivedID("ga4", p.instance(), stamp, string(raw))
	if seen[id]++; seen[id] > 1 {
		id += "-" + strconv.Itoa(seen[id])
	}
	return id
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
