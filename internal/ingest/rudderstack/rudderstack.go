// Package rudderstack receives RudderStack's webhook destinations. Its clients
// are received by the tracking API.
package rudderstack

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

// Provider is the name of the source in what it brings.
const Provider = "rudderstack"

// maxBatch is how many events one request may have.
const maxBatch = 4000

const mediaForm = "application/x-www-form-urlencoded"

// keyHeader is the header of RudderStack's own examples for a secret.
const keyHeader = "X-Signing-Key"

// Source receives RudderStack's webhooks.
type Source struct{ settings ingest.Settings }

// New returns the source. RudderStack signs nothing: the secrets are values of
// the header X-Signing-Key or passwords of Basic; a token of the source does as
// well.
func New(s ingest.Settings) (*Source, error) {
	if len(s.Mapping) > 0 {
		return nil, fault.New(fault.BadConfig, "the source %s has a mapping", s.Name).
			WithFix("leave the mapping out: a transformation in RudderStack can change the event")
	}
	return &Source{s}, nil
}

// Routes implements ingest.Source. GET and DELETE have the event in the address.
func (*Source) Routes() []ingest.Route {
	var routes []ingest.Route
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch} {
		routes = append(routes, ingest.Route{Method: method, Types: []string{ingest.MediaJSON, mediaForm}})
	}
	return append(routes, ingest.Route{Method: http.MethodGet}, ingest.Route{Method: http.MethodDelete})
}

// Receive implements ingest.Source.
func (s *Source) Receive(_ context.Context, r *ingest.Request) (ingest.Received, error) {
	by, err := s.prove(r)
	if err != nil {
		return ingest.Received{}, err
	}
	one := func(item ingest.Item, raw []byte) (ingest.Received, error) {
		item.Raw, item.Authenticated = raw, by
		return ingest.Received{Items: []ingest.Item{item}}, nil
	}
	switch {
	case r.Method == http.MethodGet || r.Method == http.MethodDelete:
		return one(flat(r.Query), []byte(r.Query.Encode()))
	case r.Type == mediaForm:
		form, err := url.ParseQuery(string(r.Body))
		if err != nil {
			return one(ingest.Item{Err: fault.New(fault.Malformed, "the body is no form").Because(err)}, r.Body)
		}
		return one(flat(form), r.Body)
	}
	raw, array, err := ingest.Split(r.Body)
	switch {
	case err != nil:
		return one(ingest.Item{Err: err}, r.Body)
	case len(raw) > maxBatch:
		return one(ingest.Item{Err: fault.New(fault.TooLarge, "the request has %d events, and %d are the most", len(raw), maxBatch).
			WithFix("set a smaller batch size in the destination")}, r.Body)
	}
	received := ingest.Received{Items: make([]ingest.Item, 0, len(raw))}
	for i, text := range raw {
		item := read(text)
		if item.Err != nil && array {
			e := fault.From(item.Err)
			item.Err = e.At("/" + strconv.Itoa(i) + e.Field)
		}
		item.Raw, item.Authenticated = text, by
		received.Items = append(received.Items, item)
	}
	return received, nil
}

func read(raw []byte) ingest.Item {
	o, err := ingest.ParseObject(raw)
	if err != nil {
		return ingest.Item{Err: err}
	}
	item := ingest.Call(o, "")
	if item.Err == nil && item.ID == "" {
		item.Err = fault.New(fault.SchemaViolation, "the event has no id, so a repetition could not be told").At("/messageId").
			WithFix("keep messageId in the event, or map it in the destination")
	}
	return item
}

// prove checks the sender: every secret that is given in one of the two places
// has to be right.
func (s *Source) prove(r *ingest.Request) (event.Authenticity, error) {
	given := r.Header.Values(keyHeader)
	if user, password, ok := ingest.Basic(r.Header); ok && len(s.settings.Secrets) > 0 {
		if password == "" {
			password = user
		}
		given = append(slices.Clone(given), password)
	}
	known := len(given) > 0
	for _, secret := range given {
		known = ingest.Known(s.settings.Secrets, secret) && known
	}
	switch {
	case known, len(s.settings.Secrets) == 0 && r.Token:
		return event.AuthenticPath, nil
	case len(s.settings.Secrets) == 0 && s.settings.Open:
		return "", nil
	}
	return "", ingest.Forbidden("the secret is not the source's")
}

// Answer implements ingest.Source. RudderStack tries again after 429 and 5xx, and
// gives an event up after other errors.
func (*Source) Answer(r *ingest.Request, o ingest.Outcome) ingest.Reply { return ingest.Standard(r, o) }
