package backtest

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/workflow/machine"
)

// Report is what a test found.
type Report struct {
	// From and To are the times of the first and the last event.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Events were read. Passed of them did not count: what commands and workflows
	// of that time had caused.
	Events int64 `json:"events"`
	Passed int64 `json:"passed"`
	// Read is how far the logs were read, by their names.
	Read map[string]Place `json:"read"`
	// Tested is the version that was tested, Versus the other one.
	Tested Found  `json:"tested"`
	Versus *Found `json:"versus,omitempty"`
	// Differences are between the versions.
	Differences Differences `json:"differences,omitzero"`
}

// Found is what one version would have done.
type Found struct {
	Workflows []Workflow `json:"workflows"`
	// Overlaps counts events that two workflows began with for the same visitor,
	// by both names.
	Overlaps map[string]int64 `json:"overlaps,omitempty"`
	// Refused counts what could not be handled, by reason: the real engine would
	// have written dead letters.
	Refused map[string]int64 `json:"refused,omitempty"`
	// Waiting is how many runs were under way at the end.
	Waiting int `json:"waiting"`
}

// Workflow is what one workflow would have done.
type Workflow struct {
	Name string `json:"name"`
	// Fired counts the runs that did something, of so many Visitors. A number of
	// visitors above 4,096 is an estimate.
	Fired    int64 `json:"fired"`
	Visitors int64 `json:"visitors"`
	// ConsentMissing and HeldOut count the runs that did nothing for that reason;
	// Undisclosed those on a site that does not tell that a machine answers.
	ConsentMissing int64 `json:"consent_missing"`
	HeldOut        int64 `json:"held_out"`
	Undisclosed    int64 `json:"undisclosed,omitempty"`
	// Skipped counts the starts that a limit refused, by limit.
	Skipped map[string]int64 `json:"skipped,omitempty"`
	// Ended counts the runs that ended, by status.
	Ended map[machine.Status]int64 `json:"ended,omitempty"`
	// Failures counts the runs that failed, by reason.
	Failures map[string]int64 `json:"failures,omitempty"`
	// Commands counts by action; Calls are HTTP calls.
	Commands map[string]int64 `json:"commands,omitempty"`
	Calls    int64            `json:"calls,omitempty"`
	Emitted  int64            `json:"emitted,omitempty"`
}

// Differences are between two versions, event by event.
type Differences struct {
	// Both, OnlyTested and OnlyVersus count the starts of workflows, by whether
	// both versions started the workflow of that name for the same event.
	Both       int64 `json:"both"`
	OnlyTested int64 `json:"only_tested"`
	OnlyVersus int64 `json:"only_versus"`
	// Examples are the first differences.
	Examples []Example `json:"examples,omitempty"`
}

// Example is an event for which the versions differ.
type Example struct {
	Workflow string    `json:"workflow"`
	Only     string    `json:"only"` // "tested" or "versus"
	Event    string    `json:"event"`
	At       time.Time `json:"at"`
	Site     string    `json:"site"`
	Session  string    `json:"session"`
}

// differ compares what began in both versions because of one event.
func (t *Test) differ(in machine.Input, e Event, tested, versus []string) {
	d := &t.report.Differences
	for _, name := range tested {
		if i := slices.Index(versus, name); i >= 0 {
			d.Both++
			versus = slices.Delete(versus, i, i+1)
			continue
		}
		d.OnlyTested++
		t.example(in, e, name, "tested")
	}
	for _, name := range versus {
		d.OnlyVersus++
		t.example(in, e, name, "versus")
	}
}

func (t *Test) example(in machine.Input, e Event, workflow, only string) {
	d := &t.report.Differences
	if len(d.Examples) < t.o.Examples {
		d.Examples = append(d.Examples, Example{workflow, only, e.Envelope.ID, e.At, in.Site, in.Session})
	}
}

// found returns what the version would have done.
func (s *side) found() Found {
	found := Found{Overlaps: maps.Clone(s.overlaps), Refused: maps.Clone(s.refused)}
	for _, name := range slices.Sorted(maps.Keys(s.figures)) {
		f := s.figures[name]
		w := Workflow{
			Name: name, Visitors: f.Visitors.count(),
			ConsentMissing: f.Ended[machine.ConsentMissing], HeldOut: f.Ended[machine.HeldOut], Undisclosed: f.Ended[machine.Undisclosed],
			Skipped: maps.Clone(f.Skipped), Ended: maps.Clone(f.Ended), Commands: maps.Clone(f.Commands), Failures: maps.Clone(f.Failures), Calls: f.Calls, Emitted: f.Emitted,
		}
		w.Fired = f.Started - w.ConsentMissing - w.HeldOut - w.Undisclosed
		found.Workflows = append(found.Workflows, w)
	}
	for _, session := range s.sessions {
		found.Waiting += len(session.Runs)
	}
	return found
}

// Overlapping returns the pairs of workflows that began with the same events,
// those with the most first.
func (f Found) Overlapping() []string {
	return slices.SortedFunc(maps.Keys(f.Overlaps), func(a, b string) int {
		if d := f.Overlaps[b] - f.Overlaps[a]; d != 0 {
			return int(d)
		}
		return strings.Compare(a, b)
	})
}
