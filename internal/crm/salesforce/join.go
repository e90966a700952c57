package salesforce

import (
	"context"
	"slices"
)

// join leads what is ours of records under keys that people had before to the
// records that they have now. The former records stay as they are: Salesforce
// merges records over other interfaces only, and a person may have written in them.
func (c *Connector) join(ctx context.Context, g *group) error {
	var joined []*person
	for _, p := range g.people {
		if p.record != "" && len(p.Former) > 0 {
			joined = append(joined, p)
		}
	}
	if len(joined) == 0 {
		return nil
	}
	from, err := c.formers(ctx, joined)
	if err != nil || len(from) == 0 {
		return err
	}
	if c.o.Activities == Task {
		if err := c.lead(ctx, g, "Task", "WhoId", c.o.ActivityKey, from); err != nil {
			return err
		}
	}
	if c.o.Cases {
		return c.lead(ctx, g, "Case", "ContactId", c.o.CaseKey, from)
	}
	return nil
}

// formers returns the records under former keys that are not those which people
// have now, with the people.
func (c *Connector) formers(ctx context.Context, people []*person) (map[string]*person, error) {
	byKey, from := map[string]*person{}, map[string]*person{}
	var keys []string
	for _, p := range people {
		for _, key := range p.Former {
			byKey[key], keys = p, append(keys, key)
		}
	}
	for _, object := range Objects() {
		if _, err := c.keyed(ctx, string(object), c.o.Key); err != nil {
			continue // Who uses one of the two need not have the field of the other.
		}
		found, err := c.find(ctx, string(object), "Id,"+c.o.Key, c.o.Key, keys, "")
		if err != nil {
			return nil, err
		}
		for _, r := range found {
			if p := byKey[r.text(c.o.Key)]; p != nil && p.record != r.text("Id") {
				from[r.text("Id")] = p
			}
		}
	}
	return from, nil
}

// lead points the records of the object that have a key of ours to the people.
func (c *Connector) lead(ctx context.Context, g *group, object, field, key string, from map[string]*person) error {
	var ids []string
	for id := range from {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	found, err := c.find(ctx, object, "Id,"+field, field, ids, " AND "+key+" != null")
	if err != nil {
		return err
	}
	for part := range slices.Chunk(c.led(found, object, field, from), maxBatch) {
		if err := c.point(ctx, g, object, key, part); err != nil {
			return err
		}
	}
	return nil
}

// led returns the rows that point the records to the people. A case has a contact
// only, and no lead.
func (c *Connector) led(found []record, object, field string, from map[string]*person) []row {
	var rows []row
	for _, r := range found {
		p := from[r.text(field)]
		if p == nil || object == "Case" && p.object != Contact {
			continue
		}
		rows = append(rows, row{id: r.text("Id"), key: p.Key, fields: record{field: p.record}})
	}
	return rows
}

// point writes the rows. A person whose records cannot all be led is told so.
func (c *Connector) point(ctx context.Context, g *group, object, key string, rows []row) error {
	all, err := c.write(ctx, object, key, rows)
	if err != nil {
		return err
	}
	for i, w := range all {
		at := slices.IndexFunc(g.people, func(p *person) bool { return p.Key == rows[i].key })
		if w.told == nil || at < 0 || w.told.has("ENTITY_IS_DELETED") {
			continue
		}
		g.reject(g.people[at], w.told.ofRecord(object, key))
	}
	return nil
}
