package contract

import (
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"
)

// allowNull lets a published value be null where Go writes null: a pointer, a
// slice or a map that is nil, and is not left out.
func allowNull(t reflect.Type, schema *jsonschema.Schema) {
	if schema == nil {
		return
	}
	switch t.Kind() { //nolint:exhaustive // the other kinds hold no fields.
	case reflect.Pointer:
		allowNull(t.Elem(), schema)
	case reflect.Slice, reflect.Array:
		allowNull(t.Elem(), schema.Items)
	case reflect.Map:
		allowNull(t.Elem(), schema.AdditionalProperties)
	case reflect.Struct:
		for i := range t.NumField() {
			allowNullField(t.Field(i), schema)
		}
	}
}

func allowNullField(field reflect.StructField, schema *jsonschema.Schema) {
	name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
	if field.Anonymous && name == "" {
		allowNull(field.Type, schema)
		return
	}
	if schema.Properties == nil || !field.IsExported() {
		return
	}
	property, ok := schema.Properties.Get(name)
	if !ok {
		return
	}
	allowNull(field.Type, property)
	kind := field.Type.Kind()
	absent := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
	if absent || property.Type == "" || kind != reflect.Pointer && kind != reflect.Slice && kind != reflect.Map {
		return
	}
	if property.Extras == nil {
		property.Extras = map[string]any{}
	}
	property.Extras["type"] = []string{property.Type, "null"}
	property.Type = ""
}
