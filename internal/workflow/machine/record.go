package machine

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/event"
)

// The bounds of what a session remembers.
const (
	// MaxRuns is how many runs of one session may be under way.
	MaxRuns = 32
	// maxRecord bounds the record of a session, in bytes.
	maxRecord = 512 << 10
	// maxRecent is how many ended runs a session remembers by their ids.
	maxRecent = 32
	// maxHistory is how many entries of its history a run keeps: the first half
	// and the latest half.
	maxHistory = 200
	// maxOutput is the largest output of a step that a run keeps, in bytes.
	maxOutput = 32 << 10
	// maxOpen is how many commands of one action and session workflows may have
	// under way. It is half of what the queue of commands holds for them: a full
	// queue would stop the commands of every other session.
	maxOpen = 32
	// maxHops is how long a chain of workflows that start each other may be.
	maxHops = 8
	// maxQueue is how many runs may wait for one concurrency key.
	maxQueue = 100
	// maxStepsAtOnce bounds the steps that one input may move a run on.
	maxStepsAtOnce = 1000
)

// Status is what became of a run.
type Status string

// The statuses. All but Running are final.
const (
	Running        Status = "running"
	Succeeded      Status = "succeeded"       // It came to its end.
	Failed         Status = "failed"          // A step failed, and its workflow stops on that.
	Stopped        Status = "stopped"         // A stop step ended it.
	Cancelled      Status = "cancelled"       // An event of cancel_on, or a person, ended it.
	Replaced       Status = "replaced"        // A newer run of its concurrency key took its place.
	HeldOut        Status = "held_out"        // It belongs to the control group: nothing was done.
	ConsentMissing Status = "consent_missing" // The visitor did not agree: nothing was done.
	Undisclosed    Status = "undisclosed"     // The site does not say that a bot answers: nothing was done.
)

// Statuses returns every status of a run.
func Statuses() []Status {
	return []Status{Running, Succeeded, Failed, Stopped, Cancelled, Replaced, HeldOut, ConsentMissing, Undisclosed}
}

// Session is what the workflows of one visitor on one site remember. It is the
// message of event.RunsSubject.
type Session struct {
	Site    string        `json:"site"`
	Key     string        `json:"session"`
	Visitor event.Visitor `json:"visitor,omitzero"`
	// Moved is the session that took over all of this, when the visitor turned
	// out to be another one, or "".
	Moved string `json:"moved_to,omitempty"`
	// Runs are under way, in the order of their starts.
	Runs []*Run `json:"runs,omitempty"`
	// Seen is the newest time of occurrence by the source of the event. It is
	// kept while runs are under way.
	Seen map[string]time.Time `json:"seen,omitempty"`
	// Limits are by the name of the workflow.
	Limits map[string]Limit `json:"limits,omitempty"`
	// Recent are the latest runs that ended, the newest last.
	Recent []Ended `json:"recent,omitempty"`
}

// Limit is what a workflow's limits remember of a visitor.
type Limit struct {
	// Last is when the last run was started.
	Last time.Time `json:"last"`
	// Until is when this may be forgotten.
	Until time.Time `json:"until"`
	// Skipped counts the starts that a limit refused since, and Why is the limit
	// that did it last.
	Skipped int    `json:"skipped,omitempty"`
	Why     string `json:"why,omitempty"`
}

// Ended is a run that ended.
type Ended struct {
	Run      string    `json:"run"`
	Workflow string    `json:"workflow"`
	Status   Status    `json:"status"`
	At       time.Time `json:"at"`
}

// Site is what the workflows of one site remember. It is the message of
// event.SiteRunsSubject.
type Site struct {
	Name string `json:"site"`
	// Rates are the rates per site, by the name of the workflow.
	Rates map[string]Rate `json:"rates,omitempty"`
	// Locks are the concurrency keys in use, by workflow and key.
	Locks map[string]*Lock `json:"locks,omitempty"`
	// Clocks are when the schedules are due next, by the name of the workflow.
	Clocks map[string]Clock `json:"clocks,omitempty"`
}

// Rate is a bucket of starts that fills up over time.
type Rate struct {
	Left float64   `json:"left"`
	At   time.Time `json:"at"`
}

// Lock is a concurrency key in use.
type Lock struct {
	Holder  Holder   `json:"holder"`
	Waiting []Holder `json:"waiting,omitempty"`
}

// Holder names a run.
type Holder struct {
	Session string `json:"session"`
	Run     string `json:"run"`
}

