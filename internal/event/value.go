package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/parley-chat/parley/internal/fault"
)

// maxDepth bounds how deep data may nest. The deepest schema of ours has six
// levels.
const maxDepth = 64

// ParseData reads the data of an event into maps, slices, strings, float64,
// bool and nil. It is stricter than encoding/json: it refuses invalid UTF-8 and
// lone surrogates, a member that is there twice, numbers out of range, nesting
// deeper than 64, and the member names __proto__, constructor and prototype,
// which could change the prototypes of a page.
func ParseData(data []byte) (any, error) {
	value, _, err := parse(data, "")
	return value, err
}

// parse is ParseData that also returns the raw text of one member of the
// outermost object.
func parse(data []byte, member string) (value any, raw json.RawMessage, err error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, nil, fault.New(fault.Malformed, "the data is missing").WithFix("put a JSON object in the body")
	}
	p := newParser(data)
	p.member = member
	value, err = p.value()
	if err == nil {
		err = p.end()
	}
	if err != nil {
		return nil, nil, err
	}
	return value, p.raw, nil
}

// A parser reads one JSON value.
type parser struct {
	*jsontext.Decoder
	data []byte
	// member is the member of the outermost object whose text becomes raw.
	member string
	raw    json.RawMessage
}

func newParser(data []byte) parser {
	return parser{Decoder: jsontext.NewDecoder(bytes.NewBuffer(data)), data: data}
}

// text returns the text of the member whose name ended at the offset.
func (p *parser) text(from int64) json.RawMessage {
	return bytes.TrimLeft(p.data[from:p.InputOffset()], " \t\r\n:")
}

func (p *parser) value() (any, error) {
	token, err := p.ReadToken()
	if err != nil {
		return nil, p.syntax(err)
	}
	switch token.Kind() {
	case '{':
		return p.object()
	case '[':
		return p.array()
	case '"':
		return token.String(), nil
	case '0':
		return p.number(token.Float())
	case 't', 'f':
		return token.Bool(), nil
	}
	return nil, nil //nolint:nilnil // JSON's null.
}

func (p *parser) object() (any, error) {
	if err := p.deep(); err != nil {
		return nil, err
	}
	members := map[string]any{}
	for p.PeekKind() != '}' {
		token, err := p.ReadToken()
		if err != nil {
			return nil, p.syntax(err)
		}
		name, from := token.String(), p.InputOffset()
		if name == "__proto__" || name == "constructor" || name == "prototype" {
			return nil, fault.New(fault.SchemaViolation, "is a name that is never allowed").
				At(string(p.StackPointer())).WithFix("remove the member %s", name)
		}
		if members[name], err = p.value(); err != nil {
			return nil, err
		}
		if name == p.member && p.StackDepth() == 1 {
			p.raw = p.text(from)
		}
	}
	_, err := p.ReadToken()
	return members, p.syntax(err)
}

func (p *parser) array() (any, error) {
	if err := p.deep(); err != nil {
		return nil, err
	}
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

func (p *parser) deep() error {
	if p.StackDepth() <= maxDepth {
		return nil
	}
	return fault.New(fault.Malformed, "the data nests deeper than %d levels", maxDepth).WithFix("send flatter data")
}

func (p *parser) number(f float64) (any, error) {
	if math.Abs(f) >= math.MaxFloat64 {
		return nil, fault.New(fault.Malformed, "the number is out of range").
			At(string(p.StackPointer())).WithFix("send a smaller number")
	}
	return f, nil
}

// end refuses anything after the value.
func (p *parser) end() error {
	_, err := p.ReadToken()
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return p.syntax(err)
	}
	return fault.New(fault.Malformed, "the data goes on after its end").WithFix("send one JSON value")
}

// syntax classifies an error of the decoder. It returns nil for nil, and a
// classified error as it is.
func (p *parser) syntax(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	broken, ok := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case ok && errors.Is(err, jsontext.ErrDuplicateName):
		return fault.New(fault.SchemaViolation, "is there twice").
			At(string(broken.JSONPointer)).WithFix("send the member once")
	case !utf8.Valid(p.data):
		return notUTF8()
	case ok:
		return fault.New(fault.Malformed, "the data is not JSON: %s, at byte %d", broken.Err, broken.ByteOffset).
			WithFix("send valid JSON")
	}
	return fault.New(fault.Malformed, "the data is not JSON: it ends too early").WithFix("send valid JSON")
}
