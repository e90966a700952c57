package workflow

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// linter compiles one file, and collects what is wrong in it.
type linter struct {
	*Compiler
	source   *Source
	program  *Program
	scope    *stepScope
	problems []Problem
	form     []Problem // what has the wrong form, and is missing in the program
	// places are the paths of the ops in the file, and reads the outcomes that
	// their expressions read.
	places []string
	reads  [][]string
}

// all compiles the file into the program.
func (l *linter) all() {
	p := l.program
	if !event.IsToken(p.Name) {
		l.report("name", "use lower-case letters, digits and -", "%q is no name for a rule", p.Name)
	}
	l.starts()
	if !l.named() {
		return // What is too large is not looked at.
	}
	started := l.started()
	if p.If != "" {
		p.Cond = l.condition("if", p.If, started, false)
	}
	l.limits()
	if len(p.Steps) == 0 {
		l.report("steps", "list at least one step with an `action`", "the rule does nothing")
	}
	if len(p.Else) > 0 && p.If == "" {
		l.report("else", "write an `if`, or remove `else`", "without `if` these steps are never reached")
	}
	b := builder{l, started}
	p.First, _ = b.steps(p.Steps, "steps", "", nest{event: End})
	p.Otherwise, _ = b.steps(p.Else, "else", "else.", nest{event: End})
	b.link()
	l.outcomes()
}

func (l *linter) report(at, fix, format string, args ...any) {
	l.problems = append(l.problems, l.source.Problem(at, fix, format, args...))
}

// warn notes what is accepted.
func (l *linter) warn(at, fix, format string, args ...any) {
	problem := l.source.Problem(at, fix, format, args...)
	problem.Warning = true
	l.program.Warnings = append(l.program.Warnings, problem)
}

// failed reports an error of an expression or of a check.
func (l *linter) failed(at string, err error) {
	if wrong, ok := errors.AsType[syntaxErrors](err); ok {
		for _, one := range wrong {
			l.problems = append(l.problems, l.source.Within(at, one.column, one.fix, "%s", one))
		}
		return
	}
	problem := l.source.Problem(at, "", "%s", err)
	if e, ok := errors.AsType[*fault.Error](err); ok {
		problem.Fix = e.Fix
	}
	l.problems = append(l.problems, problem)
}

// in returns the scope in which `event` has the type.
func (l *linter) in(kind *cel.Type) *scope { return &scope{l.language, l.scope, kind} }

// condition compiles a condition. late says whether steps may have run.
func (l *linter) condition(at, text string, kind *cel.Type, late bool) *Expr {
	if text == "" {
		return nil
	}
	e := l.expression(at, text, kind, "true or false", cel.BoolType)
	if e != nil && !late && len(e.refs) > 0 {
		l.report(at, "read the trigger or the visitor", "no step has run yet when this is evaluated")
	}
	return e
}

// expression compiles an expression whose value has one of the types.
func (l *linter) expression(at, text string, kind *cel.Type, should string, want ...*cel.Type) *Expr {
	e, err := l.in(kind).compile(text)
	if err != nil {
		l.failed(at, err)
		return nil
	}
	is := func(t *cel.Type) bool { return e.kind.IsExactType(t) }
	if !is(cel.DynType) && len(want) > 0 && !slices.ContainsFunc(want, is) {
		fix := ""
		if want[0] == cel.BoolType {
			fix = "compare it: … == …"
		}
		what := "the value"
		if want[0] == cel.BoolType {
			what = "the condition"
		}
		l.report(at, fix, "%s is %s, and should be %s", what, e.kind, should)
	}
	l.dear(at)
	return e
}

// template compiles a value that may hold expressions.
func (l *linter) template(at string, value any, kind *cel.Type) Template {
	t := l.in(kind).template(value, at, l.failed)
	l.dear(at)
	return t
}

// dear warns of the expressions that were compiled last and may cost too much,
// and returns the outcomes that they read.
func (l *linter) dear(at string) {
	for _, e := range l.scope.seen {
		if e.cost > costLimit {
			l.warn(at, "take out loops in loops, or filter first",
				"on %d-element lists the expression may cost more than the limit of %d, and would then fail", usual, costLimit)
		}
		if n := len(l.reads); n > 0 {
			l.reads[n-1] = append(l.reads[n-1], e.refs...)
		}
	}
	l.scope.seen = nil
}

