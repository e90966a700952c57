package botstar

import (
	"context"
	"fmt"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// The most that the page waits for a callback, and that the second look waits
// for an animation to end.
const (
	callbackWait = 5 * time.Second
	visibleWait  = 2 * time.Second
)

// toggle opens or closes the window with one call of the driver. The driver
// answers when our own listener has fired.
func toggle(ctx context.Context, env actions.Env, function string) (changed bool, seen []event.Evidence, err error) {
	var answer struct {
		Changed bool `json:"changed"`
	}
	arg := struct {
		WaitMS int64 `json:"wait_ms"`
	}{waitMS(ctx, callbackWait)}
	if err := env.Do(ctx, function, arg, &answer); err != nil {
		disbelieve(env, err)
		return false, nil, fmt.Errorf("calling %s: %w", function, err)
	}
	if answer.Changed {
		seen = []event.Evidence{evidence(env, "callback", "our own "+callbackOf(function)+" listener fired")}
	}
	return answer.Changed, seen, nil
}

func callbackOf(function string) string {
	if function == "open" {
		return "onOpen"
	}
	return "onClose"
}

// disbelieve corrects the state when the page says that there is no widget, or
// that it could not be mounted again, so that the next command boots it. It
// leaves Open alone: see observe.
func disbelieve(env actions.Env, err error) {
	switch fault.From(err).Reason { //nolint:exhaustive // All others say nothing about the widget.
	case fault.NotBooted, fault.WidgetNotReady:
		env.State.Booted = false
	}
}

// proveWindow looks at the frame from the isolated world, and waits a little
// for an animation to end.
func proveWindow(ctx context.Context, env actions.Env, want string) (actions.Proof, error) {
	seen, err := look(ctx, env, lookArg{Want: want, WaitMS: waitMS(ctx, visibleWait)})
	if err != nil {
		return actions.Proof{}, err
	}
	proof := actions.Proof{Verdict: event.Confirmed, Evidence: []event.Evidence{
		evidence(env, "frame", fmt.Sprintf("frame visible: %t, launcher visible: %t", seen.Visible, seen.Launcher)),
	}}
	switch {
	case seen.Frames == 0:
		proof.Verdict = event.Unconfirmed
	case seen.Visible != (want == "open"):
		proof.Verdict = event.Contradicted
	case want == "closed" && !seen.Launcher:
		proof.Verdict = event.Contradicted
	}
	return proof, nil
}
