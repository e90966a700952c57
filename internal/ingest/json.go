package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/parley-chat/parley/internal/fault"
)

const (
	// maxDepth bounds how deep a body may nest.
	maxDepth = 48
	// maxValues bounds the values and members of one body, so that a body of
	// commas cannot become a hundred times its size in memory.
	maxValues = 200_000
)

// Parse reads one JSON value into Object, []any, string, json.Number, bool and
// nil. It is stricter than encoding/json: it refuses invalid UTF-8, lone
// surrogates and a byte order mark, a member that is there twice, numbers out of
// the range of a float64, nesting deeper than 48, more than 200,000 values, and
// the member names __proto__, constructor and prototype. Numbers keep every
// digit. The error's field is a JSON pointer.
func Parse(data []byte) (any, error) {
	p := newParser(data)
	value, err := p.value()
	if err != nil {
		return nil, err
	}
	switch _, err := p.ReadToken(); {
	case errors.Is(err, io.EOF):
		return value, nil
	case err != nil:
		return nil, p.syntax(err)
	}
	return nil, fault.New(fault.Malformed, "the body goes on after its end").WithFix("send one JSON value")
}

// ParseObject is Parse for an object.
func ParseObject(data []byte) (Object, error) {
	value, err := Parse(data)
	if err != nil {
		return nil, err
	}
	object, ok := value.(Object)
	if !ok {
		return nil, fault.New(fault.SchemaViolation, "is no JSON object").WithFix("send an object: {…}")
	}
	return object, nil
}

// Split returns the texts of the items of an array, each byte by byte as it
// came, and of anything else the one text, without the space around it. It does
// not look into the items: Parse does.
func Split(data []byte) (items []json.RawMessage, array bool, err error) {
	trimmed := bytes.TrimSpace(data)
	if len(trimmed) == 0 || trimmed[0] != '[' {
		return []json.RawMessage{trimmed}, false, nil
	}
	p := newParser(trimmed)
	if _, err := p.ReadToken(); err != nil {
		return nil, true, p.syntax(err)
	}
	for p.PeekKind() != ']' {
		if len(items) >= maxValues {
			return nil, true, p.tooMany()
		}
		item, err := p.ReadValue()
		if err != nil {
			return nil, true, p.syntax(err)
		}
		end := p.InputOffset()
		items = append(items, trimmed[end-int64(len(item)):end:end])
	}
	if _, err := p.ReadToken(); err != nil {
		return nil, true, p.syntax(err)
	}
	if _, err := p.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, true, fault.New(fault.Malformed, "the body goes on after its end").WithFix("send one JSON value")
	}
	return items, true, nil
}

// parser reads one JSON value.
type parser struct {
	jsontext.Decoder
	buffer bytes.Buffer
	data   []byte
	values int
}

func newParser(data []byte) *parser {
	p := &parser{data: data}
	p.buffer = *bytes.NewBuffer(data)
	p.Reset(&p.buffer, jsontext.AllowDuplicateNames(true)) // The parser finds double members itself.
	return p
}

func (p *parser) value() (any, error) {
	token, err := p.ReadToken()
	if err != nil {
		return nil, p.syntax(err)
	}
	if p.values++; p.values > maxValues {
		return nil, p.tooMany()
	}
	if p.StackDepth() > maxDepth {
		return nil, fault.New(fault.Malformed, "the body nests deeper than %d levels", maxDepth).WithFix("send flatter data")
	}
	switch token.Kind() {
	case '{':
		return p.object()
	case '[':
		return p.array()
	case '"':
		return token.String(), nil
	case '0':
		return p.number(token.String())
	case 't', 'f':
		return token.Bool(), nil
	}
	return nil, nil //nolint:nilnil // JSON's null.
}

