package pipedrive

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

// person is a person of Pipedrive.
type person struct {
	ID         int            `json:"id"`
	Name       string         `json:"name"`
	OwnerID    *float64       `json:"owner_id"`
	OrgID      *float64       `json:"org_id"`
	Emails     []point        `json:"emails"`
	Phones     []point        `json:"phones"`
	Marketing  string         `json:"marketing_status"`
	Custom     map[string]any `json:"custom_fields"`
	UpdateTime time.Time      `json:"update_time"`
}

// point is an address or a number.
type point struct {
	Value   string `json:"value"`
	Primary bool   `json:"primary"`
	Label   string `json:"label,omitempty"`
}

// get returns a custom field that is a text.
func (p *person) get(key string) string {
	text, _ := p.Custom[key].(string)
	return text
}

// body is what is written of a person.
type body map[string]any

// UpsertContacts implements crm.Connector.
func (c *Connector) UpsertContacts(ctx context.Context, list []crm.Contact) ([]crm.Outcome, error) {
	s, err := c.keyed(ctx)
	if err != nil {
		return nil, err
	}
	return each(ctx, list, func(contact crm.Contact) string { return contact.Key }, func(ctx context.Context, contact crm.Contact) (crm.Outcome, error) {
		return c.upsert(ctx, s, contact)
	})
}

// each does the items one by one. What is about one item is its outcome; what is
// about the account ends the call, and what is known of others is not lost.
func each[T any](ctx context.Context, list []T, key func(T) string, do func(context.Context, T) (crm.Outcome, error)) ([]crm.Outcome, error) {
	var outcomes []crm.Outcome
	for i, item := range list {
		o, err := do(ctx, item)
		e := fault.From(err)
		patient := (*waits)(nil)
		switch {
		case err == nil:
			o.Key = key(item)
			outcomes = append(outcomes, o)
		case errors.As(err, &patient):
			outcomes = append(outcomes, crm.Outcome{Key: key(item), Status: crm.Retry, Err: e, After: e.After})
		case refusal(e):
			outcomes = append(outcomes, crm.Outcome{Key: key(item), Status: crm.Rejected, Err: e})
		case i > 0 && fault.Retryable(err):
			for _, rest := range list[i:] {
				outcomes = append(outcomes, crm.Outcome{Key: key(rest), Status: crm.Retry, Err: e, After: e.After})
			}
			return outcomes, nil
		case i > 0 && e.Reason == fault.EffectUnknown:
			return outcomes, nil // The others count as unanswered.
		default:
			return nil, err
		}
	}
	return outcomes, nil
}

// refusal reports whether the error is about what was sent.
func refusal(e *fault.Error) bool {
	return slices.Contains([]fault.Reason{fault.VendorRejects, fault.VendorConflict, fault.VendorNotFound, fault.SchemaViolation}, e.Reason)
}

// upsert brings one contact to Pipedrive.
func (c *Connector) upsert(ctx context.Context, s *schema, contact crm.Contact) (crm.Outcome, error) {
	in, err := s.body(contact)
	if err != nil {
		return crm.Outcome{}, err
	}
	e, err := c.ids.Get(ctx, contact.Key)
	if err != nil {
		return crm.Outcome{}, err //nolint:wrapcheck // It says all.
	}
	if contact.ID != "" && contact.ID != e.ID {
		// The engine knows better: records are merged, and stores are lost.
		e = c.kept(ctx, contact.Key, Entry{ID: contact.ID, Revision: e.Revision})
	}
	m := c.creation(s, contact, in)
	if e.ID == "" && e.Making.IsZero() {
		if e, err = c.adopt(ctx, s, contact, e); err != nil {
			return crm.Outcome{}, err
		}
	}
	if e.ID == "" {
		var made bool
		if e, made, err = c.make(ctx, m, e, contact.Unsure); err != nil {
			return crm.Outcome{}, err
		}
		if made {
			return crm.Outcome{Status: crm.Done, ID: e.ID, Created: true}, nil
		}
	}
	if e.Suspect {
		if e, err = c.suspect(ctx, m, e); err != nil {
			return crm.Outcome{}, err
		}
	}
	if err := c.join(ctx, s, contact, e); err != nil {
		return crm.Outcome{}, err
	}
	return c.update(ctx, s, contact, e, in)
}

