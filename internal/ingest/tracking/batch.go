package tracking

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

// envelope is the body of a batch, opened: its calls as they came, so that one
// that is wrong spoils no other.
type envelope struct {
	// members are the others of the body: writeKey, context, integrations.
	members ingest.Object
	calls   []json.RawMessage
}

// open reads the body of a batch without looking into its calls.
func open(body []byte) (envelope, error) {
	d := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true))
	if token, err := d.ReadToken(); err != nil || token.Kind() != '{' {
		return whole(body)
	}
	var batch []byte
	rest := []byte("{") // The body without its calls, for the strict parser.
	for d.PeekKind() != '}' {
		name, err := d.ReadValue()
		if err != nil {
			return whole(body)
		}
		if len(rest) > 1 {
			rest = append(rest, ',')
		}
		rest = append(append(rest, name...), ':')
		isBatch := string(name) == `"batch"` && batch == nil
		value, err := d.ReadValue()
		if err != nil {
			return whole(body)
		}
		if isBatch {
			batch, value = bytes.Clone(value), []byte("[]")
		}
		rest = append(rest, value...)
	}
	if _, err := d.ReadToken(); err != nil {
		return whole(body)
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return whole(body)
	}
	members, err := ingest.ParseObject(append(rest, '}'))
	if err != nil {
		return envelope{}, err
	}
	calls, array, err := ingest.Split(batch)
	if err != nil {
		return envelope{}, err
	}
	if !array {
		return envelope{}, fault.New(fault.SchemaViolation, "is no list of calls").At("/batch").WithFix("send {\"batch\": […]}")
	}
	return envelope{members, calls}, nil
}

// whole explains what is wrong with a body that is no object, in the words of the
// strict parser.
func whole(body []byte) (envelope, error) {
	_, err := ingest.ParseObject(body)
	if err == nil {
		err = fault.New(fault.Malformed, "the body is not JSON").WithFix("send valid JSON")
	}
	return envelope{}, err
}

// merge adds the context and the integrations of the batch to the call, whose own
// win.
func (e envelope) merge(o ingest.Object) ingest.Object {
	for _, name := range []string{"context", "integrations"} {
		general := e.members.Object(name)
		if len(general) == 0 {
			continue
		}
		own, isObject := o[name].(ingest.Object)
		if o[name] != nil && !isObject {
			continue // Wrong, or Integrations: false; the check says so.
		}
		o[name] = over(general, own)
	}
	return o
}

// over returns the general object with the own members over it, at any depth.
func over(general, own ingest.Object) ingest.Object {
	both := make(ingest.Object, len(general)+len(own))
	maps.Copy(both, general)
	for name, value := range own {
		below, belowIs := both[name].(ingest.Object)
		mine, mineIs := value.(ingest.Object)
		if belowIs && mineIs {
			value = over(below, mine)
		}
		both[name] = value
	}
	return both
}

// contentID returns an id that follows from what the call says: all but what
// changes from try to try.
func contentID(o ingest.Object) string {
	same := maps.Clone(o)
	for _, name := range []string{"sentAt", "sent_at", "writeKey"} {
		delete(same, name)
	}
	text, err := json.Marshal(same) // Sorted, so that the order of members says nothing.
	if err != nil {
		return "" // What was parsed can be written.
	}
	return event.DerivedID("tracking", string(text))
}
