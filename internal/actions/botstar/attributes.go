package botstar

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// Attributes are a visitor's attributes as BotStar takes them: flat, some with
// a meaning of their own, all others free. Tags are a list, and replace the
// tags that were there; everything else is a string, a number or a boolean.
type Attributes map[string]any

// attributeProperties is the part of the schema that names the attributes with
// a meaning of their own.
const attributeProperties = `
    "user_id":    {"type": "string", "minLength": 1, "maxLength": 256, "description": "Your own unique id of the person. It identifies the visitor on every device."},
    "email":      {"type": "string", "maxLength": 320, "description": "E-mail address."},
    "first_name": {"type": "string", "maxLength": 16384, "description": "First name."},
    "last_name":  {"type": "string", "maxLength": 16384, "description": "Last name."},
    "gender":     {"type": "string", "enum": ["male", "female", ""], "description": "Gender; empty for unknown."},
    "birthday":   {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "description": "Day of birth, YYYY-MM-DD."},
    "avatar":     {"type": "string", "maxLength": 2048, "description": "Address of a picture."},
    "tags":       {"type": "array", "maxItems": 100, "items": {"type": "string", "minLength": 1, "maxLength": 16384}, "description": "Tags. They replace all tags of the user."},
    "botstar_user_id": {"type": "string", "minLength": 1, "maxLength": 256, "description": "BotStar's own id of the visitor, where you know it, such as from a webhook. Parley keeps it and does not send it: with it, updates are read back by BotStar's REST API, and go that way when no page can be reached."}`

// attributeRest is the part of the schema for all other attributes. The three
// names that could change a prototype are refused in all data of a command, and
// by check.
const attributeRest = `
  "propertyNames": {"maxLength": 128},
  "additionalProperties": {"type": ["string", "number", "boolean"], "maxLength": 16384, "description": "A custom attribute."}`

const userIDKey = "user_id"

// check refuses what BotStar cannot take. The schema refuses it too; this is
// for callers that have none, and names the field in the same way.
func (a Attributes) check(pointer string) error {
	for _, key := range slices.Sorted(maps.Keys(a)) {
		at := pointer + "/" + escape(key)
		if forbidden(key) {
			return fault.New(fault.SchemaViolation, "the name %q is not allowed", key).At(at)
		}
		switch value := a[key].(type) {
		case string, float64, bool:
		case []any:
			if err := checkTags(key, value, at); err != nil {
				return err
			}
		default:
			return fault.New(fault.SchemaViolation, "an attribute is a string, a number or a boolean, not %s", kindOf(value)).At(at)
		}
	}
	return nil
}

func checkTags(key string, list []any, at string) error {
	if key != "tags" {
		return fault.New(fault.SchemaViolation, "only tags are a list").At(at)
	}
	for i, tag := range list {
		if _, ok := tag.(string); !ok {
			return fault.New(fault.SchemaViolation, "a tag is a string, not %s", kindOf(tag)).At(fmt.Sprintf("%s/%d", at, i))
		}
	}
	return nil
}

// forbidden reports whether the name is no name, or would change the prototype
// of an object that a careless script copies it into.
func forbidden(key string) bool {
	return key == "" || key == "__proto__" || key == "constructor" || key == "prototype"
}

func kindOf(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	}
	return fmt.Sprintf("a %T", value)
}

// escape makes a token of a JSON pointer.
func escape(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}

// merge returns all attributes; of two with the same name the last one wins.
// It is nil when there are none.
func merge(layers ...Attributes) Attributes {
	var all Attributes
	for _, layer := range layers {
		if len(layer) == 0 {
			continue
		}
		if all == nil {
			all = Attributes{}
		}
		maps.Copy(all, layer)
	}
	return all
}

// over returns the attributes with more laid over them. Those of another person
// are left out: one person's data never mixes with the next one's.
func (a Attributes) over(more Attributes) Attributes {
	has, wants := stringOf(a[userIDKey]), stringOf(more[userIDKey])
	if has != "" && wants != "" && has != wants {
		return merge(more)
	}
	return merge(a, more)
}

// names returns the names, sorted.
func (a Attributes) names() []string { return slices.Sorted(maps.Keys(a)) }

// identity returns what the command itself says of who the visitor is.
func identity(v event.Visitor) Attributes {
	who := Attributes{}
	if v.UserID != "" {
		who[userIDKey] = v.UserID
	}
	if v.Email != "" {
		who["email"] = v.Email
	}
	return who
}

// identified reports whether BotStar would know the visitor again.
func identified(env actions.Env, more Attributes) bool {
	return !env.Visitor.Anonymous() || stringOf(more[userIDKey]) != "" || stringOf(env.State.User[userIDKey]) != ""
}

func stringOf(value any) string {
	text, _ := value.(string)
	return text
}
