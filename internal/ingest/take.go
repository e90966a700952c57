package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/telemetry"
)

// maxData is the most that the data of a trigger may have: what the bus takes,
// less the room for its headers.
const maxData = 240 << 10

// ready is an item on its way into the store.
type ready struct {
	Event
	site string
	told func(context.Context) error
}

// take stores the items. An error means that nothing may be said to the sender
// but that it shall try again; what was stored by then is a duplicate when it
// does.
func (e *Edge) take(ctx context.Context, m *mount, r *Request, items []Item) ([]Result, *fault.Error) {
	if err := e.room.take(len(r.Body), len(items)); err != nil {
		return nil, err
	}
	if !r.past {
		if err := m.charge(len(items)); err != nil {
			return nil, err
		}
	}
	results, all, errs := make([]Result, len(items)), make([]ready, len(items)), make([]*fault.Error, len(items))
	groups := byVisitor(items)
	eachGroup(groups, func(i int) { all[i], errs[i] = e.one(ctx, m, r, &items[i], &results[i]) })
	var places []int
	for i := range items {
		if errs[i] != nil {
			return nil, errs[i]
		}
		if results[i].Rejected == nil {
			places = append(places, i)
		}
	}
	if err := e.accept(ctx, m, r, items, all, places, results); err != nil {
		return nil, err
	}
	if e.resolver != nil {
		eachGroup(groups, func(i int) { e.tell(ctx, all[i], results[i]) })
	}
	if err := e.erase(ctx, r, items, all, results); err != nil {
		return nil, err
	}
	return results, nil
}

// one makes one item ready to be stored, or puts it on the rejected list. An
// error means that neither could be done, and nothing is wrong with the event.
func (e *Edge) one(ctx context.Context, m *mount, r *Request, item *Item, result *Result) (ready, *fault.Error) {
	result.ID = item.ID
	one, err := e.prepare(ctx, m, r, item)
	switch {
	case err == nil:
		result.ID = one.Envelope.ID
		if r.past {
			one.Subject = event.PastSubject(one.Subject)
		}
		return one, nil
	case fault.Retryable(err) || err.Code == fault.Expired:
		return ready{}, later(err) // The bus is away.
	}
	result.Rejected = err
	return ready{}, e.rejectItem(ctx, m, r, item, err)
}

// tell notes that the merge of two visitors, which a stored event tells of, has
// been told. If that fails, a later event tells of it again.
func (e *Edge) tell(ctx context.Context, one ready, result Result) {
	if one.told == nil || result.Conflict {
		return
	}
	if err := one.told(ctx); err != nil {
		e.log.LogAttrs(ctx, slog.LevelDebug, "merge of two visitors is not noted as told", slog.Any(telemetry.AttrErr, err))
	}
}

// accept stores the events of the places, and writes their fates into the
// results.
func (e *Edge) accept(ctx context.Context, m *mount, r *Request, items []Item, all []ready, places []int, results []Result) *fault.Error {
	if len(places) == 0 {
		return nil
	}
	batch := make([]Event, len(places))
	for i, place := range places {
		batch[i] = all[place].Event
	}
	var failed *fault.Error
	counts := map[string]int{}
	for i, stored := range e.o.Store.Accept(ctx, batch) {
		result := &results[places[i]]
		switch {
		case stored.Err != nil:
			failed = fault.From(fmt.Errorf("storing an event: %w", stored.Err))
		case stored.Conflict:
			counts["conflict"]++
			result.Conflict = true
			conflict := fault.New(fault.IDReused, "the id was used before, for another event").At("/id")
			e.log.LogAttrs(ctx, slog.LevelWarn, "event has the id of another one", slog.String(attrSource, m.Settings.Name))
			if err := e.reject(ctx, m, r, &items[places[i]], conflict); err != nil {
				failed = err
			}
		case stored.Duplicate:
			counts["duplicate"]++
			result.Duplicate = true
		default:
			counts["accepted"]++
		}
	}
	for outcome, n := range counts {
		e.o.Counter.Ingested(m.Settings.Name, outcome, n)
	}
	return later(failed)
}

// later says when a request that could not be stored may come again.
func later(err *fault.Error) *fault.Error {
	if err == nil || err.After > 0 {
		return err
	}
	return err.WithAfter(5 * time.Second)
}

