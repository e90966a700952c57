// Package gtm receives events from a server container of Google Tag Manager,
// sent by a tag that posts all event data as JSON.
package gtm

import (
	"context"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/ingest"
)

// Provider is the name of the source in what it brings.
const Provider = "gtm"

// header is where the tag may have the secret, besides Authorization: Bearer.
const header = "X-Parley-Secret"

// Source receives the tag's requests. The tag takes a 2xx for success, and tries
// nothing again.
type Source struct{ settings ingest.Settings }

// New returns the source. The secrets are the values of a header that the tag
// sends; without any, the source's token proves the sender.
func New(s ingest.Settings) (ingest.Source, error) { return &Source{s}, nil }

// Routes implements ingest.Source.
func (*Source) Routes() []ingest.Route { return []ingest.Route{ingest.PostJSON("")} }

// Receive implements ingest.Source.
func (s *Source) Receive(_ context.Context, r *ingest.Request) (ingest.Received, error) {
	by, err := s.prove(r)
	if err != nil {
		return ingest.Received{}, err
	}
	items, err := read(r.Body, r.At)
	if err != nil { // The tag does not come again: so the rejected list gets it.
		items = []ingest.Item{{Kind: event.KindTrack, Raw: r.Body, Err: err}}
	}
	for i := range items {
		items[i].Authenticated = by
	}
	return ingest.Received{Items: items}, nil
}

// prove says how far the sender is proved.
func (s *Source) prove(r *ingest.Request) (event.Authenticity, error) {
	secrets := s.settings.Secrets
	switch {
	case ingest.Known(secrets, r.Header.Get(header)), ingest.Known(secrets, ingest.Bearer(r.Header)), len(secrets) == 0 && r.Token:
		return event.AuthenticPath, nil
	case len(secrets) == 0 && s.settings.Open:
		return "", nil
	}
	return "", ingest.Forbidden("the tag has not the source's secret in " + header)
}

// Answer implements ingest.Source.
func (*Source) Answer(r *ingest.Request, o ingest.Outcome) ingest.Reply { return ingest.Standard(r, o) }
