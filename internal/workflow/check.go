package workflow

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/parley-chat/parley/internal/fault"
)

// check compares the tree with the type that it is read into, and notes the
// place of every value. The YAML library alone would turn 1.5 into 1 and 5 into
// "5", and would stop at the first problem.
func (s *Source) check(body ast.Node, into any) []Problem {
	return s.node(body, reflect.TypeOf(into).Elem(), "")
}

func (s *Source) node(node ast.Node, want reflect.Type, path string) []Problem {
	s.note(node, path)
	switch node.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode, *ast.TagNode:
		return []Problem{s.at(node, path, "write the value out", "anchors, aliases and tags are not used here")}
	case *ast.NullNode:
		return []Problem{s.at(node, path, "give it a value, or remove the key", "it has no value")}
	}
	for want.Kind() == reflect.Pointer {
		want = want.Elem()
	}
	if want == reflect.TypeFor[Ons]() && node.Type() != ast.SequenceType {
		want = want.Elem()
	}
	switch want.Kind() { //nolint:exhaustive // every other kind is a scalar.
	case reflect.Struct:
		if node.Type() == ast.StringType && reflect.PointerTo(want).Implements(reflect.TypeFor[yaml.InterfaceUnmarshaler]()) {
			return nil // A struct that reads itself may be one text.
		}
		return s.mapping(node, path, shapeHint(want), func(key string) (reflect.Type, string) { return fieldOf(want, key) })
	case reflect.Map:
		return s.mapping(node, path, shapeHint(want), func(string) (reflect.Type, string) { return want.Elem(), "" })
	case reflect.Slice:
		return s.sequence(node, want.Elem(), path)
	case reflect.Interface:
		return s.free(node, want, path)
	default:
		return s.scalar(node, want, path)
	}
}

// free notes the places inside a value that may be anything.
func (s *Source) free(node ast.Node, want reflect.Type, path string) []Problem {
	switch node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return s.mapping(node, path, "", func(string) (reflect.Type, string) { return want, "" })
	case *ast.SequenceNode:
		return s.sequence(node, want, path)
	}
	return nil
}

// mapping checks the keys with typeOf, which returns nil and a fix for a key
// that it does not know. example says how such a value is written.
func (s *Source) mapping(node ast.Node, path, example string, typeOf func(string) (reflect.Type, string)) []Problem {
	var values []*ast.MappingValueNode
	switch node := node.(type) {
	case *ast.MappingNode:
		values = node.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{node}
	default:
		return []Problem{s.at(node, path, example, "it is %s, and should hold keys", nameOf(node))}
	}
	var problems []Problem
	for _, value := range values {
		key := value.Key.GetToken().Value
		at := join(path, key)
		want, fix := typeOf(key)
		if want == nil {
			problems = append(problems, s.at(value.Key, at, fix, "unknown key %q", key))
			continue
		}
		s.note(value.Key, at)
		inner := s.node(value.Value, want, at)
		value.Value = without(value.Value, at, inner)
		problems = append(problems, inner...)
	}
	return problems
}

func (s *Source) sequence(node ast.Node, want reflect.Type, path string) []Problem {
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		return []Problem{s.at(node, path, "write a list: [a, b]", "it is %s, and should be a list", nameOf(node))}
	}
	var problems []Problem
	for i, value := range list.Values {
		at := fmt.Sprintf("%s[%d]", path, i)
		inner := s.node(value, want, at)
		list.Values[i] = without(value, at, inner)
		problems = append(problems, inner...)
	}
	return problems
}

// without returns the value at the path, or nothing in its place when it has the
// wrong form itself. What is wrong inside it is gone already.
func without(value ast.Node, path string, problems []Problem) ast.Node {
	if slices.ContainsFunc(problems, func(p Problem) bool { return p.Path == path }) {
		return ast.Null(value.GetToken())
	}
	return value
}

func (s *Source) scalar(node ast.Node, want reflect.Type, path string) []Problem {
	switch text := node.GetToken().Value; want {
	case reflect.TypeFor[time.Duration]():
		if _, err := time.ParseDuration(text); err == nil {
			return nil
		}
		return []Problem{s.at(node, path, "write a number with its unit: 500ms, 10s, 5m, 1h", "it is not a duration")}
	case reflect.TypeFor[Span]():
		if d, err := parseSpan(text); err == nil && d > 0 {
			return nil
		}
		return []Problem{s.at(node, path, "write a number with its unit: 10s, 5m, 1h, 7d", "it is not a duration")}
	}
	expected := map[reflect.Kind]string{
		reflect.String: "text", reflect.Bool: "true or false", reflect.Int: "a whole number",
		reflect.Float64: "a number",
	}[want.Kind()]
	got := nameOf(node)
	if got == expected || got == "a whole number" && expected == "a number" {
		return nil
	}
	fix := "write " + expected
	if strings.HasSuffix(path, ".after") {
		return []Problem{s.at(node, path, "write a number with its unit: 10s, 5m, 1h, 7d", "it is not a duration")}
	}
	if expected == "text" && got != "keys" && got != "a list" {
		fix = fmt.Sprintf("put it in quotes: %q", node.GetToken().Value)
	}
	return []Problem{s.at(node, path, fix, "it is %s, and should be %s", got, expected)}
}

func (s *Source) note(node ast.Node, path string) {
	token := node.GetToken()
	if token == nil || path == "" {
		return
	}
	switch node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode:
		if _, known := s.places[path]; known {
			return // its key is the better place
		}
	}
	s.places[path] = place{token.Position.Line, token.Position.Column}
}

// fieldOf returns the type of the struct's field for the key, or nil and a
// suggestion.
func fieldOf(of reflect.Type, key string) (reflect.Type, string) {
	known := Keys(of)
	for _, field := range reflect.VisibleFields(of) {
		if keyOf(field) == key && key != "" {
			return field.Type, ""
		}
	}
	if fix := hint(of, key); fix != "" {
		return nil, fix
	}
	if near := fault.Nearest(key, known); near != "" {
		return nil, fmt.Sprintf("did you mean %q?", near)
	}
	return nil, "the keys here are " + strings.Join(known, ", ")
}

// Keys returns the YAML keys of a struct type, in the order of its fields.
func Keys(of reflect.Type) []string {
	var keys []string
	for _, field := range reflect.VisibleFields(of) {
		if key := keyOf(field); key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

// keyOf returns the field's YAML key, or "" when it has none.
func keyOf(field reflect.StructField) string {
	key, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
	if key == "-" {
		return ""
	}
	return key
}

// nameOf names what a node is, for a person.
func nameOf(node ast.Node) string {
	switch node.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	case *ast.IntegerNode:
		return "a whole number"
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.BoolNode:
		return "true or false"
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys"
	}
	return "something else"
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func asYAML(err error, into *yaml.Error) bool { return errors.As(err, into) }
