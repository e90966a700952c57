package botstar

import (
	"context"
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

// clearRemote empties what BotStar keeps of the user: the fields by its REST
// API, which cannot change tags, and the tags by the widget where it runs.
func clearRemote(ctx context.Context, env actions.Env, in ClearProfileIn) (evidence []event.Evidence, advice string, err error) {
	a, id, err := OfUser{UserID: in.BotStarUserID}.api(env)
	if err != nil {
		return nil, "", err
	}
	before, err := a.user(ctx, id)
	if err != nil {
		return nil, "", err
	}
	echo := map[string]any{}
	if evidence, err = a.patchUser(ctx, id, blank(), &echo); err != nil {
		return evidence, "", err
	}
	tags, _ := before["tags"].([]any)
	purse := budget{env.Profile, updateAction}
	switch now := env.Now().UTC(); {
	case len(tags) == 0:
	case env.Page == nil || !env.State.Booted || purse.left(now) == 0 || env.Profile.VendorID != "" && id != env.Profile.VendorID:
		advice = adviceTags
	default:
		arg := struct {
			Attributes Attributes `json:"attributes"`
		}{Attributes{"tags": []any{}}}
		if err := env.Do(ctx, "update", arg, nil); err != nil {
			return evidence, "", fmt.Errorf("clearing the tags: %w", err)
		}
		purse.spend(now, env.Key)
	}
	return evidence, advice, nil
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

// unreachable says why the browser of the visitor cannot be cleared.
func unreachable() error {
	return fault.New(fault.UnsupportedExecutor, "the widget's storage in the visitor's own browser is out of reach").
		WithFix("run the action in a headless browser")
}
