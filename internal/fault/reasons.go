package fault

import (
	"slices"
	"sync"
)

// Reason is the exact kind of a failure. Programs switch on it.
type Reason string

// The reasons, in the order of docs/errors.md.
const (
	SchemaViolation     Reason = "schema_violation"
	Malformed           Reason = "malformed_message"
	TooLarge            Reason = "payload_too_large"
	UnknownAction       Reason = "unknown_action"
	UnknownSite         Reason = "unknown_site"
	UnknownSession      Reason = "unknown_session"
	UnknownRun          Reason = "unknown_run"
	UnmappedDomain      Reason = "unmapped_domain"
	BadConfig           Reason = "bad_config"
	BadRule             Reason = "bad_rule"
	IDReused            Reason = "id_reused"
	NotBooted           Reason = "not_booted"
	BootFailed          Reason = "boot_failed"
	NotOpen             Reason = "not_open"
	ModeNotSupported    Reason = "mode_not_supported"
	ModeConflict        Reason = "mode_conflict"
	NoInlineTarget      Reason = "no_inline_target"
	AnonymousSession    Reason = "anonymous_session"
	NoAttributes        Reason = "no_attributes"
	BudgetExhausted     Reason = "budget_exhausted"
	NotDeclared         Reason = "not_declared"
	WebviewNotOpen      Reason = "webview_not_open"
	WebviewNotReady     Reason = "webview_not_ready"
	WebviewScriptError  Reason = "webview_script_error"
	WebviewRejected     Reason = "webview_rejected"
	WebviewNotAllowed   Reason = "webview_not_allowed"
	UnsupportedProvider Reason = "unsupported_by_provider"
	UnsupportedExecutor Reason = "unsupported_by_executor"
	ConsentMissing      Reason = "consent_missing"
	GrantMissing        Reason = "grant_missing"
	EgressDenied        Reason = "egress_denied"
	PageLoadFailed      Reason = "page_load_failed"
	WidgetNotReady      Reason = "widget_not_ready"
	WidgetFailed        Reason = "widget_failed"
	NotConfirmed        Reason = "not_confirmed"
	PageHung            Reason = "page_hung"
	PageNavigated       Reason = "page_navigated"
	PageCrashed         Reason = "page_crashed"
	PageFlooded         Reason = "page_flooded"
	BrowserCrashed      Reason = "browser_crashed"
	BrowserMissing      Reason = "browser_missing"
	BrowserStart        Reason = "browser_start_failed"
	BrowserBusy         Reason = "browser_busy"
	StaleFence          Reason = "stale_fence"
	AlreadyStored       Reason = "already_stored"
	EffectUnknown       Reason = "effect_unknown"
	TokenMissing        Reason = "token_missing"
	TokenRefused        Reason = "token_refused"
	VendorForbids       Reason = "vendor_forbids"
	VendorRejects       Reason = "vendor_rejects"
	VendorNotFound      Reason = "vendor_not_found"
	VendorConflict      Reason = "vendor_conflict"
	RateLimited         Reason = "rate_limited"
	VendorUnavailable   Reason = "vendor_unavailable"
	VendorAnswerInvalid Reason = "vendor_answer_invalid"
	UnknownConnection   Reason = "unknown_connection"
	ConnectionRevoked   Reason = "connection_revoked"
	ReauthNeeded        Reason = "reauth_needed"
	RefreshPaused       Reason = "refresh_paused"
	ConsentFailed       Reason = "consent_failed"
	SnapshotInvalid     Reason = "snapshot_invalid"
	SealBroken          Reason = "seal_broken"
	KeyMissing          Reason = "key_missing"
	KeyStoreUnavailable Reason = "key_store_unavailable"
	PageAnswerInvalid   Reason = "page_answer_invalid"
	CallFailed          Reason = "call_failed"
	CallRefused         Reason = "call_refused"
	CommandExpired      Reason = "command_expired"
	DeadlineExceeded    Reason = "deadline_exceeded"
	TooManyAttempts     Reason = "too_many_attempts"
	BusUnavailable      Reason = "bus_unavailable"
	BusMisconfigured    Reason = "bus_misconfigured"
	BusDenied           Reason = "bus_denied"
	QueueFull           Reason = "queue_full"
	StoreFull           Reason = "store_full"
	NoWorker            Reason = "no_worker"
	NoExecutor          Reason = "no_executor"
	VisitorAway         Reason = "visitor_away"
	ShuttingDown        Reason = "shutting_down"
	NotAuthentic        Reason = "not_authentic"
	MediaType           Reason = "unsupported_media_type"
	NoRoute             Reason = "no_such_route"
	QuotaExhausted      Reason = "quota_exhausted"
	Overloaded          Reason = "overloaded"
	Maintenance         Reason = "maintenance"
	InternalError       Reason = "internal_error"
)

