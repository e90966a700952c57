package botstar

import (
	"context"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// OpenIn is the input of botstar.widget.open: there is none.
type OpenIn struct{}

// OpenOut is the output of botstar.widget.open.
type OpenOut struct {
	// Open is always true: anything else is an error.
	Open bool `json:"open"`
	// Changed is false when the window was open already.
	Changed bool `json:"changed"`
}

func open() actions.Spec {
	spec := actions.Spec{
		Name:        "botstar.widget.open",
		Title:       "Open chat widget",
		Description: "Opens the chat window. It answers when the window's own callback has fired, and says whether that changed anything.",
		Aliases:     names("Open chat widget", hubName("Livechat open"), slug("BOTSTAR_LIVECHAT_OPEN", "js")),
		Scope:       event.ClassWrite, Plane: actions.PlanePage,
		Needs: []actions.Fact{actions.Booted, actions.Windowed}, Makes: []actions.Fact{actions.Open},
		Idempotent:   true,
		Timeout:      bounds(10*time.Second, 60*time.Second),
		Verification: "Our own onOpen listener fired; from an isolated world: the frame is visible.",
		Reasons:      pageReasons(fault.NotBooted, fault.ModeNotSupported, fault.NotConfirmed, fault.WidgetFailed),
		Snippet:      fixedSnippet("BotStarApi('open');"),
	}
	return actions.New(spec,
		func(ctx context.Context, env actions.Env, _ OpenIn) (actions.Done[OpenOut], error) {
			changed, seen, err := toggle(ctx, env, "open")
			return actions.Done[OpenOut]{Output: OpenOut{Open: true, Changed: changed}, Evidence: seen}, err
		},
		func(ctx context.Context, env actions.Env, _ OpenIn, _ OpenOut) (actions.Proof, error) {
			return proveWindow(ctx, env, "open")
		})
}
