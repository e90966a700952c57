package workflow

import (
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
)

// Program is a compiled workflow. It never changes, and may be used by many
// goroutines. A run keeps the program that it began with: its digest names it.
type Program struct {
	// Rule is the workflow as it was written, with names and defaults filled in.
	Rule
	// Source is the text, and File where it was read.
	Source []byte
	File   string
	// Digest names name and text: two programs with one digest are the same.
	Digest string
	// Version is the number under which it was published; 0 when it is a file.
	Version int
	// Starts are what starts a run, CancelOn what ends one.
	Starts []Start
	Cond   *Expr // of Rule.If; nil holds always
	Bounds Bounds
	// Ops are all steps, a step before those inside it. First and Otherwise are where a
	// run begins when Cond holds, and when not; End when there is nothing to do.
	Ops              []Op
	First, Otherwise int
	// Warnings are what the linter noticed and does not refuse.
	Warnings []Problem

	order int    // among the programs of a set
	known shapes // what expressions see
	steps *shape // of the variable steps
}

// End is the index of no op: the run, or the arm of a parallel step, ends.
const End = -1

// OpKind says what an op does.
type OpKind string

// The kinds of ops.
const (
	OpAction   OpKind = "action"
	OpWait     OpKind = "wait_for"
	OpDelay    OpKind = "delay" // after and until
	OpBranch   OpKind = "branch"
	OpParallel OpKind = "parallel"
	OpJoin     OpKind = "join" // Where the arms of a parallel step meet.
	OpEmit     OpKind = "emit"
	OpHTTP     OpKind = "http"
	OpStop     OpKind = "stop"
)

// Op is one step. Exactly the part that Kind names is set.
type Op struct {
	// Index is the place in Program.Ops. Within one digest it names the op, in
	// one token of a subject.
	Index int
	// ID is the op's path: its name when it has one, else its place, such as
	// "2.on_timeout.1". It is unique in the workflow, and the ids of commands are
	// made of it.
	ID string
	// Name is the step's own name, or "": expressions see its outcome under it.
	Name string
	Kind OpKind
	// Next is the op that follows, or End.
	Next int
	// Line is where the step is in the file, from 1.
	Line int
	// Event is the index of the wait whose event expressions of this op see as
	// `event`; End means the event that started the run.
	Event int
	// Depth is how many steps are around it.
	Depth int

	Action   *ActionOp
	Wait     *WaitOp
	Delay    *DelayOp
	Arms     []ArmOp // of a branch
	Parallel *ParallelOp
	Join     *JoinOp
	Emit     *EmitOp
	HTTP     *HTTPOp
	Stop     *StopOp
}

// ActionOp asks for a command. Command makes it.
type ActionOp struct {
	// Name is the action as it was written.
	Name string
	// Specs are the action by the provider of the site; one for all under "" when
	// the name is no portable verb.
	Specs    map[string]actions.Spec
	Params   Template
	AutoBoot *bool
	Timeout  time.Duration // 0 is the action's own
	Expires  time.Duration
	// Await says that the next op waits for the result.
	Await bool
	// GoOn says that a failure does not end the run.
	GoOn bool
}

// WaitOp waits for a topic. A zero Timeout waits for ever.
type WaitOp struct {
	Topic   Topic
	If      *Expr
	Timeout time.Duration
	// Then and OnTimeout are where the run goes on.
	Then, OnTimeout int
}

// DelayOp waits for a span or until a time: one of For, Span and Until.
type DelayOp struct {
	For   time.Duration
	Span  *Expr
	Until *Expr
	// At is a fixed time.
	At time.Time
}

// ArmOp is one arm of a branch: If is nil for the last one, else. Then is the
// op that follows the branch when the arm is empty.
type ArmOp struct {
	If   *Expr
	Then int
}

// ParallelOp begins all of its arms. Each ends at the op Join.
type ParallelOp struct {
	Arms []int
	Join int
}

// JoinOp goes on when that many arms of the parallel op have come.
type JoinOp struct{ Of, Arms int }

