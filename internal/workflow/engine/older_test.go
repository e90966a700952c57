package engine

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/workflow"
	"github.com/parley-chat/parley/internal/workflow/machine"
)

// The two versions of the workflow of these tests.
const (
	firstVersion  = "on: {trigger: track}\nsteps: [{after: WAIT}, {emit: {event: First}}]\n"
	secondVersion = "on: {trigger: track}\nsteps: [{emit: {event: Second}}]\n"
)

// library has two versions of a workflow, of which the second is current.
type library struct {
	first, second *workflow.Set
	asked         atomic.Int64 // for versions that are not current
	deaf          atomic.Int64 // how often no answer is given
}

func (l *library) older(_ context.Context, name, digest string) (*workflow.Program, bool, error) {
	l.asked.Add(1)
	if l.deaf.Add(-1) >= 0 {
		return nil, false, fault.New(fault.BusUnavailable, "reading the versions").Because(errors.New("no answer"))
	}
	p, ok := l.first.Program(name)
	return p, ok && p.Digest == digest, nil
}

// move starts a run of the first version, has it begin, and returns once an
// engine with the second version is in charge.
func (l *library) move(t *testing.T, b *bus.Bus, wait time.Duration) (stop func()) {
	t.Helper()
	rule := replaceWait(firstVersion, wait)
	_, stop = start(t, b, "rule.yaml", rule)
	track(t, b, "t-1", "Any", visitor(1), nil)
	bustest.Until(t, "the run waits", func() bool { return waiting(t, b) == 1 })
	stop()
	l.first, _ = compile(t, "rule.yaml", rule)
	second, validators := compile(t, "rule.yaml", secondVersion)
	l.second = second
	e := New(bustest.Log(t), b, Options{
		Programs: func(context.Context) (*workflow.Set, error) { return l.second, nil },
		Older:    l.older, Sites: sites, Schemas: validators,
	})
	return run(t, e)
}

// ended returns the runs that ended, the oldest first.
func ended(t *testing.T, b *bus.Bus) []*machine.Run {
	t.Helper()
	var all []*machine.Run
	for run, err := range ListRuns(t.Context(), b, Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if run.Status != machine.Running {
			all = append(all, run)
		}
	}
	slices.SortFunc(all, func(a, b *machine.Run) int { return a.StartedAt.Compare(b.StartedAt) })
	return all
}

// emitted returns the names of the events that workflows emitted, in the order
// of the log.
func emitted(t *testing.T, b *bus.Bus) []string {
	t.Helper()
	var names []string
	for d, err := range b.Read(t.Context(), bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{"in.*." + event.KindEmitted + ".*.*"}}) {
		if err != nil {
			t.Fatal(err)
		}
		e, err := d.Envelope()
		var data event.Trigger
		if err == nil {
			err = json.Unmarshal(e.Data, &data)
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, data.Event)
	}
	return names
}

// TestOlderVersion shows a run that keeps its version after a change of leaders,
// though the new one has not seen the visitor before the timer fires, and cannot
// read the old version at first.
func TestOlderVersion(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	l := &library{}
	l.deaf.Store(2)
	defer l.move(t, b, time.Second)()
	bustest.Until(t, "the run ended", func() bool { return len(ended(t, b)) == 1 })
	if run := ended(t, b)[0]; run.Status != machine.Succeeded {
		t.Errorf("the run is %s: %s", run.Status, run.Reason)
	}
	if diff := cmp.Diff([]string{"First"}, emitted(t, b)); diff != "" {
		t.Errorf("the events differ (-want +got):\n%s", diff)
	}
}

// TestReplayOfAnOlderVersion shows that a run whose version is not current any
// more is repeated on its own version, and on the current one if a person says
// so.
func TestReplayOfAnOlderVersion(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	l := &library{}
	defer l.move(t, b, 50*time.Millisecond)()
	bustest.Until(t, "the run ended", func() bool { return len(ended(t, b)) == 1 })
	old := ended(t, b)[0]
	for i, c := range []machine.Control{{}, {Current: true}} {
		key, err := Replay(t.Context(), b, old, c)
		if err != nil {
			t.Fatal(err)
		}
		bustest.Until(t, "the repetition ended", func() bool { return len(ended(t, b)) == 2+i })
		if again, err := Repetition(t.Context(), b, old, key); err != nil || again == nil || again.Of != old.ID {
			t.Errorf("the repetition is %+v, %v", again, err)
		}
	}
	if diff := cmp.Diff([]string{"First", "First", "Second"}, emitted(t, b)); diff != "" {
		t.Errorf("the events differ (-want +got):\n%s", diff)
	}
}

// TestVersionThatIsGone shows that nobody is asked twice for what nobody has,
// and that the run says why it ended.
func TestVersionThatIsGone(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	l := &library{}
	stop := l.move(t, b, 2*time.Second)
	defer func() { stop() }()
	stop()
	none, validators := compile(t, "other.yaml", "on: {manual: true}\nsteps: [{emit: {event: Other}}]\n")
	l.first = none
	l.asked.Store(0)
	e := New(bustest.Log(t), b, Options{
		Programs: func(context.Context) (*workflow.Set, error) { return none, nil }, Older: l.older, Sites: sites, Schemas: validators,
	})
	stop = run(t, e)
	for i := range 5 {
		track(t, b, "more-"+visitor(i).UserID, "Any", visitor(1), nil)
	}
	bustest.Until(t, "the run ended", func() bool { return len(ended(t, b)) == 1 })
	if run := ended(t, b)[0]; run.Status != machine.Failed || run.Reason == "" {
		t.Errorf("the run is %s: %s", run.Status, run.Reason)
	}
	if n := l.asked.Load(); n != 1 {
		t.Errorf("it asked %d times for the version that is gone", n)
	}
}
