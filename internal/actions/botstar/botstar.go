// Package botstar knows BotStar: its actions, and the in-page driver that
// adapts its widget. What BotStar documents, and what it leaves open, is the
// contract that the comments here quote.
//
// The page says little: no method returns anything, there is no ready event,
// and nothing can be read back. So every action waits for a fact of its own
// (the frame has loaded, our own onOpen listener fired), and its verification
// looks at the document from a world of its own.
package botstar

import (
	_ "embed" // for the driver
	"regexp"
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// The name of the provider, and its widget's origin.
const (
	name         = "botstar"
	widgetOrigin = "https://widget.botstar.com"
)

// The widget's modes.
const (
	modeLivechat = "livechat"
	modePopup    = "popup"
	modeInline   = "inline"
	modeFullpage = "fullpage"
)

var (
	//go:embed driver.js
	driverMain string
	//go:embed look.js
	driverLook string
	//go:embed webview.js
	webviewMain string
	//go:embed webview_look.js
	webviewLook string

	appIDForm = regexp.MustCompile(`^s[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)
)

// Provider returns the catalogue's entry.
func Provider() actions.Provider {
	return actions.Provider{
		Name:  name,
		Title: "BotStar",
		Actions: slices.Concat([]actions.Spec{
			boot(), open(), shut(), update(), onOpen(), onClose(), setMode(),
			getState(), clearProfile(), getParameter(), sendResponse(), listIDs(),
		}, restActions()),
		Driver:     actions.Driver{Main: driverMain, Look: driverLook},
		Further:    map[string]actions.Driver{webviewName: webviewDriver()},
		Hosts:      hosts(),
		Modes:      modes(),
		Light:      light,
		Observe:    observe,
		Digest:     digest,
		Restore:    restore,
		CheckAppID: checkAppID,
	}
}

// hosts are BotStar's own: the entry script and the frame, the chunks, the
// webview SDK, and the pictures of the launcher.
func hosts() []string {
	return []string{
		"widget.botstar.com",
		"d1a354cq788jiu.cloudfront.net",
		"static.botstar.com",
		"app-upload-assets.cdn.botstar.com",
		"d1fmnevnt6737i.cloudfront.net",
	}
}

func modes() []string { return []string{modeLivechat, modePopup, modeInline, modeFullpage} }

// windowed reports whether the mode has a window that opens and closes.
func windowed(mode string) bool { return mode == modeLivechat || mode == modePopup }

func checkAppID(appID string) error {
	if appIDForm.MatchString(appID) {
		return nil
	}
	return fault.New(fault.SchemaViolation, "%q is not an app id of BotStar", clip(appID, 60)).
		WithFix("an app id is the letter s and a UUID, such as s00000000-0000-0000-0000-000000000000")
}

// bounds are the limits of an action's timeout. Nothing on a page is quicker
// than the least.
func bounds(usual, most time.Duration) actions.Bounds {
	return actions.Bounds{Min: 100 * time.Millisecond, Default: usual, Max: most}
}

// names are an action's aliases: the name on the product page, and the hub's
// display name and tool slug where a hub has the action.
func names(title string, hub ...actions.Alias) []actions.Alias {
	return slices.Concat([]actions.Alias{{Name: title, Kind: "title"}}, hub)
}

func hubName(display string) actions.Alias { return actions.Alias{Name: display, Kind: "hub"} }

func slug(name, snippetField string) actions.Alias {
	return actions.Alias{Name: name, Kind: "slug", SnippetField: snippetField}
}

// pageReasons are the failures of every action that speaks to a page.
func pageReasons(own ...fault.Reason) []fault.Reason {
	return slices.Concat(own, []fault.Reason{
		fault.PageLoadFailed, fault.PageNavigated, fault.PageCrashed, fault.PageHung,
		fault.StaleFence, fault.DeadlineExceeded,
	})
}

func evidence(env actions.Env, kind, seen string) event.Evidence {
	return event.Evidence{Kind: kind, Seen: clip(seen, 500), At: env.Now().UTC()}
}
