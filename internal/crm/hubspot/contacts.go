package hubspot

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

// person is one contact on its way.
type person struct {
	crm.Contact
	properties map[string]string
	// record is the id of the record to change; "" is to find or make one by our key.
	record string
	// shared says that the record belongs to another key of ours, which keeps it.
	shared bool
}

// group is the contacts of one call, and what is known of them.
type group struct {
	people   []*person
	outcomes []crm.Outcome
}

// done takes the person out of the group.
func (g *group) done(p *person, o crm.Outcome) {
	o.Key, o.ID = p.Key, p.told(o.ID)
	g.outcomes = append(g.outcomes, o)
	g.people = slices.DeleteFunc(g.people, func(other *person) bool { return other == p })
}

func (g *group) reject(p *person, err *fault.Error) {
	status := crm.Rejected
	if fault.Retryable(err) {
		status = crm.Retry
	}
	g.done(p, crm.Outcome{Status: status, Err: err, After: err.After})
}

// UpsertContacts implements crm.Connector. In the usual case it takes one
// request: the records that are known by id in one batch, or new ones by our key.
func (c *Connector) UpsertContacts(ctx context.Context, list []crm.Contact) ([]crm.Outcome, error) {
	list = coalesce(list)
	s, err := c.keyed(ctx, contacts, c.o.Key, fieldNames(list))
	if err != nil {
		return nil, err
	}
	g := &group{}
	for _, contact := range list {
		p := newPerson(contact)
		g.people = append(g.people, p)
		if p.properties, err = c.encode(s, contact); err != nil {
			g.reject(p, fault.From(err))
		}
	}
	for _, step := range []func(context.Context, *schema, *group) error{c.reconcile, c.find, c.rule, c.update, c.upsert} {
		if err := step(ctx, s, g); err != nil {
			return nil, err
		}
	}
	return g.outcomes, nil
}

// coalesce makes one of several states of a contact: HubSpot refuses a batch
// that names a key twice. The later state wins, field by field.
func coalesce(list []crm.Contact) []crm.Contact {
	at := make(map[string]int, len(list))
	out := make([]crm.Contact, 0, len(list))
	for _, next := range list {
		i, twice := at[next.Key]
		if !twice {
			at[next.Key] = len(out)
			out = append(out, next)
			continue
		}
		older, newer := out[i], next
		if newer.Seq < older.Seq {
			older, newer = newer, older
		}
		fields := map[string]crm.Field{}
		for _, f := range slices.Concat(older.Fields, newer.Fields) {
			fields[f.Name] = f
		}
		newer.Fields = nil
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			newer.Fields = append(newer.Fields, fields[name])
		}
		newer.Unsure = older.Unsure || newer.Unsure
		if newer.ID == "" {
			newer.ID = older.ID
		}
		if newer.Email == "" {
			newer.Email = older.Email
		}
		out[i] = newer
	}
	return out
}

func fieldNames(list []crm.Contact) []string {
	var names []string
	for _, contact := range list {
		for _, f := range contact.Fields {
			names = append(names, f.Name)
		}
	}
	return names
}

// encode returns the properties to write: the contact's fields, our key, and the
// sequence where the account has a place for it.
func (c *Connector) encode(s *schema, contact crm.Contact) (map[string]string, error) {
	properties := make(map[string]string, len(contact.Fields)+2)
	for _, f := range contact.Fields {
		text, err := s.wire(f)
		if err != nil {
			return nil, err
		}
		properties[f.Name] = text
	}
	properties[c.o.Key] = contact.Key
	if _, ok := s.byName[c.o.Seq]; ok && contact.Seq > 0 {
		properties[c.o.Seq] = strconv.FormatUint(contact.Seq, 10)
	}
	return properties, nil
}

