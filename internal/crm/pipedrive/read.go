package pipedrive

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

// find returns the person's id, "" when there is none.
func (c *Connector) find(ctx context.Context, ref crm.Ref) (string, error) {
	if ref.ID != "" {
		return ref.ID, nil
	}
	e, err := c.ids.Get(ctx, ref.Key)
	if err != nil || e.ID != "" {
		return e.ID, err //nolint:wrapcheck // It says all.
	}
	ids, err := c.search(ctx, ref.Key, "custom_fields")
	if err != nil || len(ids) == 0 {
		return "", err
	}
	return ids[0], nil
}

// Read implements crm.Connector.
func (c *Connector) Read(ctx context.Context, refs []crm.Ref) ([]crm.Contact, error) {
	s, err := c.keyed(ctx)
	if err != nil {
		return nil, err
	}
	var all []crm.Contact
	for _, ref := range refs {
		id, err := c.find(ctx, ref)
		if err != nil {
			return nil, err
		}
		if id == "" {
			continue
		}
		p, err := c.person(ctx, id)
		if isReason(err, fault.VendorNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, s.contact(ref.Key, id, p))
	}
	return all, nil
}

// contact returns the person in our words, custom fields under both names.
func (s *schema) contact(key, id string, p *person) crm.Contact {
	values := map[string]any{}
	put := func(name string, value any, some bool) {
		if some {
			values[name] = value
		}
	}
	put("name", p.Name, p.Name != "")
	put("marketing_status", p.Marketing, p.Marketing != "")
	for name, at := range map[string]*float64{"owner_id": p.OwnerID, "org_id": p.OrgID} {
		if at != nil {
			values[name] = *at
		}
	}
	put("email", first(p.Emails), first(p.Emails) != "")
	put("phone", first(p.Phones), first(p.Phones) != "")
	for name, f := range s.byName {
		put(name, f.value(p.Custom[f.Key]), p.Custom[f.Key] != nil && f.Key != s.key && f.Key != s.seq)
	}
	out := crm.Contact{Key: key, ID: id, Email: first(p.Emails), UpdatedAt: p.UpdateTime}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		out.Fields = append(out.Fields, crm.Field{Name: name, Value: values[name], Rule: crm.Always})
	}
	return out
}

// first returns the primary value.
func first(list []point) string {
	if len(list) == 0 {
		return ""
	}
	return list[max(0, slices.IndexFunc(list, func(p point) bool { return p.Primary }))].Value
}

// Forget implements crm.Forgetter: it deletes the records of sessions that are
// ours, and the person. Pipedrive keeps deleted persons for 30 days.
func (c *Connector) Forget(ctx context.Context, refs []crm.Ref) ([]crm.Outcome, error) {
	return each(ctx, refs, func(r crm.Ref) string { return r.Key }, func(ctx context.Context, ref crm.Ref) (crm.Outcome, error) {
		id, err := c.find(ctx, ref)
		if err != nil || id == "" {
			return crm.Outcome{Status: crm.Done}, err
		}
		if c.o.Activities != None {
			ours, err := c.marked(ctx, id, "")
			if err != nil && !isReason(err, fault.VendorNotFound) {
				return crm.Outcome{}, err
			}
			for _, record := range ours {
				if err := c.erase(ctx, c.o.Activities.path()+"/"+record, "one of the "+c.o.Activities.list()); err != nil {
					return crm.Outcome{}, err
				}
			}
		}
		if err := c.erase(ctx, "/v2/persons/"+url.PathEscape(id), "a person"); err != nil {
			return crm.Outcome{}, err
		}
		if e, err := c.ids.Get(ctx, ref.Key); err == nil {
			c.kept(ctx, ref.Key, Entry{Revision: e.Revision})
		}
		return crm.Outcome{Status: crm.Done, ID: id}, nil
	})
}

// erase is done too when there is nothing.
func (c *Connector) erase(ctx context.Context, path, name string) error {
	err := c.do(ctx, call{method: http.MethodDelete, path: path, name: name})
	if isReason(err, fault.VendorNotFound) {
		return nil
	}
	return err
}

// Prepare implements crm.Preparer: it makes the fields for our key and sequence.
func (c *Connector) Prepare(ctx context.Context, dry bool) ([]crm.Preparation, error) {
	s, err := c.fields(ctx, 1) // What was read before does not count.
	if err != nil {
		return nil, err
	}
	var all []crm.Preparation
	for _, need := range []struct{ name, kind, there string }{{c.o.Key, "varchar", s.key}, {c.o.Seq, "double", s.seq}} {
		one := crm.Preparation{What: "the field " + need.name + " of persons", There: need.there != ""}
		if !one.There && !dry {
			in := map[string]string{"name": need.name, "field_type": need.kind}
			if err := c.do(ctx, call{method: http.MethodPost, path: "/v1/personFields", name: "the fields of persons", in: in}); err != nil {
				return all, err
			}
			one.Made = true
		}
		all = append(all, one)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.schema = nil
	return all, nil
}
