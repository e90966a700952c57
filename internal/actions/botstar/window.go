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

// toggle opens or closes the window with one call of the driver, which answers
// when our own listener has fired.
func toggle(ctx context.Context, env actions.Env, function string) (changed bool, seen []event.Evidence, err error) {
	var answer struct {
		Changed bool `json:"changed"`
	}
	arg := struct {
		WaitMS int64 `json:"wait_ms"`
	}{waitMS(ctx, callbackWait)}
	if err := env.Do(ctx, function, arg, &answer); err != nil {
		disbelieve(env, err)
		return false, nil, fmt.Errorf("telling the window to %s: %w", function, err)
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

// proveWindow judges what the isolated world saw: when the callback came, if the
// signal is here already and shows what was asked for; else now, after a little
// time for an animation to end.
func proveWindow(ctx context.Context, env actions.Env, function string) (actions.Proof, error) {
	want := function == "open"
	sight := env.State.Sight
	if sight.Key != env.KeyOf(function) || sight.Open != want || !want && !sight.Launcher {
		name := "closed"
		if want {
			name = "open"
		}
		seen, err := look(ctx, env, lookArg{Want: name, WaitMS: waitMS(ctx, visibleWait)})
		if err != nil {
			return actions.Proof{}, err
		}
		if seen.Frames == 0 {
			return actions.Proof{Verdict: event.Unconfirmed, Evidence: []event.Evidence{evidence(env, "frame", "there is no frame")}}, nil
		}
		sight = actions.Sight{Open: seen.Visible, Launcher: seen.Launcher}
	}
	proof := actions.Proof{Verdict: event.Confirmed, Evidence: []event.Evidence{
		evidence(env, "frame", fmt.Sprintf("frame visible: %t, launcher visible: %t", sight.Open, sight.Launcher)),
	}}
	if sight.Open != want || !want && !sight.Launcher {
		proof.Verdict = event.Contradicted
	}
	return proof, nil
}