// Clock is when a schedule is due next.
type Clock struct {
	Schedule string    `json:"schedule"`
	Next     time.Time `json:"next"`
}

// Moment is an event as a run remembers it.
type Moment struct {
	ID     string `json:"id"`
	Source string `json:"source"`
	Type   string `json:"type"`
	// At is when the stream stored it.
	At time.Time `json:"at"`
	// Correlation and Trace are those of the event, and Hops is how many
	// workflows started one another before it.
	Correlation string          `json:"correlation,omitempty"`
	Trace       string          `json:"trace,omitempty"`
	Hops        int             `json:"hops,omitempty"`
	Data        json.RawMessage `json:"data"`
}

// Run is one run of a workflow. An ended one is the message of event.RunSubject.
type Run struct {
	ID       string `json:"run"`
	Workflow string `json:"workflow"`
	// Version is the digest of the program that it began with.
	Version string `json:"version"`
	Site    string `json:"site"`
	Session string `json:"session"`
	Status  Status `json:"status"`
	// Reason says why it ended so, for a person.
	Reason    string    `json:"reason,omitempty"`
	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
	// Key is the key of the event that started it, and Again tells repetitions
	// apart: the ids of its commands follow from both.
	Key   string `json:"key"`
	Again string `json:"again,omitempty"`
	// Of is the run that this one repeats, and From the step that it begins
	// with.
	Of string `json:"repeats,omitempty"`
	// Broke is the id of the op that failed.
	Broke   string        `json:"broke,omitempty"`
	From    string        `json:"from,omitempty"`
	Visitor event.Visitor `json:"visitor,omitzero"`
	Trigger Moment        `json:"trigger"`
	// Else is true when the condition was false, and the steps of else run.
	Else bool `json:"else,omitempty"`
	// Lock is the concurrency key that it holds or waits for.
	Lock string `json:"lock,omitempty"`
	// Threads are where it is. A run without parallel steps has one.
	Threads []*Thread `json:"threads,omitempty"`
	// Born counts the threads that there ever were.
	Born int `json:"born,omitempty"`
	// Steps are what became of its steps, by the ids of their ops.
	Steps map[string]Outcome `json:"steps,omitempty"`
	// Events are what ended its waits, by the ids of their ops.
	Events map[string]Moment `json:"events,omitempty"`
	// Joined counts the arms that have come to a join, by the id of its op.
	Joined map[string]int `json:"joined,omitempty"`
	// Open are the commands and calls without a result, by their ids.
	Open map[string]Open `json:"open,omitempty"`
	// After is what Seen was when it started.
	After   map[string]time.Time `json:"after,omitempty"`
	History []Entry              `json:"history,omitempty"`
	// Left counts the entries of the history that were left out.
	Left int `json:"history_left_out,omitempty"`
}

// Thread is one place in a workflow's steps. The arms of a parallel step run in
// threads of their own.
type Thread struct {
	ID int `json:"id"`
	// At is the index of the op that comes next, or that waits.
	At   int   `json:"at"`
	Wait *Wait `json:"wait,omitempty"`
}

// The kinds of waits.
const (
	waitEvent    = "event"    // for an event, or a time-out
	waitTime     = "time"     // for a time
	waitResult   = "result"   // for the result of the op
	waitRoom     = "room"     // for room in the queue of commands
	waitLock     = "lock"     // for the concurrency key
	waitQuiet    = "quiet"    // for the end of the quiet hours
	waitDebounce = "debounce" // for no further trigger
)

// Wait is what a thread waits for.
type Wait struct {
	Kind string `json:"for"`
	// Step is the id of the op that waits.
	Step string `json:"step,omitempty"`
	// Timer is the name of its timer, and Due when that is, if there is one.
	Timer string    `json:"timer,omitempty"`
	Due   time.Time `json:"due,omitzero"`
	// Action is the action whose queue is full.
	Action string `json:"action,omitempty"`
	// After is what Seen was when the wait began: what happened earlier does not
	// end it.
	After map[string]time.Time `json:"after,omitempty"`
	Since time.Time            `json:"since"`
}

// The statuses of a step.
const (
	stepIssued   = "issued"
	stepDone     = "done"
	stepHappened = "happened"
	stepTimedOut = "timed_out"
)

