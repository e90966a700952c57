// Package posthog receives PostHog: the webhooks of its destinations, and its
// clients, which are given another host.
package posthog

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

// Provider is the name of the source in what it brings.
const Provider = "posthog"

const mediaForm = "application/x-www-form-urlencoded"

// maxEvents is how many events one request may have.
const maxEvents = 5000

// mappingID is the key of the mapping that says what a distinct_id is that
// nothing identifies: "anonymous_id", which is the default, or "user_id" where
// only servers send.
const mappingID = "distinct_id"

// Source receives PostHog.
type Source struct {
	settings ingest.Settings
	// known says that every distinct_id is a user id.
	known bool
}

// New returns the source. The secrets are the project's API keys, which clients
// send, or a Bearer of the webhooks; PostHog signs nothing.
func New(s ingest.Settings) (*Source, error) {
	source := &Source{settings: s}
	for key, value := range s.Mapping {
		if key != mappingID || value != "user_id" && value != "anonymous_id" {
			return nil, fault.New(fault.BadConfig, "the source %s has the mapping %s: %s", s.Name, key, value).
				WithFix("write %s: user_id or anonymous_id; there is nothing else to map", mappingID)
		}
		source.known = value == "user_id"
	}
	return source, nil
}

// Routes implements ingest.Source: the webhooks, and what clients call.
func (*Source) Routes() []ingest.Route {
	routes := []ingest.Route{
		ingest.PostJSON(""), {Method: http.MethodPut, Types: []string{ingest.MediaJSON}}, {Method: http.MethodPatch, Types: []string{ingest.MediaJSON}},
	}
	for _, path := range []string{"/batch", "/capture", "/e", "/i/v0/e", "/track"} {
		routes = append(routes, ingest.Route{Method: http.MethodPost, Path: path, Types: []string{ingest.MediaJSON, mediaForm}, Lenient: true})
	}
	return routes
}

// Receive implements ingest.Source.
func (s *Source) Receive(_ context.Context, r *ingest.Request) (ingest.Received, error) {
	if r.Path == "" {
		return s.webhook(r)
	}
	return s.capture(r)
}

// webhook reads the body of a destination: {"event": …, "person": …}, or an event
// as a template may send it.
func (s *Source) webhook(r *ingest.Request) (ingest.Received, error) {
	by, err := s.prove(r, nil)
	if err != nil {
		return ingest.Received{}, err
	}
	item := s.delivery(r.Body)
	item.Raw, item.Authenticated = r.Body, by
	return ingest.Received{Items: []ingest.Item{item}}, nil
}

func (s *Source) delivery(body []byte) ingest.Item {
	o, err := ingest.ParseObject(body)
	if err != nil {
		return ingest.Item{Err: err}
	}
	at, e := "", o
	if inner := o.Object("event"); inner != nil {
		at, e = "/event", inner
	}
	item := s.read(e, o.Object("person"))
	switch {
	case item.Err != nil:
		f := fault.From(item.Err)
		item.Err = f.At(at + f.Field)
	case item.ID == "":
		item.Err = fault.New(fault.SchemaViolation, "the event has no id, so a repetition could not be told").At(at + "/uuid").
			WithFix("keep {event} in the destination's body, or add its uuid")
	}
	return item
}

// capture reads what clients send: one event, a list of them, or a batch.
func (s *Source) capture(r *ingest.Request) (ingest.Received, error) {
	body, err := unwrap(r)
	if err != nil {
		return ingest.Received{}, err
	}
	keys, raw, at, err := open(body)
	if err != nil {
		return ingest.Received{}, err
	}
	if len(raw) > maxEvents {
		return ingest.Received{}, fault.New(fault.TooLarge, "the request has %d events, and %d are the most", len(raw), maxEvents).
			WithFix("send fewer events in one request")
	}
	items := make([]ingest.Item, 0, len(raw))
	for i, text := range raw {
		item := ingest.Item{Raw: text}
		o, err := ingest.ParseObject(text)
		if err != nil {
			item.Err = err
		} else {
			keys = append(keys, keysOf(o)...)
			item = s.read(o, nil)
			item.Raw = text
			if item.ID == "" && !item.Trigger.OccurredAt.IsZero() {
				item.ID = contentID(o)
			}
		}
		if item.Err != nil {
			f := fault.From(item.Err)
			item.Err = f.At(at(i) + f.Field)
		}
		items = append(items, item)
	}
	by, err := s.prove(r, keys)
	if err != nil {
		return ingest.Received{}, err
	}
	for i := range items {
		items[i].Authenticated = by
	}
	return ingest.Received{Items: items}, nil
}

