package workflow

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"

	"github.com/parley-chat/parley/internal/fault"
)

const (
	// costLimit bounds one evaluation, in CEL's cost units. A condition of three
	// clauses costs about ten.
	costLimit = 10_000
	// maxExpression bounds the source of one expression, in code points.
	maxExpression = 4_000
)

// triggerVars, visitorVars and siteVars are what an expression can see. The
// cel tags are the public names.
type triggerVars struct {
	Kind       string         `cel:"kind"`
	Source     string         `cel:"source"`
	Event      string         `cel:"event"`
	Properties map[string]any `cel:"properties"`
	Traits     map[string]any `cel:"traits"`
	URL        string         `cel:"url"`
	OccurredAt time.Time      `cel:"occurred_at"`
}

type visitorVars struct {
	UserID      string `cel:"user_id"`
	Email       string `cel:"email"`
	AnonymousID string `cel:"anonymous_id"`
	Identified  bool   `cel:"identified"`
}

type siteVars struct {
	Name     string `cel:"name"`
	Provider string `cel:"provider"`
	Mode     string `cel:"mode"`
	URL      string `cel:"url"`
}

// vars are the variables of one evaluation.
type vars struct {
	trigger *triggerVars
	visitor *visitorVars
	site    *siteVars
}

// ResolveName returns the variable of the name, as CEL asks for it.
func (v vars) ResolveName(name string) (any, bool) {
	switch name {
	case "trigger":
		return v.trigger, true
	case "visitor":
		return v.visitor, true
	case "site":
		return v.site, true
	}
	return nil, false
}

// Parent returns nil: there are no other variables.
func (v vars) Parent() cel.Activation { return nil }

// language is the language of expressions: plain CEL with strings, optional
// values and typed variables. It reads no clock and no environment, so an
// expression gives the same answer each time.
type language struct{ env *cel.Env }

func newLanguage() (*language, error) {
	env, err := cel.NewEnv(
		ext.NativeTypes(
			reflect.TypeFor[*triggerVars](), reflect.TypeFor[*visitorVars](), reflect.TypeFor[*siteVars](),
			ext.ParseStructTags(true),
		),
		ext.Strings(),
		cel.OptionalTypes(),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.Variable("trigger", cel.ObjectType("workflow.triggerVars")),
		cel.Variable("visitor", cel.ObjectType("workflow.visitorVars")),
		cel.Variable("site", cel.ObjectType("workflow.siteVars")),
	)
	if err != nil {
		return nil, fmt.Errorf("preparing CEL: %w", err)
	}
	return &language{env}, nil
}

// syntaxError is what is wrong in an expression, and where in it.
type syntaxError struct {
	column  int // from 0
	message string
}

// Error returns the message.
func (e *syntaxError) Error() string { return e.message }

// compile returns the program of the expression and the type of its value.
func (l *language) compile(text string) (cel.Program, *cel.Type, error) {
	tree, issues := l.env.Compile(text)
	if issues.Err() != nil {
		first := issues.Errors()[0]
		return nil, nil, &syntaxError{first.Location.Column(), readable(first.Message)}
	}
	program, err := l.env.Program(tree, cel.CostLimit(costLimit), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, nil, &syntaxError{0, err.Error()}
	}
	return program, tree.OutputType(), nil
}

// readable returns CEL's message without what only its authors need.
func readable(message string) string {
	message = strings.TrimSpace(message)
	message, _, _ = strings.Cut(message, " (in container")
	message, _, _ = strings.Cut(message, " (did you mean")
	message, _, _ = strings.Cut(message, " expecting {")
	return strings.NewReplacer("Syntax error: ", "", "mismatched input '<EOF>'", "the expression ends too early", "'_", "'", "_'", "'").Replace(message)
}

// fieldsOfVars returns the names of the fields that an expression can see.
func fieldsOfVars() []string {
	var names []string
	for _, of := range []reflect.Type{reflect.TypeFor[triggerVars](), reflect.TypeFor[visitorVars](), reflect.TypeFor[siteVars]()} {
		for _, field := range reflect.VisibleFields(of) {
			names = append(names, field.Tag.Get("cel"))
		}
	}
	return names
}

// holds evaluates a condition. A key that is not there makes it false; any
// other error is the rule's.
func holds(program cel.Program, v vars) (bool, error) {
	value, _, err := program.Eval(v)
	if missingKey(err) {
		return false, nil
	}
	if err != nil {
		return false, fault.New(fault.BadRule, "evaluating the condition: %s", err)
	}
	yes, ok := value.Value().(bool)
	if !ok {
		return false, fault.New(fault.BadRule, "the condition is %s, and should be true or false", value.Type().TypeName())
	}
	return yes, nil
}

// missingKey reports whether the error says that a map lacks a key. CEL has no
// type or value for it, only this text.
func missingKey(err error) bool {
	return err != nil && strings.HasPrefix(err.Error(), "no such key: ")
}

// eval evaluates an expression to a value that JSON can hold.
func eval(program cel.Program, v vars) (any, error) {
	value, _, err := program.Eval(v)
	if err != nil {
		return nil, fault.New(fault.BadRule, "evaluating: %s", err)
	}
	return plain(value)
}

// plain turns a CEL value into one that JSON can hold.
func plain(value ref.Val) (any, error) {
	switch value := value.(type) {
	case types.Null:
		return nil, nil //nolint:nilnil // null is a value.
	case types.Timestamp:
		return value.Time.UTC().Format(time.RFC3339Nano), nil
	case types.Duration:
		return value.String(), nil
	case types.Double:
		if math.IsNaN(float64(value)) || math.IsInf(float64(value), 0) {
			return nil, fault.New(fault.BadRule, "the value is not a finite number")
		}
		return float64(value), nil
	case types.Bool, types.Int, types.Uint, types.String:
		return value.Value(), nil
	case *types.Optional:
		if !value.HasValue() {
			return nil, nil //nolint:nilnil // no value is null.
		}
		return plain(value.GetValue())
	case traits.Mapper:
		return plainMap(value)
	case traits.Lister:
		return plainList(value)
	}
	return nil, fault.New(fault.BadRule, "a value of the type %s cannot be a parameter", value.Type().TypeName())
}

func plainMap(from traits.Mapper) (any, error) {
	to := map[string]any{}
	for it := from.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		name, ok := key.Value().(string)
		if !ok {
			return nil, fault.New(fault.BadRule, "the key %v is not text", key.Value())
		}
		value, err := plain(from.Get(key))
		if err != nil {
			return nil, err
		}
		to[name] = value
	}
	return to, nil
}

func plainList(from traits.Lister) (any, error) {
	to := []any{}
	for it := from.Iterator(); it.HasNext() == types.True; {
		value, err := plain(it.Next())
		if err != nil {
			return nil, err
		}
		to = append(to, value)
	}
	return to, nil
}
