package workflow

import (
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/parley-chat/parley/internal/event"
)

// clause compares a property of the trigger with a constant: the commonest kind
// of condition.
type clause struct {
	path   []string // below trigger.properties
	op     string
	number float64
	text   string
	isText bool
}

// certainty is what a clause says of an event.
type certainty int

const (
	unsure  certainty = iota // CEL has to say it
	holds                    //
	fails                    //
	missing                  // the property is not there
)

// exact is up to where every whole number is a float64.
const exact = 1 << 53

// clausesOf returns the clauses that a condition consists of, joined by &&; nil
// when it has anything else.
func clausesOf(e ast.Expr) []clause {
	if e.Kind() != ast.CallKind {
		return nil
	}
	call := e.AsCall()
	if len(call.Args()) != 2 || call.IsMemberFunction() {
		return nil
	}
	left, right := call.Args()[0], call.Args()[1]
	if call.FunctionName() != operators.LogicalAnd {
		return clauseOf(call.FunctionName(), left, right)
	}
	first, second := clausesOf(left), clausesOf(right)
	if first == nil || second == nil {
		return nil
	}
	return append(first, second...)
}

// clauseOf returns the one clause, or nil.
func clauseOf(op string, left, right ast.Expr) []clause {
	path, ok := pathOf(left)
	if !ok || len(path) < 3 || path[0] != "trigger" || path[1] != "properties" || right.Kind() != ast.LiteralKind {
		return nil
	}
	c := clause{path: path[2:], op: op}
	switch value := right.AsLiteral().(type) {
	case types.Int:
		if value < -exact || value > exact {
			return nil
		}
		c.number = float64(value)
	case types.Double:
		c.number = float64(value)
	case types.String:
		c.text, c.isText = string(value), true
	default:
		return nil
	}
	if !c.known() {
		return nil
	}
	return []clause{c}
}

// known reports whether a clause can have the operator.
func (c *clause) known() bool {
	switch c.op {
	case operators.Equals, operators.NotEquals:
		return true
	case operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		return !c.isText
	}
	return false
}

// pathOf returns the names of a.b.c.
func pathOf(e ast.Expr) ([]string, bool) {
	switch e.Kind() { //nolint:exhaustive // The others are no path.
	case ast.IdentKind:
		return []string{e.AsIdent()}, true
	case ast.SelectKind:
		of := e.AsSelect()
		path, ok := pathOf(of.Operand())
		return append(path, of.FieldName()), ok && !of.IsTestOnly()
	}
	return nil, false
}

// Quick evaluates the condition on a trigger that was glanced at, as Bool would,
// where that takes no CEL. It is not sure where it does, and where Bool may fail.
func (e *Expr) Quick(h *Happened) (yes, sure bool) {
	if h.rest == nil || len(e.clauses) == 0 {
		return false, false
	}
	yes, sure = true, true
	for i := range e.clauses {
		switch e.clauses[i].of(h.rest.properties) {
		case holds:
		case fails: // Whatever is wrong with the others.
			return false, true
		case missing:
			yes = false
		case unsure:
			sure = false
		}
	}
	return yes && sure, sure
}

// of says whether the clause holds of the properties.
func (c *clause) of(properties event.Raw) certainty {
	value := properties
	for _, name := range c.path {
		if value != nil && value[0] != '{' {
			return unsure
		}
		found, ok := value.Find(name)
		if !ok {
			return missing
		}
		value = found
	}
	switch value := value.Any().(type) {
	case string:
		return c.ofText(value)
	case float64:
		return c.ofNumber(value)
	}
	return unsure
}

func (c *clause) ofText(value string) certainty {
	if !c.isText {
		return unsure
	}
	return sureOf((value == c.text) == (c.op == operators.Equals))
}

func (c *clause) ofNumber(value float64) certainty {
	if c.isText {
		return unsure
	}
	switch c.op {
	case operators.Equals:
		return sureOf(value == c.number)
	case operators.NotEquals:
		return sureOf(value != c.number)
	case operators.Less:
		return sureOf(value < c.number)
	case operators.LessEquals:
		return sureOf(value <= c.number)
	case operators.Greater:
		return sureOf(value > c.number)
	default:
		return sureOf(value >= c.number)
	}
}

func sureOf(yes bool) certainty {
	if yes {
		return holds
	}
	return fails
}
