package salesforce

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

// schema is the fields of one object.
type schema struct {
	at     time.Time
	byName map[string]field
}

// field is one of them, as Salesforce describes it.
type field struct {
	Name       string `json:"name"`
	Label      string `json:"label"`
	Type       string `json:"type"`
	Length     int    `json:"length"`
	ExternalID bool   `json:"externalId"`
	Unique     bool   `json:"unique"`
	Createable bool   `json:"createable"`
	Updateable bool   `json:"updateable"`
	Calculated bool   `json:"calculated"`
	Restricted bool   `json:"restrictedPicklist"`
	Values     []struct {
		Active bool   `json:"active"`
		Label  string `json:"label"`
		Value  string `json:"value"`
	} `json:"picklistValues"`
}

// Schema implements crm.Connector. A contact has the fields of contacts and of
// leads: which of them are written depends on what the person is.
func (c *Connector) Schema(ctx context.Context) (crm.Schema, error) {
	var s crm.Schema
	byName := map[string]field{}
	for _, object := range Objects() {
		of, err := c.fieldsOf(ctx, string(object), schemaAge)
		if object != c.o.Object && isReason(err, fault.VendorNotFound) {
			continue // An edition without leads, or a user who may not see them.
		}
		if err != nil {
			return s, err
		}
		for name, f := range of.byName {
			if _, there := byName[name]; !there {
				byName[name] = f
			}
		}
	}
	s.Contact = c.told(byName)
	s.Contact = append(s.Contact, crm.FieldSchema{
		Name: Choice, Label: "What the person is in Salesforce", Type: crm.Enum, Options: []string{string(Contact), string(Lead)},
	})
	name := "Task"
	switch c.o.Activities {
	case Event:
		name = c.o.EventType
	case None:
		return s, nil
	case Task:
	}
	of, err := c.fieldsOf(ctx, name, schemaAge)
	if err != nil {
		return s, err
	}
	s.Activity = c.told(of.byName)
	return s, nil
}

func (c *Connector) told(byName map[string]field) []crm.FieldSchema {
	all := make([]crm.FieldSchema, 0, len(byName)+1)
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		all = append(all, byName[name].told(name == c.o.Key || name == c.o.Seq || name == c.o.ActivityKey))
	}
	return all
}

// told returns the field in our words. Ours are not for mappings.
func (f field) told(ours bool) crm.FieldSchema {
	t := crm.FieldSchema{Name: f.Name, Label: f.Label, Type: f.kind(), ReadOnly: ours || f.Calculated || !f.Createable && !f.Updateable}
	t.Seconds = t.Type == crm.Time
	if t.Type == crm.Text {
		t.Max = f.Length
	}
	if t.Type == crm.Enum && f.Restricted {
		for _, v := range f.Values {
			if v.Active {
				t.Options = append(t.Options, v.Value)
			}
		}
	}
	return t
}

func (f field) kind() crm.FieldType {
	switch f.Type {
	case "double", "currency", "percent", "int", "long":
		return crm.Number
	case "boolean":
		return crm.Bool
	case "datetime":
		return crm.Time
	case "date":
		return crm.Date
	case "picklist":
		return crm.Enum
	case "multipicklist":
		return crm.List
	}
	return crm.Text
}

// fieldsOf returns the fields of the object that were read within the age.
func (c *Connector) fieldsOf(ctx context.Context, object string, age time.Duration) (*schema, error) {
	c.mu.Lock()
	known := c.schemas[object]
	c.mu.Unlock()
	if known != nil && c.o.Now().Sub(known.at) < age {
		return known, nil
	}
	var got struct {
		Fields []field `json:"fields"`
	}
	if err := c.do(ctx, call{method: http.MethodGet, path: "/sobjects/" + object + "/describe", name: "the fields of " + object, out: &got}); err != nil {
		return nil, err
	}
	s := &schema{at: c.o.Now(), byName: make(map[string]field, len(got.Fields))}
	for _, f := range got.Fields {
		s.byName[f.Name] = f
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.schemas[object] = s
	return s, nil
}

// keyed returns the fields of an object whose key can be used. Without it
// nothing may be written, since each write would make another record.
func (c *Connector) keyed(ctx context.Context, object, key string) (*schema, error) {
	s, err := c.fieldsOf(ctx, object, schemaAge)
	if err == nil && !s.byName[key].key() {
		s, err = c.fieldsOf(ctx, object, schemaYoung) // Somebody may have just made it.
	}
	if err != nil {
		return nil, err
	}
	if !s.byName[key].key() {
		return nil, fault.New(fault.VendorForbids, "the Salesforce org has no field %s of %s that is an external id and unique", key, object).
			WithFix("let an administrator make the field as docs/crm-salesforce.md says, and give the connected user access to it")
	}
	return s, nil
}

func (f field) key() bool { return f.ExternalID && f.Unique }

// wire returns the value as Salesforce reads it.
func (f field) wire(value any) any {
	switch value := value.(type) {
	case time.Time:
		if f.Type == "date" {
			return value.UTC().Format(time.DateOnly)
		}
		return value.UTC().Format("2006-01-02T15:04:05.000Z")
	case []string:
		if f.Type == "multipicklist" {
			return strings.Join(value, ";")
		}
		return strings.Join(value, "\n")
	case string:
		if value == "" {
			return nil // An empty text clears, as null does.
		}
		return f.option(value)
	}
	return value
}

// option returns the value of an option that is given by its label.
func (f field) option(text string) string {
	for _, v := range f.Values {
		if v.Value == text {
			return text
		}
	}
	for _, v := range f.Values {
		if strings.EqualFold(v.Label, text) {
			return v.Value
		}
	}
	return text
}

// value returns what Salesforce wrote, in the type of the field.
func (f field) value(of any) any {
	text, isText := of.(string)
	if !isText {
		return of
	}
	switch f.kind() {
	case crm.Time, crm.Date:
		for _, layout := range []string{"2006-01-02T15:04:05.000Z0700", time.RFC3339Nano, time.DateOnly} {
			if t, err := time.Parse(layout, text); err == nil {
				return t.UTC()
			}
		}
	case crm.List:
		return strings.Split(text, ";")
	case crm.Text, crm.Enum, crm.Number, crm.Bool:
	}
	return text
}
