package workflow

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
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
	// maxExpressions bounds how many expressions a file has.
	maxExpressions = 1_000
)

// Expr is a compiled expression. It may be used by many goroutines.
type Expr struct {
	Source string

	program cel.Program
	kind    *cel.Type
	refs    []string // the names after steps.
	cost    uint64   // at most, on data of the usual size
	clauses []clause // all of the condition, or nil
}

// Bool evaluates a condition. A key that is not there makes it false; any other
// error is the workflow's.
func (e *Expr) Bool(v *Vars) (bool, error) {
	value, _, err := e.program.Eval(v)
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

// Value evaluates an expression to a value that JSON can hold.
func (e *Expr) Value(v *Vars) (any, error) {
	value, err := e.eval(v)
	if err != nil {
		return nil, err
	}
	return plain(value)
}

// Span evaluates an expression to a duration: CEL's, or a text such as 24h. A
// negative one is 0.
func (e *Expr) Span(v *Vars) (time.Duration, error) {
	value, err := e.eval(v)
	if err != nil {
		return 0, err
	}
	switch value := value.Value().(type) {
	case time.Duration:
		return max(0, value), nil
	case string:
		if d, err := parseSpan(value); err == nil {
			return max(0, d), nil
		}
	}
	return 0, fault.New(fault.BadRule, "${%s}: the value is %s, and should be a duration", e.Source, value.Type().TypeName())
}

// Time evaluates an expression to a time: CEL's timestamp, or a text of
// RFC 3339.
func (e *Expr) Time(v *Vars) (time.Time, error) {
	value, err := e.eval(v)
	if err != nil {
		return time.Time{}, err
	}
	switch value := value.Value().(type) {
	case time.Time:
		return value.UTC(), nil
	case string:
		if t, err := time.Parse(time.RFC3339Nano, value); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fault.New(fault.BadRule, "${%s}: the value is %s, and should be a time", e.Source, value.Type().TypeName())
}

func (e *Expr) eval(v *Vars) (ref.Val, error) {
	value, _, err := e.program.Eval(v)
	if err != nil {
		return nil, fault.New(fault.BadRule, "evaluating: %s", err)
	}
	return value, nil
}

// missingKey reports whether the error says that a map lacks a key. CEL has no
// type or value for it, only this text.
func missingKey(err error) bool {
	return err != nil && strings.HasPrefix(err.Error(), "no such key: ")
}

// language is the language of expressions: plain CEL with strings, optional
// values and typed variables. It reads no clock and no environment, so an
// expression gives the same answer each time.
type language struct {
	known shapes
	base  *cel.Env

	mu     sync.Mutex
	events map[string]*cel.Env // by the type of event
}

// newLanguage returns the language with the shapes of facts and outputs.
func newLanguage(known shapes) (*language, error) {
	env, err := cel.NewEnv(
		ext.Strings(),
		cel.OptionalTypes(),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(maxExpression),
		knows(known),
		cel.Variable("trigger", known["trigger"].typ),
		cel.Variable("visitor", known["visitor"].typ),
		cel.Variable("site", known["site"].typ),
		cel.Variable("run", known["run"].typ),
	)
	if err != nil {
		return nil, fmt.Errorf("preparing CEL: %w", err)
	}
	return &language{known: known, base: env, events: map[string]*cel.Env{}}, nil
}

// knows adds shapes to the types of an environment.
func knows(more shapes) cel.EnvOption {
	return func(env *cel.Env) (*cel.Env, error) {
		provider, known := env.CELTypeProvider(), []shapes{more}
		if outer, ok := provider.(typeProvider); ok {
			provider, known = outer.Provider, append(known, outer.known...)
		}
		return cel.CustomTypeProvider(typeProvider{provider, known})(env)
	}
}

// scope is where an expression stands: what `event` and `steps` are there.
type scope struct {
	*language
	*stepScope
	event *cel.Type
}

// stepScope is what the expressions of one file share.
type stepScope struct {
	steps *shape // of the variable steps
	own   shapes // with those inside it
	typed map[string]*cel.Env
	seen  []*Expr // what was compiled
	count int     // of all expressions
}

// env returns the environment for the text. The variable steps costs an
// environment of its own, so it is there for those that use it.
func (s *scope) env(text string) (*cel.Env, error) {
	env, err := s.with(s.event)
	if err != nil || !strings.Contains(text, "steps") {
		return env, err
	}
	key := s.event.String()
	if s.typed[key] == nil {
		made, err := env.Extend(knows(s.own), cel.Variable("steps", s.steps.typ))
		if err != nil {
			return nil, fmt.Errorf("preparing CEL: %w", err)
		}
		s.typed[key] = made
	}
	return s.typed[key], nil
}

// with returns the environment in which `event` has the type.
func (l *language) with(kind *cel.Type) (*cel.Env, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := kind.String()
	if l.events[key] == nil {
		made, err := l.base.Extend(cel.Variable("event", kind))
		if err != nil {
			return nil, fmt.Errorf("preparing CEL: %w", err)
		}
		l.events[key] = made
	}
	return l.events[key], nil
}

// syntaxError is what is wrong in an expression, and where in it.
type syntaxError struct {
	column       int // from 0
	message, fix string
}

// Error returns the message.
func (e *syntaxError) Error() string { return e.message }

// syntaxErrors are several of one expression.
type syntaxErrors []*syntaxError

// Error returns the first message.
func (e syntaxErrors) Error() string { return e[0].message }

// stepRefs finds the steps whose outcomes an expression reads.
var stepRefs = regexp.MustCompile(`\bsteps\.\??([A-Za-z_][A-Za-z0-9_]*)`)

// compile returns the compiled expression.
func (s *scope) compile(text string) (*Expr, error) {
	if s.count++; s.count > maxExpressions {
		return nil, fault.New(fault.BadRule, "the file has more than %d expressions", maxExpressions).WithFix("make several workflows of it")
	}
	env, err := s.env(text)
	if err != nil {
		return nil, err
	}
	tree, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, s.wrong(text, issues)
	}
	program, err := env.Program(tree, cel.CostLimit(costLimit), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, syntaxErrors{{0, err.Error(), ""}}
	}
	e := &Expr{Source: text, program: program, kind: tree.OutputType(), clauses: clausesOf(tree.NativeRep().Expr())}
	for _, match := range stepRefs.FindAllStringSubmatch(text, -1) {
		e.refs = append(e.refs, match[1])
	}
	if e.cost, err = estimate(env, tree); err != nil {
		return nil, err
	}
	s.seen = append(s.seen, e)
	return e, nil
}

// usual is how large lists, maps and texts of an event are taken to be.
const usual = 100

// sizes estimates what an expression works on.
type sizes struct{}

// EstimateSize returns the usual size.
func (sizes) EstimateSize(cost.AstNode) *cost.SizeEstimate {
	return &cost.SizeEstimate{Min: 0, Max: usual}
}

// EstimateCallCost returns nil: CEL knows what its functions cost.
func (sizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}

// estimate returns what the expression costs at most on data of the usual size.
// One that costs more than is allowed on any data is an error.
func estimate(env *cel.Env, tree *cel.Ast) (uint64, error) {
	found, err := env.EstimateCost(tree, sizes{})
	if err != nil {
		return 0, fmt.Errorf("estimating the cost of an expression: %w", err)
	}
	if found.Min > costLimit {
		return 0, syntaxErrors{{0, fmt.Sprintf("the expression costs at least %d, the limit is %d", found.Min, costLimit), "take out loops in loops"}}
	}
	return found.Max, nil
}

// wrong returns what is wrong in the expression: one problem of its syntax, or
// every one of its types.
func (s *scope) wrong(text string, issues *cel.Issues) error {
	var all syntaxErrors
	for _, issue := range issues.Errors() {
		column := max(0, issue.Location.Column()) // -1 is the whole text
		message := readable(issue.Message)
		if slices.ContainsFunc(all, func(other *syntaxError) bool { return other.column == column }) {
			continue
		}
		all = append(all, &syntaxError{column, message, s.suggest(text, column, message)})
		if strings.HasPrefix(strings.TrimSpace(issue.Message), "Syntax error") {
			break
		}
	}
	return all
}

// readable returns CEL's message without what only its authors need.
func readable(message string) string {
	message = strings.TrimSpace(message)
	message, _, _ = strings.Cut(message, " (in container")
	message, _, _ = strings.Cut(message, " (did you mean")
	message, _, _ = strings.Cut(message, " expecting {")
	return strings.NewReplacer("Syntax error: ", "", "mismatched input '<EOF>'", "the expression ends too early", "'_", "'", "_'", "'").Replace(message)
}

// suggest returns the fix for an expression that names something unknown.
func (s *scope) suggest(text string, column int, message string) string {
	if name, ok := quotedAfter(message, "undeclared reference to '"); ok {
		return s.nearVariable(text, column, name)
	}
	if name, ok := quotedAfter(message, "undefined field '"); ok {
		return among(name, s.fieldsAt(text, column))
	}
	return grammar(text, column, message)
}

// variables are the names that an expression sees.
func variables() []string { return []string{"trigger", "visitor", "site", "event", "steps", "run"} }

func (s *scope) nearVariable(text string, column int, name string) string {
	if name == "now" {
		return "there is no clock: run.now is the time of the event that is being handled"
	}
	for _, step := range s.steps.names() {
		if strings.HasSuffix(step, "_"+name) && strings.Contains(text, "steps."+strings.ReplaceAll(step, "_", "-")) {
			return fmt.Sprintf("write steps.%s: a - in the name of a step becomes _", step)
		}
	}
	if near := fault.Nearest(name, append(variables(), "has", "size")); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	for _, variable := range []string{"trigger", "visitor"} {
		if s.known[variable].fields[name] != nil {
			return fmt.Sprintf("did you mean \"%s.%s\"?", variable, name)
		}
	}
	if unquoted(text, column) {
		return fmt.Sprintf("if it is a text, put it in quotes: %q", name)
	}
	if name == "user" {
		return `did you mean "visitor"?`
	}
	return "an expression sees " + strings.Join(variables(), ", ")
}

// wayForm is a way from a variable to a field.
var wayForm = regexp.MustCompile(`[a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)*$`)

// fieldsAt returns the names that are known where the text was wrong: those of
// the record in front of the point at the column, or all.
func (s *scope) fieldsAt(text string, column int) []string {
	runes := []rune(text)
	way := strings.Split(wayForm.FindString(string(runes[:min(column, len(runes))])), ".")
	at := s.shapeOf(way[0])
	for _, name := range way[1:] {
		if at == nil || at.fields[name] == nil {
			at = nil
			break
		}
		at = s.find(at.fields[name].typ.TypeName())
	}
	if at != nil {
		return at.names()
	}
	all := map[string]bool{}
	for _, name := range variables() {
		if of := s.shapeOf(name); of != nil {
			for _, field := range of.names() {
				all[field] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func (s *scope) shapeOf(variable string) *shape {
	switch variable {
	case "event":
		return s.find(s.event.TypeName())
	case "steps":
		return s.steps
	}
	return s.known[variable]
}

func (s *scope) find(name string) *shape {
	if found := s.own[name]; found != nil {
		return found
	}
	return s.known[name]
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
	case *record:
		return plain(types.DefaultTypeAdapter.NativeToValue(anyMap(value.all())))
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
