package botstar

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/fault"
)

// BotAttribute is an attribute of a bot, with its localised values beside value,
// such as value_es.
type BotAttribute map[string]any

func (b BotAttribute) id() string { return stringOf(b["id"]) }

// whole reports whether it is an attribute.
func (b BotAttribute) whole() bool { return b.id() != "" }

// AttributeValues are the values of a bot attribute.
type AttributeValues struct {
	// Desc describes the attribute for people.
	Desc *string `json:"desc,omitempty" jsonschema:"maxLength=4096"`
	// Value is the value: a text or a number.
	Value any `json:"value,omitempty"`
	// LocalizedValues are the values in other languages, by their code, such as es.
	LocalizedValues map[string]any `json:"localized_values,omitempty"`
}

var languageForm = regexp.MustCompile(`^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*$`)

// body returns the values as BotStar takes them.
func (v AttributeValues) body() (map[string]any, error) {
	body := map[string]any{}
	if v.Desc != nil {
		body["desc"] = *v.Desc
	}
	if v.Value != nil {
		if !textOrNumber(v.Value) {
			return nil, fault.New(fault.SchemaViolation, "a value is a text or a number").At("/params/value")
		}
		body["value"] = v.Value
	}
	for language, value := range v.LocalizedValues {
		at := "/params/localized_values/" + escape(language)
		switch {
		case !languageForm.MatchString(language):
			return nil, fault.New(fault.SchemaViolation, "%q is no language", clip(language, 20)).At(at)
		case !textOrNumber(value):
			return nil, fault.New(fault.SchemaViolation, "a value is a text or a number").At(at)
		}
		body["value_"+language] = value
	}
	return body, nil
}

func textOrNumber(value any) bool {
	switch value.(type) {
	case string, float64:
		return true
	}
	return false
}

// ListBotAttributesIn is the input of botstar.bot_attributes.list.
type ListBotAttributesIn struct {
	OfBot
	ReadEnv
}

// ListBotAttributesOut is the output of botstar.bot_attributes.list.
type ListBotAttributesOut struct {
	Attributes []BotAttribute `json:"attributes"`
}

func listBotAttributes() actions.Spec {
	spec := reading("bot_attributes.list", "List Bot Attributes", "Lists the attributes of a bot, with their values.",
		"A list, each of whose elements has an id.")
	return actions.New(spec, runListBotAttributes, verifyListBotAttributes)
}

func runListBotAttributes(ctx context.Context, env actions.Env, q ListBotAttributesIn) (actions.Done[ListBotAttributesOut], error) {
	done := actions.Done[ListBotAttributesOut]{Output: ListBotAttributesOut{Attributes: []BotAttribute{}}}
	a, err := rest(env, q.OfBot)
	if err == nil {
		_, err = a.do(ctx, in(a.call(http.MethodGet, "attributes"), q.Env), &done.Output.Attributes)
	}
	return done, err
}

func verifyListBotAttributes(_ context.Context, env actions.Env, _ ListBotAttributesIn, out ListBotAttributesOut) (actions.Proof, error) {
	return everyID(env, out.Attributes, BotAttribute.id)
}

// CreateBotAttributeIn is the input of botstar.bot_attributes.create.
type CreateBotAttributeIn struct {
	OfBot
	WriteEnv
	AttributeValues
	// Name is the name, which no other attribute of the bot has.
	Name string `json:"name" jsonschema:"minLength=1,maxLength=250"`
	// DataType is the type of the value.
	DataType string `json:"data_type" jsonschema:"enum=string,enum=number,enum=date"`
}

func createBotAttribute() actions.Spec {
	spec := making("bot_attributes.create", "Create Bot Attribute", "Gives a bot a new attribute. The name must be free.",
		"The list of attributes shows it, with its type and its values.")
	return actions.New(spec, runCreateBotAttribute, verifyCreateBotAttribute)
}

func runCreateBotAttribute(ctx context.Context, env actions.Env, q CreateBotAttributeIn) (actions.Done[BotAttribute], error) {
	done := actions.Done[BotAttribute]{Output: BotAttribute{}}
	a, err := rest(env, q.OfBot)
	if err != nil {
		return done, err
	}
	body, err := q.body()
	if err != nil {
		return done, err
	}
	body["name"], body["data_type"] = q.Name, q.DataType
	find, err := newOnes(ctx, func(ctx context.Context) ([]json.RawMessage, error) {
		return a.list(ctx, in(a.call(http.MethodGet, "attributes"), draft))
	}, q.Name)
	if err != nil {
		return done, err
	}
	call := with(in(a.call(http.MethodPost, "attributes"), q.Env), body)
	done.Evidence, err = a.create(ctx, creation{"the attribute", call, find}, &done.Output)
	return done, err
}

