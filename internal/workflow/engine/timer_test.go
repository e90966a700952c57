package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/workflow"
	"github.com/parley-chat/parley/internal/workflow/machine"
)

// follow is a follow-up that an opened chat makes superfluous.
const follow = `
on: {trigger: track, event: Closed}
steps:
  - wait_for:
      event: widget.opened
      timeout: WAIT
      steps: [{action: botstar.widget.update, params: {nickname: "came back"}}]
      on_timeout: [{action: botstar.widget.open}]
`

// outcomes returns what became of each trigger, by its id: the actions of its
// commands, and when the first was stored.
func outcomes(t *testing.T, b *bus.Bus) (actions map[string][]string, stored map[string]time.Time) {
	t.Helper()
	actions, stored = map[string][]string{}, map[string]time.Time{}
	for d, err := range b.Read(t.Context(), bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{"go.*.*.*.*.*.*"}}) {
		if err != nil {
			t.Fatal(err)
		}
		e, err := d.Envelope()
		if err != nil {
			t.Fatal(err)
		}
		id := e.Extension(event.ExtCausationID)
		action, _ := event.ActionOfType(e.Type)
		actions[id] = append(actions[id], action)
		stored[id] = d.StoredAt
	}
	return actions, stored
}

// begun returns when each trigger was stored.
func begun(t *testing.T, b *bus.Bus) map[string]time.Time {
	t.Helper()
	stored := map[string]time.Time{}
	for d, err := range b.Read(t.Context(), bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{event.TriggerFilter()}}) {
		if err != nil {
			t.Fatal(err)
		}
		e, err := d.Envelope()
		if err != nil {
			t.Fatal(err)
		}
		stored[e.ID] = d.StoredAt
	}
	return stored
}

// returns returns when each session's chat was opened again.
func returns(t *testing.T, b *bus.Bus) map[string]time.Time {
	t.Helper()
	stored := map[string]time.Time{}
	for d, err := range b.Read(t.Context(), bus.ReadOptions{Stream: bus.StreamEvents, Filters: []string{"evt.>"}}) {
		if err != nil {
			t.Fatal(err)
		}
		e, err := d.Envelope()
		if err != nil {
			t.Fatal(err)
		}
		stored[e.Subject] = d.StoredAt
	}
	return stored
}

// TestT1Down has everything down when timers are due: server and engine. Half of
// the visitors came back before, and the fact of it lies in the log, unread. At
// the restart every timer fires once, none early, and does nothing for those.
func TestT1Down(t *testing.T) {
	t.Parallel()
	const timers, wait = 200, 2 * time.Second
	s := bustest.Serve(t)
	b := s.Bus()
	_, stop := start(t, b, "follow.yaml", replaceWait(follow, wait))
	for i := range timers {
		track(t, b, fmt.Sprintf("t-%d", i), "Closed", visitor(i), nil)
	}
	bustest.Until(t, "all wait", func() bool { return waiting(t, b) == timers })
	stop()
	for i := range timers / 2 {
		opened(t, b, visitor(i))
	}
	due := time.Now().Add(wait)
	s.Stop()
	bustest.Until(t, "the timers are due", func() bool { return time.Now().After(due) })
	s.Start()
	_, stop = start(t, b, "follow.yaml", replaceWait(follow, wait))
	defer stop()
	bustest.Until(t, "everything is done", func() bool { return len(commands(t, b)) >= timers })
	missed, double, early, wrong := 0, 0, 0, 0
	actions, stored := outcomes(t, b)
	since, back := begun(t, b), returns(t, b)
	for i := range timers {
		id := fmt.Sprintf("t-%d", i)
		switch len(actions[id]) {
		case 0:
			missed++
			continue
		case 1:
		default:
			double++
		}
		came, returned := back[event.SessionKey("shop", visitor(i))]
		if fired := actions[id][0] == "botstar.widget.open"; !fired {
			continue
		}
		if stored[id].Sub(since[id]) < wait {
			early++
		}
		if returned && came.Before(since[id].Add(wait)) {
			wrong++
		}
	}
	t.Logf("timers %d: missed %d, double %d, early %d, fired in spite of the visitor's return %d", timers, missed, double, early, wrong)
	if missed+double+early+wrong > 0 {
		t.Fail()
	}
}

