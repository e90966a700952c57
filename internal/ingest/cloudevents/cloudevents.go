// Package cloudevents takes CloudEvents over HTTP, in binary and structured mode
// and as a batch, and answers a web hook's question whether it may send.
package cloudevents

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

const (
	mediaEvent = "application/cloudevents+json"
	mediaBatch = "application/cloudevents-batch+json"
	// maxBatch bounds the events of one request.
	maxBatch = 1000
	// maxID is how long an id may be before it is shortened.
	maxID = 256
)

// Source takes the events of one sender. With secrets a request must be signed
// by Standard Webhooks; without, the source's token is the proof.
type Source struct {
	mapping *ingest.Mapping
	secrets [][]byte
	quota   float64
}

// New returns the source of the settings. Its mapping is on the event in the
// JSON format, whose payload is `data`.
func New(s ingest.Settings) (ingest.Source, error) {
	mapping, err := ingest.NewMapping(s.Mapping, map[string]string{
		ingest.FieldEvent: "type", ingest.FieldTime: "time", ingest.FieldProperties: "data",
		ingest.FieldKind: "=" + event.KindTrack, ingest.FieldSite: "data.site", ingest.FieldURL: "data.url",
		ingest.FieldUserID: "data.user_id", ingest.FieldEmail: "data.email", ingest.FieldAnonymousID: "data.anonymous_id",
		ingest.FieldPreviousID: "data.previous_id", ingest.FieldPreviousUser: "data.previous_user_id", ingest.FieldGroup: "data.group", ingest.FieldTraits: "data.traits",
		ingest.FieldConsent: "data.consent",
	})
	if err != nil {
		return nil, err
	}
	return &Source{mapping, s.Secrets, s.Quota}, nil
}

// Routes returns the source's one address: POST for events, OPTIONS for the
// question whether a sender may send.
func (s *Source) Routes() []ingest.Route {
	return []ingest.Route{
		{Method: http.MethodPost, Types: []string{mediaEvent, mediaBatch, ingest.MediaJSON}},
		{Method: http.MethodOptions},
	}
}

// Receive reads the events of a request.
func (s *Source) Receive(_ context.Context, r *ingest.Request) (ingest.Received, error) {
	if r.Method == http.MethodOptions {
		return s.handshake(r)
	}
	if len(s.secrets) > 0 {
		if _, err := ingest.StandardWebhook(s.secrets, r.Header, r.Body, r.At); err != nil {
			return ingest.Received{}, err
		}
	}
	proof := r.Authenticity(len(s.secrets) > 0)
	if r.Type == mediaBatch {
		return s.batch(r.Body, proof)
	}
	e, err := event.Decode(headersOf(r), r.Body)
	if err != nil {
		return ingest.Received{}, err
	}
	return ingest.Received{Items: []ingest.Item{s.item(e, r.Body, proof)}}, nil
}

// headersOf returns the headers as the codec knows them. In HTTP the type of
// binary data is the Content-Type.
func headersOf(r *ingest.Request) map[string][]string {
	h := map[string][]string{}
	for name, values := range r.Header {
		name = strings.ToLower(name)
		switch {
		case strings.HasPrefix(name, "ce-"):
			h[name] = values
		case name == "content-type" && r.Type == mediaEvent:
			h["Content-Type"] = []string{mediaEvent}
		case name == "content-type":
			h["ce-datacontenttype"] = []string{r.Type}
		}
	}
	return h
}

// batch reads an array of events in the JSON format.
func (s *Source) batch(body []byte, proof event.Authenticity) (ingest.Received, error) {
	texts, array, err := ingest.Split(body)
	if err != nil {
		return ingest.Received{}, err
	}
	if !array {
		return ingest.Received{}, fault.New(fault.Malformed, "the batch is no JSON array").WithFix("send [{…},{…}]")
	}
	if len(texts) > maxBatch {
		return ingest.Received{}, fault.New(fault.TooLarge, "the batch has %d events, and %d are the most", len(texts), maxBatch)
	}
	received := ingest.Received{Items: make([]ingest.Item, len(texts))}
	for i, text := range texts {
		e, err := event.Decode(map[string][]string{"Content-Type": {mediaEvent}}, text)
		if err == nil {
			received.Items[i] = s.item(e, text, proof)
			err = received.Items[i].Err
		}
		received.Items[i].Raw, received.Items[i].Authenticated = text, proof
		if problem := fault.From(err); problem != nil {
			received.Items[i].Err = problem.At("/" + strconv.Itoa(i) + problem.Field)
		}
	}
	return received, nil
}

