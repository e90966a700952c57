package botstar

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// User is a user of a bot, flat: what BotStar knows of everyone, and custom
// attributes beside it.
type User map[string]any

func (u User) id() string { return stringOf(u["id"]) }

func (u User) whole() bool { return u.id() != "" }

// OfUser names a user of a bot.
type OfUser struct {
	OfBot
	// UserID is BotStar's own id of the user, which is not the site's. The
	// visitor's own when it is left out and known.
	UserID string `json:"user_id,omitempty" jsonschema:"minLength=1,maxLength=256"`
}

// on calls the function with the API of the user's bot, and the user's id.
func (o OfUser) on(ctx context.Context, env actions.Env, do func(a api, id string) error) error {
	a, err := rest(env, o.OfBot)
	if err != nil {
		return err
	}
	return onUser(ctx, env, "user_id", o.UserID, func(id string) error { return do(a, id) })
}

// visitorAt reads the visitor of the command, whose id is known.
func visitorAt(ctx context.Context, env actions.Env) (u User, err error) {
	err = OfUser{}.on(ctx, env, func(a api, id string) (err error) {
		u, err = a.user(ctx, id)
		return err
	})
	return u, err
}

// user reads a user.
func (a api) user(ctx context.Context, id string) (User, error) {
	var u User
	_, err := a.do(ctx, a.call(http.MethodGet, "users", id), &u)
	return u, err
}

// GetUserIn is the input of botstar.users.get.
type GetUserIn struct{ OfUser }

func getUser() actions.Spec {
	spec := reading("users.get", "Get User", "Shows what BotStar knows of a user: attributes and tags. Variables of the conversation cannot be read.",
		"The answer is of the id that was asked for.")
	return actions.New(spec, runGetUser, verifyGetUser)
}

func runGetUser(ctx context.Context, env actions.Env, q GetUserIn) (actions.Done[User], error) {
	var done actions.Done[User]
	err := q.on(ctx, env, func(a api, id string) (err error) {
		done.Output, err = a.user(ctx, id)
		return err
	})
	if err == nil {
		recognise(env, done.Output)
	}
	return done, err
}

func verifyGetUser(ctx context.Context, env actions.Env, q GetUserIn, out User) (actions.Proof, error) {
	id, err := userID(ctx, env, "user_id", q.UserID)
	if err != nil {
		return actions.Proof{}, err
	}
	return sameID(env, id, out.id())
}

// recognise keeps BotStar's id of the visitor, when the user that was read is
// surely the same person: the e-mail addresses are the same.
func recognise(env actions.Env, u User) {
	email := stringOf(u["email"])
	if env.Profile != nil && email != "" && strings.EqualFold(email, env.Visitor.Email) && checkID("", u.id()) == nil {
		env.Profile.VendorID = u.id()
	}
}

// UpdateUserIn is the input of botstar.users.update.
type UpdateUserIn struct {
	OfUser
	// Attributes are the values by name: texts, numbers and booleans. BotStar has no
	// call that changes tags or the picture.
	Attributes map[string]any `json:"attributes" jsonschema:"minProperties=1,maxProperties=200"`
}

// UpdateUserOut is the output of botstar.users.update.
type UpdateUserOut struct {
	UserID string `json:"user_id"`
	// Attributes are what BotStar says that it has taken.
	Attributes map[string]any `json:"attributes"`
}

func updateUser() actions.Spec {
	spec := changing("users.update", "Update User", "Changes attributes of a user, without a page. A custom attribute must be declared: see botstar.user_attributes.create.",
		"BotStar shows the user with the values.")
	spec.Reasons = restReasons(fault.NoAttributes)
	return actions.New(spec, runUpdateUser, verifyUpdateUser)
}

func runUpdateUser(ctx context.Context, env actions.Env, q UpdateUserIn) (actions.Done[UpdateUserOut], error) {
	var done actions.Done[UpdateUserOut]
	if err := checkUserAttributes(q.Attributes); err != nil {
		return done, err
	}
	err := q.on(ctx, env, func(a api, id string) (err error) {
		done.Output = UpdateUserOut{UserID: id, Attributes: map[string]any{}}
		done.Evidence, err = a.patchUser(ctx, id, q.Attributes, &done.Output.Attributes)
		return err
	})
	return done, err
}

func verifyUpdateUser(ctx context.Context, env actions.Env, q UpdateUserIn, out UpdateUserOut) (actions.Proof, error) {
	return readBack(ctx, env, userShows(env, q.OfBot, out.UserID, q.Attributes))
}

