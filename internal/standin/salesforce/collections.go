package salesforce

import (
	"net/http"
	"strings"
)

// many is the body of a collection.
type many struct {
	AllOrNone bool     `json:"allOrNone"`
	Records   []Record `json:"records"`
}

// collection reads the body and holds it against the rules of collections.
func (c *call) collection() (many, *problem) {
	var in many
	if p := c.read(&in); p != nil {
		return in, p
	}
	switch {
	case len(in.Records) == 0:
		return in, wrong("REQUIRED_FIELD_MISSING", "The records must be specified")
	case len(in.Records) > maxRecords:
		return in, wrong("EXCEEDED_ID_LIMIT", "record limit reached. cannot submit more than %d records in this call", maxRecords)
	case in.AllOrNone:
		return in, wrong("INVALID_INPUT", "the stand-in takes records one by one only")
	}
	return in, nil
}

// kind returns the type that the record says it has.
func (r Record) kind() string {
	attributes, _ := r["attributes"].(map[string]any)
	name, _ := attributes["type"].(string)
	return name
}

// upsertMany is PATCH /composite/sobjects/{object}/{field}.
func (c *call) upsertMany(name, field string) *problem {
	of, p := c.external(name, field)
	if p != nil {
		return p
	}
	in, p := c.collection()
	if p != nil {
		return p
	}
	for _, r := range in.Records {
		if r.kind() != name {
			return wrong("INVALID_INPUT", "all records must be of the type %s", name)
		}
		if p := of.shape(r); p != nil {
			return p
		}
	}
	seen := map[string]bool{}
	results := make([]result, len(in.Records))
	for i, r := range in.Records {
		key := strings.ToLower(r.text(field))
		delete(r, "attributes")
		switch {
		case key == "":
			results[i] = refused(wrong("MISSING_ARGUMENT", "%s not specified", field))
			continue
		case r["Id"] != nil || r["id"] != nil:
			results[i] = refused(wrong("INVALID_ARGUMENT", "a record id may not be specified"))
			continue
		case seen[key]:
			results[i] = refused(wrong("DUPLICATE_VALUE", "Duplicate external id specified: %s", r.text(field)).of(field))
			continue
		}
		seen[key] = true
		id, created, p := c.upsert(of, field, r)
		if p != nil {
			results[i] = refused(p)
			continue
		}
		results[i] = result{ID: id, Success: true, Created: &created, Errors: []failed{}}
	}
	return c.say(http.StatusOK, results)
}

// updateMany is PATCH /composite/sobjects, by record id.
func (c *call) updateMany() *problem {
	in, p := c.collection()
	if p != nil {
		return p
	}
	for _, r := range in.Records {
		of, p := c.object(r.kind())
		if p != nil {
			return wrong("INVALID_TYPE", "sObject type '%s' is not supported.", r.kind())
		}
		plain := Record{}
		for name, value := range r {
			if name != "id" && name != "attributes" {
				plain[name] = value
			}
		}
		if p := of.shape(plain); p != nil {
			return p
		}
	}
	results := make([]result, len(in.Records))
	seen := map[string]bool{}
	for i, r := range in.Records {
		of, id := c.org.objects[r.kind()], r.text("id")
		delete(r, "attributes")
		delete(r, "id")
		var p *problem
		switch {
		case len(id) < 15:
			p = wrong("MALFORMED_ID", "malformed id %s", id).of("Id")
		case seen[id]:
			p = wrong("DUPLICATE_VALUE", "Duplicate id in list: %s", id).of("Id")
		case c.org.faults.row(c.fault):
			p = rowLocked()
		default:
			p = c.update(of, id, r)
		}
		seen[id] = true
		if p != nil {
			results[i] = refused(p)
			continue
		}
		results[i] = result{ID: id, Success: true, Errors: []failed{}}
	}
	return c.say(http.StatusOK, results)
}

// deleteMany is DELETE /composite/sobjects?ids=.
func (c *call) deleteMany() *problem {
	ids := strings.Split(c.r.URL.Query().Get("ids"), ",")
	if len(ids) > maxRecords || ids[0] == "" {
		return wrong("EXCEEDED_ID_LIMIT", "record limit reached. cannot submit more than %d records in this call", maxRecords)
	}
	results := make([]result, len(ids))
	for i, id := range ids {
		results[i] = refused(wrong("ENTITY_IS_DELETED", "entity is deleted").of())
		for _, of := range c.org.objects {
			if _, ok := of.records[id]; ok {
				of.drop(id)
				c.org.ledger.effects[Effect{of.name, Deleted}]++
				results[i] = result{ID: id, Success: true, Errors: []failed{}}
			}
		}
	}
	return c.say(http.StatusOK, results)
}
