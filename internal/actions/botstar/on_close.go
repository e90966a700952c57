package botstar

import (
	"context"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

func onClose() actions.Spec {
	spec := actions.Spec{
		Name:  "botstar.widget.on_close",
		Title: "Register close callback",
		Description: "Subscribes to the closed window: every close of this session becomes one event on the bus, with its cause. " +
			"A caller's JavaScript is accepted as text and never run. It works before the widget is booted.",
		Aliases: names("Register close callback", hubName("BotStar LiveChat onClose Callback"),
			slug("BOTSTAR_BOTSTAR_LIVECHAT_ON_CLOSE", "js_snippet"), slug("BOTSTAR_LIVECHAT_ON_CLOSE", "js_snippet")),
		Scope: event.ClassRead, Plane: actions.PlanePage, Idempotent: true,
		Timeout: bounds(10*time.Second, 60*time.Second),
		Verification: "The session's record holds the subscription, and the page says that our listeners are registered. " +
			"Before the boot there is nothing to look at.",
		Reasons: pageReasons(fault.BudgetExhausted),
		Snippet: callbackSnippet("onClose"),
	}
	return actions.New(spec,
		func(ctx context.Context, env actions.Env, in SubscribeIn) (actions.Done[SubscribeOut], error) {
			return subscribe(ctx, env, event.FactWidgetClosed, in)
		},
		func(ctx context.Context, env actions.Env, _ SubscribeIn, out SubscribeOut) (actions.Proof, error) {
			return proveSubscription(ctx, env, out)
		})
}
