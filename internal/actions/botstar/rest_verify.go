package botstar

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// lookPauses are the times between the looks of a read-back: BotStar may take a
// moment to show a change.
func lookPauses() []time.Duration {
	return []time.Duration{0, 200 * time.Millisecond, 500 * time.Millisecond, time.Second}
}

// glance is what a read-back saw.
type glance struct {
	ok   bool
	seen string
	// missing is true when what was looked for is not shown at all, which is not
	// the opposite.
	missing bool
}

// readBack looks until the effect is seen. The opposite is only believed when
// it stays; a look that fails proves nothing.
func readBack(ctx context.Context, env actions.Env, look func(context.Context) (glance, error)) (actions.Proof, error) {
	return readBackWith(ctx, env, lookPauses(), look)
}

// readBackWith is readBack with other times between the looks.
func readBackWith(
	ctx context.Context, env actions.Env, pauses []time.Duration, look func(context.Context) (glance, error),
) (actions.Proof, error) {
	var last glance
	var err error
	for _, pause := range pauses {
		if held := hold(ctx, pause); held != nil {
			err = held
			break
		}
		if last, err = look(ctx); err == nil && last.ok {
			return actions.Proof{Verdict: event.Confirmed, Evidence: []event.Evidence{evidence(env, "read_back", last.seen)}}, nil
		}
	}
	switch {
	case err != nil:
		failed := evidence(env, "read_back", "the read-back failed: "+err.Error())
		return actions.Proof{Verdict: event.Unconfirmed, Evidence: []event.Evidence{failed}}, nil //nolint:nilerr // It is done; only its proof is missing.
	case last.missing:
		return actions.Proof{Verdict: event.Unconfirmed, Evidence: []event.Evidence{evidence(env, "read_back", last.seen)}}, nil
	}
	return actions.Proof{Verdict: event.Contradicted, Evidence: []event.Evidence{evidence(env, "read_back", last.seen)}}, nil
}

// gone is the look at something that was deleted: the look must end in not
// found.
func gone(err error, what string) (glance, error) {
	switch {
	case err == nil:
		return glance{seen: what + " is still there"}, nil
	case reasonOf(err) == fault.VendorNotFound:
		return glance{ok: true, seen: what + " is not there any more"}, nil
	}
	return glance{}, err
}

// shows compares what is wanted with what is there, by name.
func shows(want, have map[string]any) glance {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		value, there := have[name]
		switch {
		case !there && !empty(want[name]):
			return glance{seen: fmt.Sprintf("%s is not shown", name), missing: true}
		case !sameValue(want[name], value):
			return glance{seen: fmt.Sprintf("%s has another value", name)}
		}
	}
	return glance{ok: true, seen: fmt.Sprintf("BotStar shows what was sent: %v", slices.Sorted(maps.Keys(want)))}
}

// sameValue reports whether two values of JSON mean the same. BotStar may give a
// number as a text, and nothing as an empty text.
func sameValue(a, b any) bool {
	if empty(a) && empty(b) || reflect.DeepEqual(a, b) {
		return true
	}
	switch a.(type) {
	case string, float64, bool:
		switch b.(type) {
		case string, float64, bool:
			return fmt.Sprint(a) == fmt.Sprint(b)
		}
	}
	return false
}

func empty(value any) bool { return value == nil || value == "" }

// asks is the verification of a read: its answer is what was asked for.
func asks(env actions.Env, ok bool, seen string) (actions.Proof, error) {
	proof := actions.Proof{Verdict: event.Confirmed, Evidence: []event.Evidence{evidence(env, "read_back", seen)}}
	if !ok {
		proof.Verdict = event.Contradicted
	}
	return proof, nil
}

// sameID is the verification of the read of one thing.
func sameID(env actions.Env, asked, got string) (actions.Proof, error) {
	if got != asked {
		return asks(env, false, "the answer is of another id: "+got)
	}
	return asks(env, true, "the answer is of the id that was asked for")
}

// everyID is the verification of a list.
func everyID[T any](env actions.Env, all []T, id func(T) string) (actions.Proof, error) {
	for i, one := range all {
		if id(one) == "" {
			return asks(env, false, fmt.Sprintf("element %d of the list has no id", i))
		}
	}
	return asks(env, true, fmt.Sprintf("a list of %d, each with its id", len(all)))
}

// The time of a REST action: one request may take 30 seconds, and its effect is
// looked at afterwards.
func restBounds() actions.Bounds { return bounds(60*time.Second, 5*time.Minute) }

// restReasons are the failures of every action that speaks to the REST API.
func restReasons(own ...fault.Reason) []fault.Reason {
	return slices.Concat(own, []fault.Reason{
		fault.UnsupportedExecutor, fault.TokenMissing, fault.TokenRefused, fault.VendorForbids, fault.VendorRejects,
		fault.VendorNotFound, fault.RateLimited, fault.VendorUnavailable, fault.VendorAnswerInvalid, fault.DeadlineExceeded,
	})
}

// reading describes a read by the REST API.
func reading(action, title, description, proof string) actions.Spec {
	return actions.Spec{
		Name: "botstar." + action, Title: title, Aliases: []actions.Alias{hubName(title)},
		Description: description + " It speaks to BotStar's REST API, with the token of the site.",
		Scope:       event.ClassRead, Plane: actions.PlaneREST, Idempotent: true,
		Timeout: restBounds(), Verification: proof, Reasons: restReasons(),
	}
}

// changing describes a change by the REST API that may be repeated.
func changing(action, title, description, proof string) actions.Spec {
	spec := reading(action, title, description, proof)
	spec.Scope = event.ClassWrite
	return spec
}

// making describes a change by the REST API that must not happen twice.
func making(action, title, description, proof string) actions.Spec {
	spec := changing(action, title, description, proof)
	spec.Idempotent, spec.Reasons = false, restReasons(fault.VendorConflict, fault.EffectUnknown)
	return spec
}

// restActions are the actions of the REST API.
func restActions() []actions.Spec {
	return []actions.Spec{
		listBots(), createBot(), getBot(), publishBot(),
		listBotAttributes(), createBotAttribute(), updateBotAttribute(), deleteBotAttribute(),
		getUser(), updateUser(), createUserAttribute(),
		listEntities(), createEntity(), getEntity(), updateEntity(), deleteEntity(),
		createFields(), updateFields(), deleteFields(),
		listItems(), createItem(), getItem(), updateItem(), deleteItem(),
		sendMessage(), broadcast(),
	}
}
