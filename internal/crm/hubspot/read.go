package hubspot

import (
	"context"
	"maps"
	"slices"

	"github.com/parley-chat/parley/internal/crm"
)

// Read implements crm.Connector.
func (c *Connector) Read(ctx context.Context, refs []crm.Ref) ([]crm.Contact, error) {
	s, err := c.properties(ctx, contacts, 0)
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(s.byName))
	var keys, ids []string
	byID := map[string][]string{}
	for _, ref := range refs {
		id, _ := bare(ref.ID)
		if id == "" {
			keys = append(keys, ref.Key)
			continue
		}
		ids, byID[id] = append(ids, id), append(byID[id], ref.Key)
	}
	byKey, err := c.read(ctx, c.o.Key, keys, names...)
	if err != nil {
		return nil, err
	}
	known, err := c.read(ctx, "", ids, names...)
	if err != nil {
		return nil, err
	}
	var all []crm.Contact
	for _, o := range slices.Concat(byKey, known) {
		asked := byID[o.ID]
		if len(asked) == 0 {
			asked = []string{o.get(c.o.Key)} // A merged record answers under another id.
		}
		for _, key := range asked { // Two sites may know one person.
			all = append(all, crm.Contact{Key: key, ID: o.ID, Email: o.get("email"), Fields: c.valuesOf(s, &o), UpdatedAt: o.UpdatedAt})
		}
	}
	return all, nil
}

// valuesOf returns the fields of the record that have a value, sorted.
func (c *Connector) valuesOf(s *schema, o *object) []crm.Field {
	var fields []crm.Field
	for _, name := range slices.Sorted(maps.Keys(o.Properties)) {
		if name == c.o.Key || name == c.o.Seq {
			continue
		}
		if value := s.value(name, o.get(name)); value != nil {
			fields = append(fields, crm.Field{Name: name, Value: value, Rule: crm.Always})
		}
	}
	return fields
}