func verifyCreateBotAttribute(ctx context.Context, env actions.Env, q CreateBotAttributeIn, out BotAttribute) (actions.Proof, error) {
	want, err := q.body()
	if err != nil {
		return actions.Proof{}, err
	}
	want["name"], want["data_type"] = q.Name, q.DataType
	return readBack(ctx, env, attributeShows(env, q.OfBot, q.stores(), out.id(), want))
}

// attributeShows looks whether the attribute is as wanted in every store. A want
// of nil means that it is to be gone.
func attributeShows(env actions.Env, of OfBot, stores []string, id string, want map[string]any) func(context.Context) (glance, error) {
	return func(ctx context.Context) (glance, error) {
		a, err := rest(env, of)
		if err != nil {
			return glance{}, err
		}
		var seen glance
		for _, store := range stores {
			var all []BotAttribute
			if _, err := a.do(ctx, in(a.call(http.MethodGet, "attributes"), store), &all); err != nil {
				return glance{}, err
			}
			i := slices.IndexFunc(all, func(one BotAttribute) bool { return one.id() == id })
			switch {
			case want == nil:
				seen = glance{ok: i < 0, seen: "whether the attribute is listed in " + store + ": " + yesNo(i >= 0)}
			case i < 0:
				seen = glance{seen: "the attribute is not listed in " + store}
			default:
				seen = shows(want, all[i])
			}
			if !seen.ok {
				return seen, nil
			}
		}
		return seen, nil
	}
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// UpdateBotAttributeIn is the input of botstar.bot_attributes.update.
type UpdateBotAttributeIn struct {
	OfBot
	WriteEnv
	AttributeValues
	// AttributeID is the id of the attribute.
	AttributeID string `json:"attribute_id" jsonschema:"minLength=1,maxLength=256"`
}

func updateBotAttribute() actions.Spec {
	spec := changing("bot_attributes.update", "Update Bot Attribute",
		"Changes what a bot's attribute says: at least one of desc, value and localized_values. Its name and type stay.",
		"The list of attributes shows the new values.")
	spec.Reasons = restReasons(fault.NoAttributes)
	return actions.New(spec, runUpdateBotAttribute, verifyUpdateBotAttribute)
}

func runUpdateBotAttribute(ctx context.Context, env actions.Env, q UpdateBotAttributeIn) (actions.Done[BotAttribute], error) {
	done := actions.Done[BotAttribute]{Output: BotAttribute{}}
	a, body, err := q.request(env)
	if err != nil {
		return done, err
	}
	answer, err := a.do(ctx, with(in(a.call(http.MethodPatch, "attributes", q.AttributeID), q.Env), body), &done.Output)
	done.Evidence = a.answered(answer)
	return done, err
}

func verifyUpdateBotAttribute(ctx context.Context, env actions.Env, q UpdateBotAttributeIn, _ BotAttribute) (actions.Proof, error) {
	_, want, err := q.request(env)
	if err != nil {
		return actions.Proof{}, err
	}
	return readBack(ctx, env, attributeShows(env, q.OfBot, q.stores(), q.AttributeID, want))
}

func (q UpdateBotAttributeIn) request(env actions.Env) (api, map[string]any, error) {
	a, err := rest(env, q.OfBot)
	if err != nil {
		return a, nil, err
	}
	if err := checkID("attribute_id", q.AttributeID); err != nil {
		return a, nil, err
	}
	body, err := q.body()
	if err == nil && len(body) == 0 {
		err = fault.New(fault.NoAttributes, "there is nothing to update: give desc, value or localized_values").At("/params")
	}
	return a, body, err
}

// DeleteBotAttributeIn is the input of botstar.bot_attributes.delete.
type DeleteBotAttributeIn struct {
	OfBot
	WriteEnv
	// AttributeID is the id of the attribute.
	AttributeID string `json:"attribute_id" jsonschema:"minLength=1,maxLength=256"`
}

func deleteBotAttribute() actions.Spec {
	spec := changing("bot_attributes.delete", "Delete Bot Attribute", "Takes an attribute from a bot.",
		"The list of attributes does not show it any more.")
	return actions.New(spec, runDeleteBotAttribute, verifyDeleteBotAttribute)
}

func runDeleteBotAttribute(ctx context.Context, env actions.Env, q DeleteBotAttributeIn) (actions.Done[StatusOut], error) {
	a, err := rest(env, q.OfBot)
	if err == nil {
		err = checkID("attribute_id", q.AttributeID)
	}
	if err != nil {
		return actions.Done[StatusOut]{}, err
	}
	return a.remove(ctx, in(a.call(http.MethodDelete, "attributes", q.AttributeID), q.Env))
}

func verifyDeleteBotAttribute(ctx context.Context, env actions.Env, q DeleteBotAttributeIn, _ StatusOut) (actions.Proof, error) {
	return readBack(ctx, env, attributeShows(env, q.OfBot, q.stores(), q.AttributeID, nil))
}
