package event

import "time"

// Cause says who made something happen.
type Cause string

// The causes.
const (
	CauseAPI        Cause = "api"        // A command of ours.
	CauseVisitor    Cause = "visitor"    // The person, or the page by itself.
	CauseNavigation Cause = "navigation" // The page went away or came back.
)

// The names of the facts, without the provider: object.fact.
const (
	FactWidgetBooted     = "widget.booted"
	FactWidgetOpened     = "widget.opened"
	FactWidgetClosed     = "widget.closed"
	FactModeChanged      = "widget.mode_changed"
	FactUserUpdated      = "user.updated"
	FactUserCleared      = "user.cleared"
	FactWebviewOpened    = "webview.opened"
	FactWebviewResponded = "webview.responded"
	FactSessionEnded     = "session.ended"
	FactHibernated       = "session.hibernated"
	FactRestored         = "session.restored"
)

// Facts returns the zero payload of every fact, by the fact's name without the
// provider. The schemas are made from them.
func Facts() map[string]any {
	return map[string]any{
		FactWidgetBooted:     WidgetBooted{},
		FactWidgetOpened:     WidgetOpened{},
		FactWidgetClosed:     WidgetClosed{},
		FactModeChanged:      WidgetModeChanged{},
		FactUserUpdated:      UserUpdated{},
		FactUserCleared:      UserCleared{},
		FactWebviewOpened:    WebviewOpened{},
		FactWebviewResponded: WebviewResponded{},
		FactSessionEnded:     SessionEnded{},
		FactHibernated:       SessionHibernated{},
		FactRestored:         SessionRestored{},
	}
}

// Occurrence is what every fact about a session carries.
type Occurrence struct {
	// Site is the name of a site in the configuration.
	Site string `json:"site"`
	// Session is the opaque key of the visitor on the site; the identity stays
	// out of events.
	Session string `json:"session"`
	// Provider is the vendor of the chat widget.
	Provider string `json:"provider"`
	// At is when it happened, by the worker's clock.
	At time.Time `json:"at"`
	// Cause says who made it happen.
	Cause Cause `json:"cause"`
	// CommandID names the command behind a fact whose cause is api.
	CommandID string `json:"command_id,omitempty"`
	// Page is the address of the page, without its query.
	Page string `json:"page,omitempty"`
}

// WidgetBooted says that a widget became ready.
type WidgetBooted struct {
	Occurrence
	AppID string `json:"app_id"`
	Mode  string `json:"mode"`
}

// WidgetOpened says that the chat window opened.
type WidgetOpened struct {
	Occurrence
	// Subscriptions are the ids of the subscriptions that this fact serves.
	Subscriptions []string `json:"subscriptions,omitempty"`
}

// WidgetClosed says that the chat window closed.
type WidgetClosed struct {
	Occurrence
	Subscriptions []string `json:"subscriptions,omitempty"`
}

// WidgetModeChanged says that the widget was mounted again in another mode.
type WidgetModeChanged struct {
	Occurrence
	From string `json:"from"`
	Mode string `json:"mode"`
}

// UserUpdated says that attributes were sent to the vendor. It carries their
// names only.
type UserUpdated struct {
	Occurrence
	Attributes []string `json:"attributes"`
	// Persisted is false when the visitor is anonymous.
	Persisted bool `json:"persisted"`
	// Flushed is true when the attributes had waited for the vendor's budget.
	Flushed bool `json:"flushed"`
	// Commands are the ids of the commands whose attributes these were.
	Commands []string `json:"commands,omitempty"`
}

// UserCleared says that the visitor's profile was cleared.
type UserCleared struct {
	Occurrence
	// Browser says that everything was cleared that the widget has stored in the
	// browser; OwnPage, that the page's own part was, which is all that a page can do.
	Browser bool `json:"browser"`
	OwnPage bool `json:"own_page,omitempty"`
	Remote  bool `json:"remote"`
}

// WebviewOpened says that a webview page is ready.
type WebviewOpened struct {
	Occurrence
	URL string `json:"url"`
}

// WebviewResponded says that a webview page sent its response.
type WebviewResponded struct {
	Occurrence
	URL      string         `json:"url"`
	Response string         `json:"response"`
	Outputs  map[string]any `json:"outputs,omitempty"`
	Outlet   string         `json:"outlet,omitempty"`
}

// SessionEnded says that a session's tab is gone.
type SessionEnded struct {
	Occurrence
	// Why is crash, hang, idle, evicted, shutdown, overflow (the page said more
	// than could be published), retry (a command asked for a new page), lost
	// (another worker owns the session), erased (somebody had it forgotten) or
	// visitor (the visitor's own tab takes its place).
	Why string `json:"why"`
}

// SessionHibernated says that a session's tab was closed and everything of it
// that matters is stored: the next command brings it back, on any worker. It
// takes the place of session.ended.
type SessionHibernated struct {
	Occurrence
	// Why is idle, evicted, pressure (memory is scarce), retired (its browser is
	// replaced), handover (another worker takes it over), shutdown or asked (an
	// operator did).
	Why string `json:"why"`
	// Bytes is the size of what is stored.
	Bytes int `json:"bytes"`
	// Dropped names what was too large to be stored: origins, or the webview page
	// that was open.
	Dropped []string `json:"dropped,omitempty"`
}

// SessionRestored says that a session has a tab again, as it was before. What
// the widget does for that, such as opening its window, is no fact of its own.
type SessionRestored struct {
	Occurrence
	// Booted and Open are how the widget is now, in the mode Mode.
	Booted bool   `json:"booted"`
	Open   bool   `json:"open"`
	Mode   string `json:"mode,omitempty"`
	// Storage is true when cookies and stores were put back.
	Storage bool `json:"storage"`
	// SavedAt is when it was stored. Nil when the worker still remembered it.
	SavedAt *time.Time `json:"saved_at,omitempty"`
	// Reason is why the session could not be brought back as it was, and starts
	// afresh, or "": snapshot_invalid, seal_broken, key_missing.
	Reason string `json:"reason,omitempty"`
}
