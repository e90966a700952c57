package workflow

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// shape is the type of a record in expressions: names and their types. A shape
// never changes.
type shape struct {
	name   string
	typ    *cel.Type
	fields map[string]*field
}

// field is one name of a shape.
type field struct {
	typ *cel.Type
	// read turns what JSON or Go holds into a value of the type; of nothing it
	// makes the type's zero value.
	read func(from any) any
	cel  *types.FieldType
}

// record is a value of a shape. A name that it lacks has the zero value of its
// type, and has() is false for it.
type record struct {
	shape  *shape
	values map[string]any
	// trigger, if set, has the values in place of values.
	trigger *Happened
}

// value returns the value of the name, if there is one.
func (r *record) value(name string) (any, bool) {
	if r.trigger != nil {
		return seeTrigger(r.trigger, name)
	}
	value, ok := r.values[name]
	return value, ok
}

// all returns the values by name.
func (r *record) all() map[string]any {
	if r.trigger == nil {
		return r.values
	}
	whole, values := r.trigger.Whole(), map[string]any{}
	for name := range r.shape.fields {
		if value, ok := seeTrigger(&whole, name); ok {
			values[name] = value
		}
	}
	return values
}

// member is a field of a shape that is being made.
type member struct {
	name string
	typ  *cel.Type
	read func(any) any
}

// newShape returns the shape of the members.
func newShape(name string, members ...member) *shape {
	s := &shape{name: name, typ: cel.ObjectType(name), fields: map[string]*field{}}
	for _, m := range members {
		f := &field{typ: m.typ, read: m.read}
		f.cel = &types.FieldType{
			Type: m.typ,
			IsSet: func(target any) bool {
				r, ok := target.(*record)
				return ok && r.has(m.name)
			},
			GetFrom: func(target any) (any, error) {
				r, ok := target.(*record)
				if !ok {
					return nil, fmt.Errorf("reading %s of a %T", m.name, target)
				}
				value, _ := r.value(m.name)
				return f.read(value), nil
			},
		}
		s.fields[m.name] = f
	}
	return s
}

// names returns the names of the shape, sorted.
func (s *shape) names() []string { return slices.Sorted(maps.Keys(s.fields)) }

// as returns the member for a record of the shape.
func (s *shape) as(name string) member {
	return member{name, s.typ, func(from any) any {
		switch from := from.(type) {
		case *record:
			return from
		case map[string]any:
			return &record{shape: s, values: from}
		}
		return &record{shape: s}
	}}
}

func textMember(name string) member { return member{name, cel.StringType, orZero("")} }
func flagMember(name string) member { return member{name, cel.BoolType, orZero(false)} }
func timeMember(name string) member { return member{name, cel.TimestampType, readTime} }
func numberMember(name string) member {
	return member{name, cel.DoubleType, func(from any) any {
		if from, ok := from.(int); ok {
			return float64(from)
		}
		return orZero(0.0)(from)
	}}
}
func wholeMember(name string) member { return member{name, cel.IntType, readWhole} }
func mapMember(name string) member {
	return member{name, cel.MapType(cel.StringType, cel.DynType), func(from any) any {
		switch from := from.(type) {
		case map[string]any:
			return anyMap(from)
		case *unread:
			return from
		}
		return map[string]any{}
	}}
}

func anyMember(name string) member {
	return member{name, cel.DynType, func(from any) any {
		if from == nil {
			return types.NullValue
		}
		return from
	}}
}

// orZero returns what is there, or the zero value.
func orZero[T any](zero T) func(any) any {
	return func(from any) any {
		if from == nil {
			return zero
		}
		return from
	}
}

func readTime(from any) any {
	switch from := from.(type) {
	case time.Time:
		return from
	case string:
		if t, err := time.Parse(time.RFC3339Nano, from); err == nil {
			return t
		}
	}
	return time.Time{}
}

func readWhole(from any) any {
	switch from := from.(type) {
	case float64:
		return int64(from)
	case int:
		return int64(from)
	case int64:
		return from
	}
	return int64(0)
}

// jsonSchema is what a shape needs of a JSON Schema.
type jsonSchema struct {
	Type                 any                   `json:"type"`
	Format               string                `json:"format"`
	Properties           map[string]jsonSchema `json:"properties"`
	AdditionalProperties json.RawMessage       `json:"additionalProperties"`
	Required             []string              `json:"required"`
	Items                *jsonSchema           `json:"items"`
}

// kind returns the type, also of a value that may be null; "" is anything.
func (s jsonSchema) kind() string {
	if kinds, ok := s.Type.([]any); ok && len(kinds) == 2 && slices.Contains(kinds, any("null")) {
		i := slices.IndexFunc(kinds, func(kind any) bool { return kind != "null" })
		kind, _ := kinds[max(0, i)].(string)
		return kind
	}
	kind, _ := s.Type.(string)
	return kind
}

