package engine

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/workflow"
)

// follow reads the commands of workflows until so many are there, and returns how
// many each trigger led to, and when the last of them was stored.
func followCommands(t *testing.T, b *bus.Bus, want int) (counts map[string]int, stored map[string]time.Time) {
	t.Helper()
	counts, stored = map[string]int{}, map[string]time.Time{}
	n := 0
	for d, err := range b.Read(t.Context(), bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{"go.*.*.*.*.*.*"}, Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		e, err := d.Envelope()
		if err != nil {
			t.Fatal(err)
		}
		id := e.Extension(event.ExtCausationID)
		counts[id]++
		stored[id] = d.StoredAt
		if n++; n >= want {
			return counts, stored
		}
	}
	return counts, stored
}

// TestT3Together has many timers due within one second. Each fires once, and none
// early.
func TestT3Together(t *testing.T) {
	t.Parallel()
	timers, ahead := bustest.Count(1000, 100_000), time.Duration(bustest.Count(3, 150))*time.Second
	b := bustest.Start(t)
	_, stop := start(t, b, "due.yaml", `
on: {trigger: track, event: Due}
steps:
  - until: ${ timestamp(string(trigger.properties.at)) }
  - action: botstar.widget.open
`)
	defer stop()
	at := time.Now().Add(ahead).UTC()
	due := func(i int) time.Time { return at.Add(time.Duration(i%1000) * time.Millisecond) }
	const senders = 8
	var running sync.WaitGroup
	for sender := range senders {
		running.Go(func() {
			for i := sender; i < timers; i += senders {
				track(t, b, fmt.Sprintf("t-%d", i), "Due", visitor(i), map[string]any{"at": due(i).Format(time.RFC3339Nano)})
			}
		})
	}
	running.Wait()
	counts, stored := followCommands(t, b, timers)
	bustest.Until(t, "no timer is left", func() bool { _, left, err := b.Last(t.Context(), "timer.>"); return err == nil && !left })
	early, twice := 0, 0
	late := make([]time.Duration, 0, timers)
	for i := range timers {
		id := fmt.Sprintf("t-%d", i)
		twice += max(0, counts[id]-1)
		if by := stored[id].Sub(due(i)); by < 0 {
			early++
		} else {
			late = append(late, by)
		}
	}
	slices.Sort(late)
	t.Logf("timers %d: missed %d, twice %d, early %d; late p50 %s, p99 %s", timers, timers-len(counts), twice, early, late[len(late)/2], late[len(late)*99/100])
	if len(counts) != timers || twice+early > 0 || count(t, b) != timers {
		t.Errorf("%d commands of %d triggers", count(t, b), len(counts))
	}
}

// crashing is a reader of schemas with a bug.
type crashing struct{ workflow.Validator }

func (c crashing) Validate(typ string, data []byte) error {
	if bytes.Contains(data, []byte("poison")) {
		panic("this one breaks the handler")
	}
	return c.Validator.Validate(typ, data)
}

// TestI17Poison has one event in a thousand crash the handler each time. It
// becomes one dead letter, and everything beside it is done, also after another
// engine has taken over.
func TestI17Poison(t *testing.T) {
	t.Parallel()
	const thousand = 1000
	rounds := bustest.Count(1, 10)
	b := bustest.Start(t)
	set, validators := compile(t, "open.yaml", "on: {trigger: track, event: Any}\nsteps: [{action: botstar.widget.open}]\n")
	begin := func() (stop func()) {
		return run(t, New(bustest.Log(t), b, Options{
			Programs: func(context.Context) (*workflow.Set, error) { return set, nil }, Sites: sites, Schemas: crashing{validators},
		}))
	}
	stop := begin()
	var poison []string
	for i := range rounds * thousand {
		name := "Any"
		if i%thousand == thousand/2 {
			name = "poison"
			poison = append(poison, fmt.Sprintf("t-%d", i))
		}
		track(t, b, fmt.Sprintf("t-%d", i), name, visitor(i), nil)
		if i%thousand == thousand*3/4 {
			stop()
			stop = begin()
		}
	}
	done := rounds * (thousand - 1)
	counts, _ := followCommands(t, b, done)
	stop()
	l := readLedger(t, b)
	lost, twice, wrong := done-len(counts), 0, len(l.dead)-len(poison)
	for _, n := range l.ids {
		twice += n - 1
	}
	for _, id := range poison {
		if l.dead[id] != 1 {
			wrong++
		}
	}
	t.Logf("%d events, %d poisoned: lost %d, twice %d, dead letters wrong %d", rounds*thousand, len(poison), lost, twice, wrong)
	if lost != 0 || twice != 0 || wrong != 0 || len(l.ids) != done {
		t.Errorf("%d commands, dead letters %v", len(l.ids), l.dead)
	}
}

// editions are versions of one workflow, of which the last is current.
type editions struct {
	mu   sync.Mutex
	all  []*workflow.Set
	used int // how many there were when the leader asked last
}

func (e *editions) publish(set *workflow.Set) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, set)
}

func (e *editions) current(context.Context) (*workflow.Set, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.used = len(e.all)
	return e.all[len(e.all)-1], nil
}

// inUse reports whether the leader has the last edition: what is stored from now
// on begins with it.
func (e *editions) inUse() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.used == len(e.all)
}

func (e *editions) older(_ context.Context, name, digest string) (*workflow.Program, bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, set := range e.all {
		if p, ok := set.Program(name); ok && p.Digest == digest {
			return p, true, nil
		}
	}
	return nil, false, nil
}

// TestW16Edits edits a workflow again and again while runs of all its versions
// wait. Each run ends on the version that it began with.
func TestW16Edits(t *testing.T) {
	t.Parallel()
	edits, runs := bustest.Count(5, 20), bustest.Count(100, 500)
	each := runs / edits
	b := bustest.Start(t)
	shelf := &editions{}
	edition := func(n int) *workflow.Set {
		set, _ := compile(t, "rule.yaml", strings.ReplaceAll(`
on: {trigger: track, event: Begin}
steps:
  - wait_for: {trigger: track, event: Go, timeout: 1h}
  - emit: {event: Version N}
`, "Version N", fmt.Sprintf("Version %d", n)))
		return set
	}
	shelf.publish(edition(0))
	_, validators := compile(t)
	e := New(bustest.Log(t), b, Options{Programs: shelf.current, Older: shelf.older, Sites: sites, Schemas: validators})
	stop := run(t, e)
	defer stop()
	for n := range edits {
		if n > 0 {
			shelf.publish(edition(n))
			e.Changed()
			bustest.Until(t, "the edition is in use", shelf.inUse)
		}
		for i := range each {
			track(t, b, fmt.Sprintf("t-%d-%d", n, i), "Begin", visitor(n*each+i), nil)
		}
		bustest.Until(t, "its runs wait", func() bool { return waiting(t, b) >= (n+1)*each })
	}
	for i := range edits * each {
		track(t, b, fmt.Sprintf("go-%d", i), "Go", visitor(i), nil)
	}
	bustest.Until(t, "every run has ended", func() bool { return len(ended(t, b)) >= edits*each })
	wrong, names := 0, map[string]int{}
	for _, name := range emitted(t, b) {
		names[name]++
	}
	for n := range edits {
		wrong += max(names[fmt.Sprintf("Version %d", n)], each) - min(names[fmt.Sprintf("Version %d", n)], each)
	}
	t.Logf("%d edits, %d runs: %d on the wrong version", edits, edits*each, wrong)
	if wrong > 0 {
		t.Errorf("the events are %v", names)
	}
}
