package event

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/parley-chat/parley/internal/fault"
)

// A node is the part of a schema from which the tests make values.
type node struct {
	Type          any             `json:"type"`
	Enum          []any           `json:"enum"`
	Properties    map[string]node `json:"properties"`
	Required      []string        `json:"required"`
	MinProperties int             `json:"minProperties"`
	Closed        any             `json:"additionalProperties"`
	Items         *node           `json:"items"`
	MinItems      int             `json:"minItems"`
}

// valid returns the smallest value that fits the node.
func (n node) valid() any {
	switch n.Type {
	case "object":
		object := map[string]any{}
		for _, name := range n.Required {
			object[name] = n.Properties[name].valid()
		}
		for name, member := range n.Properties {
			if len(object) < n.MinProperties && (member.Type == "string") {
				object[name] = member.valid()
			}
		}
		return object
	case "integer", "number":
		return 1000
	case "boolean":
		return true
	case "array":
		list := []any{}
		for n.Items != nil && len(list) < n.MinItems {
			list = append(list, n.Items.valid())
		}
		return list
	}
	if len(n.Enum) > 0 {
		return n.Enum[0]
	}
	return "2026-11-24"
}

// TestEveryCommandIsChecked tries, for every action, each required field
// missing, each field of a wrong type, and an extra field at every level.
func TestEveryCommandIsChecked(t *testing.T) {
	t.Parallel()
	s := published(t)
	commands := 0
	for _, typ := range s.Types() {
		if !strings.HasPrefix(typ, typePrefix+"command.") {
			continue
		}
		commands++
		var schema node
		if err := json.Unmarshal(s.Source(typ), &schema); err != nil {
			t.Fatal(err)
		}
		command, ok := schema.valid().(map[string]any)
		if !ok {
			t.Fatalf("%s: the schema is not an object's", typ)
		}
		if _, ok := command["params"]; !ok {
			command["params"] = schema.Properties["params"].valid()
		}
		if err := s.Validate(typ, text(t, command)); err != nil {
			t.Errorf("%s: %s is refused: %v", typ, text(t, command), err)
		}
		eachMistake(schema, command, "", func(broken map[string]any, field string) {
			wantViolation(t, s, typ, broken, field)
		})
	}
	if commands < 12 {
		t.Errorf("there are %d commands only", commands)
	}
}

// eachMistake calls try with copies of the object that have one mistake each, and
// with the place of the mistake.
func eachMistake(n node, object map[string]any, at string, try func(broken map[string]any, field string)) {
	for _, name := range n.Required {
		broken := maps.Clone(object)
		delete(broken, name)
		try(broken, at+"/"+name)
	}
	if n.Closed == false {
		broken := maps.Clone(object)
		broken["surplus_field"] = 1
		try(broken, at+"/surplus_field")
	}
	for name, member := range n.Properties {
		if member.Type == nil && len(member.Enum) == 0 {
			continue // Any value is right.
		}
		broken := maps.Clone(object)
		broken[name] = wrong(member)
		try(broken, at+"/"+name)
		if child, ok := object[name].(map[string]any); ok {
			eachMistake(member, child, at+"/"+name, func(below map[string]any, field string) {
				broken := maps.Clone(object)
				broken[name] = below
				try(broken, field)
			})
		}
	}
}

// wrong returns a value of a type that the node does not take.
func wrong(n node) any {
	if n.Type == "array" {
		return map[string]any{}
	}
	return []any{[]any{}}
}

func wantViolation(t *testing.T, s *Schemas, typ string, data map[string]any, field string) {
	t.Helper()
	got := fault.From(s.Validate(typ, text(t, data)))
	if got == nil || got.Reason != fault.SchemaViolation || got.Field != field || got.Message == "" || got.Fix == "" {
		t.Errorf("%s: %s gave %#v, want a violation at %s", typ, text(t, data), got, field)
	}
}

func text(t *testing.T, value any) []byte {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
