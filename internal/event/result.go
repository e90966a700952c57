package event

import (
	"encoding/json"
	"time"
)

// Status says what became of a command.
type Status string

// The statuses.
const (
	Succeeded Status = "succeeded" // The action ran, and its effect was not contradicted.
	Queued    Status = "queued"    // The action waits for the vendor's budget; an event tells when it is done.
	Failed    Status = "failed"    // The action could not be done.
	Rejected  Status = "rejected"  // The command was not tried: it is wrong or not allowed.
	Expired   Status = "expired"   // The command was too late.
)

// Verdict is the answer of the second, independent look at the effect.
type Verdict string

// The verdicts.
const (
	Confirmed    Verdict = "confirmed"    // The effect was seen.
	Unconfirmed  Verdict = "unconfirmed"  // The effect was not seen in time.
	Contradicted Verdict = "contradicted" // The opposite was seen.
	Unverifiable Verdict = "unverifiable" // There is nothing to look at.
)

// Result is the data of a result. The schema of a result's type narrows Output
// to the action's output.
type Result struct {
	// CommandID and CommandSource name the command.
	CommandID     string `json:"command_id"`
	CommandSource string `json:"command_source"`
	// Action is the action's own name, also when the caller used an alias.
	Action  string `json:"action"`
	Site    string `json:"site"`
	Session string `json:"session"`
	Status  Status `json:"status"`
	// Verified is true when the verdict is "confirmed".
	Verified bool    `json:"verified"`
	Verdict  Verdict `json:"verdict"`
	// Output is the action's output; it is there when the status is succeeded
	// or queued.
	Output json.RawMessage `json:"output,omitempty"`
	// Problem is there when the status is failed, rejected or expired.
	Problem *Problem `json:"problem,omitempty"`
	// Advice tells what the caller may want to do differently.
	Advice string `json:"advice,omitempty"`
	// Evidence is what the verification saw.
	Evidence []Evidence `json:"evidence,omitempty"`
	// Steps are the actions that ran, in order: those that the worker inserted
	// to make preconditions true, then the asked one.
	Steps []Step `json:"steps,omitempty"`
	// Executor is where the action ran: headless, visitor, rest or local.
	Executor string `json:"executor,omitempty"`
	// ExecutorWhy says why it ran there, where there was a choice.
	ExecutorWhy string `json:"executor_why,omitempty"`
	// Worker is the name of the worker that did it.
	Worker string `json:"worker,omitempty"`
	// Fence is the token of the worker's ownership of the session: of two results
	// of one session, the one with the higher fence is of the later owner.
	Fence     uint64    `json:"fence,omitempty"`
	Attempt   int       `json:"attempt"`
	StartedAt time.Time `json:"started_at"`
	// DurationUS is the time from the start of the work to its result, in
	// microseconds.
	DurationUS int64 `json:"duration_us"`
}

// Problem is a failure on the wire. Docs: docs/errors.md.
type Problem struct {
	Code    string `json:"code"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// Field is a JSON pointer into the command's data.
	Field string `json:"field,omitempty"`
	Fix   string `json:"fix,omitempty"`
	// Retryable says whether the same command may work later.
	Retryable bool `json:"retryable"`
}

// Evidence is one thing that the verification saw.
type Evidence struct {
	// Kind is where it was seen: callback, frame, dom, query, storage, sdk,
	// page_error, dialog, read_back or record.
	Kind string `json:"kind"`
	// Seen is what was seen, for a person. It is untrusted text when it comes
	// from the page, and it is cut at 500 characters.
	Seen string    `json:"seen"`
	At   time.Time `json:"at"`
}

// Step is one action that ran for a command.
type Step struct {
	Action string `json:"action"`
	// Inserted is true for an action that the worker put in front.
	Inserted   bool    `json:"inserted"`
	Verdict    Verdict `json:"verdict"`
	DurationUS int64   `json:"duration_us"`
}
