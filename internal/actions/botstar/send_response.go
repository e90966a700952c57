package botstar

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// SendResponseIn is the input of botstar.webview.send_response.
type SendResponseIn struct {
	Response   string         `json:"response"`
	Outputs    map[string]any `json:"outputs,omitempty"`
	OutletName string         `json:"outlet_name,omitempty"`
	URL        string         `json:"url,omitempty"`
	Inputs     map[string]any `json:"inputs,omitempty"`
}

// SendResponseOut is the output of botstar.webview.send_response.
type SendResponseOut struct {
	// Resolved is always true: a rejection is an error with the SDK's message.
	Resolved bool `json:"resolved"`
	// Closed is true when the webview page was closed afterwards. In the visitor's
	// own tab it never is: the page is the visitor's.
	Closed bool `json:"closed"`

	// arrived is true when the host got exactly what was sent.
	arrived bool
}

const sendResponseInput = `{
  "type": "object",
  "additionalProperties": false,
  "required": ["response"],
  "properties": {
    "response": {"type": "string", "maxLength": 16384, "description": "Becomes the conversation's latest response; it may be empty."},
    "outputs": {"type": "object", "maxProperties": 100, "description": "Values for the outputs that the page declares.",
      "propertyNames": {"maxLength": 128},
      "additionalProperties": {"type": ["string", "number"], "maxLength": 16384}},
    "outlet_name": {"type": "string", "maxLength": 256, "description": "The outlet that picks the next branch; the page must declare it."},` + webviewProperties + `
  }
}`

// response is what travels to the page's SDK, and what our host got from it.
type response struct {
	Response string         `json:"response"`
	Outputs  map[string]any `json:"outputs"`
	Outlet   string         `json:"outlet"`
}

func sendResponse() actions.Spec {
	spec := actions.Spec{
		Name:  "botstar.webview.send_response",
		Title: "Send webview response",
		Description: "Sends a response from a webview page through BotStar's SDK, as the page itself would, and closes the page. " +
			"Outputs and outlet are checked against what the page declares before anything is sent. The response becomes an event. " +
			"In the visitor's own tab the page that he looks at sends it, and stays open.",
		Aliases: names("Send webview response", hubName("Webview send response"),
			slug("BOTSTAR_WEBVIEW_SEND_RESPONSE", "snippet")),
		Scope: event.ClassWrite, Plane: actions.PlanePage, Idempotent: false,
		Timeout: bounds(20*time.Second, 120*time.Second),
		Verification: "The SDK's promise was resolved, the host got exactly the response, outputs and outlet that were sent, " +
			"and the webview page is closed, unless it is the visitor's own tab.",
		Reasons: pageReasons(
			fault.WebviewNotOpen, fault.WebviewNotAllowed, fault.WebviewNotReady, fault.WebviewScriptError,
			fault.NotDeclared, fault.WebviewRejected, fault.SchemaViolation,
		),
		InputSchema: json.RawMessage(sendResponseInput),
		Snippet:     responseSnippet,
	}
	return actions.New(spec, runSendResponse, verifySendResponse)
}

func runSendResponse(ctx context.Context, env actions.Env, in SendResponseIn) (actions.Done[SendResponseOut], error) {
	done := actions.Done[SendResponseOut]{}
	if err := checkNames(in.Outputs, "/params/outputs"); err != nil {
		return done, err
	}
	on, notices, err := webviewPage(ctx, env, in.URL, in.Inputs)
	if err != nil {
		return done, err
	}
	schema, err := declarations(ctx, on)
	if err != nil {
		return done, err
	}
	if err := schema.check(in); err != nil {
		return done, err
	}
	arg := struct {
		response
		WaitMS int64 `json:"wait_ms"`
	}{response{in.Response, in.Outputs, in.OutletName}, waitMS(ctx, webviewWait)}
	var answer struct {
		Host response `json:"host"`
		URL  string   `json:"url"`
	}
	if err := on.Do(ctx, "send_response", arg, &answer); err != nil {
		return done, fmt.Errorf("sending the response: %w", err)
	}
	fact := event.WebviewResponded{URL: clip(answer.URL, 2048), Response: in.Response, Outputs: in.Outputs, Outlet: in.OutletName}
	done.Notices = append(notices, actions.Notice{Name: event.FactWebviewResponded, Data: func(o event.Occurrence) any {
		fact.Occurrence = o
		return fact
	}})
	done.Evidence = []event.Evidence{evidence(env, "sdk", "the SDK's promise was resolved")}
	done.Output = SendResponseOut{Resolved: true, arrived: arg.equal(answer.Host)}
	if env.Browser == nil {
		done.Advice = "the page stays open: it is the visitor's own tab"
		return done, nil
	}
	if err := closeWebview(ctx, env); err != nil {
		done.Advice = "the response was sent, but the page did not close"
		return done, nil //nolint:nilerr // What was asked for is done; the page goes with its session.
	}
	done.Output.Closed = true
	return done, nil
}

// equal reports whether the host got what was sent.
func (r response) equal(got response) bool {
	if r.Response != got.Response || r.Outlet != got.Outlet || len(r.Outputs) != len(got.Outputs) {
		return false
	}
	for key, value := range r.Outputs {
		if !same(value, got.Outputs[key]) {
			return false
		}
	}
	return true
}

// check refuses what the page does not declare.
func (s webviewSchema) check(in SendResponseIn) error {
	for _, key := range Attributes(in.Outputs).names() {
		at := "/params/outputs/" + escape(key)
		f, ok := s.Outputs[key]
		if !ok {
			return fault.New(fault.NotDeclared, "the page declares no output %q", clip(key, 100)).At(at)
		}
		switch in.Outputs[key].(type) {
		case string:
			if f.Type == "number" {
				return fault.New(fault.SchemaViolation, "the page declares this output as a number").At(at)
			}
		case float64:
			if f.Type == "string" {
				return fault.New(fault.SchemaViolation, "the page declares this output as a string").At(at)
			}
		default:
			return fault.New(fault.SchemaViolation, "an output is a string or a number, not %s", kindOf(in.Outputs[key])).At(at)
		}
	}
	if in.OutletName != "" && !slices.Contains(s.Outlets, in.OutletName) {
		return fault.New(fault.NotDeclared, "the page declares no outlet %q", clip(in.OutletName, 100)).At("/params/outlet_name")
	}
	return nil
}

func verifySendResponse(_ context.Context, env actions.Env, _ SendResponseIn, out SendResponseOut) (actions.Proof, error) {
	closed := out.Closed && env.State.WebviewURL == ""
	proof := actions.Proof{Verdict: event.Confirmed, Evidence: []event.Evidence{
		evidence(env, "sdk", fmt.Sprintf("the host got exactly what was sent: %t", out.arrived)),
	}}
	if env.Browser != nil {
		proof.Evidence = append(proof.Evidence, evidence(env, "record", fmt.Sprintf("the webview page is closed: %t", closed)))
	}
	switch {
	case !out.arrived:
		proof.Verdict = event.Contradicted
	case env.Browser != nil && !closed:
		proof.Verdict = event.Unconfirmed
	}
	return proof, nil
}
