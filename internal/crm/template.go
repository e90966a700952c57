package crm

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"

	"github.com/parley-chat/parley/internal/fault"
)

const (
	// costLimit bounds one evaluation, in CEL's cost units.
	costLimit = 10_000
	// maxExpression bounds the source of one expression, in code points.
	maxExpression = 4_000
)

// vars are what an expression sees: see Visitor.vars.
type vars map[string]any

// variables are what an expression of the mapping sees.
func variables() []string {
	return []string{"site", "session", "visitor", "traits", "group", "record", "chats", "first_seen_at", "last_seen_at"}
}

// returning are what an expression of the way back sees: the fields of the
// contact by the CRM's names.
func returning() []string { return []string{"site", "contact"} }

// template is a text with expressions.
type template struct{ parts []part }

// part is a literal, the way to a value, or an expression.
type part struct {
	literal string
	way     []string
	program cel.Program
	// fields are the contact's that an expression of the way back reads; one that
	// does not say which it reads has "".
	fields []string
}

// language is plain CEL with strings and optional values. It reads no clock, so a
// mapping gives the same answer each time.
type language struct {
	names func() []string
	env   func() (*cel.Env, error)
}

// The languages: of the mapping, and of the way back.
//
//nolint:gochecknoglobals // They are made once and never changed.
var outward, inward = newLanguage(variables), newLanguage(returning)

// newLanguage returns the language whose expressions see the names.
func newLanguage(names func() []string) language {
	return language{names, sync.OnceValues(func() (*cel.Env, error) {
		options := []cel.EnvOption{
			ext.Strings(), cel.OptionalTypes(), cel.CrossTypeNumericComparisons(true), cel.ParserExpressionSizeLimit(maxExpression),
		}
		for _, name := range names() {
			options = append(options, cel.Variable(name, cel.DynType))
		}
		return cel.NewEnv(options...)
	})}
}

// wayForm is a plain way to a value, which needs no CEL.
var wayForm = regexp.MustCompile(`^[a-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$`)

// compileText compiles a text with expressions between ${ and }.
func compileText(text string) (template, error) { return outward.text(text) }

// text compiles a text with expressions of the language between ${ and }.
func (l language) text(text string) (template, error) {
	var t template
	for text != "" {
		before, rest, found := strings.Cut(text, "${")
		if before != "" {
			t.parts = append(t.parts, part{literal: before})
		}
		if !found {
			break
		}
		end := closing(rest)
		if end < 0 {
			return t, fault.New(fault.BadConfig, "an expression begins with ${ and has no }")
		}
		p, err := l.expression(strings.TrimSpace(rest[:end]))
		if err != nil {
			return t, err
		}
		t.parts, text = append(t.parts, p), rest[end+1:]
	}
	return t, nil
}

// closing returns the place of the brace that closes the expression, or -1.
func closing(text string) int {
	depth, quote := 0, byte(0)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '{':
			depth++
		case c == '}' && depth == 0:
			return i
		case c == '}':
			depth--
		}
	}
	return -1
}

func (l language) expression(source string) (part, error) {
	env, err := l.env()
	if err != nil {
		return part{}, fmt.Errorf("preparing CEL: %w", err)
	}
	ast, issues := env.Compile(source)
	if issues.Err() != nil {
		return part{}, fault.New(fault.BadConfig, "${%s}: %s", source, firstLine(issues.Err().Error())).
			WithFix("an expression sees %s", strings.Join(l.names(), ", "))
	}
	if wayForm.MatchString(source) {
		return part{way: strings.Split(source, "."), fields: fieldsIn(ast)}, nil
	}
	program, err := env.Program(ast, cel.CostLimit(costLimit))
	if err != nil {
		return part{}, fault.New(fault.BadConfig, "${%s}: %s", source, err)
	}
	return part{program: program, fields: fieldsIn(ast)}, nil
}

// firstLine returns the message of an error of CEL without its picture.
func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return strings.TrimPrefix(line, "ERROR: ")
}

// fixed returns the value when it is the same for all variables.
func (t template) fixed() (string, bool) {
	switch {
	case len(t.parts) == 0:
		return "", true
	case len(t.parts) == 1 && t.parts[0].way == nil && t.parts[0].program == nil:
		return t.parts[0].literal, true
	}
	return "", false
}

// eval returns the value, and false when it names what is not there. One
// expression keeps its type; among text, what is not there is nothing.
func (t template) eval(v vars) (value any, ok bool, err error) {
	if text, fixed := t.fixed(); fixed {
		return text, true, nil
	}
	if len(t.parts) == 1 {
		return t.parts[0].eval(v)
	}
	var b strings.Builder
	for _, p := range t.parts {
		value, ok, err := p.eval(v)
		if err != nil {
			return nil, false, err
		}
		if ok {
			b.WriteString(textOf(value))
		}
	}
	return b.String(), true, nil
}

func (p part) eval(v vars) (any, bool, error) {
	switch {
	case p.way != nil:
		return p.walk(v)
	case p.program == nil:
		return p.literal, true, nil
	}
	value, _, err := p.program.Eval(map[string]any(v))
	if err != nil {
		if strings.HasPrefix(err.Error(), "no such key: ") {
			return nil, false, nil
		}
		return nil, false, fault.New(fault.BadConfig, "%s", err)
	}
	if optional, ok := value.(*types.Optional); ok {
		if !optional.HasValue() {
			return nil, false, nil
		}
		value = optional.GetValue()
	}
	native, err := value.ConvertToNative(reflect.TypeFor[any]())
	if err != nil || native == nil {
		return value.Value(), true, nil //nolint:nilerr // The value as CEL has it.
	}
	return native, true, nil
}

// walk follows the way. nil on the way is what is not there.
func (p part) walk(v vars) (any, bool, error) {
	var at any = map[string]any(v)
	for _, name := range p.way {
		of, ok := at.(map[string]any)
		if !ok {
			return nil, false, nil
		}
		if at, ok = of[name]; !ok || at == nil {
			return nil, false, nil
		}
	}
	return at, true, nil
}
