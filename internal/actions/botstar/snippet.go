package botstar

import (
	"encoding/json"
	"maps"
	"strings"
)

// The hubs answer with JavaScript for somebody else to run. We answer with the
// same text beside our result, and never run it. Values get into it as JSON,
// which is JavaScript too: encoding/json escapes what would end a script
// element or a line.

func fixedSnippet(text string) func(json.RawMessage) string {
	return func(json.RawMessage) string { return text }
}

// safe leaves out the names that an object literal would take for something
// else than a property.
func safe(values map[string]any) map[string]any {
	return maps.Collect(func(yield func(string, any) bool) {
		for key, value := range values {
			if !forbidden(key) && !yield(key, value) {
				return
			}
		}
	})
}

// literal returns the value as an expression of JavaScript.
func literal(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return "null"
	}
	return string(text)
}

func bootSnippet(params json.RawMessage) string {
	var in BootIn
	if json.Unmarshal(params, &in) != nil {
		in = BootIn{}
	}
	delete(in.User, vendorKey)
	return "BotStarApi('boot', " + literal(settings{
		AppID: firstOf(in.AppID, in.HubAppID), Mode: in.Mode,
		User: safe(in.User), Variables: safe(in.Variables), Block: in.Block,
	}) + ");"
}

func updateSnippet(params json.RawMessage) string {
	attributes := UpdateIn{}
	if json.Unmarshal(params, &attributes) != nil || attributes == nil {
		attributes = UpdateIn{}
	}
	delete(attributes, flushKey)
	delete(attributes, vendorKey)
	return "BotStarApi('update', " + literal(safe(attributes)) + ");"
}

// callbackSnippet returns the snippet that registers the caller's own code. The
// code is the caller's, and stands on lines of its own, so that a comment at
// its end does not swallow ours.
func callbackSnippet(method string) func(json.RawMessage) string {
	return func(params json.RawMessage) string {
		var in SubscribeIn
		if json.Unmarshal(params, &in) != nil {
			in = SubscribeIn{}
		}
		function := "function () {}"
		switch {
		case strings.TrimSpace(in.Callback) != "":
			function = "\n" + in.Callback + "\n"
		case strings.TrimSpace(in.CallbackCode) != "":
			function = "function () {\n" + in.CallbackCode + "\n}"
		}
		return "BotStarApi('" + method + "', " + function + ");"
	}
}

func parameterSnippet(params json.RawMessage) string {
	var in GetParameterIn
	if json.Unmarshal(params, &in) != nil {
		in = GetParameterIn{}
	}
	return "BotStarWebview('getParameter', " + literal(in.ParameterName) + ");"
}

func responseSnippet(params json.RawMessage) string {
	var in SendResponseIn
	if json.Unmarshal(params, &in) != nil {
		in = SendResponseIn{}
	}
	text := "BotStarWebview('sendResponse', " + literal(in.Response) + ", " + literal(safe(in.Outputs))
	if in.OutletName != "" {
		text += ", " + literal(in.OutletName)
	}
	return text + ");"
}