// reconcile looks what became of the contacts whose last write was not answered.
// What has arrived is not written again.
func (c *Connector) reconcile(ctx context.Context, s *schema, g *group) error {
	var keys, ids, names []string
	byKey := map[string]*person{}
	for _, p := range g.people {
		switch {
		case !p.Unsure:
			continue
		case p.ID == "":
			keys = append(keys, p.Key)
		default:
			ids = append(ids, p.ID)
		}
		byKey[p.Key] = p
		names = slices.AppendSeq(names, maps.Keys(p.properties))
	}
	names = slices.Compact(slices.Sorted(slices.Values(append(names, c.o.Key, c.o.Seq))))
	found, err := c.read(ctx, c.o.Key, keys, names...)
	if err != nil {
		return err
	}
	byID, err := c.read(ctx, "", ids, names...)
	if err != nil {
		return err
	}
	for _, o := range slices.Concat(found, byID) {
		p := byKey[o.get(c.o.Key)]
		if p == nil {
			continue // Another one's record, which tells nothing of this one.
		}
		p.record = o.ID
		stored, err := strconv.ParseUint(o.get(c.o.Seq), 10, 64)
		switch {
		case err != nil || p.Seq == 0 || len(p.Former) > 0:
		case stored > p.Seq:
			g.done(p, crm.Outcome{Status: crm.Done, ID: o.ID, Stale: true})
		case stored == p.Seq && s.has(&o, p.properties):
			g.done(p, crm.Outcome{Status: crm.Done, ID: o.ID})
		}
	}
	return nil
}

// has reports whether the record has the values. HubSpot writes some of them in
// another form than it was sent.
func (s *schema) has(o *object, properties map[string]string) bool {
	for name, text := range properties {
		if is := o.get(name); is != text && !equal(s.value(name, is), s.value(name, text)) {
			return false
		}
	}
	return true
}

func equal(a, b any) bool {
	at, aTime := a.(time.Time)
	bt, bTime := b.(time.Time)
	if aTime && bTime {
		return at.Equal(bt)
	}
	return reflect.DeepEqual(a, b)
}

// find looks for the records that others made of new people, by their address,
// and for records under keys that they had before.
func (c *Connector) find(ctx context.Context, s *schema, g *group) error {
	var emails, former []string
	for _, p := range g.people {
		former = append(former, p.Former...)
		if p.record == "" && p.Email != "" {
			emails = append(emails, strings.ToLower(p.Email))
		}
	}
	byEmail, err := c.read(ctx, "email", emails, c.about()...)
	if err != nil {
		return err
	}
	byFormer, err := c.read(ctx, c.o.Key, former, c.about()...)
	if err != nil {
		return err
	}
	rivals := map[*person][]*object{}
	for _, p := range g.people {
		for i := range byEmail {
			if p.record == "" && p.Email != "" && byEmail[i].hasEmail(p.Email) {
				rivals[p] = append(rivals[p], &byEmail[i])
			}
		}
		for i := range byFormer {
			if slices.Contains(p.Former, byFormer[i].get(c.o.Key)) {
				rivals[p] = append(rivals[p], &byFormer[i])
			}
		}
	}
	return c.settle(ctx, s, g, rivals)
}

// about are the properties by which records are told apart.
func (c *Connector) about() []string {
	return []string{c.o.Key, "email", "hs_additional_emails"}
}

func (o *object) hasEmail(email string) bool {
	all := append(strings.Split(o.get("hs_additional_emails"), ";"), o.get("email"))
	return slices.ContainsFunc(all, func(other string) bool { return strings.EqualFold(strings.TrimSpace(other), email) })
}

// update writes the records that are known by id. A record that two people have
// in common is written in turns: HubSpot refuses a batch that names it twice.
func (c *Connector) update(ctx context.Context, s *schema, g *group) error {
	for {
		var inputs []input
		sent := map[string]*person{}
		taken := map[string]bool{}
		for _, p := range g.people {
			if p.record == "" || taken[p.record] {
				continue
			}
			taken[p.record], sent[p.Key] = true, p
			properties := maps.Clone(p.properties)
			if p.shared {
				delete(properties, c.o.Key)
				delete(properties, c.o.Seq)
			}
			inputs = append(inputs, input{ID: p.record, Properties: properties, Trace: p.Key})
		}
		if len(inputs) == 0 {
			return nil
		}
		if err := c.batch(ctx, s, g, "update", inputs, sent); err != nil {
			return err
		}
		// Those who were not spoken of stay out, and count as unanswered.
		g.people = slices.DeleteFunc(g.people, func(p *person) bool { return sent[p.Key] == p })
	}
}

