package botstar

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/fault"
)

// FieldsIn is the input of botstar.cms_fields.create and of
// botstar.cms_fields.update.
type FieldsIn struct {
	OfEntity
	WriteEnv
	// Fields are the fields, by their unique names.
	Fields []Field `json:"fields" jsonschema:"minItems=1,maxItems=100"`
}

func createFields() actions.Spec {
	spec := making("cms_fields.create", "Create Entity Fields", "Gives an entity of a bot's CMS further fields. Their unique names must be free.",
		"BotStar shows the entity with the fields.")
	return actions.New(spec, runCreateFields, verifyFields)
}

// runCreateFields looks first: what is there already would not tell afterwards
// whether this command has made it.
func runCreateFields(ctx context.Context, env actions.Env, q FieldsIn) (actions.Done[StatusOut], error) {
	var done actions.Done[StatusOut]
	a, err := q.api(env)
	if err == nil {
		err = checkFields(q.Fields, true)
	}
	if err != nil {
		return done, err
	}
	var before Entity
	if _, err := a.do(ctx, in(a.entity(http.MethodGet, q.OfEntity), draft), &before); err != nil {
		return done, err
	}
	for i, want := range q.Fields {
		if slices.ContainsFunc(before.Fields, func(f Field) bool { return f.UniqueName == want.UniqueName }) {
			return done, fault.New(fault.VendorConflict, "the entity has a field %s", want.UniqueName).
				At(fmt.Sprintf("/params/fields/%d/unique_name", i))
		}
	}
	find := func(ctx context.Context) (json.RawMessage, bool, error) {
		seen, err := entityShows(env, q.OfEntity, q.stores(), "", q.Fields)(ctx)
		return json.RawMessage(`{"status":"success"}`), seen.ok, err
	}
	call := with(in(a.entity(http.MethodPost, q.OfEntity, "fields"), q.Env), map[string]any{"fields": q.Fields})
	done.Evidence, err = a.create(ctx, creation{"the fields", call, find}, &done.Output)
	return done, err
}

func verifyFields(ctx context.Context, env actions.Env, q FieldsIn, _ StatusOut) (actions.Proof, error) {
	return readBack(ctx, env, entityShows(env, q.OfEntity, q.stores(), "", q.Fields))
}

func updateFields() actions.Spec {
	spec := changing("cms_fields.update", "Update Entity Fields", "Changes fields of an entity of a bot's CMS. Their unique names stay.",
		"BotStar shows the entity with the changed fields.")
	return actions.New(spec, runUpdateFields, verifyFields)
}

func runUpdateFields(ctx context.Context, env actions.Env, q FieldsIn) (actions.Done[StatusOut], error) {
	a, err := q.api(env)
	if err == nil {
		err = checkFields(q.Fields, false)
	}
	if err != nil {
		return actions.Done[StatusOut]{}, err
	}
	return a.put(ctx, with(in(a.entity(http.MethodPatch, q.OfEntity, "fields"), q.Env), map[string]any{"fields": q.Fields}))
}

// DeleteFieldsIn is the input of botstar.cms_fields.delete.
type DeleteFieldsIn struct {
	OfEntity
	WriteEnv
	// UniqueNames are the unique names of the fields. Name and status stay.
	UniqueNames []string `json:"unique_names" jsonschema:"minItems=1,maxItems=100"`
}

func deleteFields() actions.Spec {
	spec := changing("cms_fields.delete", "Delete Entity Fields", "Takes fields from an entity of a bot's CMS, with what items hold in them.",
		"BotStar shows the entity without the fields.")
	return actions.New(spec, runDeleteFields, verifyDeleteFields)
}

func runDeleteFields(ctx context.Context, env actions.Env, q DeleteFieldsIn) (actions.Done[StatusOut], error) {
	a, err := q.api(env)
	if err == nil {
		err = checkUnique(q.UniqueNames)
	}
	if err != nil {
		return actions.Done[StatusOut]{}, err
	}
	call := a.entity(http.MethodDelete, q.OfEntity, "fields")
	call.Query = url.Values{"unique_names": {strings.Join(q.UniqueNames, ",")}}
	return a.remove(ctx, in(call, q.Env))
}

func verifyDeleteFields(ctx context.Context, env actions.Env, q DeleteFieldsIn, _ StatusOut) (actions.Proof, error) {
	return readBack(ctx, env, func(ctx context.Context) (glance, error) { return q.gone(ctx, env) })
}

// checkUnique refuses the built-in fields, and names that a list with commas
// cannot hold.
func checkUnique(names []string) error {
	for i, name := range names {
		at := fmt.Sprintf("/params/unique_names/%d", i)
		switch {
		case name == "name" || name == "status":
			return fault.New(fault.SchemaViolation, "the field %s cannot be deleted", name).At(at)
		case name == "" || strings.Contains(name, ","):
			return fault.New(fault.SchemaViolation, "%q is no unique name", clip(name, 60)).At(at)
		}
	}
	return nil
}

func (q DeleteFieldsIn) gone(ctx context.Context, env actions.Env) (glance, error) {
	a, err := q.api(env)
	if err != nil {
		return glance{}, err
	}
	for _, store := range q.stores() {
		var seen Entity
		if _, err := a.do(ctx, in(a.entity(http.MethodGet, q.OfEntity), store), &seen); err != nil {
			return glance{}, err
		}
		for _, f := range seen.Fields {
			if slices.Contains(q.UniqueNames, f.UniqueName) {
				return glance{seen: "the field " + f.UniqueName + " is still in " + store}, nil
			}
		}
	}
	return glance{ok: true, seen: "the fields are not there any more"}, nil
}
