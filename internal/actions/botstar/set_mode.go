package botstar

import (
	"context"
	"fmt"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// SetModeIn is the input of botstar.widget.set_mode.
type SetModeIn struct {
	// Mode is the mode that the widget is to have.
	Mode string `json:"mode" jsonschema:"enum=livechat,enum=popup,enum=inline,enum=fullpage"`
	// Selector is a CSS selector of the element to show an inline widget in. Its
	// content is replaced. Without it, the page's own elements of the class
	// chatbot-container are used.
	Selector string `json:"selector,omitempty" jsonschema:"maxLength=512"`
}

// SetModeOut is the output of botstar.widget.set_mode.
type SetModeOut struct {
	Mode string `json:"mode"`
	// From is the mode before.
	From string `json:"from"`
	// Remounted is false when the widget had the mode already.
	Remounted bool `json:"remounted"`
	// Listening is true when our listeners are registered with the new widget.
	Listening bool `json:"listening"`

	settings settings
}

func setMode() actions.Spec {
	spec := actions.Spec{
		Name:  "botstar.widget.set_mode",
		Title: "Set widget mode",
		Description: "Changes the mode of the running widget. BotStar's boot cannot be trusted to do that, so the widget is taken " +
			"down completely and mounted again with the settings that it had. Subscriptions and listeners survive; " +
			"an open window is closed by it.",
		Aliases: names("Set widget mode"),
		Scope:   event.ClassWrite, Plane: actions.PlanePage,
		Needs: []actions.Fact{actions.Booted}, Idempotent: true,
		Timeout: bounds(30*time.Second, 120*time.Second),
		Verification: "From an isolated world: exactly one container (none for inline), its mode class and the mode in the frame's " +
			"address are the asked ones; our listeners are registered again.",
		Reasons: pageReasons(
			fault.NotBooted, fault.NoInlineTarget, fault.SchemaViolation,
			fault.WidgetNotReady, fault.WidgetFailed,
		),
	}
	return actions.New(spec, runSetMode, verifySetMode)
}

func runSetMode(ctx context.Context, env actions.Env, in SetModeIn) (actions.Done[SetModeOut], error) {
	s := env.State
	want := settings{AppID: s.AppID, Mode: in.Mode, User: s.User, Variables: s.Variables, Block: s.Block}
	arg := struct {
		Settings settings `json:"settings"`
		Selector string   `json:"selector"`
		WaitMS   int64    `json:"wait_ms"`
	}{want, in.Selector, waitMS(ctx, 120*time.Second)}
	var answer struct {
		From      string `json:"from"`
		Mode      string `json:"mode"`
		AppID     string `json:"app_id"`
		Remounted bool   `json:"remounted"`
		Listening bool   `json:"listening"`
	}
	if err := env.Do(ctx, "set_mode", arg, &answer); err != nil {
		disbelieve(env, err)
		return actions.Done[SetModeOut]{}, fmt.Errorf("changing the mode: %w", err)
	}
	s.AppID, s.Mode, s.Booted = answer.AppID, answer.Mode, true
	done := actions.Done[SetModeOut]{Output: SetModeOut{
		Mode: answer.Mode, From: answer.From, Remounted: answer.Remounted, Listening: answer.Listening, settings: want,
	}}
	if answer.Remounted {
		done.Notices = []actions.Notice{{Name: event.FactModeChanged, Data: func(o event.Occurrence) any {
			return event.WidgetModeChanged{Occurrence: o, From: answer.From, Mode: answer.Mode}
		}}}
	}
	return done, nil
}

func verifySetMode(ctx context.Context, env actions.Env, in SetModeIn, out SetModeOut) (actions.Proof, error) {
	seen, err := look(ctx, env, lookArg{})
	if err != nil {
		return actions.Proof{}, err
	}
	sent := ""
	if out.Remounted {
		sent = "config"
	}
	proof := seen.proveMount(env, env.State.AppID, in.Mode, sent, out.settings)
	if !out.Listening {
		proof.Verdict = event.Contradicted
		proof.Evidence = append(proof.Evidence, evidence(env, "callback", "our listeners are not registered with the new widget"))
	}
	return proof, nil
}
