package hubspot

import (
	"maps"
	"net/http"
	"net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Property is a property of a type of objects.
type Property struct {
	Name        string   `json:"name"`
	Label       string   `json:"label"`
	Description string   `json:"description"`
	GroupName   string   `json:"groupName"`
	Type        string   `json:"type"`
	FieldType   string   `json:"fieldType"`
	Options     []Option `json:"options"`
	Unique      bool     `json:"hasUniqueValue"`
	Calculated  bool     `json:"calculated"`
	Defined     bool     `json:"hubspotDefined"`
	Modify      Modify   `json:"modificationMetadata"`
}

// Option is one value of an enumeration.
type Option struct {
	Label string `json:"label"`
	Value string `json:"value"`
}

// Modify says what may be changed of a property.
type Modify struct {
	ReadOnlyValue bool `json:"readOnlyValue"`
}

// maxUnique is how many unique properties a type of objects may have.
const maxUnique = 10

// builtIn are the properties that every account has.
func builtIn() map[string]map[string]Property {
	text := func(names ...string) []Property {
		var all []Property
		for _, name := range names {
			all = append(all, Property{Name: name, Label: name, Type: "string", FieldType: "text", Defined: true})
		}
		return all
	}
	choice := func(name string, values ...string) Property {
		p := Property{Name: name, Label: name, Type: "enumeration", FieldType: "select", Defined: true}
		for _, value := range values {
			p.Options = append(p.Options, Option{Label: strings.ToUpper(value[:1]) + value[1:], Value: value})
		}
		return p
	}
	moment := func(name string, readOnly bool) Property {
		return Property{Name: name, Label: name, Type: "datetime", FieldType: "date", Defined: true, Modify: Modify{readOnly}}
	}
	known := map[string][]Property{
		"contacts": append(
			text("email", "firstname", "lastname", "phone", "company", "website", "jobtitle", "city", "hs_additional_emails"),
			choice("lifecyclestage", stages()...), choice("hs_lead_status", "NEW", "OPEN", "IN_PROGRESS"),
			Property{Name: "date_of_birth", Label: "Date of birth", Type: "date", FieldType: "date", Defined: true},
			Property{Name: "hs_object_id", Label: "Record ID", Type: "number", FieldType: "number", Defined: true, Modify: Modify{true}},
			Property{Name: "num_notes", Label: "Notes", Type: "number", FieldType: "number", Defined: true, Calculated: true, Modify: Modify{true}},
			moment("createdate", true), moment("lastmodifieddate", true)),
		"notes": append(text("hs_note_body", "hubspot_owner_id", "hs_attachment_ids"), moment("hs_timestamp", false)),
		"communications": append(text("hs_communication_body", "hubspot_owner_id"), moment("hs_timestamp", false),
			choice("hs_communication_channel_type", "SMS", "WHATS_APP", "LINKEDIN_MESSAGE", "CUSTOM_CHANNEL_CONVERSATION"),
			choice("hs_communication_logged_from", "CRM")),
	}
	all := map[string]map[string]Property{}
	for kind, list := range known {
		all[kind] = map[string]Property{}
		for _, p := range list {
			all[kind][p.Name] = p
		}
	}
	return all
}

// stages are the lifecycle stages, in order: a contact only goes forward.
func stages() []string {
	return []string{"subscriber", "lead", "marketingqualifiedlead", "salesqualifiedlead", "opportunity", "customer"}
}

// Define makes a property, as a person in HubSpot does.
func (s *Standin) Define(kind string, p Property) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.properties[kind][p.Name] = p
}

func (s *Standin) listProperties(r *request) (int, any, *problem) {
	known, ok := s.properties[r.PathValue("kind")]
	if !ok {
		return 0, nil, notFound("Unable to infer object type")
	}
	return http.StatusOK, map[string]any{"results": sorted(known)}, nil
}

