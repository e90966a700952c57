package actions

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/parley-chat/parley/internal/event"
)

// Env is what an action works with. It lives for one command.
type Env struct {
	// Page is nil for actions of the local and REST planes.
	Page Page
	// Browser is nil in the visitor's own tab.
	Browser Browser
	// Webview is the webview page that is open in the session, or nil.
	Webview Page
	Site    Site
	// Sites returns all sites of the configuration.
	Sites   func() []Site
	Visitor event.Visitor
	// State is what Parley knows of the session. The action may change it: the
	// session's lane belongs to the command alone.
	State *State
	// Profile is what Parley keeps of the visitor. A change is stored before the
	// result is published.
	Profile *Profile
	// REST reaches the vendor's REST API. It is nil where the executor has none.
	REST REST
	// Takeover returns what the vendor's webhooks have told of the visitor. It is
	// nil where the executor does not hear them.
	Takeover func(ctx context.Context) (Takeover, error)
	// VendorUser returns whom the vendor's webhooks have named with the visitor's
	// own user id. It is nil where the executor does not hear them.
	VendorUser func(ctx context.Context) (VendorUser, error)
	// Repeated says that the command was begun before, by a worker that did not
	// end it: what it does may be done already.
	Repeated bool
	// Key names the command's effect: the same command has the same key on
	// every attempt.
	Key string
	// CommandID is the command's id, for facts and queues.
	CommandID string
	// Fence is the owner's token. The page refuses a lower one than it has seen.
	Fence uint64
	Now   func() time.Time
	Log   *slog.Logger
}

// Do runs the driver's function, at most once per page life for this command:
// a repetition gets the first answer. When the caller gives up, the page is told
// to end its wait, so that the next call need not stand behind it.
func (e Env) Do(ctx context.Context, name string, arg, out any) error {
	request := envelope{Key: e.KeyOf(name), Fence: e.Fence, Arg: arg}
	err := e.Page.Call(ctx, name, request, out)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		e.abandon(ctx, request)
	}
	return err //nolint:wrapcheck // The page's errors are classified already.
}

// KeyOf returns the effect key of the driver's function for this command: the
// signals that the call causes carry it.
func (e Env) KeyOf(name string) string { return e.Key + "/" + name }

// abandonWithin bounds the call that ends a wait nobody waits for.
const abandonWithin = 500 * time.Millisecond

func (e Env) abandon(ctx context.Context, request envelope) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonWithin)
	defer cancel()
	request.Arg = nil
	if err := e.Page.Call(ctx, "abandon", request, nil); err != nil && e.Log != nil {
		e.Log.LogAttrs(ctx, slog.LevelDebug, "the page did not end its wait", slog.Any("err", err))
	}
}

// Look runs a function that changes nothing. It has no key.
func (e Env) Look(ctx context.Context, name string, arg, out any) error {
	return e.Page.Call(ctx, name, envelope{Fence: e.Fence, Arg: arg}, out)
}

// On returns the environment with another page in the place of the session's
// own: the webview.
func (e Env) On(p Page) Env {
	e.Page = p
	return e
}

// envelope is the argument of every driver function; runtime.js opens it.
type envelope struct {
	Key   string `json:"key,omitempty"`
	Fence uint64 `json:"fence,omitempty"`
	Arg   any    `json:"arg"`
}

// Site is a customer's website as an action sees it.
type Site struct {
	Name     string
	Provider string
	// AppID is the provider's id of the bot or workspace on this site.
	AppID string
	// BotID and BotName describe the bot, where the configuration tells them.
	BotID, BotName string
	// RESTBase is the address of the vendor's REST API, where it is not the
	// vendor's own.
	RESTBase string
	// Takeover has the clocks of takeovers. It is nil where nothing tells of those.
	Takeover *TakeoverClocks
	// Mode is the widget's mode on this site.
	Mode string
	// URL is the page that a headless session shows.
	URL string
	// FullPage loads the customer's own page at URL. False means a light page:
	// the provider's minimal document at the same address.
	FullPage bool
	// Domains are the site's host names.
	Domains []string
	// Webviews are the origins whose pages may be opened as webviews.
	Webviews []string
	// Variables and Block are given to every boot.
	Variables map[string]any
	Block     string
	// Disclosure says that the site's widget tells visitors that a machine answers.
	Disclosure bool
}

