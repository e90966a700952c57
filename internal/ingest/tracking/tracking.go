// Package tracking is a drop-in for the HTTP Tracking API of Segment, and for
// the gateway of RudderStack, which has the same routes: their clients are given
// another host, and nothing else.
package tracking

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

// Provider is the name of the source in what it brings.
const Provider = "tracking"

// The limits of the vendor, in bytes and events.
const (
	maxEvent  = 32 << 10
	maxBatch  = 500 << 10
	maxEvents = 2500
)

// Source is the HTTP Tracking API.
type Source struct{ settings ingest.Settings }

// New returns the source. The secrets are the write keys.
func New(s ingest.Settings) (*Source, error) {
	if len(s.Mapping) > 0 {
		return nil, fault.New(fault.BadConfig, "the source %s has a mapping", s.Name).
			WithFix("leave the mapping out: the clients' form is fixed")
	}
	return &Source{s}, nil
}

// kindOf returns the kind that a single call's path says. The short ones are
// those of Segment's script for browsers.
func kindOf(path string) string {
	switch path {
	case "/v1/track", "/v1/t":
		return event.KindTrack
	case "/v1/identify", "/v1/i":
		return event.KindIdentify
	case "/v1/page", "/v1/p":
		return event.KindPage
	case "/v1/screen", "/v1/s":
		return event.KindScreen
	case "/v1/group", "/v1/g":
		return event.KindGroup
	case "/v1/alias", "/v1/a":
		return event.KindAlias
	}
	return ""
}

func singles() []string {
	return []string{
		"/v1/track", "/v1/identify", "/v1/page", "/v1/screen", "/v1/group", "/v1/alias",
		"/v1/t", "/v1/i", "/v1/p", "/v1/s", "/v1/g", "/v1/a",
	}
}

// metricsPath is where Segment's script for browsers reports on itself.
const metricsPath = "/v1/m"

// beaconPath is RudderStack's, for a page that is being left: the write key is in
// the address.
const beaconPath = "/beacon/v1/batch"

func batches() []string {
	return []string{"/v1/batch", "/v1/b", "/v1/import", beaconPath}
}

// mediaForm is what RudderStack's client for Node calls its JSON, packed with
// gzip. The body is read as JSON all the same, whatever it is called.
const mediaForm = "application/x-www-form-urlencoded"

// Routes implements ingest.Source. The scripts for browsers send text/plain, so
// that no preflight is needed.
func (*Source) Routes() []ingest.Route {
	var routes []ingest.Route
	for _, path := range slices.Concat(singles(), batches(), []string{metricsPath}) {
		post := ingest.PostJSON(path)
		post.Lenient = true
		if slices.Contains(batches(), path) {
			post.Types = append(post.Types, mediaForm)
		}
		routes = append(routes, post)
	}
	return routes
}

// Receive implements ingest.Source.
func (s *Source) Receive(_ context.Context, r *ingest.Request) (ingest.Received, error) {
	if r.Path == metricsPath {
		return ingest.Received{Reply: new(done())}, nil
	}
	kind, most := kindOf(r.Path), maxBatch
	if kind != "" {
		most = maxEvent
	}
	if len(r.Body) > most {
		return s.unread(r, fault.New(fault.TooLarge, "the request has %d bytes, and %d are the most", len(r.Body), most).
			WithFix("send fewer events in one request, and less in one event"))
	}
	if kind != "" {
		return s.single(r, kind)
	}
	return s.batch(r)
}

// unread returns a request that cannot be read. If its header proves the sender,
// it is one event, which goes on the rejected list.
func (s *Source) unread(r *ingest.Request, why error) (ingest.Received, error) {
	by, err := s.prove(r, nil)
	if err != nil {
		return ingest.Received{}, why
	}
	return ingest.Received{Items: []ingest.Item{{Raw: r.Body, Authenticated: by, Err: why}}}, nil
}

func (s *Source) single(r *ingest.Request, kind string) (ingest.Received, error) {
	o, err := ingest.ParseObject(r.Body)
	if err != nil {
		return s.unread(r, err)
	}
	by, err := s.prove(r, o)
	if err != nil {
		return ingest.Received{}, err
	}
	return ingest.Received{Items: []ingest.Item{read(o, kind, r.Body, by)}}, nil
}

func (s *Source) batch(r *ingest.Request) (ingest.Received, error) {
	members, calls, err := ingest.Batch(r.Body, "batch")
	if err != nil {
		return s.unread(r, err)
	}
	by, err := s.prove(r, members)
	if err != nil {
		return ingest.Received{}, err
	}
	items := make([]ingest.Item, 0, len(calls))
	for i, raw := range calls {
		item := one(members, i, raw, by)
		if item.Err != nil {
			f := fault.From(item.Err)
			item.Err = f.At("/batch/" + strconv.Itoa(i) + f.Field)
		}
		items = append(items, item)
	}
	return ingest.Received{Items: items}, nil
}

