// Package botstar receives BotStar's webhooks. Nobody has published what they
// send, so the receiver is tolerant of names, and strict about who sends.
package botstar

import (
	"context"
	"crypto/sha256"
	"net/http"
	"strings"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

// Provider is the name of the source in what it brings.
const Provider = "botstar"

// Header has the signature of a sender that has one, as the stand-in does: sha256=
// and the hex HMAC-SHA256 of the body. The vendor signs nothing.
const Header = "X-Parley-Signature"

// mappingEnvironment is the key of the mapping that says which environment the
// source is for.
const mappingEnvironment = "environment"

// Source receives the webhooks of one bot.
type Source struct {
	settings ingest.Settings
	// environment is the only one that is taken: live, test, or "" for both.
	environment string
}

// New returns the source. The token in its address proves the sender; where there
// are secrets, a signature must do it too.
func New(s ingest.Settings) (ingest.Source, error) {
	source := &Source{settings: s}
	for key, value := range s.Mapping {
		if key != mappingEnvironment || value != "live" && value != "test" {
			return nil, fault.New(fault.BadConfig, "the source %s has the mapping %s: %s", s.Name, key, value).
				WithFix("environment may be live or test; there is nothing else to map")
		}
		source.environment = value
	}
	return source, nil
}

// Routes implements ingest.Source. Every event has an address of its own beside
// the common one: what the vendor sends may not name its event.
func (*Source) Routes() []ingest.Route {
	routes := []ingest.Route{ingest.PostJSON("")}
	for _, kind := range kinds() {
		routes = append(routes, ingest.PostJSON("/"+kind))
	}
	for i := range routes {
		routes[i].Lenient = true
	}
	return routes
}

// Receive implements ingest.Source.
func (s *Source) Receive(_ context.Context, r *ingest.Request) (ingest.Received, error) {
	by, err := s.prove(r)
	if err != nil {
		return ingest.Received{}, err
	}
	environment := firstText(r.Query.Get("environment"), r.Query.Get("env"), s.environment)
	items, err := read(r.Body, hint{strings.TrimPrefix(r.Path, "/"), environment}, r.At)
	if err != nil { // The vendor may not come again: so the rejected list gets it.
		items = []ingest.Item{{Raw: r.Body, Err: err}}
	}
	for i := range items {
		items[i].Authenticated = by
		if items[i].Err == nil {
			items[i].Err = s.foreign(items[i].Trigger.Properties)
		}
	}
	return ingest.Received{Items: items}, nil
}

// prove says how far the sender is proved.
func (s *Source) prove(r *ingest.Request) (event.Authenticity, error) {
	if len(s.settings.Secrets) > 0 {
		signature, ok := strings.CutPrefix(r.Header.Get(Header), "sha256=")
		if !ok || !ingest.SignedHex(sha256.New, s.settings.Secrets, r.Body, signature) {
			return "", ingest.Forbidden("the body is not signed with the source's secret")
		}
		return event.AuthenticFull, nil
	}
	if !r.Token && !s.settings.Open {
		return "", ingest.Forbidden("the address has not the source's token")
	}
	return r.Authenticity(false), nil
}

// foreign says that the event is of the other environment.
func (s *Source) foreign(properties map[string]any) error {
	of, _ := properties[PropEnvironment].(string)
	if s.environment == "" || of == s.environment {
		return nil
	}
	return fault.New(fault.SchemaViolation, "the event is of the environment %s, and the source takes %s", of, s.environment).
		At("/environment").WithFix("give the webhook of that environment the address of another source")
}

// Answer implements ingest.Source. Whatever the source understood is done with a
// 200: nobody knows what the vendor makes of a 4xx, and what is wrong is on the
// rejected list.
func (*Source) Answer(r *ingest.Request, o ingest.Outcome) ingest.Reply {
	reply := ingest.Standard(r, o)
	if o.Err == nil {
		reply.Status = http.StatusOK
	}
	return reply
}
