package visitor

import (
	"encoding/json"

	"github.com/parley-chat/parley/internal/actions"
)

// What a tab's user asks of the gateway that holds the visitor's connection.
const (
	askFind = "find" // Who is there? Answered with a presence.
	askCall = "call" // Have the page run a function. Answered with what it replied.
	askTell = "tell" // What the gateway needs for facts. Answered with a presence.
	askStop = "stop" // Close the visitor's connection: the grant is revoked.
)

// request is a question to the gateway, over the bus.
type request struct {
	Ask  string `json:"ask"`
	Call *call  `json:"call,omitempty"`
	// Behind are the commands that the next signals may be caused by, and
	// Subscriptions the session's, when Told says that they are meant.
	Behind        []cause                `json:"behind,omitempty"`
	Told          bool                   `json:"told,omitempty"`
	Subscriptions []actions.Subscription `json:"subscriptions,omitempty"`
}

// call is a call of the page's driver.
type call struct {
	// ID is the same however often the question is asked.
	ID   string `json:"id"`
	Name string `json:"name"`
	// Key is the effect key, or "".
	Key        string          `json:"key,omitempty"`
	DeadlineMS int64           `json:"deadline_ms"`
	JSON       json.RawMessage `json:"json"`
}

// replied is the answer to a call: the page's own text, and the document that gave
// it.
type replied struct {
	Life string `json:"life"`
	JSON string `json:"json"`
}

// cause is a command as facts tell of it: see session.Command.
type cause struct {
	Key         string `json:"key"`
	ID          string `json:"id"`
	Correlation string `json:"correlation,omitempty"`
	Trace       string `json:"trace,omitempty"`
}

// presence says that the visitor is there.
type presence struct {
	Gateway string `json:"gateway"`
	// Life names the page's document.
	Life    string `json:"life"`
	Tab     string `json:"tab"`
	URL     string `json:"url"`
	Focused bool   `json:"focused"`
}

// claim says which connection of a visitor is the newest: the higher one wins.
type claim struct {
	Gateway string `json:"gateway"`
	Focused bool   `json:"focused"`
	// Stamp is when it connected, by the gateway's clock in nanoseconds.
	Stamp int64 `json:"stamp"`
}

// beats reports whether c wins against the other claim.
func (c claim) beats(other claim) bool {
	switch {
	case c.Focused != other.Focused:
		return c.Focused
	case c.Stamp != other.Stamp:
		return c.Stamp > other.Stamp
	}
	return c.Gateway > other.Gateway
}
