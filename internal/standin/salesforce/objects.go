package salesforce

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Field is one field of an object.
type Field struct {
	Name, Label string
	// Type is one of string, textarea, email, phone, url, double, boolean, datetime,
	// date, picklist, multipicklist, reference and id.
	Type       string
	Length     int
	ExternalID bool
	Unique     bool
	Required   bool
	// ReadOnly fields are the org's own.
	ReadOnly bool
	// Options are the values of a picklist, and Restricted takes no others.
	Options    []string
	Restricted bool
	// To is the prefixes of the ids that a reference takes.
	To []string
}

// Record is one record, with its fields by name.
type Record map[string]any

// ID returns the record's id.
func (r Record) ID() string { return r.text("Id") }

func (r Record) text(name string) string {
	text, _ := r[name].(string)
	return text
}

// object is one type of records.
type object struct {
	name, prefix string
	fields       map[string]Field
	records      map[string]Record
	order        []string
	byUnique     map[string]map[string][]string // field, value in lower case, ids
	event        bool
}

func newObject(name, prefix string, fields ...Field) *object {
	of := &object{name: name, prefix: prefix, fields: map[string]Field{}, records: map[string]Record{}, byUnique: map[string]map[string][]string{}}
	for _, f := range append(fields,
		Field{Name: "Id", Type: "id", ReadOnly: true}, Field{Name: "CreatedDate", Type: "datetime", ReadOnly: true},
		Field{Name: "LastModifiedDate", Type: "datetime", ReadOnly: true}, Field{Name: "SystemModstamp", Type: "datetime", ReadOnly: true},
	) {
		of.fields[f.Name] = f
	}
	return of
}

// standard returns the objects of every org.
func standard() map[string]*object {
	text := func(name string, length int) Field { return Field{Name: name, Type: "string", Length: length} }
	needed := func(name string, length int) Field {
		return Field{Name: name, Type: "string", Length: length, Required: true}
	}
	email, phone := Field{Name: "Email", Type: "email", Length: 80}, Field{Name: "Phone", Type: "phone", Length: 40}
	long := Field{Name: "Description", Type: "textarea", Length: 32_000}
	source := Field{Name: "LeadSource", Type: "picklist", Options: []string{"Web", "Chat", "Other"}}
	all := []*object{
		newObject("Contact", "003", text("FirstName", 40), needed("LastName", 80), email, phone, long, source, text("Title", 128),
			Field{Name: "AccountId", Type: "reference", To: []string{"001"}}),
		newObject("Lead", "00Q", text("FirstName", 40), needed("LastName", 80), needed("Company", 255), email, phone, long, source,
			Field{Name: "Status", Type: "picklist", Options: []string{"Open", "Working", "Closed"}},
			Field{Name: "IsConverted", Type: "boolean", ReadOnly: true}, Field{Name: "ConvertedContactId", Type: "reference", ReadOnly: true}),
		newObject("Task", "00T", text("Subject", 255), long, Field{Name: "ActivityDate", Type: "date"},
			Field{Name: "Status", Type: "picklist", Options: []string{"Not Started", "In Progress", "Completed"}, Restricted: true},
			Field{Name: "Priority", Type: "picklist", Options: []string{"High", "Normal", "Low"}, Restricted: true},
			Field{Name: "WhoId", Type: "reference", To: []string{"003", "00Q"}}, Field{Name: "WhatId", Type: "reference", To: []string{"001", "500"}}),
		newObject("Case", "500", text("Subject", 255), long, Field{Name: "Origin", Type: "picklist", Options: []string{"Chat", "Email", "Phone", "Web"}},
			Field{Name: "Status", Type: "picklist", Options: []string{"New", "Working", "Closed"}},
			Field{Name: "ContactId", Type: "reference", To: []string{"003"}}),
	}
	byName := map[string]*object{}
	for _, of := range all {
		byName[of.name] = of
	}
	return byName
}

// AddFields adds fields to an object, as an administrator does.
func (o *Org) AddFields(object string, fields ...Field) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range fields {
		o.objects[object].fields[f.Name] = f
	}
}

