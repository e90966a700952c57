package salesforce

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

// person is one contact on its way.
type person struct {
	crm.Contact
	object Object
	// record is the id of the record to change; "" is to find or make one by our key.
	record string
	// shared says that the record belongs to another key of ours, which keeps it.
	shared bool
	fields record
	// tries counts how often it was written in this call.
	tries int
}

// group is the contacts of one call, and what is known of them.
type group struct {
	people   []*person
	outcomes []crm.Outcome
}

// done takes the person out of the group.
func (g *group) done(p *person, o crm.Outcome) {
	o.Key = p.Key
	g.outcomes = append(g.outcomes, o)
	g.people = slices.DeleteFunc(g.people, func(other *person) bool { return other == p })
}

func (g *group) reject(p *person, err *fault.Error) { g.done(p, refused(p.Key, err)) }

func refused(key string, err *fault.Error) crm.Outcome {
	status := crm.Rejected
	if fault.Retryable(err) {
		status = crm.Retry
	}
	return crm.Outcome{Key: key, Status: status, Err: err, After: err.After}
}

// UpsertContacts implements crm.Connector.
func (c *Connector) UpsertContacts(ctx context.Context, list []crm.Contact) ([]crm.Outcome, error) {
	g := &group{}
	for _, contact := range latest(list) {
		g.people = append(g.people, c.person(contact))
	}
	for _, object := range Objects() {
		if err := c.encode(ctx, g, object); err != nil {
			return nil, err
		}
	}
	for _, step := range []func(context.Context, *group) error{c.reconcile, c.match, c.join, c.put} {
		if err := step(ctx, g); err != nil {
			return g.rest(err)
		}
	}
	return g.outcomes, nil
}

// rest ends a call in the middle. What is known of some must not be lost.
func (g *group) rest(err error) ([]crm.Outcome, error) {
	e := fault.From(err)
	switch {
	case len(g.outcomes) == 0, !fault.Retryable(err) && e.Reason != fault.EffectUnknown:
		return nil, err
	case fault.Retryable(err):
		for _, p := range slices.Clone(g.people) {
			g.done(p, crm.Outcome{Status: crm.Retry, Err: e, After: e.After})
		}
	}
	return g.outcomes, nil // The others count as unanswered.
}

// latest keeps the newest state of each contact, with the fields of all.
func latest(list []crm.Contact) []crm.Contact {
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
		for _, f := range older.Fields {
			if !slices.ContainsFunc(newer.Fields, func(other crm.Field) bool { return other.Name == f.Name }) {
				newer.Fields = append(slices.Clip(newer.Fields), f)
			}
		}
		newer.Unsure = older.Unsure || newer.Unsure
		out[i] = newer
	}
	return out
}

// person says what the contact is. Who was a contact once never becomes a lead. A
// mapping that says what somebody is, and does not say so now, says what it said
// before: only what changed is written.
func (c *Connector) person(contact crm.Contact) *person {
	p := &person{Contact: contact, object: c.o.Object}
	told := slices.IndexFunc(contact.Fields, func(f crm.Field) bool { return f.Name == Choice })
	if told >= 0 && slices.Contains(Objects(), Object(text(contact.Fields[told].Value))) {
		p.object = Object(text(contact.Fields[told].Value))
	}
	if told < 0 && slices.Contains(contact.Mapped, Choice) && strings.HasPrefix(contact.ID, Lead.prefix()) {
		p.object = Lead
	}
	switch id, shared := bare(contact.ID); {
	case strings.HasPrefix(id, Contact.prefix()):
		p.object, p.record, p.shared = Contact, id, shared
	case strings.HasPrefix(id, p.object.prefix()):
		p.record, p.shared = id, shared
	}
	return p
}

// sharedMark ends the id, as we tell it, of a record that belongs to another key
// of ours. Its key and sequence stay with that one.
const sharedMark = "+"

// bare returns the id as Salesforce knows it, and whether the record is shared.
func bare(id string) (string, bool) { return strings.CutSuffix(id, sharedMark) }

// told returns the id as we tell it.
func (p *person) told(id string) string {
	if p.shared {
		return id + sharedMark
	}
	return id
}

func text(value any) string {
	s, _ := value.(string)
	return s
}

// encode writes the fields of those who are of the object. Fields that only the
// other object has are left out.
func (c *Connector) encode(ctx context.Context, g *group, object Object) error {
	var s *schema
	for _, p := range slices.Clone(g.people) {
		if p.object != object || p.fields != nil {
			continue
		}
		if s == nil {
			var err error
			if s, err = c.keyed(ctx, string(object), c.o.Key); err != nil {
				return err
			}
		}
		p.fields = make(record, len(p.Fields)+1)
		for _, f := range p.Fields {
			of, ok := s.byName[f.Name]
			switch {
			case f.Name == Choice:
			case ok:
				p.fields[f.Name] = of.wire(f.Value)
			case !c.elsewhere(f.Name, object):
				g.reject(p, fault.New(fault.SchemaViolation, "the Salesforce org has no field %q of %s", f.Name, object).At("/"+f.Name).
					WithFix("make the field in Salesforce, or correct the mapping, and replay"))
			}
		}
		if _, ok := s.byName[c.o.Seq]; ok && p.Seq > 0 {
			p.fields[c.o.Seq] = p.Seq
		}
	}
	return nil
}

