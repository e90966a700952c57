package salesforce

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

// Read implements crm.Connector.
func (c *Connector) Read(ctx context.Context, refs []crm.Ref) ([]crm.Contact, error) {
	var all []crm.Contact
	seen := map[string]bool{}
	for _, object := range Objects() {
		s, err := c.keyed(ctx, string(object), c.o.Key)
		if err != nil {
			if object == c.o.Object {
				return nil, err
			}
			continue
		}
		var keys, ids []string
		byID := map[string][]string{}
		for _, ref := range refs {
			switch id, _ := bare(ref.ID); {
			case seen[ref.Key]:
			case id == "":
				keys = append(keys, ref.Key)
			case strings.HasPrefix(id, object.prefix()):
				ids, byID[id] = append(ids, id), append(byID[id], ref.Key)
			}
		}
		byKey, err := c.find(ctx, string(object), "FIELDS(ALL)", c.o.Key, keys, "")
		if err != nil {
			return nil, err
		}
		known, err := c.find(ctx, string(object), "FIELDS(ALL)", "Id", ids, "")
		if err != nil {
			return nil, err
		}
		for _, r := range append(byKey, known...) {
			asked := byID[r.text("Id")]
			if len(asked) == 0 {
				asked = []string{r.text(c.o.Key)}
			}
			for _, key := range asked {
				if !seen[key] {
					seen[key], all = true, append(all, c.contact(s, object, key, r))
				}
			}
		}
	}
	return all, nil
}

// contact returns the record in our words.
func (c *Connector) contact(s *schema, object Object, key string, r record) crm.Contact {
	out := crm.Contact{Key: key, ID: r.text("Id"), Email: r.text("Email")}
	out.UpdatedAt, _ = field{Type: "datetime"}.value(r["LastModifiedDate"]).(time.Time)
	for _, name := range slices.Sorted(maps.Keys(r)) {
		of, ok := s.byName[name]
		if !ok || name == c.o.Key || name == c.o.Seq || r[name] == nil {
			continue
		}
		out.Fields = append(out.Fields, crm.Field{Name: name, Value: of.value(r[name]), Rule: crm.Always})
	}
	out.Fields = append(out.Fields, crm.Field{Name: Choice, Value: string(object), Rule: crm.Always})
	slices.SortFunc(out.Fields, func(a, b crm.Field) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Forget implements crm.Forgetter: it deletes the tasks that are ours, and the
// person. Salesforce keeps deleted records in its bin for 15 days.
func (c *Connector) Forget(ctx context.Context, refs []crm.Ref) ([]crm.Outcome, error) {
	people, err := c.Read(ctx, refs)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(people))
	for i, p := range people {
		ids[i] = p.ID
	}
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	gone := map[string]*fault.Error{}
	if c.o.Activities == Task {
		tasks, err := c.find(ctx, "Task", "Id,WhoId", "WhoId", ids, " AND "+c.o.ActivityKey+" != null")
		if err != nil {
			return nil, err
		}
		for _, r := range tasks {
			ids = append([]string{r.text("Id")}, ids...)
		}
	}
	for part := range slices.Chunk(ids, maxBatch) {
		if err := c.erase(ctx, part, gone); err != nil {
			return nil, err
		}
	}
	var outcomes []crm.Outcome
	for _, ref := range refs {
		o := crm.Outcome{Key: ref.Key, Status: crm.Done, ID: ref.ID}
		for _, p := range people {
			if p.Key == ref.Key && gone[p.ID] != nil {
				o = refused(ref.Key, gone[p.ID])
			}
		}
		outcomes = append(outcomes, o)
	}
	return outcomes, nil
}

// erase deletes records of any objects, and notes what stays.
func (c *Connector) erase(ctx context.Context, ids []string, stays map[string]*fault.Error) error {
	var got []struct {
		Success bool     `json:"success"`
		Errors  problems `json:"errors"`
	}
	err := c.do(ctx, call{
		method: http.MethodDelete, path: "/composite/sobjects", query: url.Values{"ids": {strings.Join(ids, ",")}, "allOrNone": {"false"}},
		name: "the collection of what is to be erased", out: &got,
	})
	if err != nil {
		return err
	}
	for i, g := range got {
		if e := g.Errors.ofRecord("what is to be erased", ""); i < len(ids) && !g.Success && e.Reason != fault.VendorNotFound {
			stays[ids[i]] = e
		}
	}
	return nil
}

// Prepare implements crm.Preparer. It only looks: fields of an org come with
// access rights, which an administrator gives.
func (c *Connector) Prepare(ctx context.Context, _ bool) ([]crm.Preparation, error) {
	type need struct{ object, field string }
	needs := []need{{string(c.o.Object), c.o.Key}, {string(c.o.Object), c.o.Seq}}
	if c.o.Activities == Task {
		needs = append(needs, need{"Task", c.o.ActivityKey})
	}
	if c.o.Activities == Event {
		needs = append(needs, need{c.o.EventType, "Key__c"})
	}
	if c.o.Cases {
		needs = append(needs, need{"Case", c.o.CaseKey})
	}
	var all []crm.Preparation
	for _, n := range needs {
		s, err := c.fieldsOf(ctx, n.object, 1)
		if err != nil && !isReason(err, fault.VendorNotFound) {
			return all, err
		}
		one := crm.Preparation{What: "the field " + n.field + " of " + n.object}
		if s != nil {
			f, ok := s.byName[n.field]
			if one.There = ok; ok && n.field != c.o.Seq && n.object != c.o.EventType && !f.key() {
				return all, fault.New(fault.VendorConflict, "%s is in the Salesforce org, and is not an external id that is unique", one.What).
					WithFix("let an administrator change the field as docs/crm-salesforce.md says")
			}
		}
		all = append(all, one)
	}
	return all, nil
}
