package botstar

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
)

// The origins of a field.
const (
	fromPage    = "page"
	fromRecord  = "record"
	fromUnknown = "unknown"
)

// GetStateIn is the input of botstar.session.get_state.
type GetStateIn struct {
	// Include narrows the answer to these groups. When it is left out everything is
	// there that costs no call to BotStar: all but remote.
	Include []string `json:"include,omitempty" jsonschema:"maxItems=4,enum=dom,enum=user,enum=takeover,enum=remote"`
	// Wake brings a hibernated session back, so that the page answers. Without it
	// the record does, and the session sleeps on.
	Wake bool `json:"wake,omitempty"`
}

// Where a session is.
const (
	isHeld       = "held"
	isHibernated = "hibernated"
	isVisitor    = "visitor"
)

// Flag is a boolean with its origin: page, record or unknown. Value is null
// when nobody knows.
type Flag struct {
	Value  *bool  `json:"value"`
	Origin string `json:"origin" jsonschema:"enum=page,enum=record,enum=unknown"`
}

// Text is a text with its origin. Value is null when nobody knows.
type Text struct {
	Value  *string `json:"value"`
	Origin string  `json:"origin" jsonschema:"enum=page,enum=record,enum=unknown"`
}

// Count is a number with its origin. Value is null when nobody knows.
type Count struct {
	Value  *int   `json:"value"`
	Origin string `json:"origin" jsonschema:"enum=page,enum=record,enum=unknown"`
}

// List is a list of texts with its origin.
type List struct {
	Value  []string `json:"value"`
	Origin string   `json:"origin" jsonschema:"enum=page,enum=record,enum=unknown"`
}

// StateOut is the output of botstar.session.get_state. Every field says where
// it is from: the page that is open now, Parley's own record, or nowhere.
type StateOut struct {
	// State is held when a browser of ours shows the page, hibernated when the
	// session is stored and comes back with its next command, and visitor when the
	// visitor's own browser shows it.
	State    string         `json:"state" jsonschema:"enum=held,enum=hibernated,enum=visitor"`
	Dom      *DomState      `json:"dom,omitempty"`
	User     *UserState     `json:"user,omitempty"`
	Takeover *TakeoverState `json:"takeover,omitempty"`
	// Remote is what BotStar's REST API says of the visitor. It is there only when
	// it is included.
	Remote *RemoteState `json:"remote,omitempty"`
	// Subscriptions are the ids of the subscriptions that the session holds.
	Subscriptions List `json:"subscriptions"`
}

// DomState is what the page shows.
type DomState struct {
	Booted Flag `json:"booted"`
	Mode   Text `json:"mode"`
	AppID  Text `json:"app_id"`
	// Open is unknown in modes without a window.
	Open        Flag `json:"open"`
	FrameLoaded Flag `json:"frame_loaded"`
	// Containers counts the widget's containers; more than one is a fault of the
	// page.
	Containers Count `json:"containers"`
	// QueueLength counts calls that the widget has not taken yet.
	QueueLength Count `json:"queue_length"`
	Listening   Flag  `json:"listening"`
	// PageErrors counts errors that the page's scripts have thrown.
	PageErrors Count `json:"page_errors"`
}

// UserState is what Parley knows of the visitor: BotStar's page never says.
type UserState struct {
	UserID    Text `json:"user_id"`
	Anonymous Flag `json:"anonymous"`
	// Attributes are the names of the attributes that were sent.
	Attributes List `json:"attributes"`
	// Kept are the names of attributes that wait for the day of identification.
	Kept       List  `json:"kept"`
	BudgetLeft Count `json:"budget_left"`
	// PendingUpdates are the names of attributes that wait for the budget.
	PendingUpdates List `json:"pending_updates"`
	PendingUntil   Text `json:"pending_until"`
}

// TakeoverState says who talks to the visitor. Only BotStar's webhooks tell.
type TakeoverState struct {
	// Human says whether a human answers in the bot's place.
	Human Flag `json:"human"`
	// NeedsHuman is the same, with the reason.
	NeedsHuman *NeedState `json:"needs_human,omitempty"`
}

// pageState is what the driver's state answers.
type pageState struct {
	Up        bool `json:"up"`
	Ready     bool `json:"ready"`
	Listening bool `json:"listening"`
	Open      bool `json:"open"`
	Queue     int  `json:"queue"`
	Errors    int  `json:"errors"`
}

func getState() actions.Spec {
	spec := actions.Spec{
		Name:  "botstar.session.get_state",
		Title: "Fetch session state",
		Description: "Says what is known of the session: where it is, widget, mode, window, queue, subscriptions, budget, waiting updates, identity, and whether a human is needed. " +
			"Every field names its origin: the page, Parley's record, or unknown. It changes nothing, and spends no budget. " +
			"A hibernated session sleeps on, and its record answers, unless wake is true. " +
			"With remote in include, BotStar's REST API is asked of the visitor as well, where its id is known: that costs a call.",
		Aliases: names("Fetch session state"),
		Scope:   event.ClassRead, Plane: actions.PlanePage, Idempotent: true,
		Timeout:      bounds(10*time.Second, 60*time.Second),
		Verification: "A second read of the document says the same. Of a hibernated session there is only the record: unverifiable. What BotStar says is of the id that was asked for.",
		Reasons:      pageReasons(),
		Asleep:       answersAsleep,
	}
	return actions.New(spec, runGetState, verifyGetState)
}

// answersAsleep reports whether the record is enough.
func answersAsleep(params json.RawMessage) bool {
	var in GetStateIn
	return len(params) == 0 || json.Unmarshal(params, &in) == nil && !in.Wake
}

