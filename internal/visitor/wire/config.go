package wire

import "encoding/json"

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
