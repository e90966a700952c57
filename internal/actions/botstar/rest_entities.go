package botstar

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/fault"
)

// Field is a field of a CMS entity.
type Field struct {
	// UniqueName names the field in the data of items.
	UniqueName string `json:"unique_name" jsonschema:"minLength=1,maxLength=250"`
	// Name is the field's name for people.
	Name string `json:"name,omitempty" jsonschema:"maxLength=250"`
	// DataType is what the field holds.
	DataType string `json:"data_type,omitempty" jsonschema:"enum=text,enum=free_text,enum=image,enum=date,enum=single_option,enum=multiple_options,enum=multiple_values,enum=entity"`
	// Options are the choices of an option, and the entity that an entity field
	// refers to.
	Options *FieldOptions `json:"options,omitempty"`
}

// FieldOptions are the settings of some types of fields.
type FieldOptions struct {
	// PredefinedData are the choices.
	PredefinedData []Choice `json:"predefined_data,omitempty"`
	// EntityID is the entity that the field refers to.
	EntityID string `json:"entity_id,omitempty"`
}

// Choice is one choice of a field.
type Choice struct {
	Label string `json:"label"`
	Value string `json:"value"`
}

// Entity is a CMS entity.
type Entity struct {
	ID     string  `json:"id"`
	Name   string  `json:"name"`
	Fields []Field `json:"fields"`
}

func (e Entity) whole() bool { return e.ID != "" }

// OfEntity names an entity.
type OfEntity struct {
	OfBot
	// EntityID is the id of the entity.
	EntityID string `json:"entity_id" jsonschema:"minLength=1,maxLength=256"`
}

// api returns the API, once the ids are checked.
func (o OfEntity) api(env actions.Env) (api, error) {
	a, err := rest(env, o.OfBot)
	if err == nil {
		err = checkID("entity_id", o.EntityID)
	}
	return a, err
}

// entity is a call below the entity.
func (a api) entity(method string, o OfEntity, path ...string) actions.Call {
	return a.call(method, append([]string{"cms_entities", o.EntityID}, path...)...)
}

// ListEntitiesIn is the input of botstar.cms_entities.list.
type ListEntitiesIn struct {
	OfBot
	ReadEnv
}

// ListEntitiesOut is the output of botstar.cms_entities.list.
type ListEntitiesOut struct {
	Entities []Entity `json:"entities"`
}

func listEntities() actions.Spec {
	spec := reading("cms_entities.list", "List CMS Entities", "Lists the entities of a bot's CMS, with their fields.",
		"A list, each of whose elements has an id.")
	return actions.New(spec, runListEntities, verifyListEntities)
}

func runListEntities(ctx context.Context, env actions.Env, q ListEntitiesIn) (actions.Done[ListEntitiesOut], error) {
	done := actions.Done[ListEntitiesOut]{Output: ListEntitiesOut{Entities: []Entity{}}}
	a, err := rest(env, q.OfBot)
	if err == nil {
		_, err = a.do(ctx, in(a.call(http.MethodGet, "cms_entities"), q.Env), &done.Output.Entities)
	}
	return done, err
}

func verifyListEntities(_ context.Context, env actions.Env, _ ListEntitiesIn, out ListEntitiesOut) (actions.Proof, error) {
	return everyID(env, out.Entities, func(e Entity) string { return e.ID })
}

// CreateEntityIn is the input of botstar.cms_entities.create.
type CreateEntityIn struct {
	OfBot
	WriteEnv
	// Name is the name of the new entity.
	Name string `json:"name" jsonschema:"minLength=1,maxLength=250"`
	// Fields are its fields. Every entity has the fields name and status beside.
	Fields []Field `json:"fields,omitempty" jsonschema:"maxItems=100"`
}

func createEntity() actions.Spec {
	spec := making("cms_entities.create", "Create CMS Entity", "Makes a new entity in a bot's CMS, with its fields.",
		"BotStar shows the entity, with its fields and with name and status.")
	return actions.New(spec, runCreateEntity, verifyCreateEntity)
}

