package botstar

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// updateDetour changes the visitor by the REST API.
func updateDetour() *actions.Detour {
	return &actions.Detour{
		Action: "botstar.users.update",
		Open: func(ctx context.Context, env actions.Env, params json.RawMessage) bool {
			_, _, ok := detoured(env, params) // It may tell BotStar's id of the visitor.
			return ok && known(ctx, env)
		},
		Run: runUpdateDetour,
	}
}

// detoured gathers what an update would send, and returns it as the REST API
// takes it. ok is false when it cannot take all of it: tags, the picture, or
// another identity than the visitor's.
func detoured(env actions.Env, params json.RawMessage) (b batch, attributes map[string]any, ok bool) {
	var in UpdateIn
	if json.Unmarshal(params, &in) != nil {
		return b, nil, false
	}
	b, err := gather(env, in)
	if err != nil {
		return b, nil, false
	}
	attributes = map[string]any{}
	maps.Copy(attributes, b.attributes)
	if who, there := attributes[userIDKey]; there {
		if who != env.Visitor.UserID {
			return b, nil, false
		}
		delete(attributes, userIDKey)
	}
	return b, attributes, checkUserAttributes(attributes) == nil
}

func runUpdateDetour(ctx context.Context, env actions.Env, params json.RawMessage) (actions.Outcome, actions.Proof, error) {
	b, attributes, ok := detoured(env, params)
	if !ok {
		return actions.Outcome{}, actions.Proof{}, fault.New(fault.UnsupportedExecutor, "BotStar's REST API cannot change all of that")
	}
	a, err := rest(env, OfBot{})
	if err != nil {
		return actions.Outcome{}, actions.Proof{}, err
	}
	var id string
	var seen []event.Evidence
	err = onUser(ctx, env, vendorKey, "", func(known string) (err error) {
		id = known
		seen, err = a.patchUser(ctx, id, attributes, &map[string]any{})
		return err
	})
	if err != nil {
		return actions.Outcome{}, actions.Proof{}, err
	}
	purse := budget{env.Profile, updateAction}
	done := b.sent(env, purse, env.Now().UTC())
	done.Evidence = seen
	proof, err := readBack(ctx, env, userShows(env, OfBot{}, id, attributes))
	return actions.Outcome{
		Output: done.Output, Advice: done.Advice, Evidence: done.Evidence, Notices: done.Notices,
	}, proof, err
}

// updatePauses are the times between the looks for what a page has sent: it is
// on its way from the browser to BotStar.
func updatePauses() []time.Duration {
	return []time.Duration{0, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second}
}

// verifyUpdate reads the user back where BotStar's id of the visitor is known.
// Else it is honest: a page shows nothing of an update.
func verifyUpdate(ctx context.Context, env actions.Env, _ UpdateIn, out UpdateOut) (actions.Proof, error) {
	if !out.Applied || !known(ctx, env) {
		return actions.Proof{Verdict: event.Unverifiable}, nil
	}
	want := map[string]any{}
	for _, name := range out.Attributes {
		if value, there := env.State.User[name]; there && name != userIDKey {
			want[name] = value
		}
	}
	if len(want) == 0 {
		return actions.Proof{Verdict: event.Unverifiable}, nil
	}
	return readBackWith(ctx, env, updatePauses(), func(ctx context.Context) (glance, error) {
		u, err := visitorAt(ctx, env)
		if err != nil {
			return glance{}, err
		}
		return shows(restNames(want), withTags(u)), nil
	})
}

// restNames gives the attributes of a page the names that the REST API has for
// them, and tags one order.
func restNames(page map[string]any) map[string]any {
	named := maps.Clone(page)
	if picture, there := named["avatar"]; there {
		delete(named, "avatar")
		named["picture"] = picture
	}
	return withTags(named)
}

// withTags puts the tags into one order, as a text.
func withTags(of map[string]any) map[string]any {
	tags, there := of["tags"].([]any)
	if !there {
		return of
	}
	sorted := make([]string, 0, len(tags))
	for _, tag := range tags {
		sorted = append(sorted, fmt.Sprint(tag))
	}
	slices.Sort(sorted)
	named := maps.Clone(of)
	named["tags"] = strings.Join(slices.Compact(sorted), "\n")
	return named
}
