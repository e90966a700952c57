package crm

import (
	"maps"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/parley-chat/parley/internal/fault"
)

// maxAttribute is the longest name of an attribute.
const maxAttribute = 128

// returned is one attribute of the way back: what it gets, and of which fields of
// the contact.
type returned struct {
	attribute string
	value     template
	fields    []string
}

// fieldsIn returns the fields of the contact that the expression reads, sorted,
// and "" among them when it reads one that only its evaluation would tell.
func fieldsIn(of *cel.Ast) []string {
	named, all := 0, 0
	found := map[string]bool{}
	ast.PostOrderVisit(of.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if isContact(e) {
			all++
		}
		if name, ok := fieldOf(e); ok {
			named++
			found[name] = true
		}
	}))
	if all > named {
		found[""] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// isContact reports whether the expression is the contact as a whole.
func isContact(e ast.Expr) bool { return e.Kind() == ast.IdentKind && e.AsIdent() == "contact" }

// fieldOf returns the field of the contact that the expression is: contact.name,
// contact["name"], or contact.?name.
func fieldOf(e ast.Expr) (string, bool) {
	switch e.Kind() { //nolint:exhaustive // The others are no fields.
	case ast.SelectKind:
		return e.AsSelect().FieldName(), isContact(e.AsSelect().Operand())
	case ast.CallKind:
		call := e.AsCall()
		reads := []string{operators.Index, operators.OptIndex, operators.OptSelect}
		if slices.Contains(reads, call.FunctionName()) && len(call.Args()) == 2 && isContact(call.Args()[0]) {
			return literal(call.Args()[1])
		}
	}
	return "", false
}

// literal returns the text that the expression is.
func literal(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	text, ok := e.AsLiteral().(types.String)
	return string(text), ok
}

// reads returns the fields of the contact that the text reads.
func (t template) reads() []string {
	var all []string
	for _, p := range t.parts {
		all = append(all, p.fields...)
	}
	return slices.Compact(slices.Sorted(slices.Values(all)))
}

// back compiles the way back of the mapping. report is told what is wrong.
func (p *Program) back(m Mapping, schema Schema, report func(path string, err error)) {
	p.watched = map[string]*FieldSchema{}
	for _, name := range slices.Sorted(maps.Keys(m.Back)) {
		r, err := compileBack(name, m.Back[name])
		for _, field := range r.fields {
			if err == nil {
				err = p.watch(field, m, schema)
			}
		}
		if err != nil {
			report("back."+name, err)
			continue
		}
		p.returns = append(p.returns, r)
	}
}

// compileBack compiles one attribute of the way back.
func compileBack(name, text string) (returned, error) {
	r := returned{attribute: name}
	var err error
	if r.value, err = inward.text(text); err != nil {
		return r, err
	}
	r.fields = r.value.reads()
	return r, r.check()
}

// check refuses what cannot be brought back.
func (r returned) check() error {
	switch {
	case r.attribute == "" || len(r.attribute) > maxAttribute:
		return fault.New(fault.BadConfig, "an attribute has a name of 1 to %d characters", maxAttribute)
	case r.attribute == "user_id":
		return fault.New(fault.BadConfig, "the user id says whose session it is, and cannot come from the CRM")
	case len(r.fields) == 0:
		return fault.New(fault.BadConfig, "it reads no field of the contact").WithFix("write ${contact.name}, or ${contact[\"a name\"]}")
	case r.fields[0] == "":
		return fault.New(fault.BadConfig, "it must name the fields of the contact that it reads")
	}
	return nil
}

// watch notes that changes of the field are to be told.
func (p *Program) watch(name string, m Mapping, schema Schema) error {
	if m.Contact[name].Rule == Append {
		return fault.New(fault.BadConfig, "the field %q has the rule append, so what others wrote in it cannot be told from ours", name)
	}
	i := slices.IndexFunc(schema.Contact, func(f FieldSchema) bool { return f.Name == name })
	if i < 0 {
		_, err := find(schema.Contact, name, schema.Open)
		p.watched[name] = &FieldSchema{Name: name, Type: Text}
		return err
	}
	p.watched[name] = &schema.Contact[i]
	return nil
}

// Watched returns the fields whose changes the way back tells, sorted.
func (p *Program) Watched() []string { return slices.Sorted(maps.Keys(p.watched)) }

// values returns the watched fields in the types of the schema. A field that is
// missing or empty is nil.
func (p *Program) values(of []Field) map[string]any {
	out := make(map[string]any, len(p.watched))
	for name, schema := range p.watched {
		out[name] = nil
		i := slices.IndexFunc(of, func(f Field) bool { return f.Name == name })
		if i < 0 {
			continue
		}
		if value, err := schema.coerce(of[i].Value); err == nil && !empty(value) {
			out[name] = value
		}
	}
	return out
}

// attributes returns what of the visitor follows from the fields that changed.
func (p *Program) attributes(site string, values map[string]any, changed []string) (map[string]any, error) {
	seen := vars{"site": site, "contact": p.shown(values)}
	out := map[string]any{}
	for _, r := range p.returns {
		if !slices.ContainsFunc(r.fields, func(name string) bool { return slices.Contains(changed, name) }) {
			continue
		}
		value, ok, err := r.value.eval(seen)
		if err != nil {
			return nil, fault.New(fault.BadConfig, "evaluating back.%s", r.attribute).Because(err)
		}
		if ok {
			out[r.attribute] = plainValue(r.attribute, value)
		}
	}
	return out, nil
}

// shown returns the values as an expression sees them: an empty text is there, any
// other value that is empty is not, and a day is a text.
func (p *Program) shown(values map[string]any) map[string]any {
	out := make(map[string]any, len(values))
	for name, value := range values {
		at, timed := value.(time.Time)
		switch kind := p.watched[name].Type; {
		case value != nil && timed && kind == Date:
			out[name] = at.Format(time.DateOnly)
		case value != nil:
			out[name] = value
		case kind == Text || kind == Enum:
			out[name] = ""
		}
	}
	return out
}

// plainValue returns the value as attributes have it: a text, a number, a boolean,
// or of the tags a list.
func plainValue(attribute string, value any) any {
	switch value := value.(type) {
	case string, bool, float64:
		return value
	case int64:
		return float64(value)
	case uint64:
		return float64(value)
	case []string, []any:
		if attribute == "tags" {
			return listOf(value)
		}
	}
	return strings.TrimSpace(textOf(value))
}
