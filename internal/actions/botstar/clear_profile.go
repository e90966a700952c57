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
	// BotStarUserID is BotStar's own id of the visitor, for the scopes remote and
	// both. What Parley has kept of it, or BotStar's webhooks have told, when it is
	// left out.
	BotStarUserID string `json:"botstar_user_id,omitempty" jsonschema:"minLength=1,maxLength=256"`
}

// browser reports whether the browser is to be cleared.
func (in ClearProfileIn) browser() bool { return in.Scope != "remote" }

// remote reports whether the user at BotStar is to be cleared.
func (in ClearProfileIn) remote() bool { return in.Scope == "remote" || in.Scope == "both" }

// ClearProfileOut is the output of botstar.user.clear_profile.
type ClearProfileOut struct {
	// BrowserCleared is true when everything was removed that the widget's origin
	// had stored. In the visitor's own tab it never is: no page reaches that.
	BrowserCleared bool `json:"browser_cleared"`
	// PageCleared is true when the widget was taken down, and what carries its name
	// in the page's own origin was removed.
	PageCleared   bool `json:"page_cleared"`
	RemoteCleared bool `json:"remote_cleared"`
	// RemoteDeleted is always false: BotStar has no call that deletes a user.
	RemoteDeleted bool `json:"remote_deleted"`
	// Remounted is true when the widget runs again, without a user.
	Remounted bool `json:"remounted"`

	vendorID string // whom the verification looks at
}

func clearProfile() actions.Spec {
	spec := actions.Spec{
		Name:  "botstar.user.clear_profile",
		Title: "Clear user profile",
		Description: "Forgets the visitor. In the browser: everything that the widget's origin stored is removed, Parley's own kept and " +
			"waiting attributes are dropped, and the widget is mounted again without a user. " +
			"In the visitor's own tab what the widget's frame has stored stays, since no page reaches it: browser_cleared is false then. " +
			"At BotStar, by its REST API: first and last name, e-mail, gender and birthday are emptied, and the tags too where the widget runs. " +
			"That needs a token and BotStar's id of the visitor, and no page where only the scope remote is asked for. BotStar cannot delete a user.",
		Aliases: names("Clear user profile"),
		Scope:   event.ClassWrite, Plane: actions.PlanePage, Idempotent: true,
		Timeout: bounds(30*time.Second, 120*time.Second),
		Verification: "The browser has confirmed that stores and cookies of the widget's origin are cleared; from an isolated world: " +
			"one container, and the new frame's initData holds no user. In the visitor's own tab the frame's storage cannot be looked at: " +
			"unverifiable. At BotStar: it shows the fields empty, and no tags.",
		Reasons: pageReasons(fault.TokenMissing, fault.TokenRefused, fault.VendorNotFound, fault.RateLimited, fault.VendorUnavailable, fault.UnsupportedExecutor, fault.WidgetNotReady, fault.WidgetFailed),
		Detour:  clearDetour(),
	}
	return actions.New(spec, runClear, verifyClear)
}

func runClear(ctx context.Context, env actions.Env, in ClearProfileIn) (actions.Done[ClearProfileOut], error) {
	done := actions.Done[ClearProfileOut]{}
	if in.remote() {
		there, err := clearRemote(ctx, env, in)
		done.Evidence, done.Advice = there.evidence, there.advice
		if err != nil {
			return done, err
		}
		done.Output.RemoteCleared, done.Output.vendorID = true, there.id
	}
	if in.browser() {
		if err := in.clearHere(ctx, env, &done); err != nil {
			return done, err
		}
	}
	out := done.Output
	done.Notices = []actions.Notice{{Name: event.FactUserCleared, Data: func(o event.Occurrence) any {
		return event.UserCleared{Occurrence: o, Browser: out.BrowserCleared, OwnPage: out.PageCleared, Remote: out.RemoteCleared}
	}}}
	return done, nil
}

// clearHere clears the browser, and what Parley itself keeps.
func (ClearProfileIn) clearHere(ctx context.Context, env actions.Env, done *actions.Done[ClearProfileOut]) error {
	remounted, err := clearBrowser(ctx, env)
	if err != nil {
		return err
	}
	// BotStar's budget does not come back, and its page has another user now.
	*env.Profile = actions.Profile{Sent: env.Profile.Sent, SentFor: env.Profile.SentFor, ClearedAt: env.Now().UTC()}
	done.Output.BrowserCleared, done.Output.PageCleared, done.Output.Remounted = env.Browser != nil, true, remounted
	if env.Browser == nil {
		done.Advice = adviceFrame
		return nil
	}
	done.Evidence = append(done.Evidence, evidence(env, "storage", "the browser has cleared the stores and cookies of "+widgetOrigin))
	return nil
}

const adviceFrame = "what the widget's frame has stored in the visitor's own browser stays, and with it who an anonymous visitor is to BotStar: " +
	"only the visitor can clear it, in the browser's settings"

// clearOrigins removes what was stored, after the widget was taken down.
func clearOrigins(ctx context.Context, env actions.Env) error {
	if err := env.Do(ctx, "forget", nil, nil); err != nil {
		return fmt.Errorf("clearing the page's own storage: %w", err)
	}
	if env.Browser == nil {
		return nil
	}
	if err := env.Browser.ClearOrigin(ctx, widgetOrigin); err != nil {
		return fmt.Errorf("clearing the widget's storage: %w", err)
	}
	return nil
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
	if err := clearOrigins(ctx, env); err != nil {
		return false, err
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
	remote := actions.Proof{Verdict: event.Confirmed}
	if out.RemoteCleared {
		var err error
		if remote, err = verifyRemote(ctx, env, out.vendorID); err != nil {
			return actions.Proof{}, err
		}
	}
	if !out.PageCleared {
		return remote, nil
	}
	page, err := verifyPage(ctx, env)
	if err != nil {
		return actions.Proof{}, err
	}
	here, err := verifyBrowser(ctx, env, out)
	return both(both(here, page), remote), err
}

// verifyPage looks at what the page's own origin keeps. What the frame keeps
// nobody can look at in the visitor's own browser.
func verifyPage(ctx context.Context, env actions.Env) (actions.Proof, error) {
	var seen struct {
		Kept int `json:"kept"`
	}
	if err := env.Look(ctx, "look.kept", nil, &seen); err != nil {
		return actions.Proof{}, fmt.Errorf("looking at the page's storage: %w", err)
	}
	proof := actions.Proof{Verdict: event.Confirmed, Evidence: []event.Evidence{
		evidence(env, "storage", fmt.Sprintf("%d entries of the widget are left in the page's own origin", seen.Kept)),
	}}
	switch {
	case seen.Kept > 0:
		proof.Verdict = event.Contradicted
	case env.Browser == nil:
		proof.Verdict = event.Unverifiable
		proof.Evidence = append(proof.Evidence, evidence(env, "storage", "what the frame of "+widgetOrigin+" keeps cannot be looked at from a page"))
	}
	return proof, nil
}

// verifyBrowser looks at the page after its browser was cleared.
func verifyBrowser(ctx context.Context, env actions.Env, out ClearProfileOut) (actions.Proof, error) {
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
