package wire

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