func (p *parser) object() (any, error) {
	members := Object{}
	for p.PeekKind() != '}' {
		token, err := p.ReadToken()
		if err != nil {
			return nil, p.syntax(err)
		}
		name := token.String()
		if _, twice := members[name]; twice {
			return nil, fault.New(fault.SchemaViolation, "is there twice").At(string(p.StackPointer())).WithFix("send the member once")
		}
		if name == "__proto__" || name == "constructor" || name == "prototype" {
			return nil, fault.New(fault.SchemaViolation, "is a name that is never allowed").At(string(p.StackPointer())).
				WithFix("remove the member %s", name)
		}
		if members[name], err = p.value(); err != nil {
			return nil, err
		}
	}
	_, err := p.ReadToken()
	return members, p.syntax(err)
}

func (p *parser) array() (any, error) {
	items := []any{}
	for p.PeekKind() != ']' {
		item, err := p.value()
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	_, err := p.ReadToken()
	return items, p.syntax(err)
}

func (p *parser) number(text string) (any, error) {
	if f, err := strconv.ParseFloat(text, 64); err != nil || math.IsInf(f, 0) {
		return nil, fault.New(fault.SchemaViolation, "the number is out of range").At(string(p.StackPointer())).
			WithFix("send a smaller number, or a text")
	}
	return json.Number(text), nil
}

func (p *parser) tooMany() error {
	return fault.New(fault.TooLarge, "the body has more than %d values", maxValues).WithFix("send fewer events in one request")
}

// syntax classifies an error of the decoder; nil stays nil.
func (p *parser) syntax(err error) error {
	if err == nil {
		return nil
	}
	broken, ok := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case len(bytes.TrimSpace(p.data)) == 0:
		return fault.New(fault.Malformed, "the body is empty").WithFix("send a JSON object")
	case bytes.HasPrefix(p.data, []byte("\xef\xbb\xbf")):
		return fault.New(fault.Malformed, "the body begins with a byte order mark").WithFix("send UTF-8 without a mark")
	case !utf8.Valid(p.data):
		return fault.New(fault.Malformed, "the body is not UTF-8").WithFix("encode the body in UTF-8")
	case ok:
		return fault.New(fault.Malformed, "the body is not JSON: %s, at byte %d", broken.Err, broken.ByteOffset).
			WithFix("send valid JSON")
	}
	return fault.New(fault.Malformed, "the body is not JSON: it ends too early").WithFix("send valid JSON")
}

// Object is a JSON object as Parse reads it.
type Object map[string]any

// Get returns the value at the path of member names, or nil.
func (o Object) Get(path ...string) any {
	var at any = o
	for _, name := range path {
		object, ok := at.(Object)
		if !ok {
			return nil
		}
		at = object[name]
	}
	return at
}

// Object returns the object at the path, or nil.
func (o Object) Object(path ...string) Object {
	object, _ := o.Get(path...).(Object)
	return object
}

// Text returns the text at the path: a string, or the digits of a number, which
// senders use for ids; "" for anything else.
func (o Object) Text(path ...string) string {
	switch value := o.Get(path...).(type) {
	case string:
		return value
	case json.Number:
		return value.String()
	}
	return ""
}

// Time returns the RFC 3339 time at the path. A member that is not there, or
// null, is the zero time; anything else that is no time is an error at the
// path.
func (o Object) Time(path ...string) (time.Time, error) {
	value := o.Get(path...)
	if value == nil || value == "" {
		return time.Time{}, nil
	}
	text, _ := value.(string)
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, fault.New(fault.SchemaViolation, "is no time").At(Pointer(path...)).
			WithFix("write the time as in RFC 3339, such as 2026-11-24T09:30:00Z")
	}
	return at.UTC(), nil
}

// Plain returns the object as encoding/json knows it; nil stays nil.
func (o Object) Plain() map[string]any { return map[string]any(o) }

// Pointer returns the JSON pointer of the path.
func Pointer(path ...string) string {
	var pointer jsontext.Pointer
	for _, name := range path {
		pointer = pointer.AppendToken(name)
	}
	return string(pointer)
}
