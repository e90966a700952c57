// Package ga4 receives the Measurement Protocol of Google Analytics 4: servers
// and apps that send their events to Google change the host, and nothing else.
package ga4

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

// Provider is the name of the source in what it brings.
const Provider = "ga4"

// The addresses below the source's own.
const (
	collectPath = "/mp/collect"
	debugPath   = "/debug/mp/collect"
)

// mappingValue is the key of the mapping that sets how long a parameter's value
// may be: 500 for properties of Analytics 360.
const mappingValue = "max_value"

// Source receives the Measurement Protocol. Its answer is 204 whatever becomes
// of the events, as the vendor's is, but for a store that is away.
type Source struct {
	settings ingest.Settings
	value    int
}

// New returns the source. The secrets are the values of api_secret; without any,
// the source's token proves the sender.
func New(s ingest.Settings) (ingest.Source, error) {
	source := &Source{settings: s, value: DefaultValue}
	for key, text := range s.Mapping {
		n, err := strconv.Atoi(text)
		if key != mappingValue || err != nil || n < DefaultValue || n > 500 {
			return nil, fault.New(fault.BadConfig, "the source %s has the mapping %s: %s", s.Name, key, text).
				WithFix("%s may be %d to 500; there is nothing else to map", mappingValue, DefaultValue)
		}
		source.value = n
	}
	return source, nil
}

// Routes implements ingest.Source.
func (*Source) Routes() []ingest.Route {
	collect, debug := ingest.PostJSON(collectPath), ingest.PostJSON(debugPath)
	collect.Lenient, debug.Lenient = true, true // Senders need not say that it is JSON.
	return []ingest.Route{collect, debug}
}

// Receive implements ingest.Source.
func (s *Source) Receive(_ context.Context, r *ingest.Request) (ingest.Received, error) {
	app := r.Query.Get("firebase_app_id") != ""
	if r.Path == debugPath {
		_, problems := read(r.Body, app, s.value, r.At)
		reply := debugReply(problems)
		return ingest.Received{Reply: &reply}, nil
	}
	by, err := s.prove(r)
	if err != nil {
		return ingest.Received{}, err
	}
	items, _ := read(r.Body, app, s.value, r.At)
	if !app && r.Query.Get("measurement_id") == "" {
		items = []ingest.Item{{Kind: event.KindTrack, Raw: r.Body, Err: fault.New(fault.Malformed,
			"the address has neither measurement_id nor firebase_app_id").WithFix("add ?measurement_id=G-…&api_secret=…")}}
	}
	for i := range items {
		items[i].Authenticated = by
	}
	return ingest.Received{Items: items}, nil
}

// prove says how far the sender is proved.
func (s *Source) prove(r *ingest.Request) (event.Authenticity, error) {
	known := ingest.Known(s.settings.Secrets, r.Query.Get("api_secret"))
	switch {
	case known || len(s.settings.Secrets) == 0 && r.Token:
		return event.AuthenticPath, nil
	case len(s.settings.Secrets) == 0 && s.settings.Open:
		return "", nil
	}
	return "", ingest.Forbidden("the api_secret is not the source's")
}

// debugReply is the answer of the validation server.
func debugReply(problems []problem) ingest.Reply {
	messages := make([]Message, 0, len(problems))
	for _, p := range problems {
		messages = append(messages, p.Message)
	}
	return ingest.JSON(http.StatusOK, map[string][]Message{"validationMessages": messages})
}

// Answer implements ingest.Source. The vendor's clients take everything but a
// 5xx for done: so an event that could be stored later gets its 429 or 503, and
// all else a 204.
func (*Source) Answer(r *ingest.Request, o ingest.Outcome) ingest.Reply {
	if o.Err != nil && fault.Retryable(o.Err) {
		return ingest.Standard(r, o)
	}
	return ingest.Reply{Status: http.StatusNoContent}
}

// fieldOf returns a JSON pointer as the validation server writes fields.
func fieldOf(pointer string) string {
	return strings.ReplaceAll(strings.TrimPrefix(pointer, "/"), "/", ".")
}
