// Package wire is what a visitor's page and the gateway say to each other: the
// frames, their limits, and the codes that a connection closes with. The text
// of the protocol is snippet/PROTOCOL.md; the page's half is snippet/src.
package wire

import (
	"encoding/json"
	"time"
)

// Version is the protocol's. A gateway answers a hello of another version with
// stop and CloseRefused.
const Version = 1

// Paths below the gateway's base address.
const (
	SocketPath = "/v1/socket" // WebSocket
	BeaconPath = "/v1/beacon" // POST of a Beacon, answered 204
	ConfigPath = "/v1/config" // GET /v1/config/<key>.json, a Config
	FilesPath  = "/v1/files"  // GET /v1/files/<name>: the snippet's files, each for ever
)

// The kinds of frames that a page sends: the field t.
const (
	KindHello   = "hello"
	KindAnswer  = "answer"
	KindSignal  = "signal"
	KindFocus   = "focus"
	KindPage    = "page"
	KindTrack   = "track"
	KindConsent = "consent"
	KindPing    = "ping"
	KindBye     = "bye"
)

// The kinds of frames that a gateway sends.
const (
	KindWelcome = "welcome"
	KindCall    = "call"
	KindAck     = "ack"
	KindConfig  = "config"
	KindPong    = "pong"
	KindDrain   = "drain"
	KindStop    = "stop"
)

// Head is what every frame begins with.
type Head struct {
	T string `json:"t"`
}

// Hello is the first frame of a connection, within HelloWithin. There is one
// connection for each visitor in a browser: the tab that has it is the target.
type Hello struct {
	T string `json:"t"`
	V int    `json:"v"`
	// Key is the site's publishable key. It is no secret.
	Key string `json:"key"`
	// Token is the last welcome's token. It is good for one connection. A page
	// that has an identity sends that one instead.
	Token string `json:"token,omitempty"`
	// Identity is a JWT of the customer's own backend: who is logged in.
	Identity string `json:"identity,omitempty"`
	// AnonymousID is the page's id of a visitor whom nobody knows: of 22
	// characters or more, hard to guess. The page makes a new one for each
	// page life while nothing may be stored.
	AnonymousID string `json:"anonymous_id,omitempty"`
	// Life names this document: signals count within it. Tab outlives it.
	Life string `json:"life"`
	Tab  string `json:"tab"`
	// Epoch and Acked are the last welcome's epoch, and the highest call of it
	// that was answered. Epoch is "" for a page that has heard of none.
	Epoch string `json:"epoch,omitempty"`
	Acked int64  `json:"acked,omitempty"`
	// URL is the page's address without query and fragment, here and elsewhere.
	URL string `json:"url"`
	// AtMS is the page's clock, in milliseconds since the epoch: what it is off
	// by, the signals of the connection are too.
	AtMS float64 `json:"at_ms"`
	// Focused says that the visitor looks at this tab.
	Focused bool    `json:"focused"`
	Consent Consent `json:"consent"`
	// Driver is the provider's, when it is loaded already.
	Driver string `json:"driver,omitempty"`
	// Snippet is the version of the parley.js that speaks.
	Snippet string `json:"snippet,omitempty"`
}

// Consent is what the visitor agreed to, in the terms of event.Consent.
type Consent struct {
	Analytics       *bool `json:"analytics,omitempty"`
	Advertising     *bool `json:"advertising,omitempty"`
	Functionality   *bool `json:"functionality,omitempty"`
	Personalization *bool `json:"personalization,omitempty"`
	GPC             *bool `json:"gpc,omitempty"`
}

// Answer is the answer to a Call: what the page runtime returned, as text. OK
// repeats its field ok, so that nobody need parse it to route it.
type Answer struct {
	T    string `json:"t"`
	ID   string `json:"id"`
	Seq  int64  `json:"seq"`
	OK   bool   `json:"ok"`
	JSON string `json:"json"`
	// Again says that the command was done before, on this page or on an
	// earlier one, and that this is the answer of that time.
	Again bool `json:"again,omitempty"`
}

