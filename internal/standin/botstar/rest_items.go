package botstar

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
)

// item is a row of a CMS entity. Its values hold name and status too.
type item struct {
	id     string
	values map[string]any
}

func (i item) json(entity string) map[string]any {
	out := maps.Clone(i.values)
	out["entity_id"] = entity
	return both(out, i.id)
}

func (x *exchange) listItems() (any, *refusal) {
	found, no := x.entities()
	if no != nil {
		return nil, no
	}
	query := x.in.URL.Query()
	page, no := number(query.Get("page"), 1)
	if no != nil {
		return nil, no
	}
	limit, no := number(query.Get("limit"), 100)
	if no != nil {
		return nil, no
	}
	all := []any{}
	for _, i := range found[0].items {
		name, _ := i.values["name"].(string)
		if sameName(query.Get("name"), name) && (query.Get("status") == "" || query.Get("status") == i.values["status"]) {
			all = append(all, i.json(found[0].id))
		}
	}
	from := min((page-1)*limit, len(all))
	return all[from:min(from+limit, len(all))], nil
}

// number reads a number of the query, which is at least 1.
func number(text string, otherwise int) (int, *refusal) {
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 1_000_000 {
		return 0, refuse(http.StatusBadRequest, "invalid_query", "%q is no number from 1", text)
	}
	return n, nil
}

// cells refuses values that the entity has no field for.
func (x *exchange) cells(e *entity) *refusal {
	for name, value := range x.body {
		if !e.has(name) {
			return refuse(http.StatusBadRequest, "unknown_field", "the entity has no field %q", name)
		}
		switch value := value.(type) {
		case nil, string, float64, bool:
		case []any:
			if slices.ContainsFunc(value, func(one any) bool { _, ok := one.(string); return !ok }) {
				return refuse(http.StatusBadRequest, "invalid_property", "%s must be a list of strings", name)
			}
		default:
			return refuse(http.StatusBadRequest, "invalid_property", "%s cannot be an object", name)
		}
	}
	if status, ok := x.body["status"]; ok && status != "enabled" && status != "disabled" {
		return refuse(http.StatusBadRequest, "invalid_property", "status is enabled or disabled")
	}
	return nil
}

func (x *exchange) createItem() (any, *refusal) {
	found, no := x.entities()
	if no != nil {
		return nil, no
	}
	if _, no := x.text("name"); no != nil {
		return nil, no
	}
	for _, e := range found {
		if no := x.cells(e); no != nil {
			return nil, no
		}
	}
	made := item{id: vendorID(), values: map[string]any{"status": "enabled"}}
	for _, f := range found[0].fields {
		if _, there := made.values[f.UniqueName]; !there {
			made.values[f.UniqueName] = nil
		}
	}
	maps.Copy(made.values, x.body)
	for _, e := range found {
		e.items = append(e.items, item{made.id, maps.Clone(made.values)})
	}
	x.changed = true
	return made.json(found[0].id), nil
}

// items returns the item of the path in each store, with its entity.
func (x *exchange) items() ([]*item, []*entity, *refusal) {
	found, no := x.entities()
	if no != nil {
		return nil, nil, no
	}
	id := x.in.PathValue("item")
	var items []*item
	var in []*entity
	for _, e := range found {
		if i := slices.IndexFunc(e.items, func(i item) bool { return i.id == id }); i >= 0 {
			items, in = append(items, &e.items[i]), append(in, e)
		}
	}
	if len(items) == 0 {
		return nil, nil, refuse(http.StatusNotFound, "item_not_found", "there is no item %s", id)
	}
	return items, in, nil
}

func (x *exchange) getItem() (any, *refusal) {
	items, in, no := x.items()
	if no != nil {
		return nil, no
	}
	return items[0].json(in[0].id), nil
}

func (x *exchange) updateItem() (any, *refusal) {
	items, in, no := x.items()
	if no != nil {
		return nil, no
	}
	if len(x.body) == 0 {
		return nil, refuse(http.StatusBadRequest, "missing_property", "there is nothing to update")
	}
	for _, e := range in {
		if no := x.cells(e); no != nil {
			return nil, no
		}
	}
	for _, i := range items {
		maps.Copy(i.values, x.body)
	}
	x.changed = true
	return success(), nil
}

func (x *exchange) deleteItem() (any, *refusal) {
	_, in, no := x.items()
	if no != nil {
		return nil, no
	}
	id := x.in.PathValue("item")
	for _, e := range in {
		e.items = slices.DeleteFunc(e.items, func(i item) bool { return i.id == id })
	}
	x.changed = true
	return success(), nil
}
