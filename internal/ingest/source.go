package ingest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// Source understands the requests of one kind of sender: it proves them, reads
// them into the normal form, and words the answers. It stores nothing. Its
// methods are called by many goroutines at once.
type Source interface {
	// Routes returns the requests that the source takes. They never change.
	Routes() []Route
	// Receive proves and parses a request whose size, encoding, method and media
	// type have been checked. An error refuses the whole request, and nothing of
	// it is stored; one event that is wrong is an item with an error instead. An
	// error for a sender that is not proved is Forbidden.
	Receive(ctx context.Context, r *Request) (Received, error)
	// Answer words the answer, in the vendor's way. It is called once everything
	// is stored, or once it is sure that it will not be. Standard is the answer
	// for vendors that have no way of their own.
	Answer(r *Request, o Outcome) Reply
}

// Route is a kind of request that a source takes.
type Route struct {
	// Method is the HTTP method, such as "POST".
	Method string
	// Path is what follows the source's own address: "" or "/v1/batch". A slash
	// at the end of a request's path makes no difference.
	Path string
	// Types are the media types of the body, without parameters. None means that
	// the request has no body that is looked at; see JSON.
	Types []string
	// Lenient also takes a body without any Content-Type, and text/plain, for
	// browsers that may not send another without a preflight.
	Lenient bool
}

// MediaJSON is the media type of JSON.
const MediaJSON = "application/json"

// PostJSON returns the route of a JSON body.
func PostJSON(path string) Route {
	return Route{Method: http.MethodPost, Path: path, Types: []string{MediaJSON}}
}

// Request is a request that has passed all limits. It is read only, and is the
// source's until Answer returns.
type Request struct {
	Method string
	// Path is the path of the route that matched.
	Path   string
	Header http.Header
	Query  url.Values
	// Type is the media type of the body, in lower case and without parameters.
	Type string
	// Body is the body as the sender meant it: after gzip or zstd, byte by byte.
	Body []byte
	// At is when it arrived.
	At time.Time
	// Token says that the source's token was in its place: the sender has the
	// second secret.
	Token bool

	// past says that the events are history: see Backfill.
	past bool
}

// Authenticity returns how far an event is proved that is covered by a
// signature, or not: see [Request.Token].
func (r *Request) Authenticity(signed bool) event.Authenticity {
	switch {
	case signed:
		return event.AuthenticFull
	case r.Token:
		return event.AuthenticPath
	}
	return ""
}

// Received is what a request holds.
type Received struct {
	// Items are the events, in the order of the request.
	Items []Item
	// Reply, if set, is the answer: nothing is stored. It is for handshakes and
	// for checks that a sender asks for.
	Reply *Reply
}

// Item is one event of a request.
type Item struct {
	// ID is the sender's own id of the event, by which a repetition is known; a
	// sender that has none is given one by the source, made with event.DerivedID
	// of what tells its events apart. "" is an event of its own every time.
	ID string
	// Kind is one of event.TriggerKinds.
	Kind string
	// Trigger is the event in the normal form. Site, ReceivedAt and Origin may be
	// empty: the pipeline sets them, the site by the source's configuration or by
	// URL. A zero OccurredAt becomes the time of arrival. Previous of an alias is
	// who the visitor was; otherwise it is nil, and the pipeline sets it.
	//
	// Numbers among Properties and Traits are json.Number, as Parse makes them,
	// so that none loses a digit.
	Trigger event.Trigger
	// Authenticated says how far this event is proved.
	Authenticated event.Authenticity
	// Raw is the event as it came: what the rejected list shows.
	Raw json.RawMessage
	// Err, if set, says what is wrong with the event: it is rejected. Its field
	// is a JSON pointer into the body. Other fields of the item are set as far as
	// they could be read.
	Err error
}

// Outcome is what became of a request.
type Outcome struct {
	// Results are the fates of the items, in their order. It is empty when Err is
	// set.
	Results []Result
	// Err says why the whole request was refused or could not be stored. Its
	// After is when another try is worth it.
	Err *fault.Error
}

// Result is the fate of one item.
type Result struct {
	// ID is the event's id.
	ID string
	// Duplicate says that the event had been stored before. Conflict says that
	// what was stored under its id then is another event: this one is not.
	Duplicate, Conflict bool
	// Rejected says why the event is on the rejected list, or nil.
	Rejected *fault.Error
}

// Reply is an answer to a sender.
type Reply struct {
	Status int
	Header http.Header // may be nil
	// Body is sent as JSON unless Header says otherwise. Nil is no body.
	Body []byte
}

// Settings are what the configuration says of one source.
type Settings struct {
	// Name is the source's name in the configuration: one token.
	Name string
	// Type is the kind of source, such as "segment".
	Type string
	// Secrets are what the sender signs with, or its write keys, as the type
	// means it. More than one are valid while they are being changed.
	Secrets [][]byte
	// Mapping says where the fields of an event are, for types that need telling.
	Mapping map[string]string
	// Quota is how many events a second the source may send; 0 is no limit. The
	// edge sees to it.
	Quota float64
	// Open says that the operator wants events that nothing proves.
	Open bool
}
