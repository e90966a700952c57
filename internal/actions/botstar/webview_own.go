package botstar

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/fault"
)

// webviewName is the driver's among the provider's further ones.
const webviewName = "webview"

// ownWebview returns the environment of the webview page that the visitor looks
// at: in the visitor's own tab we open nothing, and send nobody elsewhere. There
// our driver is the host that BotStar's SDK speaks to, as it is in a browser of
// ours. A page that runs with other inputs is loaded again when the address names
// it, and left alone when it does not.
func ownWebview(ctx context.Context, env actions.Env, address string, inputs map[string]any) (actions.Env, []actions.Notice, error) {
	on := env.On(actions.Further(env.Page, webviewName))
	if err := lookedAt(ctx, on, address); err != nil {
		return on, nil, err
	}
	got, err := start(ctx, on, hand{Inputs: inputs, Again: address != ""})
	if err = got.check(err); err != nil || !got.First {
		return on, nil, err
	}
	return on, webviewOpened(got.URL), nil
}

// lookedAt refuses a page that is no webview page, or another one than the
// address names.
func lookedAt(ctx context.Context, on actions.Env, address string) error {
	var shown struct {
		URL string `json:"url"`
	}
	if err := on.Look(ctx, "look.where", nil, &shown); err != nil {
		return fmt.Errorf("asking which page the visitor looks at: %w", err)
	}
	if allowed(on.Site, shown.URL) != nil || address != "" && !samePage(address, shown.URL) {
		return fault.New(fault.WebviewNotOpen, "the visitor's own tab shows another page than this webview page").At("/params/url").
			WithFix("run the action when the visitor looks at the page, or in a headless browser")
	}
	return nil
}

// samePage reports whether the address names the page. Its query counts where it
// has one; a fragment never does.
func samePage(address, shown string) bool {
	a, err := url.Parse(address)
	if err != nil {
		return false
	}
	b, err := url.Parse(shown)
	return err == nil && a.Scheme == b.Scheme && port(a) == port(b) && strings.EqualFold(a.Hostname(), b.Hostname()) &&
		rooted(a) == rooted(b) && (a.RawQuery == "" || a.RawQuery == b.RawQuery)
}

// rooted is the address's path, which is never empty.
func rooted(u *url.URL) string { return "/" + strings.TrimPrefix(u.EscapedPath(), "/") }
