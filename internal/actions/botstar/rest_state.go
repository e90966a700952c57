package botstar

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
)

// What became of the question to BotStar's REST API.
const (
	remoteRead    = "read"
	remoteNoREST  = "no_rest"  // this executor does not speak to the API
	remoteNoToken = "no_token" // the site has no token
	remoteNoID    = "no_id"    // nobody has told BotStar's id of the visitor
	remoteRefused = "refused"  // the API was asked, and gave no user
)

// RemoteState is what BotStar itself says of the visitor, by its REST API. It is
// there only when it was asked for: it costs a call.
type RemoteState struct {
	// Status says what became of the question. read: everything else is BotStar's
	// answer. no_rest: this executor does not speak to the API. no_token: the site
	// has no token. no_id: nobody has told BotStar's id of the visitor. refused: the
	// API gave no user, and problem says why.
	Status string `json:"status" jsonschema:"enum=read,enum=no_rest,enum=no_token,enum=no_id,enum=refused"`
	// Problem is the reason of the failure, such as vendor_not_found.
	Problem string `json:"problem,omitempty"`
	// BotStarUserID is BotStar's own id of the visitor.
	BotStarUserID string `json:"botstar_user_id,omitempty"`
	FirstName     string `json:"first_name,omitempty"`
	LastName      string `json:"last_name,omitempty"`
	Email         string `json:"email,omitempty"`
	Gender        string `json:"gender,omitempty"`
	Birthday      string `json:"birthday,omitempty"`
	Channel       string `json:"channel,omitempty"`
	Locale        string `json:"locale,omitempty"`
	// Tags are the user's tags.
	Tags []string `json:"tags,omitempty"`
	// Attributes are the custom attributes, and whatever else BotStar keeps.
	Attributes map[string]any `json:"attributes,omitempty"`
	// ReadAt is when BotStar answered.
	ReadAt *time.Time `json:"read_at,omitempty"`
}

// readRemote asks BotStar of the visitor. That it cannot be asked is an answer,
// too: the other groups are worth having.
func readRemote(ctx context.Context, env actions.Env) *RemoteState {
	if unasked := unasked(ctx, env); unasked != "" {
		return &RemoteState{Status: unasked}
	}
	u, err := visitorAt(ctx, env)
	if err != nil {
		return &RemoteState{Status: remoteRefused, Problem: string(reasonOf(err)), BotStarUserID: env.Profile.VendorID}
	}
	return remoteOf(u, env.Now().UTC())
}

// unasked says why BotStar cannot be asked; "" when it can.
func unasked(ctx context.Context, env actions.Env) string {
	switch {
	case env.REST == nil:
		return remoteNoREST
	case !env.REST.Ready(ctx, env.Site.Name, actions.AccountToken):
		return remoteNoToken
	case !known(ctx, env):
		return remoteNoID
	}
	return ""
}

// remoteOf sorts what BotStar keeps of the user.
func remoteOf(u User, at time.Time) *RemoteState {
	r := &RemoteState{Status: remoteRead, ReadAt: &at, Attributes: map[string]any{}}
	maps.Copy(r.Attributes, u)
	for name, field := range map[string]*string{
		"id": &r.BotStarUserID, "first_name": &r.FirstName, "last_name": &r.LastName, "email": &r.Email,
		"gender": &r.Gender, "birthday": &r.Birthday, "channel": &r.Channel, "locale": &r.Locale,
	} {
		*field = stringOf(u[name])
		delete(r.Attributes, name)
	}
	tags, _ := u["tags"].([]any)
	for _, tag := range tags {
		r.Tags = append(r.Tags, stringOf(tag))
	}
	slices.Sort(r.Tags)
	delete(r.Attributes, "tags")
	delete(r.Attributes, "otn_topics") // They hold tokens of another vendor.
	return r
}

// proveRemote says whether the answer is of the visitor. Nil is no proof at all.
func proveRemote(env actions.Env, r *RemoteState) *actions.Proof {
	if r == nil || r.Status != remoteRead {
		return nil
	}
	proof := actions.Proof{Verdict: event.Confirmed, Evidence: []event.Evidence{evidence(env, "rest", "BotStar showed the user "+clip(r.BotStarUserID, 60))}}
	if r.BotStarUserID != env.Profile.VendorID {
		proof.Verdict = event.Contradicted
	}
	return &proof
}
