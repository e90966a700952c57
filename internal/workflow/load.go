package workflow

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// Validator holds the schemas of the CloudEvents types. *event.Schemas fits it.
type Validator interface {
	// Validate checks the data of an event of the type.
	Validate(typ string, data []byte) error
	// Source returns the schema of the type, or nil.
	Source(typ string) json.RawMessage
}

// Compiler turns rule files into rules. It is safe for concurrent use.
type Compiler struct {
	catalog  *actions.Catalog
	schemas  Validator
	sites    []string
	language *language
}

// NewCompiler returns a compiler that knows these actions, schemas and names of
// sites.
func NewCompiler(catalog *actions.Catalog, schemas Validator, sites []string) (*Compiler, error) {
	language, err := newLanguage()
	if err != nil {
		return nil, err
	}
	return &Compiler{catalog, schemas, sites, language}, nil
}

// Set is a set of compiled rules. It never changes.
type Set struct {
	rules []*compiled
	// byEvent finds the rules of a kind and an event; those of every event are
	// under the kind alone.
	byEvent map[[2]string][]*compiled
}

type compiled struct {
	Rule
	condition cel.Program // nil holds always
	steps     []compiledStep
}

type compiledStep struct {
	Step
	spec   actions.Spec
	params template
}

// Len returns the number of rules.
func (s *Set) Len() int { return len(s.rules) }

// Rules returns the rules as they were written, with names and defaults filled
// in.
func (s *Set) Rules() []Rule {
	rules := make([]Rule, len(s.rules))
	for i, rule := range s.rules {
		rules[i] = rule.Rule
	}
	return rules
}

// Load compiles the rule files, which may also be named by patterns. It returns
// everything that is wrong in any of them. Rules act in the order of the names
// of their files.
func (c *Compiler) Load(files fs.FS, patterns ...string) (*Set, error) {
	var names []string
	for _, pattern := range patterns {
		found, err := fs.Glob(files, pattern)
		if err != nil {
			return nil, fault.New(fault.BadRule, "the pattern %q of rule files: %s", pattern, err)
		}
		if len(found) == 0 && !strings.ContainsAny(pattern, "*?[") {
			return nil, fault.New(fault.BadRule, "there is no rule file %s", pattern)
		}
		names = append(names, found...)
	}
	slices.Sort(names)
	set, seen := &Set{byEvent: map[[2]string][]*compiled{}}, map[string]string{}
	var wrong []error
	for _, name := range slices.Compact(names) {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("reading the rule file %s: %w", name, err)
		}
		rule, err := c.compile(name, text)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		if other := seen[rule.Name]; other != "" {
			wrong = append(wrong, fault.New(fault.BadRule, "%s: the rule name %q is already used by %s", name, rule.Name, other))
		}
		seen[rule.Name] = name
		set.add(rule)
	}
	return set, errors.Join(wrong...)
}

func (s *Set) add(rule *compiled) {
	s.rules = append(s.rules, rule)
	key := [2]string{rule.On.Trigger, rule.On.Event}
	s.byEvent[key] = append(s.byEvent[key], rule)
}

// compile compiles one rule file.
func (c *Compiler) compile(file string, text []byte) (*compiled, error) {
	var rule Rule
	source, err := Read(file, text, fault.BadRule, &rule)
	if err != nil {
		return nil, err
	}
	if rule.Name == "" {
		rule.Name, _, _ = strings.Cut(path.Base(file), ".")
	}
	out := &compiled{Rule: rule}
	l := linter{Compiler: c, source: source}
	l.head(out)
	for i := range rule.Steps {
		out.steps = append(out.steps, l.step(&out.Steps[i], i))
	}
	return out, source.Fail(l.problems...)
}

// linter collects what is wrong in one rule file.
type linter struct {
	*Compiler
	source   *Source
	problems []Problem
}

func (l *linter) report(at, fix, format string, args ...any) {
	l.problems = append(l.problems, l.source.Problem(at, fix, format, args...))
}

// failed reports an error of an expression or of a check.
func (l *linter) failed(at string, err error) {
	problem := l.source.Problem(at, "", "%s", err)
	if wrong, ok := errors.AsType[*syntaxError](err); ok {
		problem = l.source.Within(at, wrong.column, suggest(wrong.message), "%s", err)
	} else if e, ok := errors.AsType[*fault.Error](err); ok {
		problem.Fix = e.Fix
	}
	l.problems = append(l.problems, problem)
}

