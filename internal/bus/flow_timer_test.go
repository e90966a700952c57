package bus_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// wake returns the subjects of a run's timer, and of what it publishes.
func wake(session, name string) (timer, target string) {
	return event.TimerSubject("shop", session, "r1-"+name), event.WakeSubject("shop", session, "r1", name)
}

func TestTimersOfACommit(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	want := map[string]time.Time{}
	var msgs []bus.FlowMsg
	for i := range 20 {
		timer, target := wake("s1", fmt.Sprintf("t%d", i))
		// Within one second, where a time that is cut to seconds would show.
		at := time.Now().Add(300*time.Millisecond + time.Duration(i)*41*time.Millisecond)
		want[target] = at
		msgs = append(msgs, bus.FlowMsg{Subject: timer, Due: at, Target: target, Data: []byte(target)},
			bus.FlowMsg{Subject: event.RunsSubject("shop", "s1"), Data: []byte{byte(i)}})
	}
	if _, err := b.Commit(t.Context(), msgs); err != nil {
		t.Fatal(err)
	}
	for d, err := range b.Read(t.Context(), bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{event.WakeFilter()}, Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		at, ok := want[d.Subject]
		if !ok || string(d.Body) != d.Subject {
			t.Fatalf("%s came, again or with other data: %q", d.Subject, d.Body)
		}
		if d.StoredAt.Before(at) {
			t.Errorf("%s fired %s early", d.Subject, at.Sub(d.StoredAt))
		}
		delete(want, d.Subject)
		if len(want) == 0 {
			break
		}
	}
	if left := flowed(t, b, "timer.>"); len(left) > 0 {
		t.Errorf("%d timers are left", len(left))
	}
}

func TestATimerOfARefusedCommitIsNotSet(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	one := uint64(1)
	timer, target := wake("s1", "x")
	_, err := b.Commit(t.Context(), []bus.FlowMsg{
		{Subject: timer, Due: time.Now().Add(time.Hour), Target: target},
		{Subject: event.RunsSubject("shop", "s1"), At: &one},
	})
	wantReason(t, err, fault.StaleFence)
	if left := flowed(t, b); len(left) > 0 {
		t.Errorf("%d messages are there", len(left))
	}
	for name, msg := range map[string]bus.FlowMsg{
		"without a target":    {Subject: timer, Due: time.Now()},
		"that cancels itself": {Subject: timer, Due: time.Now(), Target: target, Cancels: timer},
		"elsewhere":           {Subject: timer, Due: time.Now(), Target: "evt.x"},
		"of another stream":   {Subject: "evt.a.b.c.d.e"},
	} {
		if _, err := b.Commit(t.Context(), []bus.FlowMsg{msg}); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("a timer %s: %v", name, err)
		}
	}
}

// TestCancelAgainstFire cancels timers around the moment when they fire. One
// that was cancelled in time never fires; one that fired is there; and a timer
// that fires late wakes a run that knows better, so both may happen then.
func TestCancelAgainstFire(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	const races = 40
	start := time.Now().Add(500 * time.Millisecond)
	var msgs []bus.FlowMsg
	for i := range races {
		timer, target := wake("s1", fmt.Sprintf("t%d", i))
		msgs = append(msgs, bus.FlowMsg{Subject: timer, Due: start.Add(time.Duration(i) * 25 * time.Millisecond), Target: target})
	}
	if _, err := b.Commit(t.Context(), msgs); err != nil {
		t.Fatal(err)
	}
	cancelled, inTime := map[string]uint64{}, map[string]bool{}
	for i := range races {
		timer, target := wake("s1", fmt.Sprintf("t%d", i))
		// From far before the moment to well after it.
		at := start.Add(time.Duration(i)*25*time.Millisecond + time.Duration(i%8-5)*40*time.Millisecond)
		if err := waitFor(t.Context(), time.Until(at)); err != nil {
			t.Fatal(err)
		}
		all, err := b.Commit(t.Context(), []bus.FlowMsg{{Subject: event.RunsSubject("shop", "s1"), Data: []byte(target), Cancels: timer}})
		if err != nil {
			t.Fatal(err)
		}
		cancelled[target] = all[0]
		inTime[target] = time.Now().Before(msgs[i].Due)
	}
	bustest.Until(t, "no timer is left", func() bool { return len(flowed(t, b, "timer.>")) == 0 })
	fired := map[string]uint64{}
	for _, d := range flowed(t, b, event.WakeFilter()) {
		if fired[d.Subject] > 0 {
			t.Errorf("%s fired twice", d.Subject)
		}
		fired[d.Subject] = d.Sequence
	}
	both := 0
	for target, at := range cancelled {
		if fired[target] > at {
			both++
		}
		if fired[target] > 0 && inTime[target] {
			t.Errorf("%s fired, and was cancelled before it was due", target)
		}
	}
	t.Logf("%d timers: %d fired, %d of them after their cancellation", races, len(fired), both)
	if len(fired) == 0 || len(fired) == races {
		t.Errorf("%d of %d fired: this was no race", len(fired), races)
	}
}
