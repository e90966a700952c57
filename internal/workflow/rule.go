package workflow

import "time"

// Rule is a workflow file as it is written.
type Rule struct {
	// Name names the workflow. It is part of the ids of its commands. The default
	// is the file's name without its ending.
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
	// On is what starts a run: one, or a list of which any does.
	On Ons `yaml:"on"`
	// If is a CEL condition. An empty one holds always. A property that the
	// trigger does not have makes the condition false.
	If string `yaml:"if"`
	// Requires are promises that hold before a run starts: "consent", "disclosure".
	Requires []string `yaml:"requires"`
	Limits   *Limits  `yaml:"limits"`
	Holdout  *Holdout `yaml:"holdout"`
	Steps    []Step   `yaml:"steps"`
	// Else are the steps of a trigger for which If is false.
	Else []Step `yaml:"else"`
}

// The promises of Requires.
const (
	// RequireConsent lets nobody in who denied functionality or personalization,
	// or whose browser sends Global Privacy Control.
	RequireConsent = "consent"
	// RequireDisclosure lets only sites in whose widget tells that a machine
	// answers.
	RequireDisclosure = "disclosure"
)

// Ons are one or several On.
type Ons []On

// UnmarshalYAML reads one, or a list.
func (o *Ons) UnmarshalYAML(read func(any) error) error {
	var many []On
	if err := read(&many); err == nil {
		*o = many
		return nil
	}
	var one On
	err := read(&one)
	*o = Ons{one}
	return err
}

// On says what a workflow listens to. It is one of: a trigger, a fact (event
// alone), a schedule, manual.
type On struct {
	// Trigger is the kind of trigger, such as "track".
	Trigger string `yaml:"trigger"`
	// Event is the event's name, as the analytics tool writes it. An empty one
	// means every event. Without Trigger it is a fact, such as widget.closed or
	// botstar.widget.closed.
	Event string `yaml:"event"`
	// Schedule is a cron expression of five fields, or @daily, @hourly, @every 1h.
	Schedule string `yaml:"schedule"`
	// Zone is the time zone of Schedule; the default is UTC.
	Zone string `yaml:"zone"`
	// Visitor is for whom a schedule runs; the default is a visitor of the
	// workflow's own.
	Visitor *Who `yaml:"visitor"`
	// Manual lets a person start the workflow by name.
	Manual *bool `yaml:"manual"`
	// Sites limits the workflow to these sites. None means all. A schedule names
	// its site.
	Sites []string `yaml:"sites"`
	// Site is Sites with one name.
	Site string `yaml:"site"`
}

// Who names a visitor.
type Who struct {
	UserID      string `yaml:"user_id"`
	Email       string `yaml:"email"`
	AnonymousID string `yaml:"anonymous_id"`
}

// Limits say how often and when a workflow may run.
type Limits struct {
	// OncePer lets one run start per visitor and site within the span.
	OncePer Span `yaml:"once_per"`
	// PerSite is a rate of starts, such as 100/h.
	PerSite    string      `yaml:"per_site"`
	QuietHours *QuietHours `yaml:"quiet_hours"`
	// Concurrency bounds the runs under way with the same key to one.
	Concurrency *Concurrency `yaml:"concurrency"`
	// Debounce starts the run when no further trigger of the visitor came for the
	// span; it runs with the last one.
	Debounce Span `yaml:"debounce"`
	// CancelOn ends a run under way when one of these happens to its visitor.
	CancelOn []Match `yaml:"cancel_on"`
}

// QuietHours are the hours of a day in which no run starts.
type QuietHours struct {
	// From and To are times of a day, such as "22:00". To may be of the next day.
	From string `yaml:"from"`
	To   string `yaml:"to"`
	// Zone is the name of a time zone, such as Europe/Berlin; the default is UTC.
	Zone string `yaml:"zone"`
	// Do says what becomes of a trigger: "skip", the default, or "wait" until the
	// quiet hours end.
	Do string `yaml:"do"`
}

// Concurrency bounds the runs under way.
type Concurrency struct {
	// Key is a CEL expression; runs with the same value compete. The default is
	// the visitor.
	Key string `yaml:"key"`
	// OnConflict is "skip", the default: the new one is not started; "queue": it
	// starts when the other has ended; "replace": it ends the other.
	OnConflict string `yaml:"on_conflict"`
}

// Holdout keeps some visitors out, to compare them with the others.
type Holdout struct {
	// Percent of the visitors, 0 to 100.
	Percent float64 `yaml:"percent"`
	// Salt makes another choice of visitors; the default is the workflow's name.
	Salt string `yaml:"salt"`
}