// Entry describes a reason: its class, what it means, and what to do.
type Entry struct {
	Reason  Reason
	Code    Code
	Meaning string
	Fix     string
}

// entries finds a reason's description. It is made once and never changed.
//
//nolint:gochecknoglobals // as said.
var entries = sync.OnceValue(func() map[Reason]Entry {
	byReason := map[Reason]Entry{}
	for _, entry := range table() {
		byReason[entry.Reason] = entry
	}
	return byReason
})

// Entry returns the description of the reason. An unknown reason is an
// internal error.
func (r Reason) Entry() Entry {
	if entry, ok := entries()[r]; ok {
		return entry
	}
	return Entry{Reason: r, Code: Internal, Meaning: "a reason that is not in the table", Fix: "report this as a bug"}
}

// Reasons returns every reason, in the order of the documentation.
func Reasons() []Entry { return slices.Clone(table()) }

func table() []Entry {
	return []Entry{
		{SchemaViolation, Invalid, "the data does not fit the schema of its type", "correct the field that the message names; `publisher actions NAME` prints the schema"},
		{Malformed, Invalid, "the message is not a CloudEvent that we can read", "send CloudEvents 1.0 in binary or structured mode; `publisher send --dry-run` shows a correct one"},
		{TooLarge, Invalid, "the message is larger than the limit", "send less, or send a reference (`dataref`)"},
		{UnknownAction, NotFound, "no action has this name or alias", "`publisher actions` lists the names"},
		{UnknownSite, NotFound, "no site of the configuration has this name", "add the site under `sites:` in parley.yaml; `worker doctor` lists the sites"},
		{UnknownSession, NotFound, "no worker holds this session, and none is stored", "`worker sessions list` shows those that are held"},
		{UnknownRun, NotFound, "no run has this id, or the step, or the version", "`publisher workflows runs` lists the runs"},
		{UnmappedDomain, NotFound, "no site of the configuration has this domain", "add the domain to a site's `domains:` in parley.yaml"},
		{BadConfig, Invalid, "the configuration is wrong", "correct the line that the message shows; `worker doctor` checks it"},
		{BadRule, Invalid, "a workflow rule is wrong", "correct the line that the message shows"},
		{IDReused, Conflict, "the id was used before, with other parameters", "use a new id for a new command"},
		{NotBooted, Unmet, "the widget is not booted, and the command forbids to boot it", "send `botstar.widget.boot` first, or leave out `auto_boot: false`"},
		{BootFailed, Unmet, "the widget could not be booted", "check the site's `app_id` and page; the evidence holds what was seen"},
		{NotOpen, Unmet, "the chat window is not open", "send `botstar.widget.open` first"},
		{ModeNotSupported, Unmet, "the widget's mode has no such action", "use `botstar.widget.set_mode` to change to livechat or popup"},
		{ModeConflict, Conflict, "the widget runs in another mode, which boot cannot change", "use `botstar.widget.set_mode`"},
		{NoInlineTarget, Unmet, "the page has no element to show the inline widget in", "add an element of the class chatbot-container to the page"},
		{AnonymousSession, Unmet, "the visitor is anonymous, so the vendor would forget this", "identify the visitor with `user_id`"},
		{NoAttributes, Invalid, "an update without any attribute", "give at least one attribute"},
		{BudgetExhausted, Exhausted, "the vendor's budget of calls is used up", "wait until the time that the message names"},
		{NotDeclared, Invalid, "the webview page does not declare this name", "declare it in a meta tag of the webview page, or correct the name"},
		{WebviewNotOpen, Unmet, "no webview page is open in this session", "name the page in `url`"},
		{WebviewNotReady, Unmet, "the webview page did not define onChatBotReady", "define a global function onChatBotReady before the SDK's script"},
		{WebviewScriptError, Unmet, "a script of the webview page failed", "correct the script; the evidence holds its message"},
		{WebviewRejected, Unmet, "the webview's SDK rejected the response", "read the message; it is the SDK's own"},
		{WebviewNotAllowed, Denied, "the address is not a webview page of this site", "add its origin to the site's `webviews:` in parley.yaml"},
		{UnsupportedProvider, Unsupported, "the provider has no such action", "use the substitute that the message names"},
		{UnsupportedExecutor, Unsupported, "this executor cannot do it", "run the action in a headless browser"},
		{ConsentMissing, Denied, "the visitor has not consented", "ask for consent, and send it with the trigger"},
		{GrantMissing, Denied, "the principal has no grant for this", "ask the owner for a grant"},
		{EgressDenied, Denied, "the address may not be reached from a browser", "only public addresses of registered sites are visited"},
		{PageLoadFailed, Unavailable, "the page did not load", "check that the site's `url` answers"},
		{WidgetNotReady, Unavailable, "the widget did not become ready in time", "check that the vendor's script loads on the page"},
		{WidgetFailed, Unavailable, "the widget threw an error", "the evidence holds its message"},
		{NotConfirmed, Unavailable, "the action ran, but its effect was not seen", "look at the evidence; try again with a longer timeout"},
		{PageHung, Unavailable, "the page did not answer", "the tab was closed; the next command opens a new one"},
		{PageNavigated, Unavailable, "the page went elsewhere during the action", "send the command again"},
		{PageCrashed, Unavailable, "the page's renderer died", "send the command again; a new tab opens"},
		{PageFlooded, Unavailable, "the page sent more signals than can be read", "the tab was closed; look at what the page does, the next command opens a new one"},
		{BrowserCrashed, Unavailable, "the browser died", "send the command again; a new browser starts"},
		{BrowserMissing, Unavailable, "no Chromium is installed", "run `apt-get install chromium-headless-shell chromium-sandbox`, or set `browser.binary`"},
		{BrowserStart, Unavailable, "Chromium does not start", "run `worker doctor`; it shows Chromium's own message"},
		{BrowserBusy, Exhausted, "all tabs are in use", "raise `browser.tabs`, or add a worker"},
		{StaleFence, Conflict, "another worker owns the session now", "nothing to do: the owner carries on"},
		{AlreadyStored, Conflict, "what may be stored once is stored already", "nothing to do: the first one counts"},
		{TokenMissing, Unmet, "the site has no token for the vendor's REST API", "name one in the site's `rest:` in parley.yaml, as env:NAME or file:/path"},
		{TokenRefused, Denied, "the vendor refused the token, or it was revoked", "make a new token at the vendor, and put it where the site's `rest:` says"},
		{VendorForbids, Denied, "the vendor does not allow this with the token", "use the token of an account that may do it"},
		{VendorRejects, Invalid, "the vendor's REST API says that the request is wrong", "correct what the message names; it is the vendor's own"},
		{VendorNotFound, NotFound, "the vendor does not have what the request names", "check the ids; the list actions show those that there are"},
		{VendorConflict, Conflict, "the vendor has something of that name already, or it has changed", "look at what is there, and use another name or id"},
		{RateLimited, Exhausted, "the vendor asks for fewer requests, for longer than the command may take", "send it again later, or with a longer timeout"},
		{VendorUnavailable, Unavailable, "the vendor's REST API failed, or could not be reached", "send the command again later"},
		{VendorAnswerInvalid, Unavailable, "the vendor's REST API answered something that is no answer", "send the command again later; report it when it stays so"},
		{EffectUnknown, Conflict, "the page or the connection was lost while the action ran, and nothing tells whether it took effect", "look at the target; send the command with a new id when the effect is missing"},
		{UnknownConnection, NotFound, "there is no connection of this name", "`publisher connections list` shows those that there are; `publisher connect` makes one"},
		{ConnectionRevoked, Denied, "the connection was revoked", "connect the account again with `publisher connect`"},
		{ReauthNeeded, Unmet, "the vendor takes the connection's credentials no more, and a person must give consent again", "connect the account again with `publisher connect`"},
		{RefreshPaused, Exhausted, "new tokens were asked for too often, or in vain, so that the vendor is left alone for a while", "wait; `publisher connections show` says why and until when"},
		{ConsentFailed, Denied, "the vendor's answer to the request for consent is not the one that was asked for, or no", "start `publisher connect` again, and open the address that it prints in the same browser"},
		{SnapshotInvalid, Conflict, "what was stored of the session cannot be read, so it starts afresh", "look for a damaged store or a newer worker; the next snapshot replaces it"},
		{SealBroken, Conflict, "what was sealed has changed, or belongs to something else", "look for a damaged store; nothing of it is used"},
		{KeyMissing, Conflict, "what was sealed needs a key that is not in the key ring", "add the key to the ring: a rotated key stays until what it sealed has expired"},
		{KeyStoreUnavailable, Unavailable, "the key store that sealed the master key does not answer", "processes that run go on without it; one that starts needs it: bring the key store back, or unseal it"},
		{PageAnswerInvalid, Unavailable, "the page answered something that is no answer", "look at the evidence: the page may interfere"},
		{CallFailed, Unavailable, "the address that a workflow calls did not answer well", "check that it answers; the step is tried again"},
		{CallRefused, Unmet, "the address that a workflow calls refused the call", "look at the receiver's own log, and correct the step"},
		{CommandExpired, Expired, "the command's expiry time had passed before it ran", "send it again with a later expiry time"},
		{DeadlineExceeded, Expired, "the action did not end within its timeout", "raise `timeout_ms`, within the action's bounds"},
		{TooManyAttempts, Unavailable, "the command failed on every attempt", "read the last reason; `publisher replay` sends it again"},
		{BusUnavailable, Unavailable, "NATS cannot be reached", "check `bus.url`; `worker doctor` tries it"},
		{BusMisconfigured, Conflict, "a stream exists with settings that we may not change", "read the message; it names the stream and the setting"},
		{BusDenied, Denied, "NATS refused the permission", "use credentials that may publish this subject"},
		{QueueFull, Exhausted, "the queue of this session and action is full", "wait until some of its commands are done"},
		{StoreFull, Unavailable, "the store of events is nearly full, and would drop the oldest", "send the events again after the time in `Retry-After`; the operator raises the limit of the stream FLOW"},
		{NoWorker, Unavailable, "no result came in time", "check that a worker runs and takes this action: `worker doctor`"},
		{NoExecutor, Unmet, "nothing can run the action for this visitor", "let the site's `visitor.executor` be auto or headless, or identify the visitor"},
		{VisitorAway, Unavailable, "the visitor's own tab is not connected", "the command waits until its expiry; give it a later one, or let the site's `visitor.executor` be auto"},
		{ShuttingDown, Stopping, "the worker is shutting down", "nothing to do: another worker takes the command"},
		{NotAuthentic, Denied, "nothing proves who sent the request", "give the sender the source's secret: see docs/ingest.md; an old secret stays valid while it is under `secrets:`"},
		{MediaType, Invalid, "the body has a Content-Type that this address does not take", "send `Content-Type: application/json`, or what docs/ingest.md names for the source"},
		{NoRoute, NotFound, "no source takes requests at this address", "compare the address with docs/ingest.md; `ingest.sources` in parley.yaml has the names"},
		{QuotaExhausted, Exhausted, "the source sends more than its quota", "send the events again after the time in `Retry-After`, or raise the source's `quota:`"},
		{Overloaded, Exhausted, "more requests are under way than can be taken", "send the events again after the time in `Retry-After`, or add another edge"},
		{Maintenance, Unavailable, "Parley takes no events during maintenance", "send the events again after the time in `Retry-After`"},
		{InternalError, Internal, "a bug in Parley", "report it with the message and the command's id"},
	}
}
