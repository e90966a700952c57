package hubspot

import (
	"context"
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

// rule applies the rules of fields to the values that are there. The connector
// does it, and not the engine, since only it knows which record a new person has:
// one that others made is found by its address.
func (c *Connector) rule(ctx context.Context, s *schema, g *group) error {
	var keys, ids, names, shared []string
	for _, p := range g.people {
		if !p.NeedsPresent() {
			continue
		}
		for _, f := range p.Fields {
			if f.Rule != crm.Always && f.Rule != "" {
				names = append(names, f.Name)
			}
			if f.Rule == crm.NeverOverwriteNewer {
				shared = append(shared, f.Name)
			}
		}
		if p.record == "" {
			keys = append(keys, p.Key)
			continue
		}
		ids = append(ids, p.record)
	}
	unique := func(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }
	names, shared = unique(append(names, c.o.Key)), unique(shared)
	byKey, err := c.readHistory(ctx, c.o.Key, keys, names, shared)
	if err != nil {
		return err
	}
	byID, err := c.readHistory(ctx, "", ids, names, shared)
	if err != nil {
		return err
	}
	for _, p := range slices.Clone(g.people) {
		if !p.NeedsPresent() {
			continue
		}
		is, err := c.present(ctx, p, byKey, byID, names, shared)
		if err != nil {
			return err
		}
		ruled := p.Contact
		ruled.Fields = c.ruled(s, p.Contact, is)
		if p.properties, err = c.encode(s, ruled); err != nil {
			g.reject(p, fault.From(err))
		}
	}
	return nil
}

// present finds the person's record among those that were read, or nil.
func (c *Connector) present(ctx context.Context, p *person, byKey, byID []object, names, history []string) (*object, error) {
	if p.record == "" {
		i := slices.IndexFunc(byKey, func(o object) bool { return o.get(c.o.Key) == p.Key })
		if i < 0 {
			return nil, nil //nolint:nilnil // There is none yet.
		}
		return &byKey[i], nil
	}
	if i := slices.IndexFunc(byID, func(o object) bool { return o.ID == p.record }); i >= 0 {
		return &byID[i], nil
	}
	// It was merged, and answers under another id, or it is gone.
	alone, err := c.readHistory(ctx, "", []string{p.record}, names, history)
	if err != nil || len(alone) == 0 {
		return nil, err
	}
	return &alone[0], nil
}

// ruled applies the rules field by field: each has a time of its own.
func (c *Connector) ruled(s *schema, contact crm.Contact, is *object) []crm.Field {
	if is == nil {
		return contact.Applied(nil)
	}
	present := crm.Contact{Fields: c.valuesOf(s, is)}
	var out []crm.Field
	for _, f := range contact.Fields {
		one := contact
		one.Fields, present.UpdatedAt = []crm.Field{f}, c.changedByOthers(is.History[f.Name])
		out = append(out, one.Applied(&present)...)
	}
	return out
}

// changedByOthers returns when the property was last changed by somebody else.
// Without the id of our app, every integration is taken for us.
func (c *Connector) changedByOthers(versions []version) time.Time {
	var at time.Time
	for _, v := range versions {
		ours := v.SourceType == "INTEGRATION" && (c.o.App == "" || v.SourceID == c.o.App)
		if !ours && v.Timestamp.After(at) {
			at = v.Timestamp
		}
	}
	return at
}
