package workflow

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"

	"github.com/parley-chat/parley/internal/fault"
)

// template is a parameter's value with the expressions in it compiled.
type template interface {
	// value returns what the parameter is for these variables.
	value(v vars) (any, error)
	// static reports whether the value is the same for all variables.
	static() bool
}

type (
	fixed    struct{ is any }
	computed struct {
		source  string
		program cel.Program
	}
	// text is literal texts and expressions, one after another.
	text   struct{ parts []template }
	object struct {
		keys   []string
		fields map[string]template
	}
	list struct{ items []template }
)

func (t fixed) value(vars) (any, error) { return t.is, nil }
func (t fixed) static() bool            { return true }

func (t computed) value(v vars) (any, error) {
	value, err := eval(t.program, v)
	if err != nil {
		return nil, fmt.Errorf("${%s}: %w", t.source, err)
	}
	return value, nil
}
func (t computed) static() bool { return false }

func (t text) value(v vars) (any, error) {
	var b strings.Builder
	for _, part := range t.parts {
		value, err := part.value(v)
		if err != nil {
			return nil, err
		}
		switch value.(type) {
		case nil:
		case map[string]any, []any:
			return nil, fault.New(fault.BadRule, "a map or a list cannot stand among text")
		default:
			fmt.Fprint(&b, value)
		}
	}
	return b.String(), nil
}
func (t text) static() bool { return false }

func (t object) value(v vars) (any, error) {
	values := make(map[string]any, len(t.keys))
	for _, key := range t.keys {
		value, err := t.fields[key].value(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		values[key] = value
	}
	return values, nil
}

func (t object) static() bool {
	return !slices.ContainsFunc(t.keys, func(key string) bool { return !t.fields[key].static() })
}

func (t list) value(v vars) (any, error) {
	values := make([]any, len(t.items))
	for i, item := range t.items {
		value, err := item.value(v)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		values[i] = value
	}
	return values, nil
}

func (t list) static() bool {
	return !slices.ContainsFunc(t.items, func(item template) bool { return !item.static() })
}

// template compiles the value at the path. What is wrong goes to report.
func (l *language) template(value any, path string, report func(path string, err error)) template {
	switch value := value.(type) {
	case string:
		return l.text(value, path, report)
	case map[string]any:
		o := object{keys: slices.Sorted(maps.Keys(value)), fields: map[string]template{}}
		for _, key := range o.keys {
			o.fields[key] = l.template(value[key], join(path, key), report)
		}
		return o
	case []any:
		items := make([]template, len(value))
		for i, item := range value {
			items[i] = l.template(item, fmt.Sprintf("%s[%d]", path, i), report)
		}
		return list{items}
	}
	return fixed{value}
}

// text compiles a text with expressions.
func (l *language) text(source, path string, report func(string, error)) template {
	var parts []template
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			parts = append(parts, fixed{literal.String()})
			literal.Reset()
		}
	}
	for rest := source; rest != ""; {
		before, after, found := strings.Cut(rest, "${")
		if found && strings.HasSuffix(before, "$") {
			literal.WriteString(before[:len(before)-1] + "${")
			rest = after
			continue
		}
		literal.WriteString(before)
		if !found {
			break
		}
		flush()
		expression, tail, closed := cutExpression(after)
		if !closed {
			report(path, fault.New(fault.BadRule, "the expression after ${ has no end").WithFix("close it with }, or write $${ for a literal ${"))
			return fixed{source}
		}
		program, _, err := l.compile(expression)
		if err != nil {
			report(path, shift(err, len(source)-len(after)))
			return fixed{source}
		}
		parts = append(parts, computed{expression, program})
		rest = tail
	}
	flush()
	return joined(parts)
}

// shift moves the place of a syntax error, because the expression begins that
// many bytes into the text.
func shift(err error, by int) error {
	if wrong, ok := errors.AsType[*syntaxError](err); ok {
		return &syntaxError{wrong.column + by, wrong.message}
	}
	return err
}

// joined returns the simplest template of the parts.
func joined(parts []template) template {
	switch len(parts) {
	case 0:
		return fixed{""}
	case 1:
		return parts[0]
	}
	return text{parts}
}

// cutExpression cuts the source after the brace that closes the expression.
// Braces inside the expression, also in its strings, do not count.
func cutExpression(source string) (expression, rest string, closed bool) {
	depth, quote := 0, byte(0)
	for i := 0; i < len(source); i++ {
		switch c := source[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '{':
			depth++
		case c == '}' && depth > 0:
			depth--
		case c == '}':
			return source[:i], source[i+1:], true
		}
	}
	return "", "", false
}
