package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/parley-chat/parley/internal/fault"
)

// Batch reads a JSON object that has a list of events among its members: the
// events as they came, unread, so that one that is wrong spoils no other; and the
// other members, parsed.
func Batch(body []byte, list string) (members Object, events []json.RawMessage, err error) {
	d := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true))
	if token, err := d.ReadToken(); err != nil || token.Kind() != '{' {
		return nil, nil, noObject(body)
	}
	var batch []byte
	rest := []byte("{") // The body without its events, for the strict parser.
	for d.PeekKind() != '}' {
		name, err := d.ReadValue()
		if err != nil {
			return nil, nil, noObject(body)
		}
		if len(rest) > 1 {
			rest = append(rest, ',')
		}
		rest = append(append(rest, name...), ':')
		isList := batch == nil && string(bytes.Trim(name, `"`)) == list
		value, err := d.ReadValue()
		if err != nil {
			return nil, nil, noObject(body)
		}
		if isList {
			batch, value = bytes.Clone(value), []byte("[]")
		}
		rest = append(rest, value...)
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, nil, noObject(body)
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, nil, noObject(body)
	}
	if members, err = ParseObject(append(rest, '}')); err != nil {
		return nil, nil, err
	}
	events, array, err := Split(batch)
	if err != nil {
		return nil, nil, err
	}
	if !array {
		return nil, nil, fault.New(fault.SchemaViolation, "is no list of events").At(Pointer(list)).
			WithFix("send {%q: […]}", list)
	}
	return members, events, nil
}

// noObject says what is wrong with a body that is no object, in the words of the
// strict parser.
func noObject(body []byte) error {
	if _, err := ParseObject(body); err != nil {
		return err
	}
	return fault.New(fault.Malformed, "the body is not JSON").WithFix("send valid JSON")
}