func verifyCreateEntity(ctx context.Context, env actions.Env, q CreateEntityIn, out Entity) (actions.Proof, error) {
	fields := append([]Field{{UniqueName: "name"}, {UniqueName: "status"}}, q.Fields...)
	return readBack(ctx, env, entityShows(env, OfEntity{q.OfBot, out.ID}, q.stores(), q.Name, fields))
}

func runCreateEntity(ctx context.Context, env actions.Env, q CreateEntityIn) (actions.Done[Entity], error) {
	var done actions.Done[Entity]
	a, err := rest(env, q.OfBot)
	if err != nil {
		return done, err
	}
	body := map[string]any{"name": q.Name}
	if len(q.Fields) > 0 {
		if err := checkFields(q.Fields, true); err != nil {
			return done, err
		}
		body["fields"] = q.Fields
	}
	find, err := newOnes(ctx, func(ctx context.Context) ([]json.RawMessage, error) {
		return a.list(ctx, in(a.call(http.MethodGet, "cms_entities"), draft))
	}, q.Name)
	if err != nil {
		return done, err
	}
	call := with(in(a.call(http.MethodPost, "cms_entities"), q.Env), body)
	done.Evidence, err = a.create(ctx, creation{"the entity", call, find}, &done.Output)
	return done, err
}

// checkFields refuses what BotStar cannot take. whole says that every field is
// new, and needs all that makes one.
func checkFields(fields []Field, whole bool) error {
	taken := []string{"name", "status"}
	for i, f := range fields {
		at := fmt.Sprintf("/params/fields/%d", i)
		switch {
		case f.UniqueName == "" || strings.Contains(f.UniqueName, ","):
			return fault.New(fault.SchemaViolation, "%q is no unique name", clip(f.UniqueName, 60)).At(at + "/unique_name")
		case whole && slices.Contains(taken, f.UniqueName):
			return fault.New(fault.SchemaViolation, "the unique name %q is taken", f.UniqueName).At(at + "/unique_name")
		case whole && (f.Name == "" || f.DataType == ""):
			return fault.New(fault.SchemaViolation, "a new field needs name and data_type").At(at)
		}
		taken = append(taken, f.UniqueName)
	}
	return nil
}

// entityShows looks whether the entity has the name and the fields in every
// store. "" is any name; of a field, what is empty is not compared.
func entityShows(env actions.Env, of OfEntity, stores []string, name string, fields []Field) func(context.Context) (glance, error) {
	return func(ctx context.Context) (glance, error) {
		a, err := of.api(env)
		if err != nil {
			return glance{}, err
		}
		for _, store := range stores {
			var seen Entity
			if _, err := a.do(ctx, in(a.entity(http.MethodGet, of), store), &seen); err != nil {
				return glance{}, err
			}
			if name != "" && seen.Name != name {
				return glance{seen: "the entity has another name in " + store}, nil
			}
			if missing := seen.lacks(fields); missing != "" {
				return glance{seen: missing + " in " + store}, nil
			}
		}
		return glance{ok: true, seen: fmt.Sprintf("BotStar shows the entity as asked, with %d of its fields", len(fields))}, nil
	}
}

// lacks says which of the fields is not there as given, or "".
func (e Entity) lacks(fields []Field) string {
	for _, want := range fields {
		i := slices.IndexFunc(e.Fields, func(f Field) bool { return f.UniqueName == want.UniqueName })
		switch {
		case i < 0:
			return "the field " + want.UniqueName + " is not there"
		case want.Name != "" && e.Fields[i].Name != want.Name, want.DataType != "" && e.Fields[i].DataType != want.DataType:
			return "the field " + want.UniqueName + " is another one"
		}
	}
	return ""
}

// GetEntityIn is the input of botstar.cms_entities.get.
type GetEntityIn struct {
	OfEntity
	ReadEnv
}