// whereIs says where the session is.
func whereIs(env actions.Env) string {
	switch {
	case env.Page == nil:
		return isHibernated
	case env.Browser == nil:
		return isVisitor
	}
	return isHeld
}

func runGetState(ctx context.Context, env actions.Env, in GetStateIn) (actions.Done[StateOut], error) {
	out := StateOut{State: whereIs(env), Subscriptions: List{[]string{}, fromRecord}}
	for _, sub := range env.State.Subscriptions {
		out.Subscriptions.Value = append(out.Subscriptions.Value, sub.ID)
	}
	asked := func(group string) bool { return len(in.Include) == 0 || slices.Contains(in.Include, group) }
	if asked("dom") {
		dom, err := readDom(ctx, env)
		if err != nil {
			return actions.Done[StateOut]{}, err
		}
		out.Dom = dom
	}
	if asked("user") {
		out.User = readUser(env)
	}
	if asked("takeover") {
		takeover, err := readTakeover(ctx, env)
		if err != nil {
			return actions.Done[StateOut]{}, err
		}
		out.Takeover = takeover
	}
	if slices.Contains(in.Include, "remote") {
		out.Remote = readRemote(ctx, env)
	}
	return actions.Done[StateOut]{Output: out}, nil
}

// recorded is what the record says of the page that a hibernated session had,
// and will have again.
func recorded(s *actions.State) *DomState {
	dom := &DomState{
		Booted: Flag{new(s.Booted), fromRecord}, Mode: Text{nil, fromUnknown}, AppID: Text{nil, fromUnknown}, Open: Flag{nil, fromUnknown},
		FrameLoaded: Flag{nil, fromUnknown}, Containers: Count{nil, fromUnknown}, QueueLength: Count{nil, fromUnknown},
		Listening: Flag{nil, fromUnknown}, PageErrors: Count{nil, fromUnknown},
	}
	if s.Booted {
		dom.Mode, dom.AppID = Text{new(s.Mode), fromRecord}, Text{new(s.AppID), fromRecord}
		if windowed(s.Mode) {
			dom.Open = Flag{new(s.Open), fromRecord}
		}
	}
	return dom
}

func readDom(ctx context.Context, env actions.Env) (*DomState, error) {
	if env.Page == nil {
		return recorded(env.State), nil
	}
	var page pageState
	if err := env.Look(ctx, "state", nil, &page); err != nil {
		return nil, fmt.Errorf("reading the page's state: %w", err)
	}
	seen, err := look(ctx, env, lookArg{})
	if err != nil {
		return nil, err
	}
	dom := &DomState{
		Booted: Flag{new(page.Ready && seen.mounted()), fromPage}, FrameLoaded: Flag{new(seen.Loaded), fromPage},
		Containers: Count{new(seen.Containers), fromPage}, QueueLength: Count{new(page.Queue), fromPage},
		Listening: Flag{new(page.Listening), fromPage}, PageErrors: Count{new(page.Errors), fromPage},
		Mode: Text{nil, fromUnknown}, AppID: Text{nil, fromUnknown}, Open: Flag{nil, fromUnknown},
	}
	if seen.Frames > 0 {
		dom.Mode, dom.AppID = Text{new(seen.Mode), fromPage}, Text{new(seen.AppID), fromPage}
		if windowed(seen.Mode) {
			dom.Open = Flag{new(seen.Visible), fromPage}
		}
	}
	return dom, nil
}

func readUser(env actions.Env) *UserState {
	p, now := env.Profile, env.Now().UTC()
	purse := budget{p, "botstar.widget.update"}
	u := &UserState{
		UserID: Text{nil, fromUnknown}, Anonymous: Flag{new(!identified(env, nil)), fromRecord},
		Attributes: listOf(env.State.User), Kept: listOf(p.Kept), PendingUpdates: listOf(p.Pending),
		BudgetLeft: Count{new(purse.left(now)), fromRecord}, PendingUntil: Text{nil, fromRecord},
	}
	if id := firstOf(stringOf(env.State.User[userIDKey]), env.Visitor.UserID); id != "" {
		u.UserID = Text{new(id), fromRecord}
	}
	if !p.FlushAt.IsZero() {
		u.PendingUntil.Value = new(p.FlushAt.UTC().Format(time.RFC3339Nano))
	}
	return u
}

func listOf(attributes map[string]any) List {
	names := slices.AppendSeq([]string{}, maps.Keys(attributes))
	slices.Sort(names)
	return List{names, fromRecord}
}

func verifyGetState(ctx context.Context, env actions.Env, _ GetStateIn, out StateOut) (actions.Proof, error) {
	remote := proveRemote(env, out.Remote)
	switch {
	case out.Dom != nil && env.Page != nil:
	case remote != nil && out.Dom == nil && out.User == nil && out.Takeover == nil:
		return *remote, nil
	default:
		return actions.Proof{Verdict: event.Unverifiable}, nil
	}
	again, err := readDom(ctx, env)
	if err != nil {
		return actions.Proof{}, err
	}
	proof := actions.Proof{Verdict: event.Confirmed, Evidence: []event.Evidence{evidence(env, "dom", "a second read says the same")}}
	if !same(again, out.Dom) {
		proof = actions.Proof{Verdict: event.Unconfirmed, Evidence: []event.Evidence{evidence(env, "dom", "the page changed between two reads")}}
	}
	if remote != nil {
		proof = both(proof, *remote)
	}
	return proof, nil
}
