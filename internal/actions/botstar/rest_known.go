package botstar

import (
	"context"
	"fmt"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/fault"
)

// vendorKey is the attribute by which a caller tells BotStar's own id of the
// visitor. Parley keeps it, and does not send it.
const vendorKey = "botstar_user_id"

// learnID keeps BotStar's id of the visitor.
func learnID(env actions.Env, value any) error {
	id := stringOf(value)
	if err := checkID(vendorKey, id); err != nil {
		return err
	}
	env.Profile.VendorID = id
	return nil
}

// vendorID returns BotStar's id of the visitor: the one that is kept, else the
// one that its webhooks have told, which is kept from now on. "" is none.
func vendorID(ctx context.Context, env actions.Env) (id string, err error) {
	if env.Profile == nil {
		return "", nil
	}
	if env.Profile.VendorID == "" {
		env.Profile.VendorID, err = heard(ctx, env)
	}
	return env.Profile.VendorID, err
}

// heard returns the id that the webhooks have told under the visitor's own user
// id, since the browser was cleared last: after that, BotStar's page has another
// user. Where nothing tells, nobody is asked.
func heard(ctx context.Context, env actions.Env) (string, error) {
	if env.Site.Takeover == nil || env.VendorUser == nil || env.Visitor.UserID == "" {
		return "", nil
	}
	told, err := env.VendorUser(ctx)
	if err != nil {
		return "", fmt.Errorf("asking what the webhooks have told of the visitor: %w", err)
	}
	if legal := checkID(vendorKey, told.ID) == nil; legal && told.At.After(env.Profile.ClearedAt) {
		return told.ID, nil
	}
	return "", nil
}

// known reports whether BotStar's REST API can be asked about the visitor.
func known(ctx context.Context, env actions.Env) bool {
	if env.REST == nil || !env.REST.Ready(ctx, env.Site.Name, actions.AccountToken) {
		return false
	}
	id, err := vendorID(ctx, env)
	return err == nil && id != ""
}

// userID returns BotStar's id of the user that the command means.
func userID(ctx context.Context, env actions.Env, field, given string) (string, error) {
	id, err := given, error(nil)
	if id == "" {
		id, err = vendorID(ctx, env)
	}
	switch {
	case err != nil:
		return "", err
	case id == "":
		return "", fault.New(fault.SchemaViolation, "BotStar's id of the visitor is not known").At("/params/"+field).
			WithFix("give %s, or tell it once by botstar.widget.update with botstar_user_id; BotStar's webhooks tell it by themselves", field)
	}
	return id, checkID(field, id)
}

// onUser calls the function with BotStar's id of the user that the command means.
// When the visitor's id that was kept names nobody any more, and the webhooks
// have told another one, that one counts from now on.
func onUser(ctx context.Context, env actions.Env, field, given string, do func(id string) error) error {
	id, err := userID(ctx, env, field, given)
	if err != nil {
		return err
	}
	err = do(id)
	if given != "" || reasonOf(err) != fault.VendorNotFound {
		return err
	}
	next, unheard := heard(ctx, env)
	if unheard != nil || next == "" || next == id {
		return err
	}
	env.Profile.VendorID = next
	return do(next)
}
