package wire

import "encoding/json"

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