// Outcome is what became of a step.
type Outcome struct {
	// Status is issued, done, timed_out, or the status of the command's result:
	// succeeded, queued, failed, rejected or expired.
	Status   string          `json:"status"`
	Output   json.RawMessage `json:"output,omitempty"`
	Verified bool            `json:"verified,omitempty"`
	Reason   string          `json:"reason,omitempty"`
	// Command is the id of the command or call, if there is one.
	Command string    `json:"command,omitempty"`
	At      time.Time `json:"at"`
}

// failed reports whether the step did not do what it should.
func (o Outcome) failed() bool {
	switch event.Status(o.Status) {
	case event.Failed, event.Rejected, event.Expired:
		return true
	case event.Succeeded, event.Queued:
	}
	return false
}

// Open is a command or call under way.
type Open struct {
	Step   string `json:"step"`
	Action string `json:"action"`
	// Until is when its result can no longer come.
	Until time.Time `json:"until"`
}

// Entry is one thing that happened in a run.
type Entry struct {
	At time.Time `json:"at"`
	// What is started, issued, result, waiting, woken, timed_out, late, emitted,
	// called, branch, held, moved or ended.
	What string `json:"what"`
	Step string `json:"step,omitempty"`
	// ID is the command, call, event or trigger that it is about.
	ID   string `json:"id,omitempty"`
	Text string `json:"text,omitempty"`
}

// note adds to the history.
func (r *Run) note(e Entry) {
	if len(r.History) >= maxHistory {
		half := maxHistory / 2
		r.History = append(slices.Clone(r.History[:half]), r.History[half+1:]...)
		r.Left++
	}
	r.History = append(r.History, e)
}

// run returns the run that is under way, or nil.
func (s *Session) run(id string) *Run {
	for _, run := range s.Runs {
		if run.ID == id {
			return run
		}
	}
	return nil
}

// knew reports whether the session had the run lately.
func (s *Session) knew(id string) bool {
	return s.run(id) != nil || slices.ContainsFunc(s.Recent, func(e Ended) bool { return e.Run == id })
}

// Life is how long the record has to be kept from then on. 0 is for ever: runs
// are under way.
func (s *Session) Life(now time.Time) time.Duration {
	if len(s.Runs) > 0 {
		return 0
	}
	until := now.Add(minLife)
	if s.Moved != "" || s.Visitor != (event.Visitor{}) {
		until = now.Add(movedLife)
	}
	for _, limit := range s.Limits {
		if limit.Until.After(until) {
			until = limit.Until
		}
	}
	return until.Sub(now)
}

const (
	// minLife is how long a session without runs knows that a trigger was
	// handled.
	minLife = 24 * time.Hour
	// movedLife is how long a session knows its visitor, and one that moved leads
	// to the other one.
	movedLife = 30 * 24 * time.Hour
)

// Size returns about how many bytes the session takes.
func (s *Session) Size() int {
	size := 256 + 128*(len(s.Recent)+len(s.Limits))
	for _, run := range s.Runs {
		size += run.Size()
	}
	return size
}

// Size returns about how many bytes the run takes.
func (r *Run) Size() int {
	size := 512 + len(r.Trigger.Data) + 128*len(r.History)
	for _, moment := range r.Events {
		size += 256 + len(moment.Data)
	}
	for _, outcome := range r.Steps {
		size += 256 + len(outcome.Output)
	}
	return size
}

// clone returns a copy that shares nothing that is ever changed.
func (s *Session) clone() *Session {
	c := *s
	c.Runs = make([]*Run, len(s.Runs))
	for i, run := range s.Runs {
		c.Runs[i] = run.clone()
	}
	c.Seen, c.Limits, c.Recent = maps.Clone(s.Seen), maps.Clone(s.Limits), slices.Clone(s.Recent)
	return &c
}

func (s *Site) clone() *Site {
	c := *s
	c.Rates, c.Locks, c.Clocks = maps.Clone(s.Rates), maps.Clone(s.Locks), maps.Clone(s.Clocks)
	for key, lock := range c.Locks {
		c.Locks[key] = &Lock{lock.Holder, slices.Clone(lock.Waiting)}
	}
	return &c
}

func (r *Run) clone() *Run {
	c := *r
	c.Threads = make([]*Thread, len(r.Threads))
	for i, thread := range r.Threads {
		copied := *thread
		if thread.Wait != nil {
			copied.Wait = new(*thread.Wait)
		}
		c.Threads[i] = &copied
	}
	c.Steps, c.Open = maps.Clone(r.Steps), maps.Clone(r.Open)
	c.Events, c.Joined = maps.Clone(r.Events), maps.Clone(r.Joined)
	c.History = slices.Clone(r.History)
	return &c
}