// open takes a body of a client apart. at returns the pointer of an event.
func open(body []byte) (keys []string, raw []json.RawMessage, at func(i int) string, err error) {
	raw, array, err := ingest.Split(body)
	if err != nil {
		return nil, nil, nil, err
	}
	if array {
		return nil, raw, func(i int) string { return "/" + strconv.Itoa(i) }, nil
	}
	o, err := ingest.ParseObject(body)
	if err != nil {
		return nil, nil, nil, err
	}
	if o["batch"] == nil {
		return nil, raw, func(int) string { return "" }, nil
	}
	members, raw, err := ingest.Batch(body, "batch")
	return keysOf(members), raw, func(i int) string { return "/batch/" + strconv.Itoa(i) }, err
}

// keysOf returns the API keys in a body or an event.
func keysOf(o ingest.Object) []string {
	var keys []string
	for _, path := range [][]string{{"api_key"}, {"token"}, {"$token"}, {"properties", "token"}, {"properties", "api_key"}} {
		if o.Get(path...) != nil {
			keys = append(keys, o.Text(path...))
		}
	}
	return keys
}

// prove checks the sender: every key that is given has to be right, and a webhook
// has its secret in the header.
func (s *Source) prove(r *ingest.Request, keys []string) (event.Authenticity, error) {
	if bearer := ingest.Bearer(r.Header); bearer != "" && !r.Token {
		keys = append(keys, bearer)
	}
	known := len(keys) > 0
	for _, key := range keys {
		known = ingest.Known(s.settings.Secrets, key) && known
	}
	webhook := r.Path == ""
	switch {
	case known, r.Token && (webhook || len(s.settings.Secrets) == 0):
		return event.AuthenticPath, nil
	case len(s.settings.Secrets) == 0 && s.settings.Open:
		return "", nil
	}
	return "", ingest.Forbidden("the API key is not the source's")
}

// Answer implements ingest.Source.
func (*Source) Answer(r *ingest.Request, o ingest.Outcome) ingest.Reply {
	switch {
	case r.Path == "":
		return ingest.Standard(r, o)
	case o.Err != nil:
		reply := problem(ingest.StatusOf(o.Err), o.Err)
		ingest.RetryAfter(reply.Header, o.Err)
		return reply
	case len(o.Results) == 1 && o.Results[0].Rejected != nil:
		return problem(http.StatusBadRequest, o.Results[0].Rejected)
	}
	answer := map[string]any{"status": "Ok"}
	if r.Path == "/e" || r.Path == "/capture" || r.Path == "/track" {
		answer["status"] = 1
	}
	var rejected []map[string]any
	for i, result := range o.Results {
		if result.Rejected != nil {
			rejected = append(rejected, map[string]any{"index": i, "uuid": result.ID, "detail": result.Rejected.Error()})
		}
	}
	if rejected != nil {
		answer["rejected"] = rejected
	}
	return ingest.JSON(http.StatusOK, answer)
}

// problem is an error as PostHog words it.
func problem(status int, e *fault.Error) ingest.Reply {
	kind, code := "validation_error", "invalid_payload"
	switch status {
	case http.StatusUnauthorized:
		kind, code = "authentication_error", "invalid_api_key"
	case http.StatusTooManyRequests:
		kind, code = "throttled_error", "throttled"
	case http.StatusServiceUnavailable, http.StatusInternalServerError:
		kind, code = "server_error", "server_error"
	case http.StatusUnprocessableEntity:
		status = http.StatusBadRequest
	}
	return ingest.JSON(status, map[string]any{"type": kind, "code": code, "detail": e.Error(), "attr": nil})
}
