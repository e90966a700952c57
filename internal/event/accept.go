package event

import (
	"math"
	"math/big"
	"slices"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// A plan is the part of a compiled schema that our schemas use, in a form that
// accepts correct data at a tenth of the validator's cost and without an
// allocation. It never refuses: data that it does not accept goes to the
// validator, which has the last word and finds the words.
type plan struct {
	types    types
	enum     []string // nil when any value may be there
	not      []string
	required []string
	members  map[string]*plan
	names    *plan
	rest     *plan // of members that are not named; nil when they may be anything
	closed   bool  // other members may not be there
	items    *plan
	pattern  jsonschema.Regexp
	format   *jsonschema.Format

	least, most            float64 // of a number
	shortest, longest      int     // of a string, in characters
	fewestItems, mostItems int
	fewestNames, mostNames int
}

// types is a set of JSON types.
type types uint8

const (
	typeNull types = 1 << iota
	typeBoolean
	typeNumber
	typeInteger
	typeString
	typeArray
	typeObject
)

// planOf returns the plan of the schema. It is not ok when the schema uses
// anything that a plan does not know.
func planOf(s *jsonschema.Schema) (p *plan, ok bool) {
	if s == nil || s.Bool != nil && *s.Bool {
		return nil, true // accepts everything
	}
	if beyond(s) {
		return nil, false
	}
	p = &plan{required: s.Required, pattern: s.Pattern, format: s.Format, members: make(map[string]*plan, len(s.Properties))}
	p.setTypes(s)
	oks := []bool{p.setBounds(s), p.setValues(s), p.setRest(s)}
	p.names, ok = planOf(s.PropertyNames)
	oks = append(oks, ok)
	p.items, ok = planOf(s.Items2020)
	oks = append(oks, ok)
	for name, member := range s.Properties {
		p.members[name], ok = planOf(member)
		oks = append(oks, ok)
	}
	return p, !slices.Contains(oks, false)
}

// beyond reports whether the schema has a keyword that a plan does not know.
func beyond(s *jsonschema.Schema) bool {
	return s.Bool != nil || s.Ref != nil || s.RecursiveRef != nil || s.DynamicRef != nil || s.Const != nil ||
		s.AllOf != nil || s.AnyOf != nil || s.OneOf != nil || s.If != nil || s.Then != nil || s.Else != nil ||
		len(s.PatternProperties) > 0 || len(s.Dependencies) > 0 || len(s.DependentRequired) > 0 ||
		len(s.DependentSchemas) > 0 || s.UnevaluatedProperties != nil || s.UniqueItems || s.Contains != nil ||
		s.Items != nil || s.AdditionalItems != nil || s.PrefixItems != nil || s.UnevaluatedItems != nil ||
		s.ContentEncoding != nil || s.ContentMediaType != nil || s.ContentSchema != nil ||
		s.ExclusiveMaximum != nil || s.ExclusiveMinimum != nil || s.MultipleOf != nil || len(s.Extensions) > 0
}

func (p *plan) setTypes(s *jsonschema.Schema) {
	if s.Types == nil || s.Types.IsEmpty() {
		p.types = math.MaxUint8
		return
	}
	bits := map[string]types{
		"null": typeNull, "boolean": typeBoolean, "number": typeNumber, "integer": typeInteger,
		"string": typeString, "array": typeArray, "object": typeObject,
	}
	for _, name := range s.Types.ToStrings() {
		p.types |= bits[name]
	}
}

func (p *plan) setBounds(s *jsonschema.Schema) bool {
	bound := func(n *int, otherwise int) int {
		if n == nil {
			return otherwise
		}
		return *n
	}
	p.shortest, p.longest = bound(s.MinLength, 0), bound(s.MaxLength, math.MaxInt)
	p.fewestItems, p.mostItems = bound(s.MinItems, 0), bound(s.MaxItems, math.MaxInt)
	p.fewestNames, p.mostNames = bound(s.MinProperties, 0), bound(s.MaxProperties, math.MaxInt)
	var leastOK, mostOK bool
	p.least, leastOK = float(s.Minimum, math.Inf(-1))
	p.most, mostOK = float(s.Maximum, math.Inf(1))
	return leastOK && mostOK
}

// float returns the number as a float64, when it is one exactly.
func float(r *big.Rat, otherwise float64) (f float64, exact bool) {
	if r == nil {
		return otherwise, true
	}
	return r.Float64()
}

// setValues sets which values may be there, and which may not.
func (p *plan) setValues(s *jsonschema.Schema) bool {
	ok := true
	if s.Enum != nil {
		p.enum, ok = texts(s.Enum)
	}
	if s.Not == nil || !ok {
		return ok
	}
	if s.Not.Enum == nil {
		return false
	}
	alone := *s.Not
	alone.Enum = nil
	if inner, plain := planOf(&alone); !plain || !inner.anyText() {
		return false
	}
	p.not, ok = texts(s.Not.Enum)
	return ok
}

// anyText reports whether the plan accepts every string.
func (p *plan) anyText() bool {
	return p == nil || p.types&typeString != 0 && p.enum == nil && p.not == nil && p.pattern == nil && p.format == nil &&
		p.shortest == 0 && p.longest == math.MaxInt
}

func texts(e *jsonschema.Enum) (values []string, ok bool) {
	values = []string{}
	for _, value := range e.Values {
		text, ok := value.(string)
		if !ok {
			return nil, false
		}
		values = append(values, text)
	}
	return values, true
}

// setRest sets what other members may be.
func (p *plan) setRest(s *jsonschema.Schema) (ok bool) {
	switch rest := s.AdditionalProperties.(type) {
	case nil:
		return true
	case bool:
		p.closed = !rest
		return true
	case *jsonschema.Schema:
		p.rest, ok = planOf(rest)
		return ok
	}
	return false
}

// accepts reports whether the value fits for certain.
func (p *plan) accepts(value any) bool {
	if p == nil {
		return true
	}
	if p.enum != nil || p.not != nil {
		text, ok := value.(string)
		if !ok || p.enum != nil && !slices.Contains(p.enum, text) || slices.Contains(p.not, text) {
			return false
		}
	}
	switch v := value.(type) {
	case string:
		return p.acceptsText(v)
	case float64:
		return p.acceptsNumber(v)
	case map[string]any:
		return p.acceptsObject(v)
	case []any:
		return p.acceptsList(v)
	case bool:
		return p.types&typeBoolean != 0 && p.format == nil
	case nil:
		return p.types&typeNull != 0 && p.format == nil
	}
	return false
}

func (p *plan) acceptsText(text string) bool {
	if p.types&typeString == 0 || len(text) < p.shortest {
		return false
	}
	// A character has one to four bytes: most lengths need no counting.
	if len(text) > p.longest || len(text) < utf8.UTFMax*p.shortest {
		if n := utf8.RuneCountInString(text); n < p.shortest || n > p.longest {
			return false
		}
	}
	return (p.pattern == nil || p.pattern.MatchString(text)) && (p.format == nil || p.format.Validate(text) == nil)
}

func (p *plan) acceptsNumber(f float64) bool {
	if p.format != nil || f < p.least || f > p.most || math.IsNaN(f) || math.IsInf(f, 0) {
		return false
	}
	return p.types&typeNumber != 0 || p.types&typeInteger != 0 && f == math.Trunc(f)
}

func (p *plan) acceptsList(list []any) bool {
	if p.types&typeArray == 0 || p.format != nil || len(list) < p.fewestItems || len(list) > p.mostItems {
		return false
	}
	for _, item := range list {
		if !p.items.accepts(item) {
			return false
		}
	}
	return true
}

func (p *plan) acceptsObject(object map[string]any) bool {
	if p.types&typeObject == 0 || p.format != nil || len(object) < p.fewestNames || len(object) > p.mostNames {
		return false
	}
	for _, name := range p.required {
		if _, ok := object[name]; !ok {
			return false
		}
	}
	for name, value := range object {
		member, known := p.members[name]
		switch {
		case known && !member.accepts(value):
			return false
		case !known && (p.closed || !p.rest.accepts(value)):
			return false
		case !p.names.acceptsName(name):
			return false
		}
	}
	return true
}

// acceptsName is accepts for a string, which need not become an interface.
func (p *plan) acceptsName(name string) bool {
	if p == nil {
		return true
	}
	if p.enum != nil && !slices.Contains(p.enum, name) || slices.Contains(p.not, name) {
		return false
	}
	return p.acceptsText(name)
}
