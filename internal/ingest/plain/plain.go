// Package plain takes events of any sender that can send JSON, or ask for an
// address: the configuration says where in it the fields are.
package plain

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

// maxBatch bounds the events of one request.
const maxBatch = 1000

// Source takes events of one sender. With secrets a request must be signed by
// Standard Webhooks; without, the source's token is the proof.
type Source struct {
	mapping *ingest.Mapping
	secrets [][]byte
}

// New returns the source of the settings.
func New(s ingest.Settings) (ingest.Source, error) {
	mapping, err := ingest.NewMapping(s.Mapping, nil)
	if err != nil {
		return nil, err
	}
	return &Source{mapping, s.Secrets}, nil
}

// Routes returns the source's one address, as POST with JSON and as GET with the
// fields in the query.
func (s *Source) Routes() []ingest.Route {
	return []ingest.Route{ingest.PostJSON(""), {Method: http.MethodGet, Path: ""}}
}

// Receive reads one event, or an array of them.
func (s *Source) Receive(_ context.Context, r *ingest.Request) (ingest.Received, error) {
	id := ""
	if len(s.secrets) > 0 {
		var err error
		if id, err = ingest.StandardWebhook(s.secrets, r.Header, r.Body, r.At); err != nil {
			return ingest.Received{}, err
		}
	}
	if r.Method == http.MethodGet {
		return s.query(r)
	}
	texts, array, err := ingest.Split(r.Body)
	if err != nil {
		return ingest.Received{}, err
	}
	if len(texts) > maxBatch {
		return ingest.Received{}, fault.New(fault.TooLarge, "the request has %d events, and %d are the most", len(texts), maxBatch)
	}
	var received ingest.Received
	for i, text := range texts {
		object, err := ingest.ParseObject(text)
		if err != nil && !array {
			return ingest.Received{}, err
		}
		item := ingest.Item{Err: err}
		if err == nil {
			item = s.mapping.Item(object)
		}
		item.Raw, item.Authenticated = text, r.Authenticity(len(s.secrets) > 0)
		if array {
			item.Err = below(strconv.Itoa(i), item.Err)
		}
		if item.ID == "" && id != "" {
			item.ID = id + indexed(array, i)
		}
		received.Items = append(received.Items, item)
	}
	return received, nil
}

// indexed tells the events of one signed message apart.
func indexed(array bool, i int) string {
	if !array {
		return ""
	}
	return "/" + strconv.Itoa(i)
}

// below puts the error's pointer below the item's place.
func below(place string, err error) error {
	e := fault.From(err)
	if e == nil {
		return nil
	}
	return e.At("/" + place + e.Field)
}

// query reads an event from the query. What names no field is a property.
func (s *Source) query(r *ingest.Request) (ingest.Received, error) {
	object, properties := ingest.Object{}, ingest.Object{}
	for name, values := range r.Query {
		switch {
		case len(values) != 1:
			return ingest.Received{}, fault.New(fault.SchemaViolation, "is there twice").At(ingest.Pointer(name)).
				WithFix("send it once")
		case name == "access_token":
		case slices.Contains(fieldsOfQuery(), name):
			object[name] = values[0]
		default:
			properties[strings.TrimPrefix(name, "properties.")] = values[0]
		}
	}
	if len(properties) > 0 {
		object[ingest.FieldProperties] = properties
	}
	plain, err := ingest.NewMapping(nil, nil)
	if err != nil {
		return ingest.Received{}, err
	}
	item := plain.Item(object)
	item.Raw, item.Authenticated = []byte(withoutToken(r.Query)), r.Authenticity(len(s.secrets) > 0)
	return ingest.Received{Items: []ingest.Item{item}}, nil
}

// withoutToken returns the query as text, for the rejected list.
func withoutToken(query url.Values) string {
	rest := url.Values{}
	for name, values := range query {
		if name != "access_token" {
			rest[name] = values
		}
	}
	return rest.Encode()
}

// fieldsOfQuery are the fields that one text can be.
func fieldsOfQuery() []string {
	return []string{
		ingest.FieldID, ingest.FieldKind, ingest.FieldEvent, ingest.FieldSite, ingest.FieldUserID, ingest.FieldEmail,
		ingest.FieldAnonymousID, ingest.FieldPreviousID, ingest.FieldPreviousUser, ingest.FieldURL, ingest.FieldTime, ingest.FieldGroup,
	}
}

// Answer is the standard answer.
func (s *Source) Answer(r *ingest.Request, o ingest.Outcome) ingest.Reply {
	return ingest.Standard(r, o)
}
