package botstar

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/fault"
)

// Item is an item of a CMS entity, flat: id, entity_id, name, status, and its
// data by the unique names of the fields.
type Item map[string]any

func (i *Item) id() string { return firstOf(stringOf((*i)["id"]), stringOf((*i)["_id"])) }

// UnmarshalJSON reads an item, and gives it the documented key of its id.
func (i *Item) UnmarshalJSON(data []byte) error {
	var values map[string]any
	if err := json.Unmarshal(data, &values); err != nil {
		return err //nolint:wrapcheck // json says what is wrong.
	}
	*i = values
	if id := i.id(); id != "" {
		values["id"] = id
	}
	return nil
}

func (i *Item) whole() bool { return i.id() != "" }

// ListItemsIn is the input of botstar.cms_items.list.
type ListItemsIn struct {
	OfEntity
	ReadEnv
	// Page counts from 1. The first one when it is left out.
	Page int `json:"page,omitempty" jsonschema:"minimum=1,maximum=1000000"`
	// Limit is the most items of a page. 100 when it is left out.
	Limit int `json:"limit,omitempty" jsonschema:"minimum=1,maximum=1000"`
	// Name keeps the items with the name.
	Name string `json:"name,omitempty" jsonschema:"maxLength=250"`
	// Status keeps the items with the status.
	Status string `json:"status,omitempty" jsonschema:"enum=enabled,enum=disabled"`
}

// ListItemsOut is the output of botstar.cms_items.list.
type ListItemsOut struct {
	Items []Item `json:"items"`
	// Page is the page that was read.
	Page int `json:"page"`
	// More is true when there may be a further page.
	More bool `json:"more"`
}

// itemsLimit is BotStar's own limit of a page.
const itemsLimit = 100

func listItems() actions.Spec {
	spec := reading("cms_items.list", "List Entity Items", "Lists the items of an entity of a bot's CMS, one page of them. A page that is not full is the last one.",
		"A list that is not longer than the limit, each of whose elements has an id.")
	return actions.New(spec, runListItems, verifyListItems)
}

func runListItems(ctx context.Context, env actions.Env, q ListItemsIn) (actions.Done[ListItemsOut], error) {
	done := actions.Done[ListItemsOut]{Output: ListItemsOut{Items: []Item{}, Page: max(q.Page, 1)}}
	a, err := q.api(env)
	if err == nil {
		_, err = a.do(ctx, a.items(q), &done.Output.Items)
	}
	done.Output.More = len(done.Output.Items) >= q.limit()
	return done, err
}

func verifyListItems(_ context.Context, env actions.Env, q ListItemsIn, out ListItemsOut) (actions.Proof, error) {
	if len(out.Items) > q.limit() {
		return asks(env, false, fmt.Sprintf("the page has %d items, and %d is the limit", len(out.Items), q.limit()))
	}
	return everyID(env, out.Items, func(i Item) string { return i.id() })
}

func (q ListItemsIn) limit() int {
	if q.Limit == 0 {
		return itemsLimit
	}
	return q.Limit
}

// items is the call for a page of items.
func (a api) items(q ListItemsIn) actions.Call {
	call := a.entity(http.MethodGet, q.OfEntity, "items")
	call.Query = url.Values{}
	for name, value := range map[string]string{"page": digits(q.Page), "limit": digits(q.Limit), "name": q.Name, "status": q.Status} {
		if value != "" {
			call.Query.Set(name, value)
		}
	}
	return in(call, q.Env)
}