// TestT2Race has visitors come back at the instant in which the timer fires. Each
// run takes exactly one of the two ways.
func TestT2Race(t *testing.T) {
	t.Parallel()
	races, wait := bustest.Count(400, 5000), 500*time.Millisecond
	b := bustest.Start(t)
	_, stop := start(t, b, "follow.yaml", replaceWait(follow, wait))
	defer stop()
	var group sync.WaitGroup
	for i := range races {
		track(t, b, fmt.Sprintf("t-%d", i), "Closed", visitor(i), nil)
		at := time.Now().Add(wait + time.Duration(i%40*10-20)*time.Millisecond)
		group.Go(func() {
			timer := time.NewTimer(time.Until(at))
			defer timer.Stop()
			select {
			case <-timer.C:
				opened(t, b, visitor(i))
			case <-t.Context().Done():
			}
		})
	}
	group.Wait()
	bustest.Until(t, "every race is over", func() bool { return len(commands(t, b)) >= races && waiting(t, b) == races })
	fired, cancelled, both, neither := 0, 0, 0, 0
	actions, _ := outcomes(t, b)
	for i := range races {
		switch did := actions[fmt.Sprintf("t-%d", i)]; {
		case len(did) == 0:
			neither++
		case len(did) > 1:
			both++
		case did[0] == "botstar.widget.open":
			fired++
		default:
			cancelled++
		}
	}
	t.Logf("races %d: fired %d, cancelled %d, both %d, neither %d", races, fired, cancelled, both, neither)
	if both+neither > 0 || fired == 0 || cancelled == 0 {
		t.Fail()
	}
}

// TestT5Lateness measures how late timers are, from the time that they are due
// to the command in the log. None is early.
func TestT5Lateness(t *testing.T) {
	t.Parallel()
	timers, wait := bustest.Count(500, 1000), 2*time.Second
	b := bustest.Start(t)
	_, stop := start(t, b, "follow.yaml", replaceWait(follow, wait))
	defer stop()
	for i := range timers {
		track(t, b, fmt.Sprintf("t-%d", i), "Closed", visitor(i), nil)
	}
	bustest.Until(t, "all fired", func() bool { return len(commands(t, b)) >= timers })
	_, stored := outcomes(t, b)
	since := begun(t, b)
	late := make([]time.Duration, 0, timers)
	for id, at := range stored {
		late = append(late, at.Sub(since[id])-wait)
	}
	slices.Sort(late)
	p99 := late[len(late)*99/100]
	t.Logf("timers %d: late p50 %s, p99 %s, max %s", timers, late[len(late)/2], p99, late[len(late)-1])
	if late[0] < 0 {
		t.Errorf("one was early by %s", -late[0])
	}
	if p99 > 3*time.Second { // The bar is 250 ms on a machine of our own; this one is shared.
		t.Errorf("p99 is %s", p99)
	}
}

// TestT4Held has the server's clock run ahead of the leader's: timers fire too
// early, are held, flagged and set again, and nothing is early by the leader's
// clock.
func TestT4Held(t *testing.T) {
	t.Parallel()
	const ahead = 1500 * time.Millisecond
	b := bustest.Start(t)
	set, validators := compile(t, "follow.yaml", replaceWait(follow, 200*time.Millisecond))
	held := make(chan machine.Mark, 100)
	e := New(bustest.Log(t), b, Options{
		Programs: func(context.Context) (*workflow.Set, error) { return set, nil }, Sites: sites, Schemas: validators,
		Told: func(m machine.Mark) {
			if m.What == machine.MarkHeld {
				held <- m
			}
		},
	})
	began := time.Now()
	e.clock = clock{
		began: began.UTC(), wall: time.Now,
		passed: func() time.Duration { return max(0, time.Since(began)-ahead) }, // The wall clock jumped at once.
	}
	stop := run(t, e)
	defer stop()
	track(t, b, "t-1", "Closed", visitor(1), nil)
	bustest.Until(t, "the timer was held, and then fired", func() bool { return len(commands(t, b)) == 1 })
	if e.Figures().Jumped == 0 || len(held) == 0 {
		t.Error("no timer was held")
	}
	if n := len(held); n > 30 {
		t.Errorf("the timer was held %d times", n)
	}
	_, stored := outcomes(t, b)
	if took := stored["t-1"].Sub(began); took < ahead+200*time.Millisecond {
		t.Errorf("it fired %s after the start, by a clock that is %s ahead", took, ahead)
	}
}
