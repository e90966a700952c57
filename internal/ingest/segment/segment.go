// Package segment receives Segment's webhooks: the classic destination, the
// Actions destination with its batches, and partner subscriptions.
package segment

import (
	"context"
	"crypto/sha1" //nolint:gosec // Segment signs with it.
	"net/http"
	"strconv"
	"strings"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

// Provider is the name of the source in what it brings.
const Provider = "segment"

// maxBatch is how many events Segment puts into one request at the most.
const maxBatch = 4000

const signatureHeader = "X-Signature"

// Source receives Segment's webhooks.
type Source struct{ settings ingest.Settings }

// New returns the source. The secrets are the destination's shared secrets, with
// which Segment signs, or the key of a partner subscription. A signature covers
// the first event of a batch only: whoever wants batches sets a token too.
func New(s ingest.Settings) (*Source, error) {
	if len(s.Mapping) > 0 {
		return nil, fault.New(fault.BadConfig, "the source %s has a mapping", s.Name).
			WithFix("leave the mapping out: the mapping of the destination in Segment sends the whole event")
	}
	return &Source{s}, nil
}

// Routes implements ingest.Source.
func (*Source) Routes() []ingest.Route {
	post := ingest.PostJSON("")
	put, patch := post, post
	put.Method, patch.Method = http.MethodPut, http.MethodPatch
	return []ingest.Route{post, put, patch}
}

// Receive implements ingest.Source. The proof comes before the parsing, and is of
// the bytes as they came.
func (s *Source) Receive(_ context.Context, r *ingest.Request) (ingest.Received, error) {
	raw, array, err := ingest.Split(r.Body)
	if err != nil {
		return ingest.Received{}, err
	}
	if len(raw) > maxBatch {
		return ingest.Received{}, fault.New(fault.TooLarge, "the request has %d events, and %d are the most", len(raw), maxBatch).
			WithFix("set a smaller batch size in the destination")
	}
	signed := r.Body
	if array {
		signed = nil
		if len(raw) > 0 {
			signed = raw[0]
		}
	}
	proved, err := s.prove(r, signed, len(raw))
	if err != nil {
		return ingest.Received{}, err
	}
	items := make([]ingest.Item, 0, len(raw))
	for i, one := range raw {
		item := read(one)
		if item.Err != nil && array {
			e := fault.From(item.Err)
			item.Err = e.At("/" + strconv.Itoa(i) + e.Field)
		}
		item.Raw, item.Authenticated = one, proved.rest
		if i == 0 {
			item.Authenticated = proved.first
		}
		items = append(items, item)
	}
	return ingest.Received{Items: items}, nil
}

func read(raw []byte) ingest.Item {
	o, err := ingest.ParseObject(raw)
	if err != nil {
		return ingest.Item{Err: err}
	}
	item := ingest.Call(o, "")
	if item.Err == nil && item.ID == "" {
		item.Err = fault.New(fault.SchemaViolation, "the event has no id, so a repetition could not be told").At("/messageId").
			WithFix("map messageId in the destination")
	}
	return item
}

// proof says how far the events of a request are proved.
type proof struct{ first, rest event.Authenticity }

// prove checks the sender. The signed text is the body or the first event of a
// batch; there is none in an empty batch.
func (s *Source) prove(r *ingest.Request, signed []byte, events int) (proof, error) {
	path := proof{event.AuthenticPath, event.AuthenticPath}
	if user, password, ok := ingest.Basic(r.Header); ok && password == "" && ingest.Known(s.settings.Secrets, user) {
		return path, nil // A partner subscription.
	}
	switch {
	case len(s.settings.Secrets) == 0 && r.Token:
		return path, nil
	case len(s.settings.Secrets) == 0 && s.settings.Open:
		return proof{}, nil
	case !s.signed(r, signed):
		return proof{}, ingest.Forbidden("the signature does not fit the request")
	case r.Token:
		return proof{event.AuthenticFull, event.AuthenticFirst}, nil
	case events > 1:
		return proof{}, ingest.Forbidden("the signature covers only the first event of a batch").
			WithFix("set a token for the source, and add it to the destination as a header or to its address; or turn batches off")
	}
	return proof{first: event.AuthenticFull}, nil
}

// signed reports whether the request has one signature, in Segment's form, and it
// is right.
func (s *Source) signed(r *ingest.Request, text []byte) bool {
	given := r.Header.Values(signatureHeader)
	return len(given) == 1 && text != nil && strings.ToLower(given[0]) == given[0] &&
		ingest.SignedHex(sha1.New, s.settings.Secrets, text, given[0])
}

// result is the fate of one event of a batch, as Segment's functions word it.
type result struct {
	Status  int    `json:"status"`
	Message string `json:"errormessage,omitempty"`
}

// Answer implements ingest.Source. Segment tries again after 5xx and 429, shows
// the message of any other error, and takes an event that had been stored before
// for delivered.
func (*Source) Answer(_ *ingest.Request, o ingest.Outcome) ingest.Reply {
	if o.Err != nil {
		reply := ingest.JSON(statusOf(o.Err), map[string]string{"message": message(o.Err)})
		ingest.RetryAfter(reply.Header, o.Err)
		return reply
	}
	results, wrong := make([]result, 0, len(o.Results)), 0
	for _, r := range o.Results {
		one := result{Status: http.StatusOK}
		switch {
		case r.Rejected != nil:
			one = result{statusOf(r.Rejected), message(r.Rejected)}
		case r.Conflict:
			one = result{http.StatusBadRequest, "another event was received under this messageId"}
		}
		if one.Status != http.StatusOK {
			wrong++
		}
		results = append(results, one)
	}
	switch {
	case wrong == 0:
		return ingest.JSON(http.StatusOK, map[string]bool{"success": true})
	case len(results) == 1:
		return ingest.JSON(results[0].Status, map[string]string{"message": results[0].Message})
	case wrong == len(results):
		return ingest.JSON(http.StatusBadRequest, map[string]any{"message": "no event of the batch could be read", "results": results})
	}
	return ingest.JSON(http.StatusOK, map[string]any{"results": results})
}

// statusOf returns the status among those that Segment understands.
func statusOf(e *fault.Error) int {
	status := ingest.StatusOf(e)
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusInternalServerError:
		return status
	case http.StatusGatewayTimeout:
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}

func message(e *fault.Error) string {
	if e.Fix == "" {
		return e.Error()
	}
	return e.Error() + "; " + e.Fix
}
