package hubspot

import (
	"context"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

// ownGroup is the group of our properties in the account.
const ownGroup = "parley"

// Prepare implements crm.Preparer: it makes the properties for our keys.
func (c *Connector) Prepare(ctx context.Context, dry bool) ([]crm.Preparation, error) {
	own := map[string][]property{contacts: {
		{Name: c.o.Key, Label: "Parley key", Type: "string", FieldType: "text", Unique: true, Description: "Names the contact for Parley. Do not change it."},
		{Name: c.o.Seq, Label: "Parley sequence", Type: "number", FieldType: "number", Description: "The state that Parley wrote last."},
	}}
	kinds := []string{contacts}
	if kind := c.o.Activities.objects(); kind != "" {
		kinds = append(kinds, kind)
		own[kind] = []property{
			{Name: c.o.ActivityKey, Label: "Parley key", Type: "string", FieldType: "text", Unique: true, Description: "Names the chat session for Parley."},
		}
	}
	var all []crm.Preparation
	for _, kind := range kinds {
		s, err := c.properties(ctx, kind, 1) // What was read before does not count.
		if err != nil {
			return all, err
		}
		for _, p := range own[kind] {
			one, err := c.prepare(ctx, kind, s, p, dry)
			if err != nil {
				return all, err
			}
			all = append(all, one)
		}
		c.mu.Lock()
		delete(c.schemas, kind)
		c.mu.Unlock()
	}
	return all, nil
}

// prepare makes one property, unless it is there as it must be.
func (c *Connector) prepare(ctx context.Context, kind string, s *schema, p property, dry bool) (crm.Preparation, error) {
	one := crm.Preparation{What: "the property " + p.Name + " of " + kind}
	if there, ok := s.byName[p.Name]; ok {
		if p.Unique && !there.Unique {
			return one, fault.New(fault.VendorConflict, "%s is in the HubSpot account, and its values need not be unique", one.What).
				WithFix("name another property in the target's configuration; uniqueness cannot be added later")
		}
		one.There = true
		return one, nil
	}
	if dry {
		return one, nil
	}
	group := map[string]string{"name": ownGroup, "label": "Parley"}
	err := c.post(ctx, c.propertiesPath(kind, "/groups"), "the groups of properties", group, nil)
	if err != nil && !isReason(err, fault.VendorConflict) {
		return one, err
	}
	p.Group = ownGroup
	err = c.post(ctx, c.propertiesPath(kind, ""), "the properties of "+kind, p, nil)
	if err != nil && !isReason(err, fault.VendorConflict) {
		return one, err
	}
	one.Made = err == nil
	one.There = err != nil
	return one, nil
}
