package botstar

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// GetParameterIn is the input of botstar.webview.get_parameter.
type GetParameterIn struct {
	ParameterName string         `json:"parameter_name"`
	URL           string         `json:"url,omitempty"`
	Inputs        map[string]any `json:"inputs,omitempty"`
}

// GetParameterOut is the output of botstar.webview.get_parameter.
type GetParameterOut struct {
	Name string `json:"name"`
	// Value is what the page gets, as text: a number in its decimal form. It is
	// null when the bot gave none.
	Value *string `json:"value"`
	// Declared is true when the page declares the parameter in a meta tag.
	Declared bool `json:"declared"`
	// Type is the declared type, string or number; "" when it is not declared.
	Type string `json:"type" jsonschema:"enum=string,enum=number,enum="`
	// Description is the page's own, from the meta tag.
	Description string `json:"description,omitempty"`
}

const getParameterInput = `{
  "type": "object",
  "additionalProperties": false,
  "required": ["parameter_name"],
  "properties": {
    "parameter_name": {"type": "string", "minLength": 1, "maxLength": 16384, "description": "The name of the parameter."},` + webviewProperties + `
  }
}`

func getParameter() actions.Spec {
	spec := actions.Spec{
		Name:  "botstar.webview.get_parameter",
		Title: "Get webview parameter",
		Description: "Reads a parameter of a webview page, as the page itself would get it from BotStar's SDK. " +
			"The page is opened with the inputs when url is given, and stays open for a later response. " +
			"In the visitor's own tab it is the webview page that the visitor looks at.",
		Aliases: names("Get webview parameter", hubName("Get BotStar Webview Parameter"),
			slug("BOTSTAR_WEBVIEW_GET_PARAMETER", "js")),
		Scope: event.ClassRead, Plane: actions.PlanePage, Idempotent: true,
		Timeout:      bounds(20*time.Second, 120*time.Second),
		Verification: "From an isolated world: declared equals the presence of the page's meta tag bs:input:<name>.",
		Reasons: pageReasons(
			fault.WebviewNotOpen, fault.WebviewNotAllowed, fault.WebviewNotReady, fault.WebviewScriptError,
			fault.SchemaViolation,
		),
		InputSchema: json.RawMessage(getParameterInput),
		Snippet:     parameterSnippet,
	}
	return actions.New(spec, runGetParameter, verifyGetParameter)
}

func runGetParameter(ctx context.Context, env actions.Env, in GetParameterIn) (actions.Done[GetParameterOut], error) {
	on, notices, err := webviewPage(ctx, env, in.URL, in.Inputs)
	if err != nil {
		return actions.Done[GetParameterOut]{}, err
	}
	var answer struct {
		Value    *string `json:"value"`
		Declared bool    `json:"declared"`
		Content  string  `json:"content"`
	}
	arg := struct {
		Name string `json:"name"`
	}{in.ParameterName}
	if err := on.Look(ctx, "get_parameter", arg, &answer); err != nil {
		return actions.Done[GetParameterOut]{}, fmt.Errorf("reading the parameter: %w", err)
	}
	out := GetParameterOut{Name: in.ParameterName, Value: answer.Value, Declared: answer.Declared}
	done := actions.Done[GetParameterOut]{Webview: on.Page, Notices: notices}
	if answer.Declared {
		f := parseField(answer.Content)
		out.Type, out.Description = f.Type, clip(f.Description, 1000)
	} else {
		done.Advice = "the page does not declare this parameter: BotStar's builder does not offer it"
	}
	done.Output = out
	return done, nil
}

func verifyGetParameter(ctx context.Context, env actions.Env, in GetParameterIn, out GetParameterOut) (actions.Proof, error) {
	schema, err := declarations(ctx, env.On(env.Webview))
	if err != nil {
		return actions.Proof{}, err
	}
	f, known := schema.Inputs[in.ParameterName]
	proof := actions.Proof{Verdict: event.Confirmed, Evidence: []event.Evidence{
		evidence(env, "dom", fmt.Sprintf("the page declares %d input(s), this one: %t", len(schema.Inputs), known)),
	}}
	if known != out.Declared || known && f.Type != out.Type {
		proof.Verdict = event.Contradicted
	}
	return proof, nil
}
