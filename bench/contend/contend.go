// Package contend is what the runner of the benchmarks and the contenders have
// in common. A contender is a process of its own. It reads one [Setup] and then
// one [Order] after another, a line of JSON each, and answers each of them with
// a [Report]. What it did is its own word; what it cost in CPU time the runner
// reads from outside, in the same way for all.
package contend

import (
	"encoding/json"
	"fmt"
	"io"
)

// Setup is the first line that a contender reads. It prepares itself, and
// answers with the report of no job.
type Setup struct {
	// Job names what is to be done in every round.
	Job string `json:"job"`
	// Binary is the browser's program.
	Binary string `json:"binary"`
	// Flags are the browser flags that every contender gives to the browser.
	Flags []string `json:"flags"`
	// URL is the address of the page that carries the widget.
	URL string `json:"url"`
	// AppID is the widget's app id on that page.
	AppID string `json:"app_id"`
	// Resolve maps the hosts of the stand-ins to their address, and SPKI is the
	// fingerprint of their key.
	Resolve map[string]string `json:"resolve"`
	SPKI    string            `json:"spki"`
	// Dir is a folder for the contender alone. It is removed afterwards.
	Dir string `json:"dir"`
	// Sessions is how many pages are held, where pages are held.
	Sessions int `json:"sessions"`
	// Window is how many jobs may be under way at once.
	Window int `json:"window"`
}

// Order asks for one round. A round with no jobs asks for the end.
type Order struct {
	// Round counts from 0, which is for warming up.
	Round int `json:"round"`
	// Jobs is how many jobs the round has.
	Jobs int `json:"jobs"`
	// Prepare asks only for what the round's jobs need to be there before. It is
	// not measured.
	Prepare bool `json:"prepare,omitempty"`
	// Clear asks to put away what the round has left, as the pages that it holds.
	// It is not measured.
	Clear bool `json:"clear,omitempty"`
	// Picks names the session of each job, where sessions are held: all
	// contenders do the same jobs in the same order.
	Picks []int `json:"picks,omitempty"`
}

// Report is what a contender says of a round.
type Report struct {
	// Jobs is how many jobs were done and found right.
	Jobs int `json:"jobs"`
	// WallUS is the time of the whole round, in microseconds.
	WallUS float64 `json:"wall_us"`
	// LatenciesUS are the times of the single jobs, where they are measured.
	LatenciesUS []float64 `json:"latencies_us,omitempty"`
	// Values are what else the job counts, by the name of the measure.
	Values map[string]float64 `json:"values,omitempty"`
	// Error says why the round failed. The run ends with it.
	Error string `json:"error,omitempty"`
}

// The names of what is counted beside times.
const (
	// MemoryHeld is how many bytes all browser processes use for each held
	// session, without what they use for none.
	MemoryHeld = "memory_bytes_per_session"
	// P99One is the p99 while one session is held, in microseconds.
	P99One = "p99_one_us"
	// PerWorker is how many actions each worker does in a second.
	PerWorker = "actions_per_second_per_worker"
	// FailoverKill, FailoverStop and FailoverPause are how long the partitions of
	// a worker were without service after SIGKILL, SIGTERM and SIGSTOP: the p99, in
	// microseconds.
	FailoverKill  = "failover_kill_p99_us"
	FailoverStop  = "failover_stop_p99_us"
	FailoverPause = "failover_pause_p99_us"
	// RestoresShort and RestoresLong are the restores of a short and of a long
	// trace.
	RestoresShort = "restores_short"
	RestoresLong  = "restores_long"
	// PerEvent is how long the engine of workflows takes for an event that lies
	// there, in microseconds.
	PerEvent = "us_per_event"
	// CallsPerThousand is how many calls a vendor gets for a thousand events.
	CallsPerThousand = "calls_per_thousand_events"
	// SessionsPerSecond is how many sessions a second became records.
	SessionsPerSecond = "sessions_per_second"
	// TimerMemory and TimerDisk are how many bytes a timer that waits takes.
	TimerMemory = "memory_bytes_per_timer"
	TimerDisk   = "disk_bytes_per_timer"
	// PeakFirst and PeakSecond are the most memory of the process during the
	// first half of a round, and during the second.
	PeakFirst  = "peak_bytes_first_half"
	PeakSecond = "peak_bytes_second_half"
	// ConnectionMemory and ConnectionCPU are what a visitor's connection takes of
	// its server's process: bytes, and microseconds of a whole round.
	ConnectionMemory = "memory_bytes_per_connection"
	ConnectionCPU    = "cpu_us_per_connection"
	// LCP is when the page's largest element was painted, Blocking how much longer
	// than 50 ms its tasks were, together, and MainThread how long all its tasks
	// were; OwnTask is the longest task of a script of ours. All in microseconds.
	LCP        = "lcp_us"
	Blocking   = "tbt_us"
	MainThread = "main_thread_us"
	OwnTask    = "own_task_us"
	// PageBytes and OwnBytes are what has travelled of a page's files, and of ours
	// among them.
	PageBytes = "page_bytes"
	OwnBytes  = "own_bytes"
	// EchoP50 and EchoP99 are of an echo through the gateway that the round's jobs
	// use, in microseconds.
	EchoP50 = "echo_p50_us"
	EchoP99 = "echo_p99_us"
)

// A Job is what a contender written in Go can do.
type Job interface {
	// Round does the jobs of the order, and returns after all of them; or it
	// prepares them, or clears up after them, and returns an empty report.
	Round(o Order) (Report, error)
	// Close ends everything that the job started.
	Close() error
}

// Serve is the contender's side. It starts the job that the setup names, and
// does the rounds that are asked for, until there is none.
func Serve(in io.Reader, out io.Writer, start func(Setup) (Job, error)) error {
	lines, answers := json.NewDecoder(in), json.NewEncoder(out)
	var setup Setup
	if err := lines.Decode(&setup); err != nil {
		return fmt.Errorf("reading the setup: %w", err)
	}
	job, err := start(setup)
	if err != nil {
		return answer(answers, Report{}, fmt.Errorf("starting %s: %w", setup.Job, err))
	}
	if err := answer(answers, Report{}, nil); err != nil {
		return err
	}
	for {
		var order Order
		if err := lines.Decode(&order); err != nil || order.Jobs == 0 {
			break
		}
		report, err := job.Round(order)
		if err := answer(answers, report, err); err != nil {
			break
		}
	}
	if err := job.Close(); err != nil {
		return fmt.Errorf("ending %s: %w", setup.Job, err)
	}
	return nil
}

// answer writes the report of a round that went well or not.
func answer(to *json.Encoder, r Report, failed error) error {
	if failed != nil {
		r.Error = failed.Error()
	}
	if err := to.Encode(r); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return failed
}