// prepare turns an item into what is stored: it finds the site and the visitor,
// and checks everything.
func (e *Edge) prepare(ctx context.Context, m *mount, r *Request, item *Item) (ready, *fault.Error) {
	if err := e.proved(m, r, item); err != nil {
		return ready{}, err
	}
	t := item.Trigger
	if !slices.Contains(event.TriggerKinds(), item.Kind) {
		return ready{}, fault.New(fault.SchemaViolation, "%q is no kind of event", clip(item.Kind, 60)).At("/type")
	}
	if t.Event == "" {
		t.Event = item.Kind
	}
	if t.Visitor.Key() == "" {
		return ready{}, fault.New(fault.SchemaViolation, "the event names no visitor").
			WithFix("give a user id, an e-mail address or an anonymous id")
	}
	var failed *fault.Error
	if t.Site, failed = e.site(m, t); failed != nil {
		return ready{}, failed
	}
	t.Consent = privacyControl(r.Header, t.Consent)
	t.Origin = &event.Origin{
		Provider: m.Settings.Type, SourceID: m.Settings.Name, MessageID: item.ID, Authenticated: item.Authenticated,
	}
	source := "/ingest/" + m.Settings.Type + "/" + m.Settings.Name
	sum, err := sumOf(item.Kind, t)
	if err != nil {
		return ready{}, fault.From(err)
	}
	if t.OccurredAt.IsZero() {
		t.OccurredAt = r.At
	}
	t.ReceivedAt = r.At
	envelope, err := event.New(source, event.TriggerType(item.Kind), "", json.RawMessage(nil))
	if err != nil {
		return ready{}, fault.From(err)
	}
	if item.ID != "" {
		envelope.ID = item.ID
	}
	return e.finish(ctx, m, item.Kind, t, envelope, sum)
}

// finish resolves the visitor, and encodes and checks the trigger.
func (e *Edge) finish(ctx context.Context, m *mount, kind string, t event.Trigger, envelope event.Envelope, sum []byte) (ready, *fault.Error) {
	alias := t.Previous
	t.Previous = nil
	who := resolved{visitor: t.Visitor, previous: alias}
	data, err := e.encode(&envelope, t) // Before the visitor is linked: a wrong event leaves no trace.
	if err != nil {
		return ready{}, fault.From(err)
	}
	if e.resolver != nil {
		if kind == event.KindDelete { // Nothing is learnt of who asks to be forgotten.
			who.previous = nil
			who.visitor, _, err = e.resolver.follow(ctx, t.Site, t.Visitor)
		} else {
			who, err = e.resolver.resolve(ctx, t.Site, event.Key(envelope.Source, envelope.ID), t.Visitor, alias)
		}
		if err != nil {
			return ready{}, later(fault.From(err))
		}
	}
	if who.visitor != t.Visitor || who.previous != nil {
		t.Visitor, t.Previous = who.visitor, who.previous
		if data, err = e.encode(&envelope, t); err != nil {
			return ready{}, fault.From(err)
		}
	}
	session := event.SessionKey(t.Site, t.Visitor)
	envelope.Subject, envelope.Time, envelope.Data = session, t.OccurredAt, data
	envelope.Extensions[event.ExtPartitionKey] = session
	envelope.Extensions[event.ExtCorrelationID] = envelope.ID
	subject := event.TriggerSubject(m.Settings.Name, kind, t.Site, session)
	return ready{Event{Subject: subject, Envelope: envelope, Sum: sum}, t.Site, who.told}, nil
}

// encode returns the trigger's data, when it fits its schema.
func (e *Edge) encode(envelope *event.Envelope, t event.Trigger) (json.RawMessage, error) {
	data, err := json.Marshal(t)
	if err != nil {
		return nil, fault.New(fault.SchemaViolation, "the event cannot be stored").Because(err)
	}
	if len(data) > maxData {
		return nil, fault.New(fault.TooLarge, "the event has %d bytes, and %d are the most", len(data), maxData)
	}
	if e.o.Validate == nil {
		return data, nil
	}
	return data, e.o.Validate(envelope.Type, data)
}

// proved refuses an event that nothing proves.
func (e *Edge) proved(m *mount, r *Request, item *Item) *fault.Error {
	if item.Err != nil {
		return fault.From(item.Err)
	}
	switch item.Authenticated {
	case event.AuthenticFull, event.AuthenticPath:
		return nil
	case event.AuthenticFirst:
		if r.Token {
			return nil
		}
		return Forbidden("no signature covers the event, and the source has no token")
	}
	if m.Settings.Open {
		return nil
	}
	return Forbidden("nothing proves who sent the event")
}

// site returns the site of the event: the source's, the one that the event
// names, or that of the page where it happened.
func (e *Edge) site(m *mount, t event.Trigger) (string, *fault.Error) {
	switch {
	case m.Site != "":
		return m.Site, nil
	case t.Site != "":
		if e.o.IsSite == nil || e.o.IsSite(t.Site) {
			return t.Site, nil
		}
		return "", fault.New(fault.UnknownSite, "no site has the name %q", clip(t.Site, 63)).At("/site")
	case t.URL == "":
		return "", fault.New(fault.UnmappedDomain, "the event names no page, and the source no site").At("/url").
			WithFix("set `site:` on the source, or send the page's address")
	}
	site, err := e.o.Site(t.URL)
	if err != nil {
		return "", fault.From(err).At("/url")
	}
	return site, nil
}

// sumOf tells events apart that have the same id. It leaves out what differs
// between two tries of a sender.
func sumOf(kind string, t event.Trigger) ([]byte, error) {
	t.ReceivedAt, t.Origin = time.Time{}, nil
	data, err := json.Marshal(t)
	if err != nil {
		return nil, fault.New(fault.SchemaViolation, "the event cannot be stored").Because(err)
	}
	sum := sha256.Sum256(append(data, kind...))
	return sum[:], nil
}
