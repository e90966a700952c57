package hubspot

import (
	"context"
	"slices"

	"github.com/parley-chat/parley/internal/fault"
)

// settle decides for each person whose record another one may be: take it, share
// it, merge it with ours, or leave it to a human.
func (c *Connector) settle(ctx context.Context, _ *schema, g *group, rivals map[*person]*object) error {
	var keys, ids []string
	for p := range rivals {
		if p.record != "" {
			ids = append(ids, p.record)
			continue
		}
		keys = append(keys, p.Key)
	}
	own, err := c.read(ctx, c.o.Key, keys, c.about()...)
	if err != nil {
		return err
	}
	byID, err := c.read(ctx, "", ids, c.about()...)
	if err != nil {
		return err
	}
	own = append(own, byID...)
	for _, p := range slices.Clone(g.people) {
		rival := rivals[p]
		if rival == nil {
			continue
		}
		var ours *object
		for i := range own {
			if own[i].ID == p.record || own[i].get(c.o.Key) == p.Key {
				ours = &own[i]
			}
		}
		if err := c.decide(ctx, g, p, ours, rival); err != nil {
			return err
		}
	}
	return nil
}

// decide settles one case. ours is nil when we made no record yet.
func (c *Connector) decide(ctx context.Context, g *group, p *person, ours, rival *object) error {
	theirs := rival.get(c.o.Key)
	free := theirs == "" || theirs == p.Key || slices.Contains(p.Former, theirs)
	switch {
	case ours == nil || ours.ID == rival.ID:
		// Somebody's key stays where it is: two sites may know one person.
		p.record, p.shared = rival.ID, !free
		return nil
	case c.o.NoMerge, ours.get("email") != "" && rival.get("email") != "" && !rival.hasEmail(ours.get("email")):
		g.reject(p, fault.New(fault.VendorConflict, "the contacts %s and %s in HubSpot may be one person", ours.ID, rival.ID).
			WithFix("merge the two in HubSpot, or correct the e-mail address, and replay"))
		return nil
	}
	// Ours is what the other one is not: a record without an address, made by us.
	id, err := c.merge(ctx, rival.ID, ours.ID)
	if isReason(err, fault.VendorRejects) || isReason(err, fault.VendorNotFound) {
		g.reject(p, fault.New(fault.VendorConflict, "HubSpot does not merge the contacts %s and %s", ours.ID, rival.ID).
			WithFix("look at the two in HubSpot, and replay"))
		return nil
	}
	if err != nil {
		return err
	}
	p.record, p.shared = id, !free
	return nil
}

// merge merges the second record into the first one, and returns the id of what
// is left.
func (c *Connector) merge(ctx context.Context, into, from string) (string, error) {
	var got object
	in := map[string]string{"primaryObjectId": into, "objectIdToMerge": from}
	err := c.post(ctx, c.objects(contacts, "/merge"), "contacts/merge", in, &got)
	if got.ID == "" {
		got.ID = into
	}
	return got.ID, err
}
