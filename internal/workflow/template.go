package workflow

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/parley-chat/parley/internal/fault"
)

// Template is a value with the expressions in it compiled. It may be used by
// many goroutines.
type Template interface {
	// Value returns what the value is for these variables, in the form of JSON.
	Value(v *Vars) (any, error)
	// Static reports whether the value is the same for all variables, which may
	// then be nil.
	Static() bool
}

type (
	fixed    struct{ is any }
	computed struct{ expr *Expr }
	// text is literal texts and expressions, one after another.
	text   struct{ parts []Template }
	object struct {
		keys   []string
		fields map[string]Template
	}
	list struct{ items []Template }
)

// Value returns what the template is for the variables.
func (t fixed) Value(*Vars) (any, error) { return t.is, nil }

// Static reports whether it is the same for all variables.
func (t fixed) Static() bool { return true }

// Value returns what the template is for the variables.
func (t computed) Value(v *Vars) (any, error) {
	value, err := t.expr.Value(v)
	if err != nil {
		return nil, fmt.Errorf("${%s}: %w", t.expr.Source, err)
	}
	return value, nil
}

// Static reports whether it is the same for all variables.
func (t computed) Static() bool { return false }

// Value returns what the template is for the variables.
func (t text) Value(v *Vars) (any, error) {
	var b strings.Builder
	for _, part := range t.parts {
		value, err := part.Value(v)
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

// Static reports whether it is the same for all variables.
func (t text) Static() bool { return false }

// Value returns what the template is for the variables.
func (t object) Value(v *Vars) (any, error) {
	values := make(map[string]any, len(t.keys))
	for _, key := range t.keys {
		value, err := t.fields[key].Value(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		values[key] = value
	}
	return values, nil
}

// Static reports whether it is the same for all variables.
func (t object) Static() bool {
	return !slices.ContainsFunc(t.keys, func(key string) bool { return !t.fields[key].Static() })
}

// Value returns what the template is for the variables.
func (t list) Value(v *Vars) (any, error) {
	values := make([]any, len(t.items))
	for i, item := range t.items {
		value, err := item.Value(v)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		values[i] = value
	}
	return values, nil
}

// Static reports whether it is the same for all variables.
func (t list) Static() bool {
	return !slices.ContainsFunc(t.items, func(item Template) bool { return !item.Static() })
}

// template compiles the value at the path. What is wrong goes to report.
func (s *scope) template(value any, path string, report func(path string, err error)) Template {
	switch value := value.(type) {
	case string:
		return s.text(value, path, report)
	case map[string]any:
		o := object{keys: slices.Sorted(maps.Keys(value)), fields: map[string]Template{}}
		for _, key := range o.keys {
			o.fields[key] = s.template(value[key], join(path, key), report)
		}
		return o
	case []any:
		items := make([]Template, len(value))
		for i, item := range value {
			items[i] = s.template(item, fmt.Sprintf("%s[%d]", path, i), report)
		}
		return list{items}
	}
	return fixed{value}
}

// text compiles a text with expressions.
func (s *scope) text(source, path string, report func(string, error)) Template {
	var parts []Template
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
		expr, err := s.compile(expression)
		if err != nil {
			report(path, shift(err, len(source)-len(after)))
			return fixed{source}
		}
		parts = append(parts, computed{expr})
		rest = tail
	}
	flush()
	return joined(parts)
}

// shift moves the place of a syntax error, because the expression begins that
// many bytes into the text.
func shift(err error, by int) error {
	wrong, ok := errors.AsType[syntaxErrors](err)
	if !ok {
		return err
	}
	shifted := make(syntaxErrors, len(wrong))
	for i, one := range wrong {
		shifted[i] = &syntaxError{one.column + by, one.message, one.fix}
	}
	return shifted
}

// joined returns the simplest template of the parts.
func joined(parts []Template) Template {
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
