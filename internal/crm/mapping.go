package crm

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/parley-chat/parley/internal/fault"
)

// Mapping says what is written into which field of a CRM.
type Mapping struct {
	// Contact and Activity are the fields, by the vendor's names.
	Contact  map[string]FieldMapping
	Activity map[string]FieldMapping
	// Subject is the one line of an activity; "" is "Chat on <site>".
	Subject string
	// Back are the visitor's attributes that follow from what others change in the
	// CRM, by their names: texts with expressions over contact and site, such as
	// "${contact.plan}". Empty means that nothing comes back.
	Back map[string]string
}

// FieldMapping is what one field gets.
type FieldMapping struct {
	// Value is a text with expressions in CEL, such as "${visitor.email}". A value
	// that is one expression keeps its type. One that names what is not there
	// leaves the field alone.
	Value string
	// Rule is Always when it is left out.
	Rule Rule
}

// Rules returns the rules that there are.
func Rules() []Rule { return []Rule{Always, IfEmpty, NeverOverwriteNewer, Append} }

// Program is a mapping that was compiled and checked.
type Program struct {
	contact, activity []mapped
	written           []string // the fields of contact, sorted
	subject           template
	needs             bool // some field has a rule other than Always
	// returns are the attributes of the way back, and watched the fields that they
	// follow from.
	returns []returned
	watched map[string]*FieldSchema
}

// mapped is one field of a program.
type mapped struct {
	name   string
	value  template
	rule   Rule
	schema *FieldSchema // nil when the schema does not name it
}

// Compile compiles the mapping and checks it against the schema. The error holds
// all that is wrong.
func Compile(m Mapping, schema Schema) (*Program, error) {
	p := &Program{}
	var problems []string
	report := func(path string, err error) { problems = append(problems, path+": "+err.Error()) }
	list := func(kind string, fields map[string]FieldMapping, known []FieldSchema) []mapped {
		var all []mapped
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			field, path := fields[name], kind+"."+name
			if field.Rule == "" {
				field.Rule = Always
			}
			of, err := find(known, name, schema.Open)
			if err != nil {
				report(path, err)
				continue
			}
			if !slices.Contains(Rules(), field.Rule) {
				report(path, fault.New(fault.BadConfig, "there is no rule %q; the rules are %v", field.Rule, Rules()))
				continue
			}
			value, err := compileText(field.Value)
			if err != nil {
				report(path, err)
				continue
			}
			if fixed, ok := value.fixed(); ok && of != nil {
				if _, err := of.coerce(fixed); err != nil {
					report(path, err)
					continue
				}
			}
			p.needs = p.needs || kind == "contact" && field.Rule != Always
			all = append(all, mapped{name, value, field.Rule, of})
		}
		return all
	}
	p.contact = list("contact", m.Contact, schema.Contact)
	p.activity = list("activity", m.Activity, schema.Activity)
	for _, m := range p.contact {
		p.written = append(p.written, m.name)
	}
	if m.Subject == "" {
		m.Subject = "Chat on ${site}"
	}
	var err error
	if p.subject, err = compileText(m.Subject); err != nil {
		report("subject", err)
	}
	p.back(m, schema, report)
	if len(problems) > 0 {
		return nil, fault.New(fault.BadConfig, "the mapping is wrong: %s", strings.Join(problems, "; ")).
			WithFix("correct the fields that the message names; `publisher crm schema` lists those that there are")
	}
	return p, nil
}

// find returns the schema of the field, which must be one that can be written.
func find(known []FieldSchema, name string, open bool) (*FieldSchema, error) {
	i := slices.IndexFunc(known, func(f FieldSchema) bool { return f.Name == name })
	switch {
	case i < 0 && open:
		return nil, nil //nolint:nilnil // A field of which nothing is known.
	case i < 0:
		names := make([]string, len(known))
		for i, f := range known {
			names[i] = f.Name
		}
		err := fault.New(fault.BadConfig, "the CRM has no field %q", name)
		if near := fault.Nearest(name, names); near != "" {
			err.Message += fmt.Sprintf("; did you mean %q?", near)
		}
		return nil, err
	case known[i].ReadOnly:
		return nil, fault.New(fault.BadConfig, "the field %q cannot be written", name)
	}
	return &known[i], nil
}

// fields evaluates fields. What cannot be had is left out; a value that does not
// fit its field is an error that names it.
func fields(list []mapped, v vars) ([]Field, error) {
	out := make([]Field, 0, len(list))
	for _, m := range list {
		value, ok, err := m.value.eval(v)
		if err != nil {
			return nil, fault.New(fault.BadConfig, "evaluating the field %s", m.name).Because(err)
		}
		if !ok {
			continue
		}
		if m.schema != nil {
			if value, err = m.schema.coerce(value); err != nil {
				return nil, fault.From(err).At("/" + m.name)
			}
		}
		out = append(out, Field{Name: m.name, Value: value, Rule: m.rule})
	}
	return out, nil
}
