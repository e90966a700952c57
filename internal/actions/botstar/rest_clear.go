package botstar

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// personal are the fields that BotStar keeps of everyone, and that can be
// emptied.
func personal() []string { return []string{"first_name", "last_name", "email", "gender", "birthday"} }

// blank is a user whose personal fields are empty.
func blank() map[string]any {
	fields := map[string]any{}
	for _, name := range personal() {
		fields[name] = ""
	}
	return fields
}

const adviceTags = "the user's tags stay at BotStar: its REST API cannot change them, and no widget runs that could"

// cleared is what became of the user at BotStar.
type cleared struct {
	id       string
	evidence []event.Evidence
	advice   string
}

// clearRemote empties what BotStar keeps of the user: the fields by its REST
// API, which cannot change tags, and the tags by the widget where it runs.
func clearRemote(ctx context.Context, env actions.Env, in ClearProfileIn) (c cleared, err error) {
	a, err := rest(env, OfBot{})
	if err != nil {
		return c, err
	}
	var before User
	err = onUser(ctx, env, vendorKey, in.BotStarUserID, func(id string) (err error) {
		c.id = id
		before, err = a.user(ctx, id)
		return err
	})
	if err != nil {
		return c, err
	}
	if c.evidence, err = a.patchUser(ctx, c.id, blank(), &map[string]any{}); err != nil {
		return c, err
	}
	if tags, _ := before["tags"].([]any); len(tags) > 0 {
		c.advice, err = clearTags(ctx, env, c.id)
	}
	return c, err
}

// clearTags has the widget empty the tags of its user. Where it cannot, the
// advice says so.
func clearTags(ctx context.Context, env actions.Env, id string) (advice string, err error) {
	purse, now := budget{env.Profile, updateAction}, env.Now().UTC()
	other := env.Profile.VendorID != "" && id != env.Profile.VendorID
	if other || env.Page == nil || !env.State.Booted || purse.left(now) == 0 {
		return adviceTags, nil
	}
	arg := struct {
		Attributes Attributes `json:"attributes"`
	}{Attributes{"tags": []any{}}}
	if err := env.Do(ctx, "update", arg, nil); err != nil {
		return "", fmt.Errorf("clearing the tags: %w", err)
	}
	purse.spend(now, env.Key)
	return "", nil
}

// clearDetour clears what BotStar keeps when no page can be reached, and nothing
// else is asked.
func clearDetour() *actions.Detour {
	return &actions.Detour{
		Action: "botstar.users.update",
		Open: func(ctx context.Context, env actions.Env, params json.RawMessage) bool {
			var in ClearProfileIn
			return json.Unmarshal(params, &in) == nil && !in.browser() && reachable(ctx, env, in.BotStarUserID)
		},
		Run: runClearDetour,
	}
}

// reachable reports whether the API can be asked of the user that is given, or of
// the visitor.
func reachable(ctx context.Context, env actions.Env, given string) bool {
	if given == "" {
		return known(ctx, env)
	}
	return env.REST != nil && env.REST.Ready(ctx, env.Site.Name, actions.AccountToken)
}

func runClearDetour(ctx context.Context, env actions.Env, params json.RawMessage) (actions.Outcome, actions.Proof, error) {
	var in ClearProfileIn
	if err := json.Unmarshal(params, &in); err != nil {
		return actions.Outcome{}, actions.Proof{}, fault.New(fault.SchemaViolation, "reading the parameters").Because(err)
	}
	done, err := runClear(ctx, env, in)
	if err != nil {
		return actions.Outcome{}, actions.Proof{}, err
	}
	proof, err := verifyRemote(ctx, env, done.Output.vendorID)
	return actions.Outcome{Output: done.Output, Advice: done.Advice, Evidence: done.Evidence, Notices: done.Notices}, proof, err
}

// verifyRemote reads the user back: the fields are empty, and there are no tags.
func verifyRemote(ctx context.Context, env actions.Env, id string) (actions.Proof, error) {
	return readBackWith(ctx, env, updatePauses(), func(ctx context.Context) (glance, error) {
		a, err := rest(env, OfBot{})
		if err != nil {
			return glance{}, err
		}
		u, err := a.user(ctx, id)
		if err != nil {
			return glance{}, err
		}
		if tags, _ := u["tags"].([]any); len(tags) > 0 {
			return glance{seen: fmt.Sprintf("BotStar still shows %d tag(s)", len(tags)), missing: true}, nil
		}
		return shows(blank(), u), nil
	})
}

// both joins two proofs: the worse verdict counts.
func both(a, b actions.Proof) actions.Proof {
	order := []event.Verdict{event.Confirmed, event.Unverifiable, event.Unconfirmed, event.Contradicted}
	if slices.Index(order, b.Verdict) > slices.Index(order, a.Verdict) {
		a.Verdict = b.Verdict
	}
	a.Evidence = slices.Concat(a.Evidence, b.Evidence)
	return a
}
