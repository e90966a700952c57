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
	Browser bool `json:"browser"`
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
	// than could be published) or retry (a command asked for a new page).
	Why string `json:"why"`
}
