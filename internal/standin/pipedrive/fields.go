package pipedrive

import (
	"crypto/sha1" //nolint:gosec // Only to make names that look like Pipedrive's.
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Field is a field of persons.
type Field struct {
	ID   int    `json:"id"`
	Key  string `json:"key"`
	Name string `json:"name"`
	// Type is varchar, text, double, date, enum, set, phone and others.
	Type    string   `json:"field_type"`
	Options []Option `json:"options,omitempty"`
	// Custom says that the account made it: then its key is a hash.
	Custom bool `json:"edit_flag"`
}

// Option is one of the values of an enum or a set.
type Option struct {
	ID    int    `json:"id"`
	Label string `json:"label"`
}

// standard returns the fields of every account.
func standard() []Field {
	return []Field{
		{ID: 1, Key: "name", Name: "Name", Type: "varchar"},
		{ID: 2, Key: "email", Name: "Email", Type: "varchar"},
		{ID: 3, Key: "phone", Name: "Phone", Type: "phone"},
		{ID: 4, Key: "owner_id", Name: "Owner", Type: "user"},
		{ID: 5, Key: "add_time", Name: "Person created", Type: "date"},
		{ID: 6, Key: "update_time", Name: "Update time", Type: "date"},
		{ID: 7, Key: "org_id", Name: "Organization", Type: "org"},
	}
}

// AddField adds a field to persons, as an administrator does, and returns its key.
func (a *Account) AddField(name, kind string, options ...string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.addField(name, kind, options).Key
}

func (a *Account) addField(name, kind string, options []string) Field {
	id := 100 + len(a.fields)
	sum := sha1.Sum([]byte(name + strconv.Itoa(id))) //nolint:gosec // See above.
	f := Field{ID: id, Key: hex.EncodeToString(sum[:]), Name: name, Type: kind, Custom: true}
	for i, label := range options {
		f.Options = append(f.Options, Option{ID: 10*id + i, Label: label})
	}
	a.fields = append(a.fields, f)
	return f
}

func (c *call) listFields() *problem {
	c.status, c.answer = http.StatusOK, map[string]any{
		"success": true, "data": c.account.fields,
		"additional_data": map[string]any{"pagination": map[string]any{"start": 0, "limit": 500, "more_items_in_collection": false}},
	}
	return nil
}

func (c *call) addField() *problem {
	var in struct {
		Name string `json:"name"`
		Type string `json:"field_type"`
	}
	if p := c.read(&in); p != nil {
		return p
	}
	if in.Name == "" || !slices.Contains([]string{"varchar", "text", "double", "date"}, in.Type) {
		return wrong("Validation failed: name and field_type are required")
	}
	return c.say(http.StatusCreated, c.account.addField(in.Name, in.Type, nil))
}

// custom holds the custom fields of a body against those that there are.
func (a *Account) custom(in any) *problem {
	values, ok := in.(map[string]any)
	if !ok {
		return wrong("Validation failed: custom_fields: must be an object")
	}
	for key, value := range values {
		i := slices.IndexFunc(a.fields, func(f Field) bool { return f.Key == key && f.Custom })
		if i < 0 {
			return wrong("Validation failed: custom_fields: unknown field %s", key)
		}
		if value != nil && !a.fields[i].takes(value) {
			return wrong("Validation failed: custom_fields: %s: wrong type", key)
		}
	}
	return nil
}

func (f Field) takes(value any) bool {
	option := func(value any) bool {
		id, ok := value.(float64)
		return ok && slices.ContainsFunc(f.Options, func(o Option) bool { return o.ID == int(id) })
	}
	switch f.Type {
	case "double":
		_, ok := value.(float64)
		return ok
	case "enum":
		return option(value)
	case "set":
		list, ok := value.([]any)
		return ok && !slices.ContainsFunc(list, func(v any) bool { return !option(v) })
	case "date":
		text, ok := value.(string)
		_, err := time.Parse(time.DateOnly, text)
		return ok && err == nil
	}
	text, ok := value.(string)
	return ok && (f.Type != "varchar" || len([]rune(text)) <= 255)
}