// patchUser changes a user. What BotStar echoes is read into echo.
func (a api) patchUser(ctx context.Context, id string, attributes map[string]any, echo *map[string]any) ([]event.Evidence, error) {
	answer, err := a.do(ctx, with(a.call(http.MethodPatch, "users", id), attributes), echo)
	return a.answered(answer), err
}

// fixed are the names that PATCH cannot change.
func fixed() []string {
	return []string{userIDKey, "id", "board_id", "tags", "avatar", "picture", "otn_topics", "channel", "ip", "locale", "timezone", "name"}
}

func checkUserAttributes(attributes map[string]any) error {
	if len(attributes) == 0 {
		return fault.New(fault.NoAttributes, "there is nothing to update").At("/params/attributes")
	}
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		at := "/params/attributes/" + escape(name)
		switch attributes[name].(type) {
		case string, float64, bool:
		default:
			return fault.New(fault.SchemaViolation, "an attribute is a text, a number or a boolean, not %s", kindOf(attributes[name])).At(at)
		}
		if forbidden(name) || slices.Contains(fixed(), name) {
			return fault.New(fault.SchemaViolation, "BotStar's REST API cannot change %q", name).At(at)
		}
	}
	return nil
}

// userShows looks whether the user has the values.
func userShows(env actions.Env, of OfBot, id string, want map[string]any) func(context.Context) (glance, error) {
	return func(ctx context.Context) (glance, error) {
		a, err := rest(env, of)
		if err != nil {
			return glance{}, err
		}
		u, err := a.user(ctx, id)
		if err != nil {
			return glance{}, err
		}
		return shows(want, u), nil
	}
}

// CreateUserAttributeIn is the input of botstar.user_attributes.create.
type CreateUserAttributeIn struct {
	OfBot
	// FieldName is the name, which no other attribute of users has.
	FieldName string `json:"field_name" jsonschema:"minLength=1,maxLength=250"`
	// FieldType is the type of the values.
	FieldType string `json:"field_type" jsonschema:"enum=string,enum=number,enum=date,enum=boolean"`
	// TestUserID is BotStar's id of a user for tests. When it is given, the proof
	// sets the new attribute of that user, and reads it back.
	TestUserID string `json:"test_user_id,omitempty" jsonschema:"minLength=1,maxLength=256"`
}

// CreateUserAttributeOut is the output of botstar.user_attributes.create.
type CreateUserAttributeOut struct {
	ID        string `json:"id"`
	FieldName string `json:"field_name"`
	FieldType string `json:"field_type"`
}

func (c *CreateUserAttributeOut) whole() bool { return c.ID != "" }

func createUserAttribute() actions.Spec {
	spec := making("user_attributes.create", "Create User Attributes", "Declares a custom attribute of a bot's users.",
		"BotStar has no list of them. With test_user_id the attribute is set and read back; without, the verdict is unverifiable.")
	return actions.New(spec, runCreateUserAttribute, verifyUserAttribute)
}

func runCreateUserAttribute(ctx context.Context, env actions.Env, q CreateUserAttributeIn) (actions.Done[CreateUserAttributeOut], error) {
	var done actions.Done[CreateUserAttributeOut]
	a, err := rest(env, q.OfBot)
	if err != nil {
		return done, err
	}
	call := with(a.call(http.MethodPost, "users", "attributes"), map[string]any{"field_name": q.FieldName, "field_type": q.FieldType})
	done.Evidence, err = a.create(ctx, creation{what: "the user attribute", call: call}, &done.Output)
	return done, err
}

func verifyUserAttribute(ctx context.Context, env actions.Env, q CreateUserAttributeIn, _ CreateUserAttributeOut) (actions.Proof, error) {
	if q.TestUserID == "" {
		return actions.Proof{Verdict: event.Unverifiable}, nil
	}
	probe := map[string]any{q.FieldName: map[string]any{
		"string": "test", "number": float64(1), "date": "2000-01-01", "boolean": true,
	}[q.FieldType]}
	return readBack(ctx, env, func(ctx context.Context) (glance, error) {
		a, err := rest(env, q.OfBot)
		if err == nil {
			err = checkID("test_user_id", q.TestUserID)
		}
		if err != nil {
			return glance{}, err
		}
		if _, err := a.patchUser(ctx, q.TestUserID, probe, &map[string]any{}); err != nil {
			return glance{}, err
		}
		return userShows(env, q.OfBot, q.TestUserID, probe)(ctx)
	})
}
