package workflow

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
)

// builder makes the ops of a program.
type builder struct {
	*linter
	started *cel.Type // of what starts the run
}

// nest is where steps stand: how deep, and whose event they see.
type nest struct{ depth, event int }

// steps compiles steps one after another. It returns where they begin, and the
// ops whose Next is still open.
func (b *builder) steps(list []Step, at, prefix string, in nest) (first int, open []int) {
	first = End
	for i := range list {
		place := fmt.Sprintf("%s[%d]", at, i)
		entry, tails := b.step(&list[i], place, prefix+strconv.Itoa(i+1), in)
		switch {
		case i == 0:
			first = entry
		case len(open) == 0:
			b.warn(place, "move it before the step that ends the run, or remove it", "this step is never reached")
		}
		for _, op := range open {
			b.program.Ops[op].Next = entry
		}
		open = tails
	}
	return first, open
}

// step compiles one step, and those inside it.
func (b *builder) step(step *Step, at, id string, in nest) (entry int, open []int) {
	p := b.program
	op := Op{Index: len(p.Ops), ID: id, Name: step.Name, Next: End, Line: b.source.Line(at), Event: in.event, Depth: in.depth}
	if step.Name != "" {
		op.ID = step.Name
	}
	if _, twice := p.Op(op.ID); twice {
		b.report(at, "give the step a name of its own", "the step's id %q is used twice", op.ID)
	}
	p.Ops = append(p.Ops, op)
	b.places, b.reads = append(b.places, at), append(b.reads, nil)
	kind, ok := b.kind(step, at)
	if !ok {
		return op.Index, []int{op.Index}
	}
	op.Kind = kind
	open = []int{op.Index}
	inner := nest{in.depth + 1, in.event}
	switch kind { //nolint:exhaustive // a join is no step.
	case OpAction:
		op.Action = b.action(step, at, op)
	case OpWait:
		return op.Index, b.wait(op, step.WaitFor, at+".wait_for", inner)
	case OpDelay:
		op.Delay = b.delay(step, at, op)
	case OpBranch:
		return op.Index, b.branch(op, step.Branch, at+".branch", inner)
	case OpParallel:
		return op.Index, b.parallel(op, step.Parallel, at+".parallel", inner)
	case OpEmit:
		op.Emit = b.emit(step.Emit, at+".emit", op)
	case OpHTTP:
		op.HTTP = b.http(step, at+".http", op)
	case OpStop:
		op.Stop = &StopOp{
			If:     b.condition(at+".stop.if", step.Stop.If, b.sees(op), true),
			Reason: b.template(at+".stop.reason", step.Stop.Reason, b.sees(op)),
		}
		if step.Stop.If == "" {
			open = nil
		}
	}
	p.Ops[op.Index] = op
	return op.Index, open
}

// sees returns the type of `event` for the op's expressions.
func (b *builder) sees(op Op) *cel.Type {
	if op.Event == End {
		return b.started
	}
	return b.language.typeOf(b.program.Ops[op.Event].Wait.Topic)
}

// kinds are the keys of which a step has exactly one.
func kinds() []string {
	return []string{"action", "wait_for", "after", "until", "branch", "parallel", "emit", "http", "stop"}
}

// kind returns what the step does.
func (b *builder) kind(step *Step, at string) (OpKind, bool) {
	given := map[string]bool{
		"action": step.Action != "", "wait_for": step.WaitFor != nil, "after": step.After != "", "until": step.Until != "",
		"branch": step.Branch != nil, "parallel": step.Parallel != nil, "emit": step.Emit != nil, "http": step.HTTP != nil,
		"stop": step.Stop != nil,
	}
	maps.DeleteFunc(given, func(_ string, is bool) bool { return !is })
	names := slices.Sorted(maps.Keys(given))
	switch len(names) {
	case 0:
		fix := "add `action:`; `publisher actions` lists the names. Or one of " + strings.Join(kinds()[1:], ", ")
		b.report(at, fix, "the step does nothing")
		return "", false
	case 1:
	default:
		b.report(at+"."+names[1], "make two steps of it", "a step does one thing, and this has %s", strings.Join(names, " and "))
		return "", false
	}
	kind := OpKind(names[0])
	if names[0] == "after" || names[0] == "until" {
		kind = OpDelay
	}
	b.only(step, kind, at)
	return kind, true
}

// only reports keys that mean nothing beside what the step does.
func (b *builder) only(step *Step, kind OpKind, at string) {
	given := map[string]bool{
		"params": step.Params != nil, "auto_boot": step.AutoBoot != nil, "timeout": step.Timeout != 0,
		"expires": step.Expires != 0, "await": step.Await != nil, "on_error": step.OnError != "",
	}
	allowed := map[OpKind][]string{OpAction: slices.Collect(maps.Keys(given)), OpHTTP: {"await", "on_error"}}[kind]
	for _, key := range slices.Sorted(maps.Keys(given)) {
		if !given[key] || slices.Contains(allowed, key) {
			continue
		}
		fix := fmt.Sprintf("only an action has `%s`", key)
		if key == "timeout" && (kind == OpWait || kind == OpHTTP) {
			fix = fmt.Sprintf("write it inside `%s`", kind)
		}
		b.report(at+"."+key, fix, "%s means nothing beside %s", key, kind)
	}
}
