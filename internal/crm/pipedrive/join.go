package pipedrive

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

// join merges persons under keys that the contact had before into the contact's,
// so that their activities, deals and notes are its own. Where both hold what
// somebody else wrote nothing is merged: a human decides.
func (c *Connector) join(ctx context.Context, s *schema, contact crm.Contact, e Entry) error {
	if c.o.NoMerge {
		return nil
	}
	for _, key := range contact.Former {
		old, err := c.ids.Get(ctx, key)
		if err != nil {
			return err //nolint:wrapcheck // It says all.
		}
		if old.ID == "" || old.ID == e.ID || old.Shared {
			continue
		}
		if err := c.unite(ctx, s, old.ID, e.ID, contact.Mapped); err != nil {
			return err
		}
		old.ID = e.ID
		c.kept(ctx, key, old)
	}
	return nil
}

// unite merges one person into another. One that is gone was merged before, or was
// deleted.
func (c *Connector) unite(ctx context.Context, s *schema, from, into string, ours []string) error {
	lost, err := c.person(ctx, from)
	if isReason(err, fault.VendorNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	kept, err := c.person(ctx, into)
	if err != nil {
		return err
	}
	if name := s.disputed(lost, kept, ours, c.o.Unnamed); name != "" {
		return fault.New(fault.VendorConflict, "the persons %s and %s in Pipedrive are one, and both have the field %s", from, into, name).
			WithFix("merge the two in Pipedrive, or set the target's `merge: false`, and replay")
	}
	if kept.Name == c.o.Unnamed && lost.Name != c.o.Unnamed {
		in := body{"name": lost.Name}
		if err := c.do(ctx, call{method: http.MethodPatch, path: "/v2/persons/" + url.PathEscape(into), name: "a person", in: in}); err != nil {
			return err
		}
	}
	return c.merge(ctx, from, into)
}

// merge merges the first person into the second one, whose values come first, for
// ever.
func (c *Connector) merge(ctx context.Context, from, into string) error {
	id, err := strconv.Atoi(into)
	if err != nil {
		return fault.New(fault.InternalError, "the id %q of a person", into)
	}
	err = c.do(ctx, call{method: http.MethodPut, path: "/v1/persons/" + url.PathEscape(from) + "/merge", name: "a merge of persons", in: body{"merge_with_id": id}})
	if isReason(err, fault.VendorNotFound) {
		err = nil
	}
	if err == nil {
		c.count.merged.Add(1)
	}
	return err
}

// disputed returns a field that both persons have with different values, and that
// the mapping does not write; "" when there is none. Addresses and numbers are
// lists, and all of them stay.
func (s *schema) disputed(lost, kept *person, ours []string, unnamed string) string {
	differ := func(a, b *float64) bool { return a != nil && b != nil && *a != *b }
	switch {
	case !slices.Contains(ours, "name") && lost.Name != kept.Name && lost.Name != unnamed && kept.Name != unnamed:
		return "name"
	case differ(lost.OwnerID, kept.OwnerID):
		return "owner_id"
	case differ(lost.OrgID, kept.OrgID):
		return "org_id"
	}
	mapped := []string{s.key, s.seq}
	for _, name := range ours {
		if f, ok := s.byName[name]; ok {
			mapped = append(mapped, f.Key)
		}
	}
	for key, value := range lost.Custom {
		if value != nil && kept.Custom[key] != nil && !slices.Contains(mapped, key) && !alike(value, kept.Custom[key]) {
			return key
		}
	}
	return ""
}

// again merges the records that are there beside the first one, since nobody knew
// of it. What cannot be merged is left for people.
func (c *Connector) again(ctx context.Context, m making, ids []string) error {
	if m.unite == nil || c.o.NoMerge {
		c.twice(ids)
		return nil
	}
	for _, id := range ids[min(1, len(ids)):] {
		err := m.unite(ctx, id, ids[0])
		if errors.Is(err, fault.New(fault.VendorConflict, "")) {
			c.count.twice.Add(1)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// alike reports whether two values of a custom field are the same.
func alike(a, b any) bool { return reflect.DeepEqual(a, b) }