// elsewhere reports whether the other object is known to have the field.
func (c *Connector) elsewhere(name string, object Object) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, other := range Objects() {
		if s := c.schemas[string(other)]; other != object && s != nil {
			if _, ok := s.byName[name]; ok {
				return true
			}
		}
	}
	return false
}

// reconcile looks what became of the contacts whose last write was not answered.
// What has arrived is not written again.
func (c *Connector) reconcile(ctx context.Context, g *group) error {
	for _, object := range Objects() {
		byKey := map[string]*person{}
		var keys []string
		for _, p := range g.people {
			if _, seq := p.fields[c.o.Seq]; p.Unsure && p.object == object && seq {
				byKey[p.Key], keys = p, append(keys, p.Key)
			}
		}
		found, err := c.find(ctx, string(object), "Id,"+c.o.Key+","+c.o.Seq, c.o.Key, keys, "")
		if err != nil {
			return err
		}
		for _, r := range found {
			p := byKey[r.text(c.o.Key)]
			if p == nil {
				continue
			}
			stored, _ := r[c.o.Seq].(float64)
			if p.record = r.text("Id"); uint64(stored) >= p.Seq {
				g.done(p, crm.Outcome{Status: crm.Done, ID: p.record, Stale: uint64(stored) > p.Seq})
			}
		}
	}
	return nil
}

// match looks for the records of people who are new to us: under our key, under
// keys that they had before, and those that others made of their address.
func (c *Connector) match(ctx context.Context, g *group) error {
	var seekers []*person
	for _, p := range g.people {
		if p.record == "" && (len(p.Former) > 0 || p.Email != "" && !c.o.NoMatch) {
			seekers = append(seekers, p)
		}
	}
	if len(seekers) == 0 {
		return nil
	}
	// A contact comes before a lead: a lead that was converted is past.
	for _, object := range Objects() {
		if err := c.matchIn(ctx, g, object, seekers); err != nil {
			return err
		}
		seekers = slices.DeleteFunc(seekers, func(p *person) bool { return p.record != "" || !slices.Contains(g.people, p) })
	}
	return nil
}

// matchIn looks among the records of one object.
func (c *Connector) matchIn(ctx context.Context, g *group, object Object, seekers []*person) error {
	seekers = slices.DeleteFunc(slices.Clone(seekers), func(p *person) bool { return object == Lead && p.object == Contact })
	if len(seekers) == 0 {
		return nil
	}
	if _, err := c.keyed(ctx, string(object), c.o.Key); err != nil {
		if slices.ContainsFunc(seekers, func(p *person) bool { return p.object == object }) {
			return err
		}
		return nil // Who uses leads only need not have the field of contacts.
	}
	var keys, emails []string
	for _, p := range seekers {
		keys = append(append(keys, p.Key), p.Former...)
		if p.Email != "" && !c.o.NoMatch {
			emails = append(emails, strings.ToLower(p.Email))
		}
	}
	about := "Id,Email," + c.o.Key
	more := ""
	if object == Lead {
		more = " AND ConvertedContactId = null"
	}
	byKey, err := c.find(ctx, string(object), about, c.o.Key, keys, more)
	if err != nil {
		return err
	}
	byEmail, err := c.find(ctx, string(object), about, "Email", emails, more)
	if err != nil {
		return err
	}
	for _, p := range seekers {
		c.choose(g, p, object, byKey, byEmail)
	}
	return c.encode(ctx, g, object)
}

// choose decides which of the records is the person's.
func (c *Connector) choose(g *group, p *person, object Object, byKey, byEmail []record) {
	take := func(r record, shared bool) {
		p.record, p.shared = r.text("Id"), shared
		if p.object != object {
			p.object, p.fields = object, nil
		}
	}
	for _, key := range append([]string{p.Key}, p.Former...) {
		for _, r := range byKey {
			if r.text(c.o.Key) == key {
				take(r, false)
				return
			}
		}
	}
	var same []record
	for _, r := range byEmail {
		if p.Email != "" && strings.EqualFold(r.text("Email"), p.Email) {
			same = append(same, r)
		}
	}
	switch {
	case len(same) == 1:
		take(same[0], same[0].text(c.o.Key) != "" && !slices.Contains(p.Former, same[0].text(c.o.Key))) // Two sites may know one person.
	case len(same) > 1:
		g.reject(p, fault.New(fault.VendorConflict, "%d records of %s in Salesforce have the person's e-mail address", len(same), object).
			WithFix("merge them in Salesforce, or set the target's `match: false`, and replay"))
	}
}

