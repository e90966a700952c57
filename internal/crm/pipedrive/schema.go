package pipedrive

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
)

// schema is the fields of persons.
type schema struct {
	at     time.Time
	byName map[string]field // by key, and by name where that is unique
	key    string           // of the field for our key, or ""
	seq    string
}

// field is a field of persons, as Pipedrive tells it.
type field struct {
	Key     string   `json:"key"`
	Name    string   `json:"name"`
	Type    string   `json:"field_type"`
	Options []option `json:"options"`
	Custom  bool     `json:"edit_flag"`
}

// option is one value. The ids of those of Pipedrive itself are texts.
type option struct {
	ID    any    `json:"id"`
	Label string `json:"label"`
}

// plain are the fields of persons that are written under their own names.
func plain() []crm.FieldSchema {
	return []crm.FieldSchema{
		{Name: "name", Label: "Name", Type: crm.Text, Max: 255},
		{Name: "email", Label: "Email", Type: crm.Text, Max: 255},
		{Name: "phone", Label: "Phone", Type: crm.Text, Max: 255},
		{Name: "owner_id", Label: "Owner", Type: crm.Number},
		{Name: "org_id", Label: "Organization", Type: crm.Number},
		{
			Name: "marketing_status", Label: "Marketing status", Type: crm.Enum,
			Options: []string{"no_consent", "unsubscribed", "subscribed", "archived"},
		},
	}
}