// body returns what is written of the contact, without addresses: they go
// together with those that are there.
func (s *schema) body(contact crm.Contact) (body, error) {
	in, custom := body{}, map[string]any{}
	for _, f := range contact.Fields {
		of, ok := s.byName[f.Name]
		switch {
		case ok:
			value, err := of.wire(f.Value)
			if err != nil {
				return nil, err
			}
			custom[of.Key] = value
		case !slices.ContainsFunc(plain(), func(p crm.FieldSchema) bool { return p.Name == f.Name }):
			return nil, fault.New(fault.SchemaViolation, "the Pipedrive account has no field %q of persons", f.Name).At("/" + f.Name).
				WithFix("make the field in Pipedrive, or correct the mapping, and replay")
		case f.Value == nil || f.Value == "" || f.Name == "email" || f.Name == "phone":
		default:
			in[f.Name] = f.Value
		}
	}
	if s.seq != "" && contact.Seq > 0 {
		custom[s.seq] = contact.Seq
	}
	if len(custom) > 0 {
		in["custom_fields"] = custom
	}
	return in, nil
}

// text returns the contact's field as a text.
func text(contact crm.Contact, name string) string {
	for _, f := range contact.Fields {
		if f.Name == name {
			value, _ := f.Value.(string)
			return value
		}
	}
	return ""
}

// creation is how the person of the contact is made, and found.
func (c *Connector) creation(s *schema, contact crm.Contact, in body) making {
	return making{
		key: contact.Key,
		lately: func(ctx context.Context, since time.Time) ([]string, error) {
			return c.lately(ctx, since, func(p *person) bool { return p.get(s.key) == contact.Key })
		},
		ever: func(ctx context.Context) ([]string, error) { return c.search(ctx, contact.Key, "custom_fields") },
		create: func(ctx context.Context) (string, error) {
			full := body{"name": c.o.Unnamed}
			maps.Copy(full, in)
			custom := body{s.key: contact.Key}
			if given, ok := in["custom_fields"].(map[string]any); ok {
				for key, value := range given {
					if value != nil {
						custom[key] = value
					}
				}
			}
			full["custom_fields"] = custom
			for name, list := range map[string]string{"email": "emails", "phone": "phones"} {
				if value := text(contact, name); value != "" {
					full[list] = []point{{Value: value, Primary: true, Label: "work"}}
				}
			}
			var got struct {
				Data person `json:"data"`
			}
			err := c.do(ctx, call{method: http.MethodPost, path: "/v2/persons", name: "persons", in: full, out: &got})
			if err == nil && got.Data.ID == 0 {
				err = fault.New(fault.EffectUnknown, "Pipedrive does not tell the id of the person").WithAfter(afterFailure)
			}
			return strconv.Itoa(got.Data.ID), err
		},
		unite: func(ctx context.Context, from, into string) error { return c.unite(ctx, s, from, into, contact.Mapped) },
	}
}

// adopt looks for the person under keys that they had before, under ours when the
// store may have lost it, and by their address.
func (c *Connector) adopt(ctx context.Context, s *schema, contact crm.Contact, e Entry) (Entry, error) {
	for _, former := range contact.Former {
		old, err := c.ids.Get(ctx, former)
		if err != nil {
			return e, err //nolint:wrapcheck // It says all.
		}
		if old.ID != "" {
			return c.claim(ctx, s, contact, e, old.ID, contact.Former)
		}
	}
	if c.o.IDs == nil {
		ids, err := c.search(ctx, contact.Key, "custom_fields")
		if err != nil {
			return e, err
		}
		if len(ids) > 0 {
			e.ID = ids[0]
			return c.kept(ctx, contact.Key, e), nil
		}
	}
	if contact.Email == "" || c.o.NoMatch {
		return e, nil
	}
	ids, err := c.search(ctx, contact.Email, "email")
	switch {
	case err != nil:
		return e, err
	case len(ids) > 1:
		return e, fault.New(fault.VendorConflict, "%d persons in Pipedrive have the visitor's e-mail address", len(ids)).
			WithFix("merge them in Pipedrive, or set the target's `match: false`, and replay")
	case len(ids) == 1:
		return c.claim(ctx, s, contact, e, ids[0], contact.Former)
	}
	return e, nil
}

// claim takes a person that is there: it gets our key, unless another key of ours
// has it. One that has gone meanwhile is none.
func (c *Connector) claim(ctx context.Context, s *schema, contact crm.Contact, e Entry, id string, former []string) (Entry, error) {
	p, err := c.person(ctx, id)
	if isReason(err, fault.VendorNotFound) {
		return e, nil
	}
	if err != nil {
		return e, err
	}
	owner := p.get(s.key)
	if e.ID, e.Shared = id, owner != "" && owner != contact.Key && !slices.Contains(former, owner); !e.Shared && owner != contact.Key {
		mark := body{"custom_fields": body{s.key: contact.Key}}
		if err := c.do(ctx, call{method: http.MethodPatch, path: "/v2/persons/" + url.PathEscape(id), name: "a person", in: mark}); err != nil {
			return e, err
		}
	}
	return c.put(ctx, contact.Key, e)
}

