package botstar

import (
	"context"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// CloseIn is the input of botstar.widget.close: there is none.
type CloseIn struct{}

// CloseOut is the output of botstar.widget.close.
type CloseOut struct {
	// Open is always false: anything else is an error.
	Open bool `json:"open"`
	// Changed is false when the window was closed already.
	Changed bool `json:"changed"`
}

func shut() actions.Spec {
	spec := actions.Spec{
		Name:  "botstar.widget.close",
		Title: "Close chat widget",
		Description: "Closes the chat window; the launcher stays. It answers when the window's own callback has fired, " +
			"and says whether that changed anything.",
		Aliases: names("Close chat widget", hubName("Close BotStar Livechat Widget"), slug("BOTSTAR_LIVECHAT_CLOSE", "js")),
		Scope:   event.ClassWrite, Plane: actions.PlanePage,
		Needs: []actions.Fact{actions.Booted, actions.Windowed}, Makes: []actions.Fact{actions.Closed},
		Idempotent:   true,
		Timeout:      bounds(10*time.Second, 60*time.Second),
		Verification: "Our own onClose listener fired; from an isolated world: the frame is hidden, and the launcher is still there.",
		Reasons:      pageReasons(fault.NotBooted, fault.ModeNotSupported, fault.NotConfirmed, fault.WidgetFailed),
		Snippet:      fixedSnippet("BotStarApi('close');"),
	}
	return actions.New(spec,
		func(ctx context.Context, env actions.Env, _ CloseIn) (actions.Done[CloseOut], error) {
			changed, seen, err := toggle(ctx, env, "close")
			return actions.Done[CloseOut]{Output: CloseOut{Changed: changed}, Evidence: seen}, err
		},
		func(ctx context.Context, env actions.Env, _ CloseIn, _ CloseOut) (actions.Proof, error) {
			return proveWindow(ctx, env, "close")
		})
}
