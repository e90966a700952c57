package event

import "encoding/json"

// Command is the data of a command: a request to do one action for one
// session. The envelope's source and id together are its idempotency key. The
// schema of a command's type narrows Params to the action's input.
type Command struct {
	// Site is the name of a site in the configuration.
	Site string `json:"site" jsonschema:"minLength=1,maxLength=63,pattern=^[a-z0-9][a-z0-9-]*$"`
	// Visitor is whose session it is.
	Visitor Visitor `json:"visitor"`
	// Params is the action's input.
	Params json.RawMessage `json:"params,omitempty"`
	// AutoBoot says whether the worker may boot the widget first. It may when
	// this is left out.
	AutoBoot *bool `json:"auto_boot,omitempty"`
	// TimeoutMS bounds the action, in milliseconds. The action's own default
	// holds when this is left out.
	TimeoutMS *int `json:"timeout_ms,omitempty" jsonschema:"minimum=100,maximum=120000"`
	// Alias is the name that the caller used, when it was not the action's own.
	// It decides whether the result carries the hub's snippet.
	Alias string `json:"alias,omitempty" jsonschema:"maxLength=100"`
}
