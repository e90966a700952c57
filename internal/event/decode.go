package event

import (
	"bytes"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parley-chat/parley/internal/fault"
)

// Decode returns the envelope of a message, in either mode: a Content-Type that
// begins with application/cloudevents means structured mode, everything else
// binary mode. It reads what the CloudEvents SDK writes, too: header values that
// are not percent-encoded, and structured messages without a Content-Type.
//
// Every fault is a [fault.Malformed] that names the attribute. The data is not
// looked into, beyond being valid UTF-8 when it is JSON: see [Schemas.Validate].
// The envelope shares the body.
func Decode(header map[string][]string, body []byte) (Envelope, error) {
	var r reader
	media, err := r.contentType(header)
	if err != nil {
		return Envelope{}, err
	}
	if isEventMedia(media) {
		return decodeStructured(media, body)
	}
	e, err := r.binary(header)
	switch {
	case err != nil:
		return Envelope{}, err
	case !r.specVersion && looksStructured(body):
		return decodeStructured(mediaEventJSON, body)
	case !r.specVersion:
		return Envelope{}, missing("specversion")
	}
	if e.DataContentType == "" {
		e.DataContentType = media
		if err := checkText("datacontenttype", media); err != nil {
			return Envelope{}, err
		}
	}
	if len(body) > 0 {
		e.Data = body
	}
	if err := check(e); err != nil {
		return Envelope{}, err
	}
	return e, nil
}

// check is what both modes demand of a finished envelope.
func check(e Envelope) error {
	switch {
	case e.ID == "":
		return missing("id")
	case e.Source == "":
		return missing("source")
	case e.Type == "":
		return missing("type")
	case isJSON(e.DataContentType) && !utf8.Valid(e.Data):
		return notUTF8()
	}
	return nil
}

func notUTF8() *fault.Error {
	return fault.New(fault.Malformed, "the data is not valid UTF-8").WithFix("encode the data in UTF-8")
}

// A reader reads the headers of one message.
type reader struct {
	seen        uint8 // a bit for each attribute that is a field of Envelope
	specVersion bool
}

// contentType returns the media type of the message, or "".
func (r *reader) contentType(header map[string][]string) (string, error) {
	values, ok := header[headerContentType]
	if !ok {
		values, ok = header["Content-Type"]
	}
	if !ok {
		for name, other := range header {
			if len(name) == len(headerContentType) && strings.EqualFold(name, headerContentType) {
				values = other
				break
			}
		}
	}
	return single(headerContentType, values)
}

// single returns the one value of a header. The same value twice counts as
// once; two different ones are a contradiction.
func single(name string, values []string) (string, error) {
	switch {
	case len(values) == 0:
		return "", nil
	case len(values) > 1 && slices.ContainsFunc(values[1:], func(v string) bool { return v != values[0] }):
		return "", contradiction(name)
	}
	return values[0], nil
}

func contradiction(name string) *fault.Error {
	return fault.New(fault.Malformed, "the header %s has two different values", name).
		WithFix("send the header once")
}

// binary reads the attributes from the headers.
func (r *reader) binary(header map[string][]string) (Envelope, error) {
	var e Envelope
	for key, values := range header {
		if len(key) <= len(headerPrefix) || key[2] != '-' || key[0]|0x20 != 'c' || key[1]|0x20 != 'e' {
			continue
		}
		name := strings.ToLower(key[len(headerPrefix):])
		raw, err := single(key, values)
		if err != nil {
			return e, err
		}
		value := unescape(raw)
		if err := checkText(name, value); err != nil {
			return e, err
		}
		if err := r.set(&e, name, value, len(header)); err != nil {
			return e, err
		}
	}
	return e, nil
}

// set puts the attribute where it belongs. room is how many extensions there
// may be at most.
func (r *reader) set(e *Envelope, name, value string, room int) error {
	switch name {
	case "id":
		return r.once(&e.ID, 0, name, value)
	case "source":
		return r.once(&e.Source, 1, name, value)
	case "type":
		return r.once(&e.Type, 2, name, value)
	case "subject":
		return r.once(&e.Subject, 3, name, value)
	case "dataschema":
		return r.once(&e.DataSchema, 4, name, value)
	case "datacontenttype":
		return r.once(&e.DataContentType, 5, name, value)
	case "specversion":
		r.specVersion = true
		return checkVersion(value)
	case "time":
		at, err := parseTime(value)
		if err == nil && !e.Time.IsZero() && !e.Time.Equal(at) {
			return contradiction(headerPrefix + name)
		}
		e.Time = at
		return err
	}
	if err := checkName(name); err != nil {
		return err
	}
	if e.Extensions == nil {
		e.Extensions = make(map[string]string, max(room-8, 1))
	}
	if old, ok := e.Extensions[name]; ok && old != value {
		return contradiction(headerPrefix + name)
	}
	e.Extensions[name] = value
	return nil
}

// once sets the field, and refuses a second, different value: ce-id and CE-ID
// name the same attribute.
func (r *reader) once(field *string, bit uint8, name, value string) error {
	if r.seen&(1<<bit) != 0 && *field != value {
		return contradiction(headerPrefix + name)
	}
	r.seen |= 1 << bit
	*field = value
	return nil
}

func checkVersion(value string) error {
	if value == specVersion {
		return nil
	}
	return fault.New(fault.Malformed, "the CloudEvents specversion %q is not known", value).
		WithFix("send CloudEvents %s", specVersion)
}

func parseTime(value string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339Nano, value)
	if err != nil {
		return at, fault.New(fault.Malformed, "the CloudEvents attribute time is %q, which is no time", value).
			WithFix("write the time as in RFC 3339, such as 2026-11-24T09:30:00Z")
	}
	return at, nil
}

// isJSON reports whether data of the content type is JSON, which is the
// default.
func isJSON(media string) bool {
	if media == "" || media == mediaJSON {
		return true
	}
	media, _, _ = strings.Cut(media, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	return strings.HasSuffix(media, "/json") || strings.HasSuffix(media, "+json")
}

func isEventMedia(media string) bool {
	return len(media) >= len(mediaEvent) && strings.EqualFold(media[:len(mediaEvent)], mediaEvent)
}

// looksStructured reports whether the body may be an event in the JSON format.
func looksStructured(body []byte) bool {
	trimmed := bytes.TrimLeft(body, " \t\r\n")
	return len(trimmed) > 0 && trimmed[0] == '{' && bytes.Contains(body, []byte(`"specversion"`))
}
