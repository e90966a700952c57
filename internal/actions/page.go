package actions

import (
	"context"
	"encoding/json"
	"iter"
)

// Page is a tab that shows the widget: one of our browsers', or the visitor's
// own. Its signatures use only standard types, so the implementers need not
// know this package.
type Page interface {
	// Call runs the named function of the driver. Argument and result travel as
	// JSON. A name that begins with "look." runs, in a browser of ours, in a
	// world of its own that the page's scripts cannot touch: it sees the
	// document and nothing else. An error that the driver threw comes back as a
	// *fault.Error with its reason.
	Call(ctx context.Context, name string, arg, out any) error
	// Events yields what the driver reports, in page order, from now on. It ends
	// with ctx, and with an error when the page is gone.
	Events(ctx context.Context) iter.Seq2[json.RawMessage, error]
}

// Browser is what a browser of ours can do beside the page. It is nil where
// the tab is the visitor's own.
type Browser interface {
	// ClearOrigin removes the cookies and everything stored by the origin, in
	// the session's own browser context, in every partition.
	ClearOrigin(ctx context.Context, origin string) error
	// Reload loads the page again and waits until its document is there.
	Reload(ctx context.Context) error
	// OpenPage opens a further page in the session's own browser context, with
	// the driver in it, and waits until its document has loaded. The page that
	// was opened before it is closed.
	OpenPage(ctx context.Context, url string, driver Driver) (Page, error)
	// ClosePage closes the page that OpenPage opened.
	ClosePage(ctx context.Context) error
}

// Driver is the in-page side of a provider: two scripts that are put in front
// of the page's own. Both are wrapped by the page runtime (runtime.js).
type Driver struct {
	// Main runs in the page's own world, where the vendor's globals are. It
	// holds no secret, and what it answers counts as page data.
	Main string
	// Look runs in an isolated world, and only looks at the document.
	Look string
}

// Further returns the page as one of [Provider.Further] drives it, where several
// drivers share a document: the visitor's own tab. Each has its own functions,
// order and fence.
func Further(p Page, driver string) Page { return further{p, driver + "/"} }

type further struct {
	Page

	prefix string
}

// Call implements Page: the function's name begins with the driver's.
func (f further) Call(ctx context.Context, name string, arg, out any) error {
	return f.Page.Call(ctx, f.prefix+name, arg, out) //nolint:wrapcheck // It is the page's own.
}

// Signal is what a driver reports, as it comes from [Page.Events].
type Signal struct {
	// Name is a fact's name without the provider, or a name that the provider
	// alone understands.
	Name string `json:"name"`
	// Cause is api, visitor or navigation.
	Cause string `json:"cause"`
	// Key is the effect key of the command behind it, when there is one.
	Key string `json:"key,omitempty"`
	// Seq counts the signals of one page life, from 1.
	Seq int64 `json:"seq"`
	// AtMS is the page's clock, in milliseconds since the epoch.
	AtMS float64 `json:"at_ms"`
	// Data belongs to the name.
	Data json.RawMessage `json:"data,omitempty"`
	// Seen is what the isolated world saw at that moment, by a look of its own.
	// The page's scripts cannot touch it.
	Seen json.RawMessage `json:"seen,omitempty"`
}
