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
func ParseData(data []byte) (any, error) { return newParser(data).parse() }

// parse reads the one value of the data.
func (p *parser) parse() (any, error) {
	if len(bytes.TrimSpace(p.data)) == 0 {
		return nil, fault.New(fault.Malformed, "the data is missing").WithFix("put a JSON object in the body")
	}
	value, err := p.value()
	if err == nil {
		err = p.end()
	}
	if err != nil {
		return nil, err
	}
	return value, nil
}

// A parser reads one JSON value. It may be used again after a reset.
type parser struct {
	jsontext.Decoder
	buffer bytes.Buffer
	data   []byte
	// member is the member of the outermost object whose text becomes raw.
	member string
	raw    json.RawMessage
}

func newParser(data []byte) *parser {
	p := &parser{}
	p.reset(data, "")
	return p
}

// reset begins anew, with other data. Double members are found by the parser
// itself: the decoder's own way costs a third of the time.
func (p *parser) reset(data []byte, member string) {
	p.data, p.member, p.raw = data, member, nil
	p.buffer = *bytes.NewBuffer(data)
	p.Reset(&p.buffer, jsontext.AllowDuplicateNames(true))
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
		if _, twice := members[name]; twice || forbidden(name) {
			return nil, p.refuse(name, twice)
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

// forbidden reports whether the name could change the prototype of an object
// that a careless script copies it into.
func forbidden(name string) bool {
	return name == "__proto__" || name == "constructor" || name == "prototype"
}

func (p *parser) refuse(name string, twice bool) error {
	at := string(p.StackPointer())
	if twice {
		return fault.New(fault.SchemaViolation, "is there twice").At(at).WithFix("send the member once")
	}
	return fault.New(fault.SchemaViolation, "is a name that is never allowed").At(at).WithFix("remove the member %s", name)
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
	case !utf8.Valid(p.data):
		return notUTF8()
	case ok:
		return fault.New(fault.Malformed, "the data is not JSON: %s, at byte %d", broken.Err, broken.ByteOffset).
			WithFix("send valid JSON")
	}
	return fault.New(fault.Malformed, "the data is not JSON: it ends too early").WithFix("send valid JSON")
}
