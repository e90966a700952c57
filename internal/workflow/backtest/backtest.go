// Package backtest lets workflows run over what happened in the past, and
// reports what they would have done. Nothing is done: commands, calls and
// triggers go nowhere. Two versions see the same events side by side, so that
// their difference is known event by event.
package backtest

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/workflow"
	"github.com/parley-chat/parley/internal/workflow/machine"
)

// Event is one message of the history, as it was stored.
type Event struct {
	Subject  string
	Envelope event.Envelope
	// At is when it was stored, or happened where it was filled in later.
	At time.Time
	// Log names what it was read from, and Sequence is its number there.
	Log      string
	Sequence uint64
}

// Place is how far a log was read.
type Place struct {
	Sequence uint64 `json:"sequence"` // of the last event
	Events   int64  `json:"events"`
}

// Options say what is tested. Rules, Sites and Schemas are needed.
type Options struct {
	// Rules is the version that is tested.
	Rules *workflow.Set
	// Versus is another version, to compare with; nil for none.
	Versus *workflow.Set
	// Sites returns the site of the name.
	Sites   func(name string) (actions.Site, bool)
	Schemas workflow.Validator
	// Until is when the test ends: timers that are due later do not fire. Zero is
	// the time of the last event.
	Until time.Time
	// Tell, if set, is called from time to time with how far the test is.
	Tell func(Progress)
	// Examples is how many differences are kept as examples. 0 means 20.
	Examples int
}

// Progress is how far a test is.
type Progress struct {
	Events int64
	// At is the time in the history.
	At time.Time
}

// tellEvery is how many events lie between two calls of Options.Tell, and
// between two looks at the context.
const tellEvery = 1024

// Test is a test under way. It belongs to one goroutine.
type Test struct {
	o      Options
	tested *side
	versus *side // nil without another version
	report Report
}

// New returns a test that has seen nothing yet.
func New(o Options) *Test {
	if o.Examples == 0 {
		o.Examples = 20
	}
	t := &Test{o: o, tested: newSide(o.Rules, o)}
	if o.Versus != nil {
		t.versus = newSide(o.Versus, o)
	}
	return t
}

// Run folds the events, which come in the order in which they were stored. It
// ends with them, or with ctx: then the test can be saved, and goes on with the
// next event. An error of the history ends it as well. Call Report afterwards.
func (t *Test) Run(ctx context.Context, events iter.Seq2[Event, error]) error {
	n := 0
	for e, err := range events {
		if err != nil {
			return fmt.Errorf("reading the history: %w", err)
		}
		t.fold(e)
		if n++; n%tellEvery != 0 {
			continue
		}
		if t.o.Tell != nil {
			t.o.Tell(Progress{t.report.Events, t.report.To})
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return context.Cause(ctx)
}

// Place returns how far the log was read: a test that was resumed goes on behind
// that.
func (t *Test) Place(log string) Place { return t.report.Read[log] }

// fold lets one event happen to every version.
func (t *Test) fold(e Event) {
	r := &t.report
	if r.Read == nil {
		r.Read = map[string]Place{}
	}
	r.Read[e.Log] = Place{e.Sequence, r.Read[e.Log].Events + 1}
	if r.From.IsZero() {
		r.From = e.At
		t.tested.begin(e.At)
		if t.versus != nil {
			t.versus.begin(e.At)
		}
	}
	if e.At.Before(r.To) {
		e.At = r.To // Two streams are read side by side: time does not run back.
	}
	r.To = e.At
	r.Events++
	in, ok := machine.ReadInput(e.Subject, e.Envelope, e.At)
	if !ok || !acts(wordOf(e.Subject), e.Envelope) {
		r.Passed++
		return
	}
	began := t.tested.happen(in, e.At)
	if t.versus == nil {
		return
	}
	t.differ(in, e, began, t.versus.happen(in, e.At))
}

// Report returns what the test found, after the timers that were due until the
// end have fired. The test is over then.
func (t *Test) Report() Report {
	end := t.o.Until
	if end.Before(t.report.To) {
		end = t.report.To
	}
	t.tested.pass(end)
	t.report.Tested = t.tested.found()
	if t.versus != nil {
		t.versus.pass(end)
		found := t.versus.found()
		t.report.Versus = &found
	}
	return t.report
}