// update writes a person that is known.
func (c *Connector) update(ctx context.Context, s *schema, contact crm.Contact, e Entry, in body) (crm.Outcome, error) {
	done := crm.Outcome{Status: crm.Done, ID: e.ID}
	if e.Shared && s.seq != "" {
		if custom, ok := in["custom_fields"].(map[string]any); ok {
			delete(custom, s.seq) // It is that of the other key.
		}
	}
	if contact.Unsure || contact.Attempt > 1 || text(contact, "email") != "" || text(contact, "phone") != "" {
		p, err := c.person(ctx, e.ID)
		if err != nil {
			return crm.Outcome{}, c.gone(ctx, contact.Key, e, err)
		}
		if stored, ok := p.Custom[s.seq].(float64); ok && s.seq != "" && !e.Shared && uint64(stored) > contact.Seq {
			done.Stale = true
			return done, nil
		}
		for name, list := range map[string]*[]point{"email": &p.Emails, "phone": &p.Phones} {
			if value := text(contact, name); value != "" && with(list, value) {
				in[name+"s"] = *list
			}
		}
	}
	if len(in) == 0 {
		return done, nil
	}
	err := c.do(ctx, call{method: http.MethodPatch, path: "/v2/persons/" + url.PathEscape(e.ID), name: "a person", in: in})
	if err != nil {
		return crm.Outcome{}, c.gone(ctx, contact.Key, e, err)
	}
	return done, nil
}

// with adds the value to the list, unless it is there. Those that are there are
// others', and the first one stays the first.
func with(list *[]point, value string) bool {
	for _, p := range *list {
		if strings.EqualFold(p.Value, value) {
			return false
		}
	}
	*list = append(*list, point{Value: value, Primary: len(*list) == 0, Label: "work"})
	return true
}

// gone forgets the id of a record that is not there any more.
func (c *Connector) gone(ctx context.Context, key string, e Entry, err error) error {
	if isReason(err, fault.VendorNotFound) {
		e.ID, e.Shared = "", false
		c.kept(ctx, key, e)
	}
	return err
}

// person returns one person.
func (c *Connector) person(ctx context.Context, id string) (*person, error) {
	var got struct {
		Data person `json:"data"`
	}
	err := c.do(ctx, call{method: http.MethodGet, path: "/v2/persons/" + url.PathEscape(id), name: "a person", out: &got})
	if err != nil {
		return nil, err
	}
	return &got.Data, nil
}

// search returns the ids of the persons of the exact text, the oldest first. What
// was written a moment ago may be missing.
func (c *Connector) search(ctx context.Context, term, fields string) ([]string, error) {
	var got struct {
		Data struct {
			Items []struct {
				Item struct {
					ID int `json:"id"`
				} `json:"item"`
			} `json:"items"`
		} `json:"data"`
	}
	q := url.Values{"term": {term}, "fields": {fields}, "exact_match": {"true"}, "limit": {"10"}}
	if err := c.do(ctx, call{method: http.MethodGet, path: "/v2/persons/search", query: q, name: "the search of persons", out: &got}); err != nil {
		return nil, err
	}
	var ids []int
	for _, item := range got.Data.Items {
		ids = append(ids, item.Item.ID)
	}
	return inOrder(ids), nil
}

func inOrder(ids []int) []string {
	out := make([]string, len(ids))
	for i, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
		out[i] = strconv.Itoa(id)
	}
	return slices.DeleteFunc(out, func(id string) bool { return id == "" })
}

// lately returns the ids of the persons that changed since then and fit, the
// oldest first. A list is up to date where a search is not. It reads a bounded
// part of what changed, the newest first.
func (c *Connector) lately(ctx context.Context, since time.Time, fits func(*person) bool) ([]string, error) {
	var ids []int
	cursor := ""
	for range maxPages {
		var got struct {
			Data []person `json:"data"`
			More struct {
				Next string `json:"next_cursor"`
			} `json:"additional_data"`
		}
		q := url.Values{
			"updated_since": {since.UTC().Format(time.RFC3339)}, "sort_by": {"update_time"}, "sort_direction": {"desc"}, "limit": {strconv.Itoa(pageSize)},
		}
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		if err := c.do(ctx, call{method: http.MethodGet, path: "/v2/persons", query: q, name: "the list of persons", out: &got}); err != nil {
			return nil, err
		}
		for i := range got.Data {
			if fits(&got.Data[i]) {
				ids = append(ids, got.Data[i].ID)
			}
		}
		if cursor = got.More.Next; cursor == "" {
			break
		}
	}
	return inOrder(ids), nil
}