func digits(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// ItemData is what an item holds.
type ItemData struct {
	// Status says whether the bot shows the item.
	Status string `json:"status,omitempty" jsonschema:"enum=enabled,enum=disabled"`
	// Data holds the item's values by the unique names of the entity's fields:
	// texts, numbers, booleans, lists of texts, or null. Name and status are inputs
	// of their own.
	Data map[string]any `json:"data,omitempty"`
}

// body returns the item as BotStar takes it: flat.
func (d ItemData) body(name string) (map[string]any, error) {
	body := map[string]any{}
	for key, value := range d.Data {
		at := "/params/data/" + escape(key)
		switch {
		case key == "name" || key == "status":
			return nil, fault.New(fault.SchemaViolation, "%s is an input of its own, not a part of data", key).At(at)
		case forbidden(key), key == "id", key == "_id", key == "entity_id":
			return nil, fault.New(fault.SchemaViolation, "the name %q is not allowed", key).At(at)
		case !cell(value):
			return nil, fault.New(fault.SchemaViolation, "a value is a text, a number, a boolean, a list of texts or null").At(at)
		}
		body[key] = value
	}
	if name != "" {
		body["name"] = name
	}
	if d.Status != "" {
		body["status"] = d.Status
	}
	return body, nil
}

func cell(value any) bool {
	switch value := value.(type) {
	case nil, string, float64, bool:
		return true
	case []any:
		return !slices.ContainsFunc(value, func(one any) bool { _, ok := one.(string); return !ok })
	}
	return false
}

// CreateItemIn is the input of botstar.cms_items.create.
type CreateItemIn struct {
	OfEntity
	WriteEnv
	ItemData
	// Name is the item's name.
	Name string `json:"name" jsonschema:"minLength=1,maxLength=250"`
}

func createItem() actions.Spec {
	spec := making("cms_items.create", "Create Entity Item", "Makes a new item of an entity of a bot's CMS.",
		"BotStar shows the item with its values.")
	return actions.New(spec, runCreateItem, verifyCreateItem)
}

func verifyCreateItem(ctx context.Context, env actions.Env, q CreateItemIn, out Item) (actions.Proof, error) {
	want, err := q.body(q.Name)
	if err != nil {
		return actions.Proof{}, err
	}
	return readBack(ctx, env, itemShows(env, OfItem{q.OfEntity, out.id()}, q.stores(), want))
}

func runCreateItem(ctx context.Context, env actions.Env, q CreateItemIn) (actions.Done[Item], error) {
	done := actions.Done[Item]{Output: Item{}}
	a, err := q.api(env)
	if err != nil {
		return done, err
	}
	body, err := q.body(q.Name)
	if err != nil {
		return done, err
	}
	find, err := newOnes(ctx, func(ctx context.Context) ([]json.RawMessage, error) {
		return a.every(ctx, ListItemsIn{OfEntity: q.OfEntity, Name: q.Name})
	}, q.Name)
	if err != nil {
		return done, err
	}
	call := with(in(a.entity(http.MethodPost, q.OfEntity, "items"), q.Env), body)
	done.Evidence, err = a.create(ctx, creation{"the item", call, find}, &done.Output)
	return done, err
}

// mostPages bounds a search through pages.
const mostPages = 100

// every reads all pages of a list.
func (a api) every(ctx context.Context, q ListItemsIn) ([]json.RawMessage, error) {
	var all []json.RawMessage
	for q.Page = 1; q.Page <= mostPages; q.Page++ {
		page, err := a.list(ctx, a.items(q))
		if err != nil {
			return nil, err
		}
		if all = append(all, page...); len(page) < q.limit() {
			return all, nil
		}
	}
	return nil, fault.New(fault.VendorAnswerInvalid, "the list has more than %d pages", mostPages)
}

// OfItem names an item.
type OfItem struct {
	OfEntity
	// ItemID is the id of the item.
	ItemID string `json:"item_id" jsonschema:"minLength=1,maxLength=256"`
}

func (o OfItem) api(env actions.Env) (api, error) {
	a, err := o.OfEntity.api(env)
	if err == nil {
		err = checkID("item_id", o.ItemID)
	}
	return a, err
}

// itemShows looks whether the item has the values in every store.
func itemShows(env actions.Env, of OfItem, stores []string, want map[string]any) func(context.Context) (glance, error) {
	return func(ctx context.Context) (glance, error) {
		a, err := of.api(env)
		if err != nil {
			return glance{}, err
		}
		var seen glance
		for _, store := range stores {
			var item Item
			if _, err := a.do(ctx, in(a.entity(http.MethodGet, of.OfEntity, "items", of.ItemID), store), &item); err != nil {
				return glance{}, err
			}
			if seen = shows(want, item); !seen.ok {
				return seen, nil
			}
		}
		return seen, nil
	}
}

// GetItemIn is the input of botstar.cms_items.get.
type GetItemIn struct {
	OfItem
	ReadEnv
}

func getItem() actions.Spec {
	spec := reading("cms_items.get", "Get Entity Item", "Shows an item of an entity of a bot's CMS.", "The answer is of the id that was asked for.")
	return actions.New(spec, runGetItem, verifyGetItem)
}

func runGetItem(ctx context.Context, env actions.Env, q GetItemIn) (actions.Done[Item], error) {
	done := actions.Done[Item]{Output: Item{}}
	a, err := q.api(env)
	if err == nil {
		_, err = a.do(ctx, in(a.entity(http.MethodGet, q.OfEntity, "items", q.ItemID), q.Env), &done.Output)
	}
	return done, err
}

func verifyGetItem(_ context.Context, env actions.Env, q GetItemIn, out Item) (actions.Proof, error) {
	return sameID(env, q.ItemID, out.id())
}

// UpdateItemIn is the input of botstar.cms_items.update.
type UpdateItemIn struct {
	OfItem
	WriteEnv
	ItemData
	// Name is the item's new name.
	Name string `json:"name,omitempty" jsonschema:"maxLength=250"`
}

func updateItem() actions.Spec {
	spec := changing("cms_items.update", "Update Entity Item", "Changes an item of an entity of a bot's CMS: at least one of name, status and data.",
		"BotStar shows the item with the new values.")
	spec.Reasons = restReasons(fault.NoAttributes)
	return actions.New(spec, runUpdateItem, verifyUpdateItem)
}

func runUpdateItem(ctx context.Context, env actions.Env, q UpdateItemIn) (actions.Done[StatusOut], error) {
	a, err := q.api(env)
	if err != nil {
		return actions.Done[StatusOut]{}, err
	}
	body, err := q.body(q.Name)
	if err == nil && len(body) == 0 {
		err = fault.New(fault.NoAttributes, "there is nothing to update: give name, status or data").At("/params")
	}
	if err != nil {
		return actions.Done[StatusOut]{}, err
	}
	return a.put(ctx, with(in(a.entity(http.MethodPatch, q.OfEntity, "items", q.ItemID), q.Env), body))
}

func verifyUpdateItem(ctx context.Context, env actions.Env, q UpdateItemIn, _ StatusOut) (actions.Proof, error) {
	want, err := q.body(q.Name)
	if err != nil {
		return actions.Proof{}, err
	}
	return readBack(ctx, env, itemShows(env, q.OfItem, q.stores(), want))
}

// DeleteItemIn is the input of botstar.cms_items.delete.
type DeleteItemIn struct {
	OfItem
	WriteEnv
}

func deleteItem() actions.Spec {
	spec := changing("cms_items.delete", "Delete Entity Item", "Deletes an item of an entity of a bot's CMS.", "BotStar does not find the item any more.")
	return actions.New(spec, runDeleteItem, verifyDeleteItem)
}

func runDeleteItem(ctx context.Context, env actions.Env, q DeleteItemIn) (actions.Done[StatusOut], error) {
	a, err := q.api(env)
	if err != nil {
		return actions.Done[StatusOut]{}, err
	}
	return a.remove(ctx, in(a.entity(http.MethodDelete, q.OfEntity, "items", q.ItemID), q.Env))
}

func verifyDeleteItem(ctx context.Context, env actions.Env, q DeleteItemIn, _ StatusOut) (actions.Proof, error) {
	return readBack(ctx, env, goneFrom(env, q.OfEntity, q.stores(), "the item", "items", q.ItemID))
}