// named makes the variable steps of the names of all steps, which are unique.
// It reports whether the workflow is of a size to look at.
func (l *linter) named() bool {
	own := shapes{}
	var members []member
	seen := map[string]string{}
	count, before := 0, len(l.problems)
	tooDeep := false
	l.walk(l.program.Steps, "steps", 1, func(step *Step, at string, depth int) bool {
		count++
		if depth > maxNesting {
			tooDeep = true
			l.report(at, "move the inner steps into a workflow of their own, and start it with `emit`",
				"steps nest deeper than %d levels", maxNesting)
			return false
		}
		if step.Name == "" {
			return true
		}
		name := variable(step.Name)
		if !isStepName(step.Name) {
			l.report(at+".name", "use lower-case letters, digits, - and _", "%q is no name for a step", step.Name)
			return true
		}
		if other := seen[name]; other != "" {
			l.report(at+".name", "give it another name", "the name %q is already used by the step in line %d", step.Name, l.source.Line(other))
			return true
		}
		seen[name] = at + ".name"
		members = append(members, own.step(name, l.output(step)).as(name))
		return true
	})
	if count > maxSteps || tooDeep {
		l.problems = l.problems[:min(len(l.problems), before+maxSteps)]
	}
	if count > maxSteps {
		l.report("steps", "move some into a workflow of their own, and start it with `emit`", "the workflow has %d steps, the limit is %d", count, maxSteps)
	}
	steps := newShape("steps", members...)
	own["steps"] = steps
	l.program.steps = steps
	l.scope = &stepScope{steps: steps, own: own, typed: map[string]*cel.Env{}}
	return count <= maxSteps && !tooDeep
}

// step makes the shape of a step's outcome.
func (s shapes) step(name string, output member) *shape {
	made := newShape("step."+name, textMember("status"), flagMember("verified"), textMember("reason"), output)
	s[made.name] = made
	return made
}

// output returns the member for a step's output.
func (l *linter) output(step *Step) member {
	switch {
	case step.Action != "":
		specs := l.specs(step.Action)
		if len(specs) == 1 {
			if result := l.language.known["result."+specs[0].Name]; result != nil && result.fields["output"] != nil {
				return member{"output", result.fields["output"].typ, result.fields["output"].read}
			}
		}
	case step.WaitFor != nil && step.WaitFor.Trigger != "":
		return l.language.known["trigger"].as("output")
	case step.WaitFor != nil:
		_, fact := splitFact(step.WaitFor.Event)
		if s := l.language.known[factShape(fact)]; s != nil {
			return s.as("output")
		}
	case step.HTTP != nil:
		return l.language.known["call"].as("output")
	}
	return mapMember("output")
}

// walk visits the steps and those inside them; visit says whether to go deeper.
func (l *linter) walk(steps []Step, at string, depth int, visit func(step *Step, at string, depth int) bool) {
	for i := range steps {
		step, at := &steps[i], fmt.Sprintf("%s[%d]", at, i)
		if !visit(step, at, depth) {
			continue
		}
		if w := step.WaitFor; w != nil {
			l.walk(w.Steps, at+".wait_for.steps", depth+1, visit)
			l.walk(w.OnTimeout, at+".wait_for.on_timeout", depth+1, visit)
		}
		for j := range step.Branch {
			l.walk(step.Branch[j].Steps, fmt.Sprintf("%s.branch[%d].steps", at, j), depth+1, visit)
		}
		for j := range step.Parallel {
			l.walk(step.Parallel[j], fmt.Sprintf("%s.parallel[%d]", at, j), depth+1, visit)
		}
	}
	if at == "steps" {
		l.walk(l.program.Else, "else", depth, visit)
	}
}

// outcomes checks which outcomes the steps read, and lets actions that are read
// wait for their results.
func (l *linter) outcomes() {
	ops := l.program.Ops
	for i := range ops {
		for _, name := range l.reads[i] {
			of := slices.IndexFunc(ops, func(op Op) bool { return op.Name != "" && variable(op.Name) == name })
			if of < 0 {
				continue // The type check has said it.
			}
			if of >= i {
				l.report(l.places[i], "read a step that comes before", "the step %q has not run yet when this step reads steps.%s", ops[of].Name, name)
				continue
			}
			if action := ops[of].Action; action != nil {
				action.Await = l.await(of, action.Await)
			}
			if call := ops[of].HTTP; call != nil {
				call.Await = l.await(of, call.Await)
			}
		}
	}
}

// await returns true, and reports a step that says that nobody waits for it.
func (l *linter) await(op int, already bool) bool {
	at := l.places[op]
	if !already && l.source.Line(at+".await") > 0 {
		l.report(at+".await", "remove `await: false`", "a later step reads what becomes of it")
	}
	return true
}

// among returns the fix for a name that should be one of the known ones.
func among(name string, known []string) string {
	near := fault.Nearest(name, known)
	if i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, name) }); i >= 0 {
		near = known[i]
	}
	if near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if len(known) == 0 {
		return "there is none yet: name it in the configuration"
	}
	return "use one of " + strings.Join(known, ", ")
}

// quotedAfter returns the word that follows the text up to a quote.
func quotedAfter(message, text string) (string, bool) {
	_, after, found := strings.Cut(message, text)
	word, _, closed := strings.Cut(after, "'")
	return word, found && closed
}

// isStepName reports whether the text may name a step.
func isStepName(text string) bool { return event.IsToken(strings.ReplaceAll(text, "_", "-")) }