func sorted(known map[string]Property) []Property {
	return slices.SortedFunc(maps.Values(known), func(a, b Property) int { return strings.Compare(a.Name, b.Name) })
}

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,99}$`)

func (s *Standin) makeProperty(r *request) (int, any, *problem) {
	kind := r.PathValue("kind")
	var p Property
	if bad := r.decode(&p); bad != nil {
		return 0, nil, bad
	}
	known, ok := s.properties[kind]
	unique := 0
	for _, other := range known {
		if other.Unique {
			unique++
		}
	}
	types := map[string][]string{
		"string": {"text", "textarea", "phonenumber", "html"}, "number": {"number"}, "bool": {"booleancheckbox"}, "datetime": {"date"},
		"date": {"date"}, "enumeration": {"select", "radio", "checkbox", "booleancheckbox"},
	}
	switch {
	case !ok:
		return 0, nil, notFound("Unable to infer object type")
	case known[p.Name].Name != "":
		return 0, nil, newProblem(http.StatusConflict, "OBJECT_ALREADY_EXISTS", "A property named '"+p.Name+"' already exists.")
	case !nameForm.MatchString(p.Name), p.Label == "", !slices.Contains(types[p.Type], p.FieldType):
		return 0, nil, invalid("the property's name, label, type or fieldType is not valid")
	case !s.groups[kind][p.GroupName]:
		return 0, nil, invalid("there is no property group " + p.GroupName)
	case p.Unique && unique >= maxUnique:
		return 0, nil, invalid("there are 10 unique properties already")
	case p.Unique && p.Type != "string" && p.Type != "number":
		return 0, nil, invalid("this type cannot be unique")
	}
	known[p.Name] = p
	return http.StatusCreated, p, nil
}

func (s *Standin) makeGroup(r *request) (int, any, *problem) {
	var in struct {
		Name, Label string
	}
	if bad := r.decode(&in); bad != nil {
		return 0, nil, bad
	}
	groups, ok := s.groups[r.PathValue("kind")]
	switch {
	case !ok:
		return 0, nil, notFound("Unable to infer object type")
	case groups[in.Name]:
		return 0, nil, newProblem(http.StatusConflict, "OBJECT_ALREADY_EXISTS", "A group named '"+in.Name+"' already exists.")
	case !nameForm.MatchString(in.Name) || in.Label == "":
		return 0, nil, invalid("the group's name or label is not valid")
	}
	groups[in.Name] = true
	return http.StatusCreated, map[string]any{"name": in.Name, "label": in.Label, "archived": false}, nil
}

// check says what is wrong with a value, which is never empty.
func (p Property) check(value string) *problem {
	wrong := func(code, message string) *problem { return badProperty(code, p.Name, message) }
	switch {
	case p.Calculated || p.Modify.ReadOnlyValue:
		return wrong("READ_ONLY_VALUE", p.Name+" is a read only property; its value cannot be set.")
	case len([]rune(value)) > 65_536:
		return wrong("PROPERTY_VALUE_TOO_LONG", "the value is too long")
	case p.Name == "email":
		if a, err := mail.ParseAddress(value); err != nil || a.Address != value {
			return wrong("INVALID_EMAIL", "Email address "+value+" is invalid")
		}
	}
	switch p.Type {
	case "number":
		if _, err := strconv.ParseFloat(value, 64); err != nil {
			return wrong("INVALID_NUMBER", value+" was not a valid number.")
		}
	case "bool":
		if value != "true" && value != "false" {
			return wrong("INVALID_BOOLEAN", value+" was not a valid boolean.")
		}
	case "date", "datetime":
		if !p.isTime(value) {
			return wrong("INVALID_DATE", value+" is not a valid "+p.Type+".")
		}
	case "enumeration":
		values := []string{value}
		if p.FieldType == "checkbox" {
			values = strings.Split(value, ";")
		}
		for _, one := range values {
			if !slices.ContainsFunc(p.Options, func(o Option) bool { return o.Value == one }) {
				return wrong("INVALID_OPTION", value+" was not one of the allowed options")
			}
		}
	}
	return nil
}

// isTime reports whether the value is a time that the type takes. A date is
// midnight of UTC.
func (p Property) isTime(value string) bool {
	if ms, err := strconv.ParseInt(value, 10, 64); err == nil {
		return p.Type == "datetime" || ms%(24*time.Hour).Milliseconds() == 0
	}
	if p.Type == "date" {
		_, err := time.Parse(time.DateOnly, value)
		return err == nil
	}
	_, err := time.Parse(time.RFC3339Nano, value)
	return err == nil
}
