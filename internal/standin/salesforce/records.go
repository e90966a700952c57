package salesforce

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// result is what a collection says of one record.
type result struct {
	ID      string   `json:"id,omitempty"`
	Success bool     `json:"success"`
	Created *bool    `json:"created,omitempty"`
	Errors  []failed `json:"errors"`
}

type failed struct {
	Code   string   `json:"statusCode"`
	Text   string   `json:"message"`
	Fields []string `json:"fields"`
}

func refused(p *problem) result {
	fields := p.fields
	if fields == nil {
		fields = []string{}
	}
	return result{Errors: []failed{{p.code, p.text, fields}}}
}

// read reads the body strictly.
func (c *call) read(into any) *problem {
	if !strings.HasPrefix(c.r.Header.Get("Content-Type"), "application/json") {
		return &problem{http.StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE", "Content-Type header must be application/json", nil, nil}
	}
	d := json.NewDecoder(bytes.NewReader(c.body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return wrong("JSON_PARSER_ERROR", "%s", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return wrong("JSON_PARSER_ERROR", "more than one value")
	}
	return nil
}

// object returns the object of the name, which is one of records.
func (c *call) object(name string) (*object, *problem) {
	of := c.org.objects[name]
	if of == nil || of.event {
		return nil, &problem{http.StatusNotFound, "NOT_FOUND", "The requested resource does not exist", nil, nil}
	}
	return of, nil
}

// external returns the object whose field is one to upsert by.
func (c *call) external(name, field string) (*object, *problem) {
	of, p := c.object(name)
	if p != nil {
		return nil, p
	}
	if !of.fields[field].ExternalID {
		return nil, &problem{http.StatusNotFound, "NOT_FOUND", "Provided external ID field does not exist or is not accessible: " + field, nil, nil}
	}
	return of, nil
}

// upsertOne is PATCH /sobjects/{object}/{field}/{value}.
func (c *call) upsertOne(name, field, value string) *problem {
	of, p := c.external(name, field)
	if p != nil {
		return p
	}
	var in Record
	if p := c.read(&in); p != nil {
		return p
	}
	if _, twice := in[field]; twice {
		return wrong("INVALID_FIELD", "The %s field should not be specified in the sobject data.", field).of(field)
	}
	if p := of.shape(in); p != nil {
		return p
	}
	if ids := of.with(field, value); len(ids) > 1 {
		choices := make([]string, len(ids))
		for i, id := range ids {
			choices[i] = "/services/data/v62.0/sobjects/" + name + "/" + id
		}
		return &problem{status: http.StatusMultipleChoices, choices: choices}
	}
	if c.r.URL.Query().Get("updateOnly") == "true" && len(of.with(field, value)) == 0 {
		return &problem{http.StatusNotFound, "NOT_FOUND", "The requested resource does not exist", nil, nil}
	}
	in[field] = value
	id, created, p := c.upsert(of, field, in)
	switch {
	case p != nil:
		return p
	case created:
		return c.say(http.StatusCreated, map[string]any{"id": id, "success": true, "errors": []any{}, "created": true})
	case c.org.o.Old:
		return c.say(http.StatusNoContent, nil)
	}
	return c.say(http.StatusOK, map[string]any{"id": id, "success": true, "errors": []any{}, "created": false})
}

// updateOne is PATCH /sobjects/{object}/{id}.
func (c *call) updateOne(name, id string) *problem {
	of, p := c.object(name)
	if p != nil {
		return p
	}
	var in Record
	if p := c.read(&in); p != nil {
		return p
	}
	if p := of.shape(in); p != nil {
		return p
	}
	if p := c.update(of, id, in); p != nil {
		if p.code == "ENTITY_IS_DELETED" {
			p.status = http.StatusNotFound
		}
		return p
	}
	return c.say(http.StatusNoContent, nil)
}

// create is POST /sobjects/{object}: a record, or a platform event.
func (c *call) create(name string) *problem {
	of := c.org.objects[name]
	if of == nil {
		return &problem{http.StatusNotFound, "NOT_FOUND", "The requested resource does not exist", nil, nil}
	}
	var in Record
	if p := c.read(&in); p != nil {
		return p
	}
	if p := of.shape(in); p != nil {
		return p
	}
	if of.event {
		if p := of.fits(in, true); p != nil {
			return p
		}
		c.org.ids++
		c.org.ledger.events = append(c.org.ledger.events, in)
		queued := []failed{{"OPERATION_ENQUEUED", "2a0f", []string{}}}
		return c.say(http.StatusCreated, map[string]any{"id": "e00xx0000000001AAA", "success": true, "errors": queued})
	}
	id, p := c.add(of, in)
	if p != nil {
		return p
	}
	return c.say(http.StatusCreated, map[string]any{"id": id, "success": true, "errors": []any{}})
}

// upsert changes the record of the key, or makes it.
func (c *call) upsert(of *object, field string, in Record) (string, bool, *problem) {
	if c.org.faults.row(c.fault) {
		return "", false, rowLocked()
	}
	ids := of.with(field, in.text(field))
	switch len(ids) {
	case 0:
		id, p := c.add(of, in)
		return id, p == nil, p
	case 1:
		return ids[0], false, c.update(of, ids[0], in)
	}
	return "", false, wrong("DUPLICATE_EXTERNAL_ID", "More than one record found for external id field: %v", ids).of(field)
}

func rowLocked() *problem {
	return wrong("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record or 1 records: 001000000000001AAA")
}

func (c *call) add(of *object, in Record) (string, *problem) {
	if p := of.fits(in, true); p != nil {
		return "", p
	}
	if p := c.rules(of, "", in); p != nil {
		return "", p
	}
	clean := maps.Clone(in)
	maps.DeleteFunc(clean, func(_ string, value any) bool { return value == nil || value == "" })
	id := c.org.insert(of, clean)
	c.org.ledger.effects[Effect{of.name, Created}]++
	return id, nil
}

func (c *call) update(of *object, id string, in Record) *problem {
	now, ok := of.records[id]
	if !ok {
		return wrong("ENTITY_IS_DELETED", "entity is deleted").of()
	}
	if now["IsConverted"] == true {
		return wrong("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead").of()
	}
	if p := of.fits(in, false); p != nil {
		return p
	}
	if fence := c.org.o.Fence; fence != "" {
		before, _ := now[fence].(float64)
		if next, told := in[fence].(float64); told && next < before {
			return wrong("FIELD_CUSTOM_VALIDATION_EXCEPTION", "What is stored is newer.").of(fence)
		}
	}
	if p := c.rules(of, id, in); p != nil {
		return p
	}
	next := maps.Clone(now)
	for name, value := range in {
		if value == nil || value == "" {
			delete(next, name)
			continue
		}
		next[name] = value
	}
	if reflect.DeepEqual(now, next) {
		c.org.ledger.effects[Effect{of.name, Same}]++
		return nil
	}
	of.store(next, c.org.o.Now())
	c.org.ledger.effects[Effect{of.name, Changed}]++
	return nil
}

// rules holds the record against the others.
func (c *call) rules(of *object, id string, in Record) *problem {
	for name, f := range of.fields {
		text := in.text(name)
		if text == "" {
			continue
		}
		others := slices.DeleteFunc(slices.Clone(of.with(name, text)), func(other string) bool { return other == id })
		switch {
		case f.Unique && len(others) > 0:
			return wrong("DUPLICATE_VALUE", "duplicate value found: %s duplicates value on record with id: %s", name, others[0]).of()
		case f.Type == "email" && c.org.o.DuplicateRule && !c.dupes && len(others) > 0:
			return wrong("DUPLICATES_DETECTED", "Use one of these records?").of()
		case f.Type == "reference" && !c.org.exists(text, f.To):
			return wrong("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id").of(name)
		}
	}
	return nil
}

// exists reports whether there is a record of the id. Those of objects that the
// stand-in does not have count as existing.
func (o *Org) exists(id string, prefixes []string) bool {
	if len(id) < 15 || !slices.Contains(prefixes, id[:3]) {
		return false
	}
	for _, of := range o.objects {
		if of.prefix == id[:3] {
			_, ok := of.records[id]
			return ok
		}
	}
	return true
}

// shape refuses what cannot be read as a record of the object at all.
func (of *object) shape(in Record) *problem {
	for name, value := range in {
		f, ok := of.fields[name]
		if name == "attributes" {
			continue
		}
		if !ok {
			return wrong("INVALID_FIELD", "No such column '%s' on sobject of type %s", name, of.name)
		}
		if value != nil && !f.takes(value) {
			return wrong("JSON_PARSER_ERROR", "Cannot deserialize instance of %s from %T value of field %s", f.Type, value, name)
		}
	}
	return nil
}

func (f Field) takes(value any) bool {
	switch f.Type {
	case "double":
		_, ok := value.(float64)
		return ok
	case "boolean":
		_, ok := value.(bool)
		return ok
	}
	text, ok := value.(string)
	switch {
	case !ok:
		return false
	case f.Type == "date":
		_, err := time.Parse(time.DateOnly, text)
		return err == nil
	case f.Type == "datetime":
		_, err := time.Parse("2006-01-02T15:04:05.000Z0700", text)
		return err == nil
	}
	return true
}

// fits refuses values that the fields do not take.
func (of *object) fits(in Record, fresh bool) *problem {
	for _, f := range of.sorted() {
		value, told := in[f.Name]
		text, isText := value.(string)
		switch {
		case f.Required && (fresh && !told || told && (value == nil || value == "")):
			return wrong("REQUIRED_FIELD_MISSING", "Required fields are missing: [%s]", f.Name).of(f.Name)
		case !told || value == nil:
		case f.ReadOnly:
			return wrong("INVALID_FIELD_FOR_INSERT_UPDATE", "Unable to create/update fields: %s", f.Name).of(f.Name)
		case f.Length > 0 && isText && utf8.RuneCountInString(text) > f.Length:
			return wrong("STRING_TOO_LONG", "%s: data value too large: (max length=%d)", f.Name, f.Length).of(f.Name)
		case f.Type == "email" && text != "" && !strings.Contains(text, "@"):
			return wrong("INVALID_EMAIL_ADDRESS", "%s: invalid email address: %s", f.Name, text).of(f.Name)
		case f.Restricted && text != "" && !slices.Contains(f.Options, text):
			return wrong("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "%s: bad value for restricted picklist field: %s", f.Name, text).of(f.Name)
		case f.Type == "reference" && text != "" && len(text) < 15:
			return wrong("MALFORMED_ID", "%s: id value of incorrect type: %s", f.Name, text).of(f.Name)
		}
	}
	return nil
}
