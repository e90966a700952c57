package bus_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

type arrival struct {
	id      string
	at      time.Time
	subject string
}

// arrivals runs a worker that says what comes, and when.
func arrivals(t *testing.T, b *bus.Bus) <-chan arrival {
	t.Helper()
	came := make(chan arrival, 200)
	work(t, b, bus.CommandOptions{}, func(_ context.Context, d *bus.Delivery) error {
		at := time.Now()
		e, err := d.Envelope()
		came <- arrival{e.ID, at, d.Subject}
		return err
	})
	return came
}

// busy tells how late timers of this process are: so much later may the
// server's be on a machine that is overloaded.
type busy struct {
	mu   sync.Mutex
	late time.Duration
}

func newBusy() *busy { return &busy{} }

// watch sets a timer for the time.
func (b *busy) watch(at time.Time) {
	time.AfterFunc(time.Until(at), func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		// The server needs some turns of the scheduler for what this does in one.
		b.late = max(b.late, 4*time.Since(at))
	})
}

func (b *busy) most() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.late
}

func due(session string) string {
	return event.DueCommandSubject(event.ClassWrite, action, "shop", session)
}

func TestATimerFiresOnTimeAndBecomesACommand(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	came := arrivals(t, b)
	want := map[string]time.Time{}
	busy := newBusy()
	for i := range 20 {
		e, _ := command(t, fmt.Sprintf("s%d", i))
		// Within one second, where a time that is cut to seconds would show.
		at := time.Now().Add(300*time.Millisecond + time.Duration(i)*37*time.Millisecond)
		want[e.ID] = at
		busy.watch(at)
		if err := b.Schedule(t.Context(), event.TimerSubject("shop", e.Subject, "reminder"), at, due(e.Subject), e); err != nil {
			t.Fatal(err)
		}
	}
	for range want {
		a := receive(t, came, "a timer")
		late := a.at.Sub(want[a.id])
		if late < 0 {
			t.Errorf("%s fired %s early", a.id, -late)
		}
		if late > 500*time.Millisecond+busy.most() {
			t.Errorf("%s fired %s late, and timers of this process up to %s", a.id, late, busy.most())
		}
		if address, err := event.ParseCommandSubject(a.subject); err != nil || address.Action != action {
			t.Errorf("it came on %s: %v", a.subject, err)
		}
	}
}

func TestATimerCanBeReplacedAndCancelled(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	came := arrivals(t, b)
	set := func(name string, ahead time.Duration) string {
		e, _ := command(t, "s1")
		if err := b.Schedule(t.Context(), event.TimerSubject("shop", "s1", name), time.Now().Add(ahead), due("s1"), e); err != nil {
			t.Fatal(err)
		}
		return e.ID
	}
	set("cancelled", 300*time.Millisecond)
	set("replaced", 300*time.Millisecond)
	replacement := set("replaced", 600*time.Millisecond)
	if err := b.Cancel(t.Context(), event.TimerSubject("shop", "s1", "cancelled")); err != nil {
		t.Fatal(err)
	}
	if err := b.Cancel(t.Context(), event.TimerSubject("shop", "s1", "never-set")); err != nil {
		t.Fatal(err)
	}
	last := set("last", 900*time.Millisecond)
	for _, id := range []string{replacement, last} {
		if got := receive(t, came, "a timer").id; got != id {
			t.Errorf("fired: %s, want %s", got, id)
		}
	}
}

func TestATimerSurvivesARestart(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	passed, _ := command(t, "s1")
	ahead, _ := command(t, "s2")
	now := time.Now()
	busy := newBusy()
	busy.watch(now.Add(1500 * time.Millisecond))
	for e, at := range map[string]time.Time{"s1": now.Add(200 * time.Millisecond), "s2": now.Add(1500 * time.Millisecond)} {
		of := passed
		if e == "s2" {
			of = ahead
		}
		if err := b.Schedule(t.Context(), event.TimerSubject("shop", e, "x"), at, due(e), of); err != nil {
			t.Fatal(err)
		}
	}
	s.Stop()
	<-time.After(time.Until(now.Add(250 * time.Millisecond))) // The first one passes while the server is away.
	s.Start()
	came := arrivals(t, b)
	if got := receive(t, came, "the timer that passed meanwhile"); got.id != passed.ID {
		t.Errorf("fired: %s, want %s", got.id, passed.ID)
	}
	got := receive(t, came, "the timer ahead")
	if late := got.at.Sub(now.Add(1500 * time.Millisecond)); got.id != ahead.ID || late < 0 || late > 500*time.Millisecond+busy.most() {
		t.Errorf("fired: %s, %s late", got.id, late)
	}
}

func TestATimerInThePastFiresAtOnceAndOneTooFarIsRefused(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	came := arrivals(t, b)
	e, _ := command(t, "s1")
	subject := event.TimerSubject("shop", "s1", "x")
	if err := b.Schedule(t.Context(), subject, time.Now().Add(-time.Hour), due("s1"), e); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, came, "the timer"); got.id != e.ID {
		t.Errorf("fired: %s", got.id)
	}
	wantReason(t, b.Schedule(t.Context(), subject, time.Now().AddDate(1, 0, 0), due("s1"), e), fault.SchemaViolation)
	// A target outside of the stream of timers is refused by the server.
	err := b.Schedule(t.Context(), subject, time.Now().Add(time.Hour), "cmd.w.botstar.widget.open.shop.s1", e)
	wantReason(t, err, fault.Malformed)
}

func TestACommandOfAWorkflowReachesTheQueueOnce(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	e, _ := command(t, "s1")
	subject := event.WorkflowCommandSubject(event.ClassWrite, action, "shop", "s1")
	for range 2 {
		if _, err := b.Publish(t.Context(), subject, e); err != nil {
			t.Fatal(err)
		}
	}
	came := arrivals(t, b)
	got := receive(t, came, "the command")
	direct := publish(t, b, "s1")
	next := receive(t, came, "the direct command")
	if got.id != e.ID || next.id != direct.ID {
		t.Errorf("came: %s, %s; want %s, %s", got.id, next.id, e.ID, direct.ID)
	}
	if got.subject != next.subject {
		t.Errorf("one session is in two partitions: %s and %s", got.subject, next.subject)
	}
	// Nothing is taken over again after a restart.
	bustest.Until(t, "the queue is empty", func() bool { return s.Messages("CMD") == 0 })
	s.Stop()
	s.Start()
	after, _ := command(t, "s2")
	if _, err := b.Publish(t.Context(), event.WorkflowCommandSubject(event.ClassWrite, action, "shop", "s2"), after); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, came, "a command after the restart"); got.id != after.ID {
		t.Errorf("came: %s, want %s", got.id, after.ID)
	}
}