func getEntity() actions.Spec {
	spec := reading("cms_entities.get", "Get CMS Entity", "Shows an entity of a bot's CMS, with its fields.",
		"The answer is of the id that was asked for.")
	return actions.New(spec, runGetEntity, verifyGetEntity)
}

func runGetEntity(ctx context.Context, env actions.Env, q GetEntityIn) (actions.Done[Entity], error) {
	done := actions.Done[Entity]{}
	a, err := q.api(env)
	if err == nil {
		_, err = a.do(ctx, in(a.entity(http.MethodGet, q.OfEntity), q.Env), &done.Output)
	}
	return done, err
}

func verifyGetEntity(_ context.Context, env actions.Env, q GetEntityIn, out Entity) (actions.Proof, error) {
	return sameID(env, q.EntityID, out.ID)
}

// UpdateEntityIn is the input of botstar.cms_entities.update.
type UpdateEntityIn struct {
	OfEntity
	WriteEnv
	// Name is the entity's new name.
	Name string `json:"name" jsonschema:"minLength=1,maxLength=250"`
}

func updateEntity() actions.Spec {
	spec := changing("cms_entities.update", "Update CMS Entity", "Gives an entity of a bot's CMS another name.",
		"BotStar shows the entity with the name.")
	return actions.New(spec, runUpdateEntity, verifyUpdateEntity)
}

func runUpdateEntity(ctx context.Context, env actions.Env, q UpdateEntityIn) (actions.Done[StatusOut], error) {
	a, err := q.api(env)
	if err != nil {
		return actions.Done[StatusOut]{}, err
	}
	return a.put(ctx, with(in(a.entity(http.MethodPatch, q.OfEntity), q.Env), map[string]any{"name": q.Name}))
}

func verifyUpdateEntity(ctx context.Context, env actions.Env, q UpdateEntityIn, _ StatusOut) (actions.Proof, error) {
	return readBack(ctx, env, entityShows(env, q.OfEntity, q.stores(), q.Name, nil))
}

// put is change with its evidence.
func (a api) put(ctx context.Context, call actions.Call) (actions.Done[StatusOut], error) {
	out, answer, err := a.change(ctx, call)
	return actions.Done[StatusOut]{Output: out, Evidence: a.answered(answer)}, err
}

// DeleteEntityIn is the input of botstar.cms_entities.delete.
type DeleteEntityIn struct {
	OfEntity
	WriteEnv
}

func deleteEntity() actions.Spec {
	spec := changing("cms_entities.delete", "Delete CMS Entity", "Deletes an entity of a bot's CMS, with all of its items.",
		"BotStar does not find the entity any more.")
	return actions.New(spec, runDeleteEntity, verifyDeleteEntity)
}

func runDeleteEntity(ctx context.Context, env actions.Env, q DeleteEntityIn) (actions.Done[StatusOut], error) {
	a, err := q.api(env)
	if err != nil {
		return actions.Done[StatusOut]{}, err
	}
	return a.remove(ctx, in(a.entity(http.MethodDelete, q.OfEntity), q.Env))
}

func verifyDeleteEntity(ctx context.Context, env actions.Env, q DeleteEntityIn, _ StatusOut) (actions.Proof, error) {
	return readBack(ctx, env, goneFrom(env, q.OfEntity, q.stores(), "the entity"))
}

// goneFrom looks whether what is at the path is gone from every store.
func goneFrom(env actions.Env, of OfEntity, stores []string, what string, path ...string) func(context.Context) (glance, error) {
	return func(ctx context.Context) (glance, error) {
		a, err := of.api(env)
		if err != nil {
			return glance{}, err
		}
		var seen glance
		for _, store := range stores {
			_, err := env.REST.Do(ctx, env.Site.Name, in(a.entity(http.MethodGet, of, path...), store))
			if seen, err = gone(err, what); err != nil || !seen.ok {
				return seen, err
			}
		}
		return seen, nil
	}
}
