package botstar

import (
	"context"
	"fmt"
	"sync"
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

// A glance is a look at the window that was taken while the driver worked.
type glance struct {
	seen view
	ok   bool
}

// toggle opens or closes the window with one call of the driver, which answers
// when our own listener has fired. The look from the isolated world is on its
// way at the same time, and waits there for the effect: it costs no time of its
// own.
func toggle(ctx context.Context, env actions.Env, function, want string) (changed bool, g glance, seen []event.Evidence, err error) {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var watcher sync.WaitGroup
	watcher.Go(func() { g = takeGlance(watching, env, want) })
	var answer struct {
		Changed bool `json:"changed"`
	}
	arg := struct {
		WaitMS int64 `json:"wait_ms"`
	}{waitMS(ctx, callbackWait)}
	err = env.Do(ctx, function, arg, &answer)
	if err != nil {
		stop()
		watcher.Wait()
		disbelieve(env, err)
		return false, g, nil, fmt.Errorf("telling the window to %s: %w", function, err)
	}
	watcher.Wait()
	if answer.Changed {
		seen = []event.Evidence{evidence(env, "callback", "our own "+callbackOf(function)+" listener fired")}
	}
	return answer.Changed, g, seen, nil
}

func takeGlance(ctx context.Context, env actions.Env, want string) glance {
	seen, err := look(ctx, env, lookArg{Want: want, WaitMS: waitMS(ctx, visibleWait)})
	return glance{seen, err == nil}
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

// proveWindow judges what was seen from the isolated world. It looks again when
// nothing was seen yet.
func proveWindow(ctx context.Context, env actions.Env, g glance, want string) (actions.Proof, error) {
	seen := g.seen
	if !g.ok || seen.Visible != (want == "open") {
		var err error
		if seen, err = look(ctx, env, lookArg{}); err != nil {
			return actions.Proof{}, err
		}
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