// put writes all that are left: by object, and by id or by key. Some are written
// once more when the answer says how.
func (c *Connector) put(ctx context.Context, g *group) error {
	const most = 3
	for range most {
		var batches [][]*person
		for _, object := range Objects() {
			for _, known := range []bool{true, false} {
				var batch []*person
				taken := map[string]bool{}
				for _, p := range g.people {
					// A record that two people have in common is written in turns.
					if p.object == object && (p.record != "") == known && !taken[p.record] {
						batch = append(batch, p)
						taken[p.record] = known
					}
				}
				if len(batch) > 0 {
					batches = append(batches, batch)
				}
			}
		}
		if len(batches) == 0 {
			return nil
		}
		for _, batch := range batches {
			if err := c.putBatch(ctx, g, batch); err != nil {
				return err
			}
		}
	}
	for _, p := range slices.Clone(g.people) {
		g.reject(p, fault.New(fault.VendorUnavailable, "others of the same record come first").WithAfter(afterFailure))
	}
	return nil
}

// putBatch writes people of one object, all with an id or all without.
func (c *Connector) putBatch(ctx context.Context, g *group, batch []*person) error {
	rows := make([]row, len(batch))
	for i, p := range batch {
		fields := p.fields
		if p.record != "" {
			fields = maps.Clone(p.fields)
			if fields[c.o.Key] = p.Key; p.shared {
				delete(fields, c.o.Key)
				delete(fields, c.o.Seq)
			}
		}
		rows[i] = row{id: p.record, key: p.Key, fields: fields}
	}
	all, err := c.write(ctx, string(batch[0].object), c.o.Key, rows)
	if err != nil {
		return err
	}
	var converted []*person
	for i, w := range all {
		p := batch[i]
		p.tries++
		switch {
		case w.told == nil:
			g.done(p, crm.Outcome{Status: crm.Done, ID: p.told(w.id), Created: w.created})
		case w.told.has("FIELD_CUSTOM_VALIDATION_EXCEPTION") && slices.Contains(w.told.fields(), c.o.Seq):
			g.done(p, crm.Outcome{Status: crm.Done, ID: p.told(p.record), Stale: true}) // The org's own rule: what is stored is newer.
		case w.told.has("REQUIRED_FIELD_MISSING") && p.record == "" && c.fill(p): // Once more.
		case w.told.has("CANNOT_UPDATE_CONVERTED_LEAD") && p.tries == 1:
			converted = append(converted, p)
		default:
			g.reject(p, w.told.ofRecord(string(p.object), c.o.Key))
		}
	}
	return c.follow(ctx, g, converted)
}

// fill gives a new record values for when nothing is known, since one of them is
// required. Salesforce names them one at a time. It reports whether it did.
func (c *Connector) fill(p *person) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	filled := false
	for name, value := range c.o.Fallback {
		_, told := p.fields[name]
		if _, there := c.schemas[string(p.object)].byName[name]; there && !told {
			p.fields[name], filled = value, true
		}
	}
	return filled
}

// follow goes from leads that were converted to the contacts that they became.
func (c *Connector) follow(ctx context.Context, g *group, leads []*person) error {
	if len(leads) == 0 {
		return nil
	}
	byID, byKey := map[string]*person{}, map[string]*person{}
	var keys, ids []string
	for _, p := range leads {
		byKey[p.Key] = p
		if p.record != "" {
			byID[p.record], ids = p, append(ids, p.record)
			continue
		}
		keys = append(keys, p.Key)
	}
	about := "Id,ConvertedContactId," + c.o.Key
	found, err := c.find(ctx, string(Lead), about, "Id", ids, "")
	if err != nil {
		return err
	}
	more, err := c.find(ctx, string(Lead), about, c.o.Key, keys, "")
	if err != nil {
		return err
	}
	for _, r := range append(found, more...) {
		p := byID[r.text("Id")]
		if p == nil {
			p = byKey[r.text(c.o.Key)]
		}
		if contact := r.text("ConvertedContactId"); p != nil && contact != "" {
			p.object, p.record, p.fields = Contact, contact, nil
		}
	}
	if err := c.claimed(ctx, leads); err != nil {
		return err
	}
	for _, p := range leads {
		if p.object == Lead {
			g.reject(p, fault.New(fault.VendorConflict, "the person's lead in Salesforce was converted, and not to a contact").
				WithFix("make a contact of the account in Salesforce, or set the target's `object: Contact`, and replay"))
		}
	}
	return c.encode(ctx, g, Contact)
}

// claimed looks whether the contacts that leads became are those of others, who
// keep their keys. Without the field for keys nobody can be followed.
func (c *Connector) claimed(ctx context.Context, people []*person) error {
	_, err := c.keyed(ctx, string(Contact), c.o.Key)
	if isReason(err, fault.VendorForbids) {
		for _, p := range people {
			p.object = Lead
		}
		return nil
	}
	if err != nil {
		return err
	}
	byID := map[string]*person{}
	var ids []string
	for _, p := range people {
		if p.object == Contact {
			byID[p.record], ids = p, append(ids, p.record)
		}
	}
	found, err := c.find(ctx, string(Contact), "Id,"+c.o.Key, "Id", ids, "")
	if err != nil {
		return err
	}
	for _, r := range found {
		if p, key := byID[r.text("Id")], r.text(c.o.Key); p != nil && key != "" {
			p.shared = key != p.Key && !slices.Contains(p.Former, key)
		}
	}
	return nil
}