// State is what Parley knows of a session while a page is held. All of it can
// be stored and restored.
type State struct {
	// AppID, Mode, User, Variables and Block are what the widget was last
	// booted with, so that it can be mounted again.
	AppID     string         `json:"app_id,omitempty"`
	Mode      string         `json:"mode,omitempty"`
	User      map[string]any `json:"user,omitempty"`
	Variables map[string]any `json:"variables,omitempty"`
	Block     string         `json:"block,omitempty"`
	// Booted and Open are kept up to date by the driver's signals.
	Booted bool `json:"booted"`
	Open   bool `json:"open"`
	// Opened and Closed count the callbacks of this page life.
	Opened int `json:"opened"`
	Closed int `json:"closed"`
	// Subscriptions are the callbacks that somebody asked for.
	Subscriptions []Subscription `json:"subscriptions,omitempty"`
	// WebviewURL is the webview page that is open, or "".
	WebviewURL string `json:"webview_url,omitempty"`
	// Sight is what was seen with the last callback of the window. It spares the
	// verification a look of its own.
	Sight Sight `json:"-"`
}

// Sight is what the isolated world saw when a callback came.
type Sight struct {
	// Key is the effect key of the call that caused it; "" when a person did.
	Key string
	// Open and Launcher tell whether window and launcher could be seen.
	Open, Launcher bool
}

// Facts returns the facts that the state knows of. They are true as long as the
// page's signals reach the state: without them, ask Provider.Observe.
func (s *State) Facts() Facts {
	return Facts{
		Booted:      s.Booted,
		Windowed:    s.Booted && (s.Mode == "livechat" || s.Mode == "popup"),
		Open:        s.Booted && s.Open,
		Closed:      s.Booted && !s.Open,
		WebviewOpen: s.WebviewURL != "",
	}
}

// Forget drops what is true of one page life only. What the widget was booted
// with and the subscriptions stay, so that it can be mounted again.
func (s *State) Forget() {
	s.Booted, s.Open, s.Opened, s.Closed, s.WebviewURL, s.Sight = false, false, 0, 0, "", Sight{}
}

// Subscription says that somebody wants to hear of a fact.
type Subscription struct {
	ID string `json:"id"`
	// Fact is event.FactWidgetOpened or event.FactWidgetClosed.
	Fact string `json:"fact"`
}

// Profile is what Parley keeps of a visitor on a site beyond the life of a
// page. It is stored in the bus.
type Profile struct {
	// VendorID is the vendor's own id of the visitor, by which its REST API knows
	// the person; "" when nobody has told it.
	VendorID string `json:"vendor_id,omitempty"`
	// ClearedAt is when the browser was cleared last: what the vendor's webhooks
	// told before is of another user of the vendor. Zero when it never was.
	ClearedAt time.Time `json:"cleared_at,omitzero"`
	// Kept are attributes of an anonymous visitor, for the day on which the
	// visitor is identified.
	Kept map[string]any `json:"kept,omitempty"`
	// Sent are the times of the vendor's counted calls, oldest first, by the
	// action's name.
	Sent map[string][]time.Time `json:"sent,omitempty"`
	// SentFor is the effect key of the last counted call, so that a command that
	// is repeated is not counted twice.
	SentFor string `json:"sent_for,omitempty"`
	// Pending are attributes that wait for the vendor's budget.
	Pending map[string]any `json:"pending,omitempty"`
	// PendingFrom are the ids of the commands that Pending came from.
	PendingFrom []string `json:"pending_from,omitempty"`
	// FlushAt is when Pending is sent. Zero when nothing waits.
	FlushAt time.Time `json:"flush_at,omitzero"`
}
