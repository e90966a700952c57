package botstar

import (
	"context"
	"fmt"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// ClearProfileIn is the input of botstar.user.clear_profile.
type ClearProfileIn struct {
	// Scope says where to clear: in the browser, at BotStar, or both. The browser
	// when it is left out.
	Scope string `json:"scope,omitempty" jsonschema:"enum=browser,enum=remote,enum=both"`
}

// ClearProfileOut is the output of botstar.user.clear_profile.
type ClearProfileOut struct {
	BrowserCleared bool `json:"browser_cleared"`
	RemoteCleared  bool `json:"remote_cleared"`
	// RemoteDeleted is always false: BotStar has no call that deletes a user.
	RemoteDeleted bool `json:"remote_deleted"`
	// Remounted is true when the widget runs again, without a user.
	Remounted bool `json:"remounted"`
}

func clearProfile() actions.Spec {
	spec := actions.Spec{
		Name:  "botstar.user.clear_profile",
		Title: "Clear user profile",
		Description: "Forgets the visitor. In the browser: everything that the widget's origin stored is removed, Parley's own kept and " +
			"waiting attributes are dropped, and the widget is mounted again without a user. " +
			"At BotStar: needs the REST API, which this executor does not have. BotStar cannot delete a user.",
		Aliases: names("Clear user profile"),
		Scope:   event.ClassWrite, Plane: actions.PlanePage, Idempotent: true,
		Timeout: bounds(30*time.Second, 120*time.Second),
		Verification: "The browser has confirmed that stores and cookies of the widget's origin are cleared; from an isolated world: " +
			"one container, and the new frame's initData holds no user.",
		Reasons: pageReasons(fault.UnsupportedExecutor, fault.WidgetNotReady, fault.WidgetFailed),
	}
	return actions.New(spec, runClear, verifyClear)
}

func runClear(ctx context.Context, env actions.Env, in ClearProfileIn) (actions.Done[ClearProfileOut], error) {
	done := actions.Done[ClearProfileOut]{}
	switch {
	case in.Scope == "remote":
		return done, fault.New(fault.UnsupportedExecutor, "clearing at BotStar needs its REST API").
			WithFix("use the scope browser, or clear the user in BotStar's inbox")
	case env.Browser == nil:
		return done, fault.New(fault.UnsupportedExecutor, "the widget's storage in the visitor's own browser is out of reach").
			WithFix("run the action in a headless browser")
	case in.Scope == "both":
		done.Advice = "only the browser was cleared: clearing at BotStar needs its REST API"
	}
	remounted, err := clearBrowser(ctx, env)
	if err != nil {
		return done, err
	}
	*env.Profile = actions.Profile{Sent: env.Profile.Sent, SentFor: env.Profile.SentFor} // BotStar's budget does not come back.
	done.Evidence = []event.Evidence{evidence(env, "storage", "the browser has cleared the stores and cookies of "+widgetOrigin)}
	done.Output = ClearProfileOut{BrowserCleared: true, Remounted: remounted}
	done.Notices = []actions.Notice{{Name: event.FactUserCleared, Data: func(o event.Occurrence) any {
		return event.UserCleared{Occurrence: o, Browser: true}
	}}}
	return done, nil
}

// clearBrowser takes the widget down first, so that its frame cannot write
// after the clearing, and mounts it again when it was there.
func clearBrowser(ctx context.Context, env actions.Env) (remounted bool, err error) {
	var was struct {
		Mounted bool   `json:"mounted"`
		AppID   string `json:"app_id"`
		Mode    string `json:"mode"`
	}
	arg := struct {
		WaitMS int64 `json:"wait_ms"`
	}{waitMS(ctx, callbackWait)}
	if err := env.Do(ctx, "unmount", arg, &was); err != nil {
		return false, fmt.Errorf("taking the widget down: %w", err)
	}
	env.State.Booted = false
	if err := env.Browser.ClearOrigin(ctx, widgetOrigin); err != nil {
		return false, fmt.Errorf("clearing the widget's storage: %w", err)
	}
	env.State.User, env.State.Variables, env.State.Block = nil, nil, ""
	if !was.Mounted {
		return false, nil
	}
	want := settings{
		AppID: firstOf(was.AppID, env.State.AppID, env.Site.AppID), Mode: was.Mode,
		Variables: env.Site.Variables, Block: env.Site.Block,
	}
	_, err = mount(ctx, env, want)
	return err == nil, err
}

func verifyClear(ctx context.Context, env actions.Env, _ ClearProfileIn, out ClearProfileOut) (actions.Proof, error) {
	seen, err := look(ctx, env, lookArg{})
	if err != nil {
		return actions.Proof{}, err
	}
	if !out.Remounted {
		proof := actions.Proof{Verdict: event.Confirmed, Evidence: []event.Evidence{
			evidence(env, "dom", fmt.Sprintf("%d frame(s) of the widget are left", seen.Frames)),
		}}
		if seen.Frames > 0 {
			proof.Verdict = event.Contradicted
		}
		return proof, nil
	}
	proof := seen.proveMount(env, env.State.AppID, env.State.Mode, "config", settings{
		Variables: env.Site.Variables, Block: env.Site.Block,
	})
	if users := seen.users(); len(users) > 0 {
		proof.Verdict = event.Contradicted
		proof.Evidence = append(proof.Evidence, evidence(env, "query", fmt.Sprintf("initData still holds %v", users)))
	}
	return proof, nil
}