// AddEvent defines a platform event.
func (o *Org) AddEvent(name string, fields ...Field) {
	o.mu.Lock()
	defer o.mu.Unlock()
	of := newObject(name, "e00", fields...)
	of.event = true
	o.objects[name] = of
}

// Add puts a record into the org, as somebody else does, and returns its id. It
// may break every rule.
func (o *Org) Add(object string, r Record) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.insert(o.objects[object], maps.Clone(r))
}

// Put changes a record, as somebody else does. It may break every rule.
func (o *Org) Put(object, id string, change Record) {
	o.mu.Lock()
	defer o.mu.Unlock()
	of := o.objects[object]
	next := maps.Clone(of.records[id])
	maps.Copy(next, change)
	of.store(next, o.o.Now())
}

// Remove deletes a record, as somebody else does.
func (o *Org) Remove(object, id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.objects[object].drop(id)
}

// Records returns the records of an object, oldest first.
func (o *Org) Records(object string) []Record {
	o.mu.Lock()
	defer o.mu.Unlock()
	of := o.objects[object]
	all := make([]Record, 0, len(of.records))
	for _, id := range of.order {
		if r, ok := of.records[id]; ok {
			all = append(all, maps.Clone(r))
		}
	}
	return all
}

// Find returns the records whose field has the value.
func (o *Org) Find(object, field, value string) []Record {
	return slices.DeleteFunc(o.Records(object), func(r Record) bool { return !strings.EqualFold(r.text(field), value) })
}

func (of *object) sorted() []Field {
	return slices.SortedFunc(maps.Values(of.fields), func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
}

func (f Field) describe() map[string]any {
	values := make([]any, len(f.Options))
	for i, v := range f.Options {
		values[i] = map[string]any{"active": true, "label": v, "value": v}
	}
	label := f.Label
	if label == "" {
		label = f.Name
	}
	return map[string]any{
		"name": f.Name, "label": label, "type": f.Type, "length": f.Length, "externalId": f.ExternalID, "unique": f.Unique,
		"createable": !f.ReadOnly, "updateable": !f.ReadOnly, "nillable": !f.Required, "calculated": false,
		"restrictedPicklist": f.Restricted, "picklistValues": values,
	}
}

// insert stores a new record and returns its id.
func (o *Org) insert(of *object, r Record) string {
	o.ids++
	r["Id"] = fmt.Sprintf("%s%012dAAA", of.prefix, o.ids)
	r["CreatedDate"] = stamp(o.o.Now())
	of.order = append(of.order, r.ID())
	of.store(r, o.o.Now())
	return r.ID()
}

func stamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000+0000") }

// store puts the state of a record in place of the one before.
func (of *object) store(r Record, now time.Time) {
	of.unlink(r.ID())
	r["LastModifiedDate"], r["SystemModstamp"] = stamp(now), stamp(now)
	of.records[r.ID()] = r
	for name, value := range r {
		if text, ok := value.(string); ok && of.indexed(name) {
			if of.byUnique[name] == nil {
				of.byUnique[name] = map[string][]string{}
			}
			value := strings.ToLower(text)
			of.byUnique[name][value] = append(of.byUnique[name][value], r.ID())
		}
	}
}

func (of *object) indexed(name string) bool {
	f := of.fields[name]
	return f.ExternalID || f.Unique || f.Type == "email"
}

// unlink takes the record out of the indexes.
func (of *object) unlink(id string) {
	for name, value := range of.records[id] {
		if text, ok := value.(string); ok && of.indexed(name) {
			value := strings.ToLower(text)
			of.byUnique[name][value] = slices.DeleteFunc(of.byUnique[name][value], func(other string) bool { return other == id })
		}
	}
}

func (of *object) drop(id string) {
	of.unlink(id)
	delete(of.records, id)
}

// with returns the ids of the records whose indexed field has the value.
func (of *object) with(field, value string) []string {
	return of.byUnique[field][strings.ToLower(value)]
}
