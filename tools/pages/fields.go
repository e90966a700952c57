package pages

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// A field is one row of a table of inputs or outputs.
type field struct {
	Name, Type, Description string
	Required                bool
}

// A shape is the part of a schema that the tables show.
type shape struct {
	Type        json.RawMessage `json:"type"`
	Description string          `json:"description"`
	Enum        []any           `json:"enum"`
	Format      string          `json:"format"`
	Pattern     string          `json:"pattern"`
	Required    []string        `json:"required"`
	Properties  members         `json:"properties"`
	Items       *shape          `json:"items"`
	Rest        json.RawMessage `json:"additionalProperties"`
	MinLength   *int            `json:"minLength"`
	MaxLength   *int            `json:"maxLength"`
	Minimum     *json.Number    `json:"minimum"`
	Maximum     *json.Number    `json:"maximum"`
	MaxItems    *int            `json:"maxItems"`
}

// members are the properties of a schema, in its order.
type members []member

type member struct {
	name  string
	shape shape
}

// UnmarshalJSON keeps the order of the members.
func (m *members) UnmarshalJSON(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	if _, err := decoder.Token(); err != nil {
		return err
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return err
		}
		next := member{name: fmt.Sprint(name)}
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			return err
		}
		if err := next.shape.read(raw); err != nil {
			return err
		}
		*m = append(*m, next)
	}
	return nil
}

// read reads a schema; true and false have no shape.
func (s *shape) read(text json.RawMessage) error {
	if !bytes.HasPrefix(text, []byte("{")) {
		return nil
	}
	return json.Unmarshal(text, s)
}

// fieldsOf returns the fields of the schema's member, such as params.
func fieldsOf(schema []byte, name string) ([]field, error) {
	var top shape
	if err := top.read(schema); err != nil {
		return nil, err
	}
	for _, m := range top.Properties {
		if m.name == name {
			return m.shape.fields(""), nil
		}
	}
	return nil, fmt.Errorf("there is no %s", name)
}

// fields returns the rows of the members, and of theirs.
func (s shape) fields(prefix string) []field {
	var rows []field
	for _, m := range s.Properties {
		name := prefix + m.name
		rows = append(rows, field{
			Name: name, Type: m.shape.kind(), Description: m.shape.Description,
			Required: slices.Contains(s.Required, m.name),
		})
		rows = append(rows, m.shape.fields(name+".")...)
		if m.shape.Items != nil {
			rows = append(rows, m.shape.Items.fields(name+"[].")...)
		}
	}
	if rest := s.rest(); rest != nil {
		rows = append(rows, field{Name: prefix + "*", Type: rest.kind(), Description: rest.Description})
	}
	return rows
}

// rest is the schema of members that are not named, when it says anything.
func (s shape) rest() *shape {
	var rest shape
	if err := rest.read(s.Rest); err != nil || len(rest.Type) == 0 {
		return nil
	}
	return &rest
}

// kind says in a few words what the value may be.
func (s shape) kind() string {
	text := strings.Join(s.types(), " or ")
	switch {
	case len(s.Enum) > 0:
		var values []string
		for _, value := range s.Enum {
			values = append(values, fmt.Sprintf("`%v`", value))
		}
		text = strings.ReplaceAll(strings.Join(values, ", "), "``", "empty")
	case s.Items != nil:
		text += " of " + s.Items.kind()
	case s.Format != "":
		text += ", " + s.Format
	case s.Pattern != "":
		text += ", `" + s.Pattern + "`"
	}
	return text + s.bounds()
}

func (s shape) types() []string {
	var one string
	var many []string
	if json.Unmarshal(s.Type, &one) == nil {
		return []string{one}
	}
	if json.Unmarshal(s.Type, &many) == nil && len(many) > 0 {
		return many
	}
	return []string{"any"}
}

func (s shape) bounds() string {
	switch {
	case s.Minimum != nil && s.Maximum != nil:
		return fmt.Sprintf(", %s to %s", *s.Minimum, *s.Maximum)
	case s.MaxLength != nil && s.MinLength != nil && *s.MinLength > 0:
		return fmt.Sprintf(", %d to %d characters", *s.MinLength, *s.MaxLength)
	case s.MaxLength != nil:
		return fmt.Sprintf(", up to %d characters", *s.MaxLength)
	case s.MaxItems != nil:
		return fmt.Sprintf(", up to %d", *s.MaxItems)
	}
	return ""
}
