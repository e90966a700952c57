package hubspot

import (
	"context"
	"slices"
	"strings"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

// sharedMark ends the id, as we tell it, of a record that belongs to another key
// of ours. Its key and sequence stay with that one, and nothing else could remember
// that.
const sharedMark = "+"

// bare returns the id as HubSpot knows it, and whether the record is shared.
func bare(id string) (string, bool) { return strings.CutSuffix(id, sharedMark) }

// newPerson returns the contact on its way.
func newPerson(contact crm.Contact) *person {
	p := &person{Contact: contact}
	p.ID, p.shared = bare(contact.ID)
	p.record = p.ID
	return p
}

// told returns the id as we tell it.
func (p *person) told(id string) string {
	if id, _ = bare(id); p.shared && id != "" {
		return id + sharedMark
	}
	return id
}

// settle decides for each person whose record other ones may be: take it, share
// it, merge it with ours, or leave it to a human.
func (c *Connector) settle(ctx context.Context, s *schema, g *group, rivals map[*person][]*object) error {
	own, err := c.ours(ctx, rivals)
	if err != nil {
		return err
	}
	for _, p := range slices.Clone(g.people) {
		var ours *object
		for i := range own {
			if own[i].ID == p.record || own[i].get(c.o.Key) == p.Key {
				ours = &own[i]
			}
		}
		for _, rival := range rivals[p] {
			if !slices.Contains(g.people, p) {
				break // It was rejected.
			}
			if ours, err = c.decide(ctx, s, g, p, ours, rival); err != nil {
				return err
			}
		}
	}
	return nil
}

// ours reads the records that people with rivals have now.
func (c *Connector) ours(ctx context.Context, rivals map[*person][]*object) ([]object, error) {
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
		return nil, err
	}
	byID, err := c.read(ctx, "", ids, c.about()...)
	return append(own, byID...), err
}

// decide settles one case, and returns the record that the person has then. ours is
// nil when we made none yet.
func (c *Connector) decide(ctx context.Context, s *schema, g *group, p *person, ours, rival *object) (*object, error) {
	theirs := rival.get(c.o.Key)
	former := slices.Contains(p.Former, theirs)
	if ours == nil || ours.ID == rival.ID {
		// Somebody's key stays where it is: two sites may know one person.
		p.record, p.shared = rival.ID, theirs != "" && theirs != p.Key && !former
		return rival, nil
	}
	into, from := rival, ours
	if p.shared || former && (ours.get("email") != "" || rival.get("email") == "") {
		into, from = ours, rival // What was another session's goes into what the person has.
	}
	if refused, err := c.disputed(ctx, s, p, into, from); refused != nil || err != nil {
		if refused != nil {
			g.reject(p, refused)
		}
		return ours, err
	}
	id, err := c.merge(ctx, into.ID, from.ID)
	if isReason(err, fault.VendorRejects) || isReason(err, fault.VendorNotFound) {
		g.reject(p, fault.New(fault.VendorConflict, "HubSpot does not merge the contacts %s and %s", ours.ID, rival.ID).
			WithFix("look at the two in HubSpot, and replay"))
		return ours, nil
	}
	if err != nil {
		return ours, err
	}
	if into == rival {
		p.shared = theirs != "" && theirs != p.Key && !former
	}
	merged := *into
	merged.ID, p.record = id, id
	return &merged, nil
}

// disputed says why the two must not be merged without a human, or returns nil:
// they have different addresses, or somebody wrote different things into both.
func (c *Connector) disputed(ctx context.Context, s *schema, p *person, into, from *object) (*fault.Error, error) {
	theirs := into.get("email") != "" && from.get("email") != "" && !into.hasEmail(from.get("email"))
	name := ""
	if !c.o.NoMerge && !theirs {
		var err error
		if name, err = c.contested(ctx, s, p, into.ID, from.ID); err != nil {
			return nil, err
		}
	}
	if !c.o.NoMerge && !theirs && name == "" {
		return nil, nil //nolint:nilnil // Nothing speaks against it.
	}
	e := fault.New(fault.VendorConflict, "the contacts %s and %s in HubSpot may be one person", into.ID, from.ID).
		WithFix("merge the two in HubSpot, or correct the e-mail address, and replay")
	if name != "" {
		e.Message += ", and both have the property " + name
	}
	return e, nil
}

// contested returns a property that both records have with different values, and
// that the mapping does not write; "" when there is none.
func (c *Connector) contested(ctx context.Context, s *schema, p *person, into, from string) (string, error) {
	var names []string
	for name, of := range s.byName {
		if !of.field(false).ReadOnly && !strings.HasPrefix(name, "hs_") && !slices.Contains(c.merged(p), name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	both, err := c.read(ctx, "", []string{into, from}, names...)
	if err != nil || len(both) != 2 {
		return "", err
	}
	for _, name := range names {
		if a, b := both[0].get(name), both[1].get(name); a != "" && b != "" && a != b {
			return name, nil
		}
	}
	return "", nil
}

// merged returns the properties that nobody loses by a merge: those that we write,
// and those for which HubSpot has rules of its own.
func (c *Connector) merged(p *person) []string {
	names := append([]string{c.o.Key, c.o.Seq, "email", "lifecyclestage"}, p.Mapped...)
	return append(names, fieldNames([]crm.Contact{p.Contact})...)
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
