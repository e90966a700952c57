package machine

import (
	"time"

	"github.com/parley-chat/parley/internal/event"
)

// Effects are what an input leads to, in the order in which it is to be stored.
type Effects struct {
	// Messages are commands and triggers for the stream of the workflows.
	Messages []Message
	// Calls are the HTTP calls.
	Calls []Call
	// Timers are set, or taken back when they have no time, in this order.
	Timers []Timer
	// Ended are runs that ended: their records.
	Ended []*Run
	// Marks tell what happened, for figures and logs.
	Marks []Mark
	// Refused are the reasons why the input, or a part of it, could not be
	// handled. Each is told in a dead letter, and the rest was done.
	Refused []error
}

// Message is an event to publish.
type Message struct {
	Subject  string
	Envelope event.Envelope
}

// Timer is a timer of a run, or the clock of a schedule, for which Session is
// "-" and Run the name of the workflow. One without a time is taken back.
type Timer struct {
	Site, Session, Run, Name string
	Due                      time.Time
}

// Subject returns the subject that holds the timer.
func (t Timer) Subject() string { return event.TimerSubject(t.Site, t.Session, t.Run+"-"+t.Name) }

// Target returns the subject that it publishes on when it is due.
func (t Timer) Target() string { return event.WakeSubject(t.Site, t.Session, t.Run, t.Name) }

// Call is an HTTP request that a step asks for. Key names the effect.
type Call struct {
	Key      string            `json:"key"`
	Site     string            `json:"site"`
	Session  string            `json:"session"`
	Workflow string            `json:"workflow"`
	Run      string            `json:"run"`
	Step     string            `json:"step"`
	Method   string            `json:"method"`
	URL      string            `json:"url"`
	Headers  map[string]string `json:"headers,omitempty"`
	Body     []byte            `json:"body,omitempty"`
	// Secret is the reference of the secret that signs it, or "".
	Secret    string `json:"secret,omitempty"`
	TimeoutMS int    `json:"timeout_ms,omitempty"`
	Retries   int    `json:"retries,omitempty"`
	// ExpiresAt is when it is not worth trying any more.
	ExpiresAt time.Time `json:"expires_at"`
	// Cause and Correlation are the ids of the trigger and of what began it all.
	Cause       string `json:"cause"`
	Correlation string `json:"correlation"`
}

// CallAction is the action that the result of an HTTP call names.
const CallAction = "workflow.http.call"

// Mark is something that happened, for figures and logs.
type Mark struct {
	// What is matched, ignored, skipped, started, ended, late, held, stale or
	// refused.
	What     string
	Workflow string
	// Detail is the limit that skipped, or the status that it ended with.
	Detail string
}

// The marks.
const (
	MarkMatched = "matched"
	MarkIgnored = "ignored"
	MarkSkipped = "skipped"
	MarkStarted = "started"
	MarkEnded   = "ended"
	MarkLate    = "late"
	MarkHeld    = "held"
	MarkStale   = "stale"
	MarkRefused = "refused"
)

// mark adds a mark.
func (e *Effects) mark(what, workflow, detail string) {
	e.Marks = append(e.Marks, Mark{what, workflow, detail})
}

// refuse adds a reason.
func (e *Effects) refuse(err error) { e.Refused = append(e.Refused, err) }