// head checks what stands before the steps.
func (l *linter) head(rule *compiled) {
	if !event.IsToken(rule.Name) {
		l.report("name", "use lower-case letters, digits and -", "%q is no name for a rule", rule.Name)
	}
	switch kinds := event.TriggerKinds(); {
	case rule.On.Trigger == "":
		l.report("on", "write `on: {trigger: track, event: …}`", "the rule listens to nothing")
	case !slices.Contains(kinds, rule.On.Trigger):
		l.report("on.trigger", among(rule.On.Trigger, kinds), "%q is not a kind of trigger", rule.On.Trigger)
	}
	for i, site := range rule.On.Sites {
		if !slices.Contains(l.sites, site) {
			l.report(fmt.Sprintf("on.sites[%d]", i), among(site, l.sites), "there is no site %q", site)
		}
	}
	if len(rule.Steps) == 0 {
		l.report("steps", "list at least one step with an `action`", "the rule does nothing")
	}
	if rule.If == "" {
		return
	}
	program, kind, err := l.language.compile(rule.If)
	switch {
	case err != nil:
		l.failed("if", err)
	case !kind.IsExactType(cel.BoolType) && !kind.IsExactType(cel.DynType):
		l.report("if", "compare it: … == …", "the condition is %s, and should be true or false", kind)
	}
	rule.condition = program
}

// step checks and compiles the step with the number i, and fills in its
// defaults.
func (l *linter) step(step *Step, i int) compiledStep {
	at := fmt.Sprintf("steps[%d]", i)
	if step.Name == "" {
		step.Name = strconv.Itoa(i + 1)
	}
	if step.Expires == 0 {
		step.Expires = defaultExpiry
	}
	if step.Expires < time.Second {
		l.report(at+".expires", "use at least 1s", "%s is too short", step.Expires)
	}
	if !event.IsToken(step.Name) {
		l.report(at+".name", "use lower-case letters, digits and -", "%q is no name for a step", step.Name)
	}
	if step.Action == "" {
		l.report(at, "add `action:`; `publisher actions` lists the names", "the step names no action")
		return compiledStep{}
	}
	spec, _, err := l.catalog.Find(step.Action)
	if err != nil {
		l.failed(at+".action", err)
		return compiledStep{}
	}
	if b := spec.Timeout; step.Timeout != 0 && (step.Timeout < b.Min || step.Timeout > b.Max) {
		l.report(at+".timeout", fmt.Sprintf("use %s to %s", b.Min, b.Max), "%s is outside the bounds of %s", step.Timeout, spec.Name)
	}
	before := len(l.problems)
	params := l.language.template(anyMap(step.Params), at+".params", l.failed)
	if len(l.problems) == before {
		l.params(spec, *step, params, at+".params")
	}
	return compiledStep{*step, spec, params}
}

// params checks parameters that do not depend on the trigger against the
// schema of the command. Of the others it checks the names; their values are
// checked when they are known.
func (l *linter) params(spec actions.Spec, step Step, params template, at string) {
	if !params.static() {
		l.names(spec, step, at)
		return
	}
	s := compiledStep{step, spec, params}
	_, data, err := s.data("site", event.Visitor{UserID: "u"}, vars{})
	if err == nil {
		err = l.schemas.Validate(event.CommandType(spec.Name), data)
	}
	if err == nil {
		return
	}
	problem := fault.From(err)
	pointer, ofParams := strings.CutPrefix(problem.Field, "/params")
	if !ofParams {
		return // The linter has said it in the rule's own words.
	}
	l.report(at+strings.ReplaceAll(pointer, "/", "."),
		fmt.Sprintf("`publisher actions %s` prints the schema", spec.Name), "%s", problem.Message)
}

// names checks the names of parameters.
func (l *linter) names(spec actions.Spec, step Step, at string) {
	var schema struct {
		Properties struct {
			Params struct {
				Properties           map[string]json.RawMessage
				AdditionalProperties json.RawMessage
				Required             []string
			}
		}
	}
	if err := json.Unmarshal(l.schemas.Source(event.CommandType(spec.Name)), &schema); err != nil {
		l.failed(at, fmt.Errorf("reading the schema of %s: %w", spec.Name, err))
		return
	}
	params := schema.Properties.Params
	for _, name := range slices.Sorted(maps.Keys(step.Params)) {
		if _, known := params.Properties[name]; !known && string(params.AdditionalProperties) == "false" {
			l.report(at+"."+name, among(name, slices.Sorted(maps.Keys(params.Properties))), "%s has no parameter %q", spec.Name, name)
		}
	}
	for _, name := range params.Required {
		if _, given := step.Params[name]; !given {
			l.report(at, "add it", "%s needs the parameter %q", spec.Name, name)
		}
	}
}

// among returns the fix for a name that should be one of the known ones.
func among(name string, known []string) string {
	if near := fault.Nearest(name, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "use one of " + strings.Join(known, ", ")
}

// suggest returns the fix for an expression that names something unknown.
func suggest(message string) string {
	if name, ok := quotedAfter(message, "undeclared reference to '"); ok {
		return nearVariable(name)
	}
	if name, ok := quotedAfter(message, "undefined field '"); ok {
		return among(name, fieldsOfVars())
	}
	return ""
}

func nearVariable(name string) string {
	if near := fault.Nearest(name, []string{"trigger", "visitor", "site", "has", "size"}); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "an expression sees trigger, visitor and site"
}

// quotedAfter returns the word that follows the text up to a quote.
func quotedAfter(message, text string) (string, bool) {
	_, after, found := strings.Cut(message, text)
	word, _, closed := strings.Cut(after, "'")
	return word, found && closed
}

func anyMap(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}