// item reads one event. One of our own triggers is taken as it is; of others the
// mapping finds the fields.
func (s *Source) item(e event.Envelope, raw json.RawMessage, proof event.Authenticity) ingest.Item {
	var item ingest.Item
	data, err := dataOf(e)
	switch kind, ours := ownKind(e.Type); {
	case err != nil:
		item.Err = err
	case ours:
		item = own(kind, e, data)
	default:
		item = s.mapping.Item(document(e, data))
	}
	item.ID, item.Raw, item.Authenticated = idOf(e), raw, proof
	return item
}

// idOf returns the event's id: it is unique within its source only. A source has
// no space in it, so that the two parts never run into each other.
func idOf(e event.Envelope) string {
	id := strings.ReplaceAll(e.Source, " ", "%20") + " " + e.ID
	if len(id) > maxID {
		return event.DerivedID("cloudevent", e.Source, e.ID)
	}
	return id
}

func dataOf(e event.Envelope) (any, error) {
	if len(e.Data) == 0 {
		return nil, nil //nolint:nilnil // An event without data.
	}
	data, err := ingest.Parse(e.Data)
	if problem := fault.From(err); problem != nil {
		return nil, problem.At("/data" + problem.Field)
	}
	return data, nil
}

// document returns the event in the JSON format.
func document(e event.Envelope, data any) ingest.Object {
	o := ingest.Object{"id": e.ID, "source": e.Source, "type": e.Type, "subject": e.Subject, "data": data}
	if !e.Time.IsZero() {
		o["time"] = e.Time.Format(time.RFC3339Nano)
	}
	for name, value := range e.Extensions {
		o[name] = value
	}
	return o
}

// ownKind returns the kind of trigger that the type names.
func ownKind(typ string) (string, bool) {
	for _, kind := range event.TriggerKinds() {
		if event.TriggerType(kind) == typ {
			return kind, true
		}
	}
	return "", false
}

// own reads a trigger of ours: the numbers in it keep every digit.
func own(kind string, e event.Envelope, data any) ingest.Item {
	item := ingest.Item{Kind: kind}
	object, ok := data.(ingest.Object)
	if !ok {
		item.Err = fault.New(fault.SchemaViolation, "is no object").At("/data")
		return item
	}
	decoder := json.NewDecoder(strings.NewReader(string(e.Data)))
	decoder.UseNumber()
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&item.Trigger); err != nil {
		item.Err = fault.New(fault.SchemaViolation, "is no trigger").At("/data").Because(err)
		return item
	}
	item.Trigger.Properties, item.Trigger.Traits = object.Object("properties").Plain(), object.Object("traits").Plain()
	if item.Trigger.OccurredAt.IsZero() {
		item.Trigger.OccurredAt = e.Time
	}
	return item
}

// handshake answers a sender that asks whether it may send here. It may: who can
// ask has proved itself.
func (s *Source) handshake(r *ingest.Request) (ingest.Received, error) {
	origin := r.Header.Get("WebHook-Request-Origin")
	if origin == "" {
		return ingest.Received{}, fault.New(fault.Malformed, "the header WebHook-Request-Origin is missing").
			WithFix("name the sender in it, or send events with POST")
	}
	h := http.Header{}
	h.Set("Allow", http.MethodPost)
	h.Set("WebHook-Allowed-Origin", origin)
	if rate := s.rate(r.Header.Get("WebHook-Request-Rate")); rate != "" {
		h.Set("WebHook-Allowed-Rate", rate)
	}
	return ingest.Received{Reply: &ingest.Reply{Status: http.StatusOK, Header: h}}, nil
}

// rate returns how many requests a minute the sender may send: what it asks for,
// within the source's quota.
func (s *Source) rate(asked string) string {
	most := int64(math.MaxInt64)
	if s.quota > 0 {
		most = max(int64(s.quota*60), 1)
	}
	n, err := strconv.ParseInt(asked, 10, 64)
	switch {
	case err == nil && n > 0:
		return strconv.FormatInt(min(n, most), 10)
	case s.quota > 0:
		return strconv.FormatInt(most, 10)
	case asked != "":
		return "*"
	}
	return ""
}

// Answer is the standard answer, which follows the rules for web hooks: 429 has a
// Retry-After, and a type that is not known is 415.
func (s *Source) Answer(r *ingest.Request, o ingest.Outcome) ingest.Reply {
	return ingest.Standard(r, o)
}
