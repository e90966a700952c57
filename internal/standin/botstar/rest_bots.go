package botstar

import (
	"maps"
	"net/http"
	"slices"
)

// attribute is a bot attribute.
type attribute struct {
	ID       string
	Name     string
	DataType string
	Desc     any
	// Values are value, and value_<lang> for other languages.
	Values map[string]any
}

func (a attribute) json() map[string]any {
	out := map[string]any{"id": a.ID, "name": a.Name, "data_type": a.DataType, "desc": a.Desc, "value": nil}
	maps.Copy(out, a.Values)
	return out
}

func (b *restBot) json() map[string]any {
	return map[string]any{"id": b.ID, "name": b.Name, "team_name": b.Team}
}

func (x *exchange) listBots() (any, *refusal) {
	all := []any{}
	for _, bot := range x.bots {
		all = append(all, bot.json())
	}
	return all, nil
}

func (x *exchange) createBot() (any, *refusal) {
	if no := x.only("name"); no != nil {
		return nil, no
	}
	name, no := x.text("name")
	if no != nil {
		return nil, no
	}
	bot := x.addBot(Bot{Name: name})
	x.changed = true
	return map[string]any{"id": bot.ID, "name": bot.Name}, nil
}

func (x *exchange) getBot() (any, *refusal) { return x.bot.json(), nil }

// publish makes the draft live.
func (x *exchange) publish() (any, *refusal) {
	x.bot.live = x.bot.draft.clone()
	x.changed = true
	return success(), nil
}

func (s *space) clone() space {
	copied := space{attributes: slices.Clone(s.attributes)}
	for i := range copied.attributes {
		copied.attributes[i].Values = maps.Clone(copied.attributes[i].Values)
	}
	for i := range s.entities {
		copied.entities = append(copied.entities, s.entities[i].clone())
	}
	return copied
}

func (x *exchange) listAttributes() (any, *refusal) {
	spaces, no := x.envs()
	if no != nil {
		return nil, no
	}
	all := []any{}
	for _, a := range spaces[0].attributes {
		all = append(all, a.json())
	}
	return all, nil
}

// values reads desc, value and the values in other languages.
func (x *exchange) values(a *attribute) *refusal {
	if desc, ok := x.body["desc"]; ok {
		a.Desc = desc
	}
	for key, value := range x.body {
		if key != "value" && !localised(key) {
			continue
		}
		switch value.(type) {
		case string, float64:
		default:
			return refuse(http.StatusBadRequest, "invalid_property", "%s must be a string or a number", key)
		}
		if a.Values == nil {
			a.Values = map[string]any{}
		}
		a.Values[key] = value
	}
	return nil
}

// described refuses what is no part of an attribute.
func (x *exchange) described(names ...string) *refusal {
	for key := range x.body {
		if localised(key) {
			names = append(names, key)
		}
	}
	return x.only(append(names, "desc", "value")...)
}

func (x *exchange) createAttribute() (any, *refusal) {
	spaces, no := x.envs()
	if no == nil {
		no = x.described("name", "data_type")
	}
	if no != nil {
		return nil, no
	}
	a := attribute{ID: vendorID()}
	if a.Name, no = x.text("name"); no != nil {
		return nil, no
	}
	if a.DataType, no = x.text("data_type"); no != nil {
		return nil, no
	}
	if !slices.Contains([]string{"string", "number", "date"}, a.DataType) {
		return nil, refuse(http.StatusBadRequest, "invalid_property", "data_type cannot be %q", a.DataType)
	}
	if no := x.values(&a); no != nil {
		return nil, no
	}
	for _, s := range spaces {
		if slices.ContainsFunc(s.attributes, func(other attribute) bool { return other.Name == a.Name }) {
			return nil, refuse(http.StatusConflict, "name_taken", "there is an attribute %s", a.Name)
		}
	}
	for _, s := range spaces {
		own := a
		own.Values = maps.Clone(a.Values)
		s.attributes = append(s.attributes, own)
	}
	x.changed = true
	return a.json(), nil
}

func (x *exchange) updateAttribute() (any, *refusal) {
	spaces, no := x.envs()
	if no == nil {
		no = x.described()
	}
	if no == nil && len(x.body) == 0 {
		no = refuse(http.StatusBadRequest, "missing_property", "there is nothing to update")
	}
	if no != nil {
		return nil, no
	}
	var last *attribute
	for _, s := range spaces {
		a := s.attribute(x.in.PathValue("attribute"))
		if a == nil {
			continue
		}
		if no := x.values(a); no != nil {
			return nil, no
		}
		last = a
	}
	if last == nil {
		return nil, x.noAttribute()
	}
	x.changed = true
	return map[string]any{"id": last.ID, "desc": last.Desc, "value": last.Values["value"]}, nil
}

func (x *exchange) deleteAttribute() (any, *refusal) {
	spaces, no := x.envs()
	if no != nil {
		return nil, no
	}
	id := x.in.PathValue("attribute")
	for _, s := range spaces {
		before := len(s.attributes)
		s.attributes = slices.DeleteFunc(s.attributes, func(a attribute) bool { return a.ID == id })
		x.changed = x.changed || len(s.attributes) < before
	}
	if !x.changed {
		return nil, x.noAttribute()
	}
	return success(), nil
}

func (x *exchange) noAttribute() *refusal {
	return refuse(http.StatusNotFound, "attribute_not_found", "there is no attribute %s", x.in.PathValue("attribute"))
}

func (s *space) attribute(id string) *attribute {
	i := slices.IndexFunc(s.attributes, func(a attribute) bool { return a.ID == id })
	if i < 0 {
		return nil
	}
	return &s.attributes[i]
}
