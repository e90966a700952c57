package hubspot

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

// schema is the properties of one type of objects.
type schema struct {
	at     time.Time
	byName map[string]property
}

// property is one of them, as HubSpot tells it.
type property struct {
	Name       string   `json:"name"`
	Label      string   `json:"label"`
	Group      string   `json:"groupName,omitempty"`
	Type       string   `json:"type"`
	FieldType  string   `json:"fieldType"`
	Options    []option `json:"options,omitempty"`
	Unique     bool     `json:"hasUniqueValue"`
	Calculated bool     `json:"calculated,omitempty"`
	Meta       struct {
		ReadOnly bool `json:"readOnlyValue"`
	} `json:"modificationMetadata,omitzero"`
	Description string `json:"description,omitempty"`
}

type option struct {
	Label string `json:"label"`
	Value string `json:"value"`
}

// maxText is the longest value of a text property, in characters.
const maxText = 65_536

// Schema implements crm.Connector.
func (c *Connector) Schema(ctx context.Context) (crm.Schema, error) {
	people, err := c.properties(ctx, contacts, 0)
	if err != nil {
		return crm.Schema{}, err
	}
	s := crm.Schema{Contact: c.fields(people)}
	if kind := c.o.Activities.objects(); kind != "" {
		activities, err := c.properties(ctx, kind, 0)
		if err != nil {
			return crm.Schema{}, err
		}
		s.Activity = c.fields(activities)
	}
	s.Open = false
	return s, nil
}

// objects returns the type of the objects, or "" when there are none.
func (k Kind) objects() string {
	switch k {
	case Note:
		return "notes"
	case Communication:
		return "communications"
	case Event, None:
	}
	return ""
}

func (c *Connector) fields(s *schema) []crm.FieldSchema {
	all := make([]crm.FieldSchema, 0, len(s.byName))
	for _, p := range s.byName {
		all = append(all, p.field(p.Name == c.o.Key || p.Name == c.o.Seq || p.Name == c.o.ActivityKey))
	}
	slices.SortFunc(all, func(a, b crm.FieldSchema) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// field returns the property in our words. Ours are not for mappings.
func (p property) field(ours bool) crm.FieldSchema {
	f := crm.FieldSchema{Name: p.Name, Label: p.Label, Type: p.kind(), ReadOnly: ours || p.Calculated || p.Meta.ReadOnly}
	if f.Type == crm.Text {
		f.Max = maxText
	}
	if f.Type == crm.Enum {
		f.Options = p.values()
	}
	return f
}

// values are the internal names of the options.
func (p property) values() []string {
	all := make([]string, len(p.Options))
	for i, o := range p.Options {
		all[i] = o.Value
	}
	return all
}

func (p property) kind() crm.FieldType {
	switch p.Type {
	case "number":
		return crm.Number
	case "bool":
		return crm.Bool
	case "datetime":
		return crm.Time
	case "date":
		return crm.Date
	case "enumeration":
		switch p.FieldType {
		case "booleancheckbox":
			return crm.Bool
		case "checkbox":
			return crm.List
		}
		return crm.Enum
	}
	return crm.Text
}

// properties returns the properties of the type that were read within the age; 0
// is schemaAge.
func (c *Connector) properties(ctx context.Context, kind string, age time.Duration) (*schema, error) {
	if age == 0 {
		age = schemaAge
	}
	c.mu.Lock()
	known := c.schemas[kind]
	c.mu.Unlock()
	if known != nil && c.o.Now().Sub(known.at) < age {
		return known, nil
	}
	var got struct {
		Results []property `json:"results"`
	}
	err := c.do(ctx, call{method: http.MethodGet, path: c.propertiesPath(kind, ""), name: "the properties of " + kind, out: &got})
	if err != nil {
		return nil, err
	}
	s := &schema{at: c.o.Now(), byName: make(map[string]property, len(got.Results))}
	for _, p := range got.Results {
		s.byName[p.Name] = p
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.schemas[kind] = s
	return s, nil
}

func (c *Connector) propertiesPath(kind, rest string) string {
	return "/crm/properties/" + c.o.Version + "/" + kind + rest
}

// keyed returns the properties of a type whose key property can be used. Without
// it nothing may be written, since each write would make another record.
func (c *Connector) keyed(ctx context.Context, kind, key string, names []string) (*schema, error) {
	const young = time.Minute // A property that somebody has just made is looked for again.
	s, err := c.properties(ctx, kind, 0)
	if err != nil {
		return nil, err
	}
	if lacks(s, key, names) {
		if s, err = c.properties(ctx, kind, young); err != nil {
			return nil, err
		}
	}
	if p, ok := s.byName[key]; !ok || !p.Unique {
		return nil, fault.New(fault.VendorForbids, "the HubSpot account has no unique property %s of %s", key, kind).
			WithFix("let somebody who may change the account run `publisher crm setup`")
	}
	return s, nil
}

func lacks(s *schema, key string, names []string) bool {
	return !s.byName[key].Unique || slices.ContainsFunc(names, func(name string) bool { return s.byName[name].Name == "" })
}

// wire returns the value as HubSpot writes it. All values are texts, and ""
// clears.
func (s *schema) wire(f crm.Field) (string, error) {
	p, ok := s.byName[f.Name]
	if !ok {
		return "", fault.New(fault.SchemaViolation, "the HubSpot account has no property %q", f.Name).At("/" + f.Name).
			WithFix("make the property in HubSpot, or correct the mapping, and replay")
	}
	switch value := f.Value.(type) {
	case nil:
		return "", nil
	case string:
		return p.text(value), nil
	case bool:
		return strconv.FormatBool(value), nil
	case float64:
		return strconv.FormatFloat(value, 'f', -1, 64), nil
	case time.Time:
		if p.Type == "date" {
			return value.UTC().Format(time.DateOnly), nil
		}
		return value.UTC().Format("2006-01-02T15:04:05.000Z"), nil
	case []string:
		if p.kind() == crm.List {
			all := make([]string, len(value))
			for i, item := range value {
				all[i] = p.text(item)
			}
			return strings.Join(all, ";"), nil
		}
		return strings.Join(value, "\n"), nil
	}
	return "", fault.New(fault.SchemaViolation, "the property %s cannot take a %T", f.Name, f.Value).At("/" + f.Name)
}

// text returns the internal name of an option that is given by its label, and
// any other text as it is.
func (p property) text(value string) string {
	named := slices.ContainsFunc(p.Options, func(o option) bool { return o.Value == value })
	i := slices.IndexFunc(p.Options, func(o option) bool { return strings.EqualFold(o.Label, value) })
	if named || i < 0 {
		return value
	}
	return p.Options[i].Value
}

// value returns what HubSpot wrote, in the type of the property.
func (s *schema) value(name, text string) any {
	p := s.byName[name]
	if text == "" {
		return nil
	}
	switch p.kind() {
	case crm.Number:
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			return n
		}
	case crm.Bool:
		if b, err := strconv.ParseBool(text); err == nil {
			return b
		}
	case crm.Time, crm.Date:
		for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
			if t, err := time.Parse(layout, text); err == nil {
				return t.UTC()
			}
		}
		if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
			return time.UnixMilli(ms).UTC()
		}
	case crm.List:
		return strings.Split(text, ";")
	case crm.Text, crm.Enum:
	}
	return text
}