// one reads one call of a batch.
func one(batch ingest.Object, i int, raw []byte, by event.Authenticity) ingest.Item {
	wrong := func(err error) ingest.Item { return ingest.Item{Raw: raw, Authenticated: by, Err: err} }
	switch {
	case i >= maxEvents:
		return wrong(fault.New(fault.TooLarge, "the request has more than %d events", maxEvents).
			WithFix("send fewer events in one request"))
	case len(raw) > maxEvent:
		return wrong(fault.New(fault.TooLarge, "the event has %d bytes, and %d are the most", len(raw), maxEvent).
			WithFix("send less in one event"))
	}
	o, err := ingest.ParseObject(raw)
	if err != nil {
		return wrong(err)
	}
	return read(merge(batch, o), "", raw, by)
}

// read reads one call. One without an id is known again by what it says, if that
// has a time; otherwise two calls could be two events, and each is its own.
func read(o ingest.Object, kind string, raw []byte, by event.Authenticity) ingest.Item {
	item := ingest.Call(o, kind)
	item.Raw, item.Authenticated = raw, by
	if item.ID == "" && !item.Trigger.OccurredAt.IsZero() {
		item.ID = contentID(o)
	}
	return item
}

// prove checks the write key: in the body, as the user of Basic, or in the
// address of a beacon. Whatever is given has to be right.
func (s *Source) prove(r *ingest.Request, o ingest.Object) (event.Authenticity, error) {
	var given []string
	if header := r.Header.Get("Authorization"); header != "" && ingest.Bearer(r.Header) == "" {
		user, password, ok := ingest.Basic(r.Header)
		if !ok || password != "" {
			user = "" // It is none of the keys.
		}
		given = append(given, user)
	}
	if key := o.Loose("writeKey"); key != nil {
		text, _ := key.(string)
		given = append(given, text)
	}
	if r.Query.Has("writeKey") {
		given = append(given, r.Query.Get("writeKey"))
	}
	known := len(given) > 0
	for _, key := range given {
		known = ingest.Known(s.settings.Secrets, key) && known
	}
	switch {
	case known, len(s.settings.Secrets) == 0 && r.Token:
		return event.AuthenticPath, nil
	case len(s.settings.Secrets) == 0 && s.settings.Open:
		return "", nil
	}
	return "", ingest.Forbidden("the write key is not the source's")
}

// problem is an event that was not taken, in an answer.
type problem struct {
	Index   int    `json:"index"`
	ID      string `json:"messageId,omitempty"`
	Reason  string `json:"reason"`
	Pointer string `json:"pointer,omitempty"`
	Message string `json:"message"`
}

// Answer implements ingest.Source. As the vendor's, it is 200 for nearly
// everything, wrong events included, and 400 for what is too large or no JSON:
// clients try again after 429 and 5xx only.
func (*Source) Answer(_ *ingest.Request, o ingest.Outcome) ingest.Reply {
	if o.Err != nil {
		return refusal(o.Err)
	}
	var problems []problem
	status := http.StatusOK
	for i, r := range o.Results {
		switch {
		case r.Rejected != nil:
			problems = append(problems, problemOf(i, r.ID, r.Rejected))
			if r.Rejected.Reason == fault.Malformed || r.Rejected.Reason == fault.TooLarge && i < maxEvents {
				status = http.StatusBadRequest
			}
		case r.Conflict:
			problems = append(problems, problem{i, r.ID, string(fault.IDReused), "", "another event was received under this messageId"})
		}
	}
	if len(problems) == 0 {
		return done()
	}
	return ingest.JSON(status, map[string]any{"success": status == http.StatusOK, "rejected": problems})
}

func problemOf(i int, id string, e *fault.Error) problem {
	bare := *e
	bare.Field = ""
	reason := string(e.Reason)
	if code, _, ok := strings.Cut(bare.Message, ": "); ok && code == noVisitor {
		reason = code
	}
	return problem{i, id, reason, e.Field, bare.Error()}
}

// noVisitor is the vendor's word for a call that names nobody.
const noVisitor = "no_user_anon_id"

func done() ingest.Reply {
	return ingest.JSON(http.StatusOK, map[string]bool{"success": true})
}

func refusal(e *fault.Error) ingest.Reply {
	status := ingest.StatusOf(e)
	switch e.Reason { //nolint:exhaustive // The others are as they are for everybody.
	case fault.TooLarge, fault.Malformed, fault.SchemaViolation, fault.MediaType:
		status = http.StatusBadRequest
	}
	reply := ingest.JSON(status, map[string]any{"success": false, "code": string(e.Reason), "message": e.Error()})
	ingest.RetryAfter(reply.Header, e)
	if status == http.StatusTooManyRequests {
		reply.Header.Set("X-RateLimit-Reset", reply.Header.Get("Retry-After"))
	}
	return reply
}