// EmitOp makes a trigger of the kind emitted.
type EmitOp struct {
	Event      string
	Properties Template
}

// HTTPOp calls an address.
type HTTPOp struct {
	URL     Template
	Method  string
	Headers map[string]Template
	Body    Template // nil sends none
	// Secret is a reference such as env:NAME, or "".
	Secret  string
	Timeout time.Duration
	Retries int
	Await   bool
	GoOn    bool
}

// StopOp ends the run. A nil If holds always.
type StopOp struct {
	If     *Expr
	Reason Template
}

// Topic is something that can be listened to: a kind of trigger, or a fact.
type Topic struct {
	// Kind is the kind of trigger; "" is a fact.
	Kind string
	// Name is the event's or the fact's name; "" is every event of the kind.
	Name string
	// Provider is whose fact it is; "" is every provider's.
	Provider string
}

// Covers reports whether what happened, a topic with a name, is of this topic.
func (t Topic) Covers(happened Topic) bool {
	return t.Kind == happened.Kind && (t.Name == "" || t.Name == happened.Name) &&
		(t.Provider == "" || t.Provider == happened.Provider)
}

// String returns the topic for a person.
func (t Topic) String() string {
	switch {
	case t.Kind == "" && t.Provider != "":
		return t.Provider + "." + t.Name
	case t.Kind == "":
		return t.Name
	case t.Name == "":
		return "every " + t.Kind
	}
	return t.Kind + " " + t.Name
}

// Start is one thing that starts runs.
type Start struct {
	Topic Topic
	// Sites are the sites on which it does; none means all.
	Sites []string
	// Schedule is the clock behind a topic of the kind schedule; nil otherwise.
	Schedule *Schedule
}

// On reports whether it starts runs on the site.
func (s Start) On(site string) bool { return len(s.Sites) == 0 || slices.Contains(s.Sites, site) }

// Schedule is a workflow's own clock. The machine makes a trigger of the kind
// schedule, with the workflow's name as its event, on Site for Visitor.
type Schedule struct {
	Text    string
	Site    string
	Visitor event.Visitor

	next func(time.Time) time.Time
}

// Next returns the first time after t, or the zero time when there is none.
func (s Schedule) Next(t time.Time) time.Time { return s.next(t).UTC() }

// Bounds are the compiled limits. A zero value bounds nothing.
type Bounds struct {
	OncePer  time.Duration
	PerSite  Rate
	Quiet    *Quiet
	Debounce time.Duration
	CancelOn []Cancel
	// Key and OnConflict are those of Rule.Limits.Concurrency; with a nil Key the
	// visitor is the key. Exclusive says whether runs compete at all.
	Exclusive  bool
	Key        *Expr
	OnConflict string
}

// Cancel ends a run under way.
type Cancel struct {
	Topic Topic
	If    *Expr
}

// Op returns the op of the id.
func (p *Program) Op(id string) (Op, bool) {
	i := slices.IndexFunc(p.Ops, func(op Op) bool { return op.ID == id })
	if i < 0 {
		return Op{}, false
	}
	return p.Ops[i], true
}

// Hears reports whether a run of the program may wait for what happened, or be
// cancelled by it.
func (p *Program) Hears(happened Topic) bool {
	for i := range p.Bounds.CancelOn {
		if p.Bounds.CancelOn[i].Topic.Covers(happened) {
			return true
		}
	}
	for i := range p.Ops {
		if wait := p.Ops[i].Wait; wait != nil && wait.Topic.Covers(happened) {
			return true
		}
	}
	return false
}

// Awaits returns what runs of the program may wait for or be cancelled by.
func (p *Program) Awaits() []Topic {
	var topics []Topic
	for _, op := range p.Ops {
		if op.Wait != nil {
			topics = append(topics, op.Wait.Topic)
		}
	}
	for _, cancel := range p.Bounds.CancelOn {
		topics = append(topics, cancel.Topic)
	}
	return topics
}
