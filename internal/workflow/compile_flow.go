package workflow

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
)

// follow stands, until the ops are linked, for the op after a branch or a wait.
const follow = -2

// wait compiles a wait_for.
func (b *builder) wait(op Op, w *WaitFor, at string, in nest) []int {
	p := b.program
	topic, ok := b.topic(w.Trigger, w.Event, at)
	op.Wait = &WaitOp{Topic: topic, Timeout: time.Duration(w.Timeout), Then: follow, OnTimeout: follow}
	if ok {
		op.Wait.If = b.condition(at+".if", w.If, b.language.typeOf(topic), true)
	}
	switch {
	case w.Timeout == 0 && len(w.OnTimeout) > 0:
		b.report(at+".on_timeout", "add `timeout: 30m`", "without a timeout these steps are never reached")
	case w.Timeout == 0:
		b.warn(at, "add `timeout: 24h`", "the run waits for ever when it does not happen")
	case w.Timeout > longest:
		b.report(at+".timeout", "use 400d at most", "%s is too long", w.Timeout)
	}
	p.Ops[op.Index] = op
	open := []int{}
	if len(w.Steps) > 0 {
		first, tails := b.steps(w.Steps, at+".steps", op.ID+".then.", nest{in.depth, op.Index})
		op.Wait.Then, open = first, append(open, tails...)
	}
	if len(w.OnTimeout) > 0 {
		first, tails := b.steps(w.OnTimeout, at+".on_timeout", op.ID+".on_timeout.", in)
		op.Wait.OnTimeout, open = first, append(open, tails...)
	}
	if op.Wait.Then == follow || op.Wait.OnTimeout == follow && w.Timeout > 0 {
		open = append(open, op.Index)
	}
	return open
}

// longest is the longest wait: a run that waits longer than a year is forgotten
// by people.
const longest = Span(400 * 24 * time.Hour)

// delay compiles after and until.
func (b *builder) delay(step *Step, at string, op Op) *DelayOp {
	d := &DelayOp{}
	if text := step.After; text != "" {
		if inner, is := wholeExpression(text); is {
			d.Span = b.expression(at+".after", inner, b.sees(op), "a duration", cel.DurationType, cel.StringType)
			return d
		}
		span, err := parseSpan(text)
		switch {
		case err != nil:
			b.report(at+".after", `write 30m, 24h or 7d, or an expression: "${ duration('1h') }"`, "it is not a duration")
		case span <= 0 || span > time.Duration(longest):
			b.report(at+".after", "use more than 0 and 400d at most", "%s is no time to wait", text)
		}
		d.For = span
		return d
	}
	if inner, is := wholeExpression(step.Until); is {
		d.Until = b.expression(at+".until", inner, b.sees(op), "a time", cel.TimestampType, cel.StringType)
		return d
	}
	when, err := time.Parse(time.RFC3339, step.Until)
	if err != nil {
		b.report(at+".until", `write 2027-01-31T09:00:00Z, or an expression: "${ trigger.occurred_at + duration('1h') }"`, "it is not a time")
	}
	d.At = when.UTC()
	return d
}

// wholeExpression returns the expression of a text that is nothing else.
func wholeExpression(text string) (string, bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), "${")
	if !ok {
		return "", false
	}
	inner, tail, closed := cutExpression(rest)
	return inner, closed && tail == ""
}

// branch compiles a branch.
func (b *builder) branch(op Op, arms []Arm, at string, in nest) []int {
	var open []int
	otherwise := false
	conditions := make([]*Expr, len(arms))
	for i, arm := range arms { // before the steps inside, so that they count as this op's
		place := fmt.Sprintf("%s[%d]", at, i)
		isElse := arm.Else != nil && *arm.Else
		switch {
		case otherwise:
			b.report(place, "put the arm with `else: true` last", "this arm is never reached")
		case arm.If == "" && !isElse:
			b.report(place, "add `if: …`, or `else: true`", "the arm has no condition")
		case arm.If != "" && arm.Else != nil:
			b.report(place+".else", "keep one of them", "an arm has `if` or `else`, not both")
		}
		otherwise = otherwise || isElse
		conditions[i] = b.condition(place+".if", arm.If, b.sees(op), true)
	}
	switch {
	case len(arms) == 0:
		b.report(at, "add `- {if: …, steps: […]}`", "the branch has no arm")
	case !otherwise:
		b.warn(at, "add `- {else: true, steps: […]}` when something should be done then", "nothing is done when no condition holds")
	}
	for i, arm := range arms {
		then := ArmOp{If: conditions[i], Then: follow}
		if len(arm.Steps) > 0 {
			first, tails := b.steps(arm.Steps, fmt.Sprintf("%s[%d].steps", at, i), fmt.Sprintf("%s.%d.", op.ID, i+1), in)
			then.Then, open = first, append(open, tails...)
		}
		op.Arms = append(op.Arms, then)
	}
	if !otherwise || slices.ContainsFunc(op.Arms, func(arm ArmOp) bool { return arm.Then == follow }) {
		open = append(open, op.Index)
	}
	b.program.Ops[op.Index] = op
	return open
}

// parallel compiles arms that all run, and the op where they meet.
func (b *builder) parallel(op Op, arms [][]Step, at string, in nest) []int {
	if len(arms) < 2 {
		b.report(at, "write two lists of steps or more", "parallel needs two arms or more, and this has %d", len(arms))
	}
	op.Parallel = &ParallelOp{}
	var open []int
	for i, arm := range arms {
		place := fmt.Sprintf("%s[%d]", at, i)
		if len(arm) == 0 {
			b.report(place, "add a step, or remove the arm", "the arm has no step")
			continue
		}
		first, tails := b.steps(arm, place, fmt.Sprintf("%s.%d.", op.ID, i+1), in)
		op.Parallel.Arms, open = append(op.Parallel.Arms, first), append(open, tails...)
	}
	join := Op{
		Index: len(b.program.Ops), ID: op.ID + ".join", Kind: OpJoin, Next: End, Line: op.Line, Event: op.Event, Depth: op.Depth,
		Join: &JoinOp{Of: op.Index, Arms: len(op.Parallel.Arms)},
	}
	op.Parallel.Join, op.Next = join.Index, join.Index
	b.program.Ops = append(b.program.Ops, join)
	b.places, b.reads = append(b.places, b.places[op.Index]), append(b.reads, nil)
	for _, tail := range open {
		b.program.Ops[tail].Next = join.Index
	}
	b.program.Ops[op.Index] = op
	return []int{join.Index}
}

// link puts the op that follows in the places that stand for it.
func (b *builder) link() {
	for i := range b.program.Ops {
		op := &b.program.Ops[i]
		for j := range op.Arms {
			if op.Arms[j].Then == follow {
				op.Arms[j].Then = op.Next
			}
		}
		if w := op.Wait; w != nil {
			if w.Then == follow {
				w.Then = op.Next
			}
			if w.OnTimeout == follow {
				w.OnTimeout = op.Next
			}
		}
	}
}