// upsert writes the others by our key.
func (c *Connector) upsert(ctx context.Context, s *schema, g *group) error {
	var inputs []input
	sent := map[string]*person{}
	for _, p := range g.people {
		sent[p.Key] = p
		inputs = append(inputs, input{ID: p.Key, IDProperty: c.o.Key, Properties: p.properties, Trace: p.Key})
	}
	return c.batch(ctx, s, g, "upsert", inputs, sent)
}

// batch writes the inputs, and takes those from the group of which the answer
// speaks. A conflict is looked into once.
func (c *Connector) batch(ctx context.Context, s *schema, g *group, verb string, inputs []input, sent map[string]*person) error {
	all, err := c.write(ctx, contacts, verb, inputs)
	if err != nil {
		return err
	}
	conflicts := &group{}
	for key, t := range all {
		p := sent[key]
		switch {
		case p == nil:
		case t.err == nil:
			g.done(p, crm.Outcome{Status: crm.Done, ID: t.object.ID, Created: t.object.New})
		case t.err.Reason == fault.VendorConflict && !p.shared:
			conflicts.people = append(conflicts.people, p)
		default:
			g.reject(p, t.err)
		}
	}
	if len(conflicts.people) == 0 {
		return nil
	}
	return c.conflicts(ctx, s, g, conflicts, all)
}

// conflicts looks at the records that are in the way, and writes once more.
func (c *Connector) conflicts(ctx context.Context, s *schema, g, conflicts *group, all map[string]told) error {
	var ids []string
	for _, p := range conflicts.people {
		ids = append(ids, all[p.Key].problem.existing())
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return id == "" })
	found, err := c.read(ctx, "", ids, c.about()...)
	if err != nil {
		return err
	}
	rivals := map[*person][]*object{}
	for _, p := range conflicts.people {
		for i := range found {
			if found[i].ID == all[p.Key].problem.existing() {
				rivals[p] = append(rivals[p], &found[i])
			}
		}
	}
	if err := c.settle(ctx, s, conflicts, rivals); err != nil {
		return err
	}
	if err := c.rule(ctx, s, conflicts); err != nil {
		return err
	}
	var inputs []input
	again := map[string]*person{}
	taken := map[string]bool{}
	for _, p := range slices.Clone(conflicts.people) {
		switch {
		case len(rivals[p]) == 0 || p.record == "":
			conflicts.reject(p, all[p.Key].err)
			continue
		case taken[p.record]:
			later := fault.New(fault.VendorUnavailable, "another contact of the same record comes first").WithAfter(afterFailure)
			conflicts.reject(p, later)
			continue
		}
		taken[p.record], again[p.Key] = true, p
		properties := maps.Clone(p.properties)
		if p.shared {
			delete(properties, c.o.Key)
			delete(properties, c.o.Seq)
		}
		inputs = append(inputs, input{ID: p.record, Properties: properties, Trace: p.Key})
	}
	second, err := c.write(ctx, contacts, "update", inputs)
	if err != nil {
		return err
	}
	for key, t := range second {
		if p := again[key]; t.err != nil {
			conflicts.reject(p, t.err)
		} else {
			conflicts.done(p, crm.Outcome{Status: crm.Done, ID: t.object.ID})
		}
	}
	for _, o := range conflicts.outcomes {
		g.done(sentBy(g, o.Key), o)
	}
	return nil
}

func sentBy(g *group, key string) *person {
	for _, p := range g.people {
		if p.Key == key {
			return p
		}
	}
	return &person{Contact: crm.Contact{Key: key}}
}