// Signal is what the driver reports: an actions.Signal as text. N counts
// signals and tracks together, from 1, in one page life. The page keeps both
// until an Ack, and sends them again on the next connection.
type Signal struct {
	T    string `json:"t"`
	N    int64  `json:"n"`
	JSON string `json:"json"`
}

// Focus says whether the visitor looks at the tab.
type Focus struct {
	T  string `json:"t"`
	On bool   `json:"on"`
}

// Page says that the document shows another address now, without a new
// document: a route of a single-page application.
type Page struct {
	T     string `json:"t"`
	URL   string `json:"url"`
	Title string `json:"title,omitempty"`
}

// Track is an event of the page's own analytics. N counts with the signals'.
type Track struct {
	T          string          `json:"t"`
	N          int64           `json:"n"`
	Name       string          `json:"name"`
	Properties json.RawMessage `json:"properties,omitempty"`
	URL        string          `json:"url"`
	// AgeMS is how long ago it happened when it was sent, so that no clocks need
	// agree.
	AgeMS int64 `json:"age_ms"`
}

// ConsentFrame says that the visitor has changed his mind. Where nothing may be
// done any more, the page closes the connection after it.
type ConsentFrame struct {
	T       string  `json:"t"`
	Consent Consent `json:"consent"`
}

// Welcome is the answer to a Hello.
type Welcome struct {
	T string `json:"t"`
	V int    `json:"v"`
	// Token is for the next connection, and TokenMS how long it is good.
	Token   string `json:"token"`
	TokenMS int64  `json:"token_ms"`
	// Session is event.SessionKey of the visitor: opaque.
	Session string `json:"session"`
	// Epoch names the numbers of the calls that follow.
	Epoch string `json:"epoch"`
	// Resume says that the page's epoch goes on: calls above its acked come again.
	Resume bool `json:"resume"`
	// N is the highest number of this life that is stored.
	N      int64   `json:"n"`
	Config *Config `json:"config,omitempty"`
}

// Call asks the page to run a function of the driver. The page runs the calls
// of a connection in the order in which they come.
type Call struct {
	T string `json:"t"`
	// ID joins the answer. It is new for each call, not for each sending.
	ID string `json:"id"`
	// Seq counts from 1 in an epoch; 0 is for calls that need no resumption.
	Seq int64 `json:"seq"`
	// Key is the effect key, or "" for what changes nothing. A page that has
	// answered the key with success answers it so again, and does nothing.
	Key string `json:"key,omitempty"`
	// DeadlineMS is how much time is left: a duration, not a moment.
	DeadlineMS int64  `json:"deadline_ms"`
	Name       string `json:"name"`
	// JSON is the request, as runtime.js takes it: {"key", "fence", "arg"}.
	JSON string `json:"json"`
}

// Ack says that all signals and tracks up to N are stored.
type Ack struct {
	T string `json:"t"`
	N int64  `json:"n"`
}

// ConfigFrame replaces the page's configuration.
type ConfigFrame struct {
	T      string `json:"t"`
	Config Config `json:"config"`
}

// Drain says that the gateway goes away. The page finishes what runs, and
// connects anew at a random moment within AfterMS.
type Drain struct {
	T       string `json:"t"`
	AfterMS int64  `json:"after_ms"`
}

// Stop tells the page to do nothing more in this page life.
type Stop struct {
	T      string `json:"t"`
	Reason string `json:"reason"`
}

// Beacon is the body of what a page sends when it goes, as text/plain: no
// answer is read. Its signals and tracks are those that are not acknowledged.
// It does not use its token up: the next document connects with it.
type Beacon struct {
	V       int      `json:"v"`
	Key     string   `json:"key"`
	Token   string   `json:"token"`
	Life    string   `json:"life"`
	Tab     string   `json:"tab"`
	URL     string   `json:"url"`
	AtMS    float64  `json:"at_ms"`
	Signals []Signal `json:"signals,omitempty"`
	Tracks  []Track  `json:"tracks,omitempty"`
	// Bye says that the page is going, and will not come back by itself.
	Bye bool `json:"bye"`
}