// Schema implements crm.Connector. Custom fields have two names: their key, and
// what people call them where that names one field only.
func (c *Connector) Schema(ctx context.Context) (crm.Schema, error) {
	s, err := c.fields(ctx, schemaAge)
	if err != nil {
		return crm.Schema{}, err
	}
	out := crm.Schema{Contact: plain(), Activity: []crm.FieldSchema{
		{Name: "type", Label: "Type", Type: crm.Text},
		{Name: "deal_id", Label: "Deal", Type: crm.Number},
		{Name: "owner_id", Label: "Owner", Type: crm.Number},
		{Name: "org_id", Label: "Organization", Type: crm.Number},
		{Name: "public_description", Label: "Public description", Type: crm.Text},
	}}
	switch c.o.Activities {
	case Note:
		out.Activity = []crm.FieldSchema{{Name: "deal_id", Label: "Deal", Type: crm.Number}, {Name: "org_id", Label: "Organization", Type: crm.Number}}
	case None:
		out.Activity = nil
	case Activity:
	}
	for name, f := range s.byName {
		t := crm.FieldSchema{Name: name, Label: f.Name, Type: f.kind(), ReadOnly: !f.writable() || f.Key == s.key || f.Key == s.seq}
		if name == f.Name {
			t.Label = f.Key
		}
		if f.Type == "varchar" {
			t.Max = 255
		}
		if t.Type == crm.Enum {
			for _, o := range f.Options {
				t.Options = append(t.Options, o.Label)
			}
		}
		out.Contact = append(out.Contact, t)
	}
	slices.SortFunc(out.Contact, func(a, b crm.FieldSchema) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (f field) kind() crm.FieldType {
	switch f.Type {
	case "double":
		return crm.Number
	case "date":
		return crm.Date
	case "enum":
		return crm.Enum
	case "set":
		return crm.List
	}
	return crm.Text
}

func (f field) writable() bool {
	return slices.Contains([]string{"varchar", "text", "double", "date", "enum", "set", "phone"}, f.Type)
}

// fields returns the custom fields that were read within the age.
func (c *Connector) fields(ctx context.Context, age time.Duration) (*schema, error) {
	c.mu.Lock()
	known := c.schema
	c.mu.Unlock()
	if known != nil && c.o.Now().Sub(known.at) < age {
		return known, nil
	}
	s := &schema{at: c.o.Now(), byName: map[string]field{}}
	var all []field
	for start := 0; ; {
		var got struct {
			Data []field `json:"data"`
			More struct {
				Pagination struct {
					More bool `json:"more_items_in_collection"`
					Next int  `json:"next_start"`
				} `json:"pagination"`
			} `json:"additional_data"`
		}
		q := call{method: http.MethodGet, path: "/v1/personFields", name: "the fields of persons", out: &got}
		if start > 0 {
			q.query = url.Values{"start": {strconv.Itoa(start)}}
		}
		if err := c.do(ctx, q); err != nil {
			return nil, err
		}
		all = append(all, got.Data...)
		if !got.More.Pagination.More || got.More.Pagination.Next <= start {
			break
		}
		start = got.More.Pagination.Next
	}
	s.learn(all, c.o.Key, c.o.Seq)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.schema = s
	return s, nil
}

// learn takes the custom fields.
func (s *schema) learn(all []field, key, seq string) {
	named := map[string]int{}
	for _, f := range all {
		named[f.Name]++
	}
	own := plain()
	for _, f := range all {
		if !f.Custom {
			continue
		}
		s.byName[f.Key] = f
		taken := slices.ContainsFunc(own, func(p crm.FieldSchema) bool { return p.Name == f.Name })
		if named[f.Name] == 1 && !taken {
			s.byName[f.Name] = f
		}
		if f.Name == key && s.key == "" && (f.Type == "varchar" || f.Type == "text") {
			s.key = f.Key
		}
		if f.Name == seq && s.seq == "" && f.Type == "double" {
			s.seq = f.Key
		}
	}
}

// keyed returns the fields when there is one for our key. Without it nothing is
// written, since nothing would be found again.
func (c *Connector) keyed(ctx context.Context) (*schema, error) {
	s, err := c.fields(ctx, schemaAge)
	if err == nil && s.key == "" {
		s, err = c.fields(ctx, schemaYoung) // Somebody may have just made it.
	}
	if err != nil {
		return nil, err
	}
	if s.key == "" {
		return nil, fault.New(fault.VendorForbids, "the Pipedrive account has no text field %q of persons", c.o.Key).
			WithFix("let somebody who may change the account run `publisher crm setup`")
	}
	return s, nil
}

// wire returns the value as Pipedrive takes it.
func (f field) wire(value any) (any, error) {
	switch value := value.(type) {
	case nil:
		return nil, nil //nolint:nilnil // It clears the field.
	case time.Time:
		if f.Type == "date" {
			return value.UTC().Format(time.DateOnly), nil
		}
		return value.UTC().Format(time.RFC3339), nil
	case []string:
		if f.Type != "set" {
			return strings.Join(value, "\n"), nil
		}
		ids := make([]any, 0, len(value))
		for _, label := range value {
			id, err := f.option(label)
			if err != nil {
				return nil, err
			}
			ids = append(ids, id)
		}
		return ids, nil
	case string:
		switch {
		case value == "":
			return nil, nil //nolint:nilnil // It clears the field.
		case f.Type == "enum":
			return f.option(value)
		}
		return value, nil
	case bool:
		return strconv.FormatBool(value), nil
	}
	return value, nil
}

// option returns the id of the value.
func (f field) option(label string) (any, error) {
	for _, o := range f.Options {
		if strings.EqualFold(o.Label, label) {
			return o.ID, nil
		}
	}
	return nil, fault.New(fault.SchemaViolation, "the field %q of Pipedrive has no such option", f.Name).At("/" + f.Name).
		WithFix("add the option in Pipedrive, or correct the mapping, and replay")
}

// value returns what Pipedrive wrote, in the type of the field.
func (f field) value(of any) any {
	label := func(id any) any {
		for _, o := range f.Options {
			if o.ID == id {
				return o.Label
			}
		}
		return id
	}
	switch f.kind() {
	case crm.Enum:
		return label(of)
	case crm.List:
		list, _ := of.([]any)
		out := make([]string, 0, len(list))
		for _, id := range list {
			if text, ok := label(id).(string); ok {
				out = append(out, text)
			}
		}
		return out
	case crm.Date:
		text, _ := of.(string)
		if at, err := time.Parse(time.DateOnly, text); err == nil {
			return at
		}
	case crm.Text, crm.Number, crm.Bool, crm.Time:
	}
	return of
}
