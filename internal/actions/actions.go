// Package actions is the catalogue: what can be done, what each action needs,
// what it changes, and how its effect is proved. A provider is one folder
// below; an action is one file in it.
//
// An action speaks to a [Page] and never to a browser, so the same action runs
// in a headless tab and in the visitor's own.
package actions

import (
	"context"
	"encoding/json"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// Plane says what an action speaks to.
type Plane string

// The planes.
const (
	PlanePage  Plane = "page"  // A page that shows the widget.
	PlaneLocal Plane = "local" // Only what Parley itself knows.
	PlaneREST  Plane = "rest"  // The vendor's REST API.
)

// Fact is something that is true of a session or not. Actions need facts and
// make facts, which is how the worker knows what to do first.
type Fact string

// The facts.
const (
	Booted      Fact = "booted"       // The widget is mounted and ready.
	Windowed    Fact = "windowed"     // Its mode has a window: livechat or popup.
	Open        Fact = "open"         // The chat window is open.
	Closed      Fact = "closed"       // The chat window is closed.
	WebviewOpen Fact = "webview_open" // A webview page is open and ready.
)

// Unmet returns the reason of a command that may not or cannot make the fact
// true.
func (f Fact) Unmet() fault.Reason {
	switch f {
	case Booted:
		return fault.NotBooted
	case Windowed:
		return fault.ModeNotSupported
	case Open, Closed:
		return fault.NotOpen
	case WebviewOpen:
		return fault.WebviewNotOpen
	}
	return fault.InternalError
}

// Bounds are the limits of an action's timeout.
type Bounds struct{ Min, Default, Max time.Duration }

// Budget is the vendor's limit on calls of the action, per session.
type Budget struct {
	Calls  int
	Window time.Duration
}

// Alias is another name of an action.
type Alias struct {
	Name string
	// Kind is "slug" for a hub's tool slug, "title" for a name on the product
	// page, and "hub" for a hub's display name.
	Kind string
	// SnippetField is the field in which the hub returns its snippet, or "".
	SnippetField string
}

// Spec describes one action. Make it with [New], which fills the erased
// functions from typed ones.
type Spec struct {
	// Name has three tokens: provider.object.verb.
	Name string
	// Title is the name on the product page.
	Title string
	// Description says in full sentences what the action does and what its
	// result tells.
	Description string
	Aliases     []Alias
	Scope       event.Class
	Plane       Plane
	// Needs are the facts that must be true before the action runs. The worker
	// makes them true with the actions that make them, when it may.
	Needs []Fact
	// Makes are the facts that are true after the action succeeded.
	Makes []Fact
	// Idempotent says that doing it twice changes nothing more.
	Idempotent bool
	// Budget is nil when the vendor sets no limit.
	Budget  *Budget
	Timeout Bounds
	// Verification says, for a person, how the effect is proved.
	Verification string
	// Reasons are the failures that a caller should expect.
	Reasons []fault.Reason

	// In and Out are zero values of the input and output types: the schemas are
	// generated from them.
	In, Out any
	// InputSchema is the JSON Schema of the input where a Go type cannot say it,
	// such as a flat object with free names. It wins over In. Nil means that the
	// schema is generated from In.
	InputSchema json.RawMessage
	// Run does the action. The input has passed the schema.
	Run func(ctx context.Context, env Env, params json.RawMessage) (Outcome, error)
	// Verify looks at the effect, independently of Run. It is nil when there is
	// nothing to look at.
	Verify func(ctx context.Context, env Env, params json.RawMessage, o Outcome) (Proof, error)
	// Asleep reports whether Run and Verify answer for a session that is
	// hibernated without waking it: env.Page is nil then, and env.State is what was
	// stored. Nil means never.
	Asleep func(params json.RawMessage) bool
	// Detour is taken when no page can be reached. Nil means that there is none.
	Detour *Detour
	// Snippet returns the JavaScript text that a hub would hand back. It is text
	// for the caller; Parley never runs it. It is nil when no hub has one.
	Snippet func(params json.RawMessage) string
}

// Outcome is what a run leaves behind.
type Outcome struct {
	// Output is the action's output, of the type of Spec.Out.
	Output any
	// Advice is for the caller; see event.Result.
	Advice string
	// Evidence is what the run itself saw.
	Evidence []event.Evidence
	// Notices are facts to publish.
	Notices []Notice
	// Again asks for the same action to be run once more, later. The request is
	// durable.
	Again *Again
	// Queued says that the effect waits for Again.
	Queued bool
	// webview is the page that the run opened, for the verification.
	webview Page
}

// Again is a request to run the same action later.
type Again struct {
	At time.Time
	// Params is the input of that later run.
	Params any
}

// Notice is a fact that an action wants to be published.
type Notice struct {
	// Name is the fact's name without the provider, such as
	// event.FactUserUpdated.
	Name string
	// Data makes the payload from the part that all facts share.
	Data func(event.Occurrence) any
}

// Proof is the answer of a verification.
type Proof struct {
	Verdict  event.Verdict
	Evidence []event.Evidence
}

// Done is the typed form of an Outcome.
type Done[Out any] struct {
	Output   Out
	Advice   string
	Evidence []event.Evidence
	Notices  []Notice
	Again    *Again
	Queued   bool
	// Webview is the webview page that the run opened or used. The verification
	// finds it in its environment.
	Webview Page
}

// New completes the description of an action with its typed run and
// verification. A nil verify means that there is nothing to look at.
func New[In, Out any](
	spec Spec,
	run func(ctx context.Context, env Env, in In) (Done[Out], error),
	verify func(ctx context.Context, env Env, in In, out Out) (Proof, error),
) Spec {
	spec.In, spec.Out = *new(In), *new(Out)
	spec.Run = func(ctx context.Context, env Env, params json.RawMessage) (Outcome, error) {
		in, err := decode[In](params)
		if err != nil {
			return Outcome{}, err
		}
		done, err := run(ctx, env, in)
		return Outcome{
			Output: done.Output, Advice: done.Advice, Evidence: done.Evidence,
			Notices: done.Notices, Again: done.Again, Queued: done.Queued, webview: done.Webview,
		}, err
	}
	if verify == nil {
		return spec
	}
	spec.Verify = func(ctx context.Context, env Env, params json.RawMessage, o Outcome) (Proof, error) {
		in, err := decode[In](params)
		if err != nil {
			return Proof{}, err
		}
		out, ok := o.Output.(Out)
		if !ok {
			return Proof{}, fault.New(fault.InternalError, "the output of %s is a %T", spec.Name, o.Output)
		}
		if o.webview != nil {
			env.Webview = o.webview
		}
		return verify(ctx, env, in, out)
	}
	return spec
}

func decode[In any](params json.RawMessage) (In, error) {
	var in In
	if len(params) == 0 {
		return in, nil
	}
	if err := json.Unmarshal(params, &in); err != nil {
		return in, fault.New(fault.SchemaViolation, "reading the parameters: %s", err).At("/params")
	}
	return in, nil
}
