package botstar

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// field is a field of a CMS entity (§3.3).
type field struct {
	UniqueName string         `json:"unique_name"`
	Name       string         `json:"name"`
	DataType   string         `json:"data_type"`
	Options    map[string]any `json:"options,omitempty"`
}

// entity is a table of the bot's CMS.
type entity struct {
	id, name string
	fields   []field
	items    []item
}

func (e *entity) clone() entity {
	copied := entity{id: e.id, name: e.name, fields: slices.Clone(e.fields), items: slices.Clone(e.items)}
	for i := range copied.items {
		copied.items[i].values = maps.Clone(copied.items[i].values)
	}
	return copied
}

func (e *entity) json() map[string]any {
	return map[string]any{"id": e.id, "name": e.name, "fields": append([]field{}, e.fields...)}
}

func (e *entity) has(unique string) bool { return e.at(unique) >= 0 }

func (e *entity) at(unique string) int {
	return slices.IndexFunc(e.fields, func(f field) bool { return f.UniqueName == unique })
}

// builtIn are the fields that every entity has.
func builtIn() []field {
	return []field{{UniqueName: "name", Name: "Name", DataType: "text"}, {UniqueName: "status", Name: "Status", DataType: "single_option"}}
}

func dataTypes() []string {
	return []string{"text", "free_text", "image", "date", "single_option", "multiple_options", "multiple_values", "entity"}
}

// given reads the fields of the body, {fields: […]} or a bare array: clients
// send both (§3.4). changing says that only the unique name must be there.
func (x *exchange) given(changing bool) ([]field, *refusal) {
	raw, ok := x.body["fields"].([]any)
	if x.list != nil {
		raw, ok = x.list, true
	}
	if !ok {
		return nil, refuse(http.StatusBadRequest, "missing_property", "fields is required")
	}
	var fields []field
	for _, one := range raw {
		values, ok := one.(map[string]any)
		if !ok {
			return nil, refuse(http.StatusBadRequest, "invalid_property", "a field is an object")
		}
		for key := range values {
			if !slices.Contains([]string{"unique_name", "name", "data_type", "options"}, key) {
				return nil, refuse(http.StatusBadRequest, "unknown_property", "%q is not allowed in a field", key)
			}
		}
		text, err := json.Marshal(values)
		var f field
		if err != nil || json.Unmarshal(text, &f) != nil || f.UniqueName == "" || !changing && f.Name == "" {
			return nil, refuse(http.StatusBadRequest, "invalid_property", "a field has unique_name, name and data_type")
		}
		if (!changing || f.DataType != "") && !slices.Contains(dataTypes(), f.DataType) {
			return nil, refuse(http.StatusBadRequest, "invalid_property", "data_type cannot be %q", f.DataType)
		}
		fields = append(fields, f)
	}
	if len(fields) == 0 {
		return nil, refuse(http.StatusBadRequest, "missing_property", "fields is empty")
	}
	return fields, nil
}

func (x *exchange) listEntities() (any, *refusal) {
	spaces, no := x.envs()
	if no != nil {
		return nil, no
	}
	all := []any{}
	for _, e := range spaces[0].entities {
		all = append(all, e.json())
	}
	return all, nil
}

func (x *exchange) createEntity() (any, *refusal) {
	spaces, no := x.envs()
	if no == nil {
		no = x.only("name", "fields")
	}
	if no != nil {
		return nil, no
	}
	e := entity{id: vendorID(), fields: builtIn()}
	if e.name, no = x.text("name"); no != nil {
		return nil, no
	}
	if fields, ok := x.body["fields"].([]any); ok && len(fields) > 0 {
		more, no := x.given(false)
		if no != nil {
			return nil, no
		}
		if no := e.add(more); no != nil {
			return nil, no
		}
	}
	for _, s := range spaces {
		s.entities = append(s.entities, e.clone())
	}
	x.changed = true
	return e.json(), nil
}

