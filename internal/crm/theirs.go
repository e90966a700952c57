package crm

import (
	"maps"
	"slices"
)

// theirs is a field as others wrote it in the CRM.
type theirs struct {
	Value any `json:"value"`
	// Digest names the value.
	Digest string `json:"digest"`
	// Over names our own value at that time, or is "": as long as we have no other
	// one, theirs holds.
	Over string `json:"over,omitempty"`
}

// news returns the watched fields that hold what others wrote and the visitor was
// not told, sorted. What we wrote ourselves is no news.
func (p *Program) news(v *Visitor, values map[string]any) []string {
	return slices.DeleteFunc(p.Watched(), func(name string) bool { return v.has(name, values[name]) })
}

// has reports whether the field's value is what we wrote, or what we know already.
func (v *Visitor) has(name string, value any) bool {
	digest := digestOf(value)
	if known, ok := v.Theirs[name]; ok {
		return known.Digest == digest
	}
	sent, wrote := v.Sent[name]
	if value != nil || !wrote {
		return wrote && sent == digest || value == nil
	}
	return sent == digest || sent == digestOf("")
}

// learnt notes that the visitor is told of the fields. Nothing of it goes out
// again.
func (p *Program) learnt(v *Visitor, values map[string]any, names []string) {
	own := p.own(v)
	for _, name := range names {
		t := theirs{values[name], digestOf(values[name]), own[name]}
		if v.Theirs == nil {
			v.Theirs = map[string]theirs{}
		}
		v.Theirs[name] = t
		if _, wrote := v.Sent[name]; wrote {
			v.Sent[name] = t.Digest
		}
	}
}

// own returns digests of what we would write into the contact's fields by
// ourselves.
func (p *Program) own(v *Visitor) map[string]string {
	list, err := fields(p.contact, v.vars(v.last()))
	if err != nil {
		return nil
	}
	out := make(map[string]string, len(list))
	for _, f := range list {
		out[f.Name] = digestOf(f.Value)
	}
	return out
}

// catchUp forgets theirs where we have another value by now: a newer one, or the
// same. It is called with each thing that happens to the visitor, so that none is
// overlooked.
func (p *Program) catchUp(v *Visitor) {
	if len(v.Theirs) == 0 {
		return
	}
	own := p.own(v)
	if own == nil {
		return
	}
	maps.DeleteFunc(v.Theirs, func(name string, t theirs) bool { return p.maps(name) && own[name] != t.Over })
}

// maps reports whether the mapping writes the field of the contact.
func (p *Program) maps(name string) bool {
	return slices.ContainsFunc(p.contact, func(m mapped) bool { return m.name == name })
}

// theirs puts what others wrote in place of what we would write.
func (p *Program) theirs(v *Visitor, list []Field) {
	for i := range list {
		t, ok := v.Theirs[list[i].Name]
		if !ok {
			continue
		}
		list[i].Value = t.Value
		if value, err := p.fit(list[i].Name, t.Value); err == nil {
			list[i].Value = value
		}
	}
}

// fit returns the value in the type of the contact's field.
func (p *Program) fit(name string, value any) (any, error) {
	i := slices.IndexFunc(p.contact, func(m mapped) bool { return m.name == name })
	if i < 0 || p.contact[i].schema == nil {
		return value, nil
	}
	return p.contact[i].schema.coerce(value)
}

// inherit takes from a session that turned out to be the same person what others
// wrote in the CRM.
func (p *Program) inherit(v, old *Visitor) {
	for name, t := range old.Theirs {
		if _, known := v.Theirs[name]; known {
			continue
		}
		if v.Theirs == nil {
			v.Theirs = map[string]theirs{}
		}
		v.Theirs[name] = t
	}
	p.catchUp(v)
}