// Match is something that may happen to the visitor of a run: a trigger, or a
// fact when only Event is set.
type Match struct {
	Trigger string `yaml:"trigger"`
	Event   string `yaml:"event"`
	// If is a CEL condition that also sees the event that happened as `event`.
	If string `yaml:"if"`
}

// Step is one step of a workflow: exactly one of Action, WaitFor, After, Until,
// Branch, Parallel, Emit, HTTP and Stop. The actions of a run become commands of
// one session, which does them in this order.
type Step struct {
	// Name names the step. It is part of the command's id, and expressions find
	// the step's outcome under steps.<name>. The default is the step's place.
	Name string `yaml:"name"`

	// Action is the name or an alias of an action, or a portable verb such as
	// chat.widget.open.
	Action string `yaml:"action"`
	// Params are the action's parameters. A text may hold CEL expressions:
	// "${ visitor.email }" alone keeps the type of its value, and one among
	// other text becomes text. "$${" stands for "${".
	Params map[string]any `yaml:"params"`
	// AutoBoot says whether the widget may be booted first. The default is yes.
	AutoBoot *bool `yaml:"auto_boot"`
	// Timeout bounds the action. The default is the action's own.
	Timeout time.Duration `yaml:"timeout"`
	// Expires is how long after the trigger the command is still worth doing.
	// The default is ten minutes.
	Expires time.Duration `yaml:"expires"`
	// Await says whether the next step waits for the action's result. The default
	// is no, unless something needs the result: OnError, or an expression with
	// steps.<name>.
	Await *bool `yaml:"await"`
	// OnError is "stop", which ends the run as failed and is the default, or
	// "continue".
	OnError string `yaml:"on_error"`

	// WaitFor waits for something to happen to the visitor.
	WaitFor *WaitFor `yaml:"wait_for"`
	// After waits for a span: 30m, 24h, 7d, or "${ a CEL duration }".
	After string `yaml:"after"`
	// Until waits for a time: RFC 3339, or "${ a CEL timestamp }".
	Until    string   `yaml:"until"`
	Branch   []Arm    `yaml:"branch"`
	Parallel [][]Step `yaml:"parallel"`
	// Emit makes a trigger of the kind emitted, for other workflows.
	Emit *Emit `yaml:"emit"`
	HTTP *HTTP `yaml:"http"`
	Stop *Stop `yaml:"stop"`
}

// WaitFor waits for a trigger or a fact.
type WaitFor struct {
	Trigger string `yaml:"trigger"`
	Event   string `yaml:"event"`
	If      string `yaml:"if"`
	// Timeout ends the wait.
	Timeout Span `yaml:"timeout"`
	// Steps are done when it happened, OnTimeout when it did not in time; then the
	// run goes on after the step.
	Steps     []Step `yaml:"steps"`
	OnTimeout []Step `yaml:"on_timeout"`
}

// Arm is one arm of a branch. The first whose condition holds is taken.
type Arm struct {
	If    string `yaml:"if"`
	Else  *bool  `yaml:"else"`
	Steps []Step `yaml:"steps"`
}

// Emit makes a trigger.
type Emit struct {
	Event      string         `yaml:"event"`
	Properties map[string]any `yaml:"properties"`
}

// HTTP calls an address, signed by Standard Webhooks when there is a secret.
type HTTP struct {
	URL string `yaml:"url"`
	// Method is POST when it is empty.
	Method  string            `yaml:"method"`
	Headers map[string]string `yaml:"headers"`
	// Body is sent as JSON.
	Body any `yaml:"body"`
	// Secret names where the signing secret is: env:NAME or file:PATH.
	Secret string `yaml:"secret"`
	// Timeout bounds one attempt. The default is ten seconds.
	Timeout Span `yaml:"timeout"`
	// Retries is how often a failed call is tried again. The default is 8.
	Retries *int `yaml:"retries"`
}

// Stop ends the run.
type Stop struct {
	// If is a condition; an empty one holds always.
	If     string `yaml:"if"`
	Reason string `yaml:"reason"`
}

const (
	// defaultExpiry is short, because an answer to what a visitor did an hour ago
	// surprises the visitor.
	defaultExpiry = 10 * time.Minute
	// defaultCall and defaultRetries are those of an HTTP step.
	defaultCall    = 10 * time.Second
	defaultRetries = 8
	// maxSteps and maxDepth bound a workflow.
	maxSteps, maxNesting = 100, 8
)