// add adds fields, all of them or none.
func (e *entity) add(more []field) *refusal {
	grown := entity{fields: slices.Clone(e.fields)}
	for _, f := range more {
		if grown.has(f.UniqueName) {
			return refuse(http.StatusConflict, "name_taken", "there is a field %s", f.UniqueName)
		}
		grown.fields = append(grown.fields, f)
	}
	e.fields = grown.fields
	return nil
}

// entities returns the entity of the path in each store that the request names,
// where it is there.
func (x *exchange) entities() ([]*entity, *refusal) {
	spaces, no := x.envs()
	if no != nil {
		return nil, no
	}
	id := x.in.PathValue("entity")
	var found []*entity
	for _, s := range spaces {
		if i := slices.IndexFunc(s.entities, func(e entity) bool { return e.id == id }); i >= 0 {
			found = append(found, &s.entities[i])
		}
	}
	if len(found) == 0 {
		return nil, refuse(http.StatusNotFound, "entity_not_found", "there is no entity %s", id)
	}
	return found, nil
}

func (x *exchange) getEntity() (any, *refusal) {
	found, no := x.entities()
	if no != nil {
		return nil, no
	}
	return found[0].json(), nil
}

func (x *exchange) updateEntity() (any, *refusal) {
	found, no := x.entities()
	if no == nil {
		no = x.only("name")
	}
	if no != nil {
		return nil, no
	}
	name, no := x.text("name")
	if no != nil {
		return nil, no
	}
	for _, e := range found {
		e.name = name
	}
	x.changed = true
	return success(), nil
}

func (x *exchange) deleteEntity() (any, *refusal) {
	if _, no := x.entities(); no != nil {
		return nil, no
	}
	spaces, _ := x.envs()
	id := x.in.PathValue("entity")
	for _, s := range spaces {
		s.entities = slices.DeleteFunc(s.entities, func(e entity) bool { return e.id == id })
	}
	x.changed = true
	return success(), nil
}

func (x *exchange) createFields() (any, *refusal) {
	found, no := x.entities()
	if no != nil {
		return nil, no
	}
	more, no := x.given(false)
	if no != nil {
		return nil, no
	}
	for _, e := range found {
		if no := e.add(more); no != nil {
			return nil, no
		}
	}
	x.changed = true
	return success(), nil
}

func (x *exchange) updateFields() (any, *refusal) {
	found, no := x.entities()
	if no != nil {
		return nil, no
	}
	changes, no := x.given(true)
	if no != nil {
		return nil, no
	}
	for _, e := range found {
		for _, change := range changes {
			if !e.has(change.UniqueName) {
				return nil, refuse(http.StatusNotFound, "field_not_found", "there is no field %s", change.UniqueName)
			}
		}
	}
	for _, e := range found {
		for _, change := range changes {
			f := &e.fields[e.at(change.UniqueName)]
			f.Name, f.DataType = orElse(change.Name, f.Name), orElse(change.DataType, f.DataType)
			if change.Options != nil {
				f.Options = change.Options
			}
		}
	}
	x.changed = true
	return success(), nil
}

func (x *exchange) deleteFields() (any, *refusal) {
	found, no := x.entities()
	if no != nil {
		return nil, no
	}
	names := strings.Split(x.in.URL.Query().Get("unique_names"), ",")
	for _, e := range found {
		for _, name := range names {
			switch {
			case name == "name" || name == "status" || name == "":
				return nil, refuse(http.StatusBadRequest, "invalid_property", "the field %q cannot be deleted", name)
			case !e.has(name):
				return nil, refuse(http.StatusNotFound, "field_not_found", "there is no field %s", name)
			}
		}
	}
	for _, e := range found {
		e.fields = slices.DeleteFunc(e.fields, func(f field) bool { return slices.Contains(names, f.UniqueName) })
	}
	x.changed = true
	return success(), nil
}