// When a page fetches the vendor's widget. LoadAction is the default.
const (
	LoadAction      = "action"      // When a command needs it.
	LoadIdle        = "idle"        // When the page has loaded and has nothing to do.
	LoadInteraction = "interaction" // With the first touch, key or scroll.
	LoadNow         = "now"         // As soon as the configuration is there.
)

// Config is what a page is told about its site. It holds no secret.
type Config struct {
	// Enabled is the kill switch: a page that reads false does nothing.
	Enabled bool   `json:"enabled"`
	Driver  string `json:"driver"`
	Load    string `json:"load,omitempty"`
	// Boot are the settings of the driver's boot, for a widget that the page
	// loads without a command.
	Boot json.RawMessage `json:"boot,omitempty"`
	// Mode is the widget's usual mode.
	Mode      string     `json:"mode,omitempty"`
	Analytics *Analytics `json:"analytics,omitempty"`
	// PingMS is how long a connection may be silent before the page asks.
	PingMS int64 `json:"ping_ms,omitempty"`
}

// Analytics says which calls of the page's own analytics become tracks.
type Analytics struct {
	DataLayer bool `json:"data_layer,omitempty"` // entries of window.dataLayer with an event
	Segment   bool `json:"segment,omitempty"`    // calls of window.analytics.track
	// Events maps the page's names to ours. A name that is not there is not sent.
	Events map[string]string `json:"events"`
	// PerMinute bounds the tracks; 0 means 60.
	PerMinute int `json:"per_minute,omitempty"`
}

// Limits. What is above closes the connection with the code beside it.
const (
	MaxFrame    = 64 << 10 // bytes of one frame; CloseTooBig
	MaxBeacon   = 48 << 10 // bytes of a beacon's body; browsers allow 64 KiB in flight
	MaxUnacked  = 200      // signals and tracks that a page keeps; the oldest tracks go first
	MaxApplied  = 100      // answers that a page keeps
	MaxCalls    = 64       // calls that a gateway may have under way on one connection
	MaxID       = 64       // characters of an id, a life or a tab
	MaxName     = 256      // characters of an event's or a function's name
	MaxURL      = 2048     // characters of an address
	FramesRate  = 50       // frames each second that a page may send for long
	FramesBurst = 200      // frames at once
)

// Times of a connection.
const (
	HelloWithin = 10 * time.Second // from the handshake to the hello; CloseProtocol
	PingAfter   = 25 * time.Second // the page's default silence before it pings
	PongWithin  = 10 * time.Second // then it closes, and connects anew
	IdleAfter   = 90 * time.Second // a gateway closes a connection without a frame for so long
	BackoffMin  = 500 * time.Millisecond
	BackoffMax  = 60 * time.Second
)

// The codes that a connection closes with, and what a page does then.
const (
	CloseNormal   = 1000 // The page has said bye.
	CloseGoing    = 1001 // The gateway goes: the page comes again, with jitter.
	CloseProtocol = 1002 // A frame that is none of these: back off for long.
	CloseInvalid  = 1007 // Text that is no UTF-8 or no JSON: back off for long.
	ClosePolicy   = 1008 // Too many frames: back off for long.
	CloseTooBig   = 1009 // A frame above MaxFrame: back off for long.
	CloseInternal = 1011 // Back off.
	CloseBusy     = 1013 // Too slow a reader, or too much to do: back off.
	CloseToken    = 4401 // Token or identity are not good: come again without the token, once.
	CloseRefused  = 4403 // Key, origin or version are refused: never in this page life.
	CloseReplaced = 4409 // The visitor has a newer connection: come again with the focus.
)