// shapes makes shapes and finds them by name.
type shapes map[string]*shape

// of returns the shape of an object's schema.
func (s shapes) of(name string, schema jsonSchema) *shape {
	members := make([]member, 0, len(schema.Properties))
	for key, value := range schema.Properties {
		members = append(members, s.member(name, key, value))
	}
	made := newShape(name, members...)
	s[name] = made
	return made
}

// member returns the member for a schema. What a type cannot say is anything.
func (s shapes) member(of, name string, schema jsonSchema) member {
	kind := schema.kind()
	switch {
	case kind == "string" && schema.Format == "date-time":
		return timeMember(name)
	case kind == "string":
		return textMember(name)
	case kind == "boolean":
		return flagMember(name)
	case kind == "integer":
		return wholeMember(name)
	case kind == "number":
		return numberMember(name)
	case kind == "object" && len(schema.Properties) > 0:
		return s.of(of+"."+name, schema).as(name)
	case kind == "object":
		return mapMember(name)
	case kind == "array" && schema.Items != nil:
		item := s.member(of, name, *schema.Items)
		return member{name, cel.ListType(item.typ), func(from any) any {
			list, _ := from.([]any)
			items := make([]any, len(list))
			for i, value := range list {
				items[i] = item.read(value)
			}
			return items
		}}
	}
	return anyMember(name)
}

// ConvertToNative returns the values as a map.
func (r *record) ConvertToNative(want reflect.Type) (any, error) {
	if want.Kind() == reflect.Map || want.Kind() == reflect.Interface {
		return r.all(), nil
	}
	return nil, fmt.Errorf("making a %s of %s", want, r.shape.name)
}

// ConvertToType returns the record itself, or its type.
func (r *record) ConvertToType(want ref.Type) ref.Val {
	switch want {
	case r.shape.typ:
		return r
	case types.TypeType:
		return r.shape.typ
	}
	return types.NewErr("type conversion error from '%s' to '%s'", r.shape.name, want.TypeName())
}

// Equal reports whether the other is a record of the same shape and values.
func (r *record) Equal(other ref.Val) ref.Val {
	o, ok := other.(*record)
	return types.Bool(ok && o.shape == r.shape && reflect.DeepEqual(o.all(), r.all()))
}

// Type returns the type of the shape.
func (r *record) Type() ref.Type { return r.shape.typ }

// Value returns the record: the fields read from it.
func (r *record) Value() any { return r }

// Get returns the value of the name, for an expression that does not know the
// shape.
func (r *record) Get(index ref.Val) ref.Val {
	name, _ := index.Value().(string)
	f, ok := r.shape.fields[name]
	if !ok {
		return types.NewErr("no such key: %s", name)
	}
	value, _ := r.value(name)
	return types.DefaultTypeAdapter.NativeToValue(f.read(value))
}

// IsSet reports whether the record has the name.
func (r *record) IsSet(index ref.Val) ref.Val {
	name, _ := index.Value().(string)
	return types.Bool(r.has(name))
}

func (r *record) has(name string) bool {
	value, ok := r.value(name)
	if t, isTime := value.(time.Time); isTime {
		return !t.IsZero()
	}
	return ok && value != nil && value != ""
}

// typeProvider knows the shapes beside CEL's own types.
type typeProvider struct {
	types.Provider
	known []shapes
}

func (p typeProvider) find(name string) *shape {
	for _, known := range p.known {
		if s := known[name]; s != nil {
			return s
		}
	}
	return nil
}

// FindStructType returns the type of the shape with the name.
func (p typeProvider) FindStructType(name string) (*types.Type, bool) {
	if s := p.find(name); s != nil {
		return types.NewTypeTypeWithParam(s.typ), true
	}
	return p.Provider.FindStructType(name)
}

// FindStructFieldNames returns the names of the shape.
func (p typeProvider) FindStructFieldNames(name string) ([]string, bool) {
	if s := p.find(name); s != nil {
		return s.names(), true
	}
	return p.Provider.FindStructFieldNames(name)
}

// FindStructFieldType returns the field of the shape.
func (p typeProvider) FindStructFieldType(name, of string) (*types.FieldType, bool) {
	if s := p.find(name); s != nil {
		if f := s.fields[of]; f != nil {
			return f.cel, true
		}
		return nil, false
	}
	return p.Provider.FindStructFieldType(name, of)
}

// NewValue refuses to make a record: expressions only read them.
func (p typeProvider) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if p.find(name) != nil {
		return types.NewErr("a value of the type %s cannot be made in an expression", name)
	}
	return p.Provider.NewValue(name, fields)
}
