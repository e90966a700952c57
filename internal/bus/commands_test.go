package bus_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// work runs a worker until the test ends, or until the returned function is
// called, which returns when the worker has stopped.
func work(t testing.TB, b *bus.Bus, o bus.CommandOptions, h bus.Handler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Commands(ctx, o, h) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Commands: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// members returns the workers as everybody sees them.
func members(t testing.TB, b *bus.Bus) []bus.Member {
	t.Helper()
	all, err := b.Members(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestOrderInsideASessionUnderLoad(t *testing.T) {
	t.Parallel()
	const sessions, each = 200, 30
	b := bustest.Start(t)
	var mu sync.Mutex
	seen := map[string][]string{}
	busy := map[string]bool{}
	all, count := make(chan struct{}, 1), 0
	work(t, b, bus.CommandOptions{Lanes: 50}, func(_ context.Context, d *bus.Delivery) error {
		e, err := d.Envelope()
		if err != nil {
			return err
		}
		mu.Lock()
		if busy[e.Subject] {
			t.Errorf("two commands of the session %s run at the same time", e.Subject)
		}
		busy[e.Subject] = true
		mu.Unlock()
		out, subject := result(t, e, event.Succeeded)
		d.After(b.PublishAsync(subject, out))
		mu.Lock()
		defer mu.Unlock()
		busy[e.Subject] = false
		seen[e.Subject] = append(seen[e.Subject], e.ID)
		if count++; count == sessions*each {
			all <- struct{}{}
		}
		return nil
	})
	want := map[string][]string{}
	var futures []*bus.Future
	for i := range each {
		for s := range sessions {
			e, subject := command(t, fmt.Sprintf("s%d", s))
			e.ID = fmt.Sprintf("%d-%d", s, i)
			want[e.Subject] = append(want[e.Subject], e.ID)
			futures = append(futures, b.PublishAsync(subject, e))
		}
	}
	for _, f := range futures {
		if _, err := f.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	receive(t, all, "the last command")
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestSessionsDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	release := make(chan struct{})
	begun := make(chan string, 3)
	work(t, b, bus.CommandOptions{}, func(_ context.Context, d *bus.Delivery) error {
		e, err := d.Envelope()
		begun <- e.Subject
		<-release
		return err
	})
	defer close(release)
	publish(t, b, "slow")
	publish(t, b, "slow")
	publish(t, b, "quick")
	got := []string{receive(t, begun, "one"), receive(t, begun, "two")}
	if slices.Sort(got); !slices.Equal(got, []string{"quick", "slow"}) {
		t.Errorf("running: %v", got)
	}
}

func TestARetryHappensInsideTheLane(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	first, second := publish(t, b, "s1"), publish(t, b, "s1")
	type call struct {
		ID      string
		Attempt int
		Last    bool
	}
	calls := make(chan call, 10)
	work(t, b, bus.CommandOptions{Attempts: 3, Pause: 20 * time.Millisecond}, func(_ context.Context, d *bus.Delivery) error {
		e, err := d.Envelope()
		if err != nil {
			return err
		}
		calls <- call{e.ID, d.Attempt, d.Last}
		if e.ID == first.ID {
			return fault.New(fault.PageCrashed, "attempt %d", d.Attempt)
		}
		return nil
	})
	want := []call{{first.ID, 1, false}, {first.ID, 2, false}, {first.ID, 3, true}, {second.ID, 1, false}}
	var got []call
	for range want {
		got = append(got, receive(t, calls, "a call"))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	letter := bustest.NextOn[event.DeadLetter](t, b, "dead.too_many_attempts.shop.s1")
	if letter.Attempts != 3 || letter.Stream != "CMD" || letter.Problem.Reason != string(fault.TooManyAttempts) {
		t.Errorf("dead letter: %+v", letter)
	}
	if wantText := "3 attempts failed, the last one with page_crashed: attempt 3"; letter.Problem.Message != wantText {
		t.Errorf("the letter says %q, want %q", letter.Problem.Message, wantText)
	}
}

func TestABadCommandIsBuriedAtOnce(t *testing.T) {
	t.Parallel()
	for _, reason := range []fault.Reason{fault.SchemaViolation, fault.CommandExpired, fault.GrantMissing, fault.IDReused, fault.InternalError} {
		t.Run(string(reason), func(t *testing.T) {
			t.Parallel()
			b := bustest.Start(t)
			e, subject := command(t, "s1")
			e.Extensions["partitionkey"] = "s1"
			if _, err := b.Publish(t.Context(), subject, e); err != nil {
				t.Fatal(err)
			}
			var calls atomic.Int32
			work(t, b, bus.CommandOptions{
				Dead: func(_ context.Context, d *bus.Delivery, err error) {
					wantReason(t, err, reason)
					out, on := result(t, e, event.Rejected)
					d.After(b.PublishAsync(on, out))
				},
			}, func(context.Context, *bus.Delivery) error {
				calls.Add(1)
				return fault.New(reason, "because").At("/params")
			})
			letter := bustest.NextOn[event.DeadLetter](t, b, "dead."+string(reason)+".shop.s1")
			if letter.Problem.Field != "/params" || letter.Problem.Fix == "" || letter.Attempts != 1 {
				t.Errorf("the letter: %+v", letter)
			}
			got, err := event.Decode(letter.Headers, letter.Body)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(e, got); diff != "" {
				t.Errorf("the command in the letter (-sent +kept):\n%s", diff)
			}
			if out := bustest.Next[event.Result](t, b, e); out.Status != event.Rejected {
				t.Errorf("the result that Dead published: %+v", out)
			}
			advisory := bustest.Raw(t, b, "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.CMD.*")
			if got := advisory["reason"]; got != string(reason) {
				t.Errorf("the server's advisory has the reason %v", got)
			}
			if n := calls.Load(); n != 1 {
				t.Errorf("the handler was called %d times", n)
			}
		})
	}
}

func TestALongCommandIsKeptAlive(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	e := publish(t, b, "s1")
	waiting := publish(t, b, "s1")
	var calls atomic.Int32
	done := make(chan string, 4)
	work(t, b, bus.CommandOptions{AckWait: 200 * time.Millisecond}, func(ctx context.Context, d *bus.Delivery) error {
		calls.Add(1)
		got, err := d.Envelope()
		if got.ID == e.ID {
			timer := time.NewTimer(time.Second) // The action itself: five times AckWait.
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		}
		done <- got.ID
		if d.Attempt != 1 {
			t.Errorf("%s is at attempt %d", got.ID, d.Attempt)
		}
		return err
	})
	for _, want := range []string{e.ID, waiting.ID} {
		if got := receive(t, done, "a command"); got != want {
			t.Errorf("done: %s, want %s", got, want)
		}
	}
	if n := calls.Load(); n != 2 {
		t.Errorf("the handler was called %d times for 2 commands", n)
	}
}

func TestTheConsumerIsMadeAgainWhenSomebodyDeletesIt(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	done := make(chan string, 4)
	release := make(chan struct{})
	var calls atomic.Int32
	work(t, b, bus.CommandOptions{}, func(_ context.Context, d *bus.Delivery) error {
		calls.Add(1)
		<-release
		e, err := d.Envelope()
		done <- e.ID
		return err
	})
	held := publish(t, b, "s1")
	bustest.Until(t, "the worker holds the command", func() bool { return calls.Load() == 1 })
	s.DeleteConsumers("CMD")
	next := publish(t, b, "s1")
	close(release)
	for _, want := range []string{held.ID, next.ID} {
		if got := receive(t, done, "a command"); got != want {
			t.Errorf("done: %s, want %s", got, want)
		}
	}
	bustest.Until(t, "the queue is empty", func() bool { return s.Messages("CMD") == 0 })
	if n := calls.Load(); n != 2 {
		t.Errorf("the handler was called %d times for 2 commands", n)
	}
}

func TestWorkersWithTheSameFiltersShareTheWork(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	filter, err := event.QueueFilter("botstar.widget.*")
	if err != nil {
		t.Fatal(err)
	}
	publisher := s.Bus()
	var counts [2]atomic.Int32
	var mu sync.Mutex
	seen := map[string]int{}
	for i := range counts {
		work(t, s.Bus(), bus.CommandOptions{Filters: []string{filter}}, func(_ context.Context, d *bus.Delivery) error {
			e, err := d.Envelope()
			mu.Lock()
			defer mu.Unlock()
			counts[i].Add(1)
			seen[e.ID]++
			return err
		})
	}
	bustest.Until(t, "both workers ask", func() bool { return s.Waiting("CMD") >= 2 })
	for n := range 200 {
		publish(t, publisher, fmt.Sprintf("s%d", n))
	}
	bustest.Until(t, "all is done", func() bool { return s.Messages("CMD") == 0 })
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s was handled %d times", id, n)
		}
	}
	if counts[0].Load() == 0 || counts[1].Load() == 0 || len(seen) != 200 {
		t.Errorf("the workers did %d and %d of %d", counts[0].Load(), counts[1].Load(), len(seen))
	}
}

func TestWorkersThatTakeEverythingShareTheWork(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	every, err := event.QueueFilter("*")
	if err != nil {
		t.Fatal(err)
	}
	done := func(context.Context, *bus.Delivery) error { return nil }
	for i, filters := range [][]string{nil, {every}, {"cq.>"}} {
		work(t, s.Bus(), bus.CommandOptions{Filters: filters}, done)
		bustest.Until(t, "the worker asks", func() bool { return s.Waiting("CMD") > i })
	}
	publish(t, s.Bus(), "s1")
	bustest.Until(t, "all is done", func() bool { return s.Messages("CMD") == 0 })

	one, err := event.QueueFilter("botstar.widget.open")
	if err != nil {
		t.Fatal(err)
	}
	err = s.Bus().Commands(t.Context(), bus.CommandOptions{Filters: []string{one}}, done)
	wantReason(t, err, fault.BusMisconfigured)
	if !strings.Contains(err.Error(), "cq.>") {
		t.Errorf("the error does not say that the other one takes everything: %v", err)
	}
}

// TestAConsumerWithTheOldFilterIsTakenOver joins the consumer of a worker that
// told the server a filter for everything.
func TestAConsumerWithTheOldFilterIsTakenOver(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	config := jetstream.ConsumerConfig{
		Durable: "worker-" + event.DerivedID("cq.>")[:16], FilterSubjects: []string{"cq.>"},
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: 30 * time.Second, MaxDeliver: -1, MaxAckPending: 1024,
	}
	if _, err := b.JetStream().CreateConsumer(t.Context(), bus.StreamCommands, config); err != nil {
		t.Fatal(err)
	}
	work(t, b, bus.CommandOptions{}, func(context.Context, *bus.Delivery) error { return nil })
	publish(t, b, "s1")
	bustest.Until(t, "it is done", func() bool { return s.Messages("CMD") == 0 })
}

func TestOnlyTheAskedActionsAreTaken(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	filter, err := event.QueueFilter("botstar.user.*")
	if err != nil {
		t.Fatal(err)
	}
	publish(t, b, "s1")
	e, _ := command(t, "s1")
	if _, err := b.Publish(t.Context(), event.CommandSubject(event.ClassWrite, "botstar.user.update", "shop", "s1"), e); err != nil {
		t.Fatal(err)
	}
	taken := make(chan string, 2)
	work(t, b, bus.CommandOptions{Filters: []string{filter}}, func(_ context.Context, d *bus.Delivery) error {
		taken <- d.Subject
		return nil
	})
	address, err := event.ParseCommandSubject(receive(t, taken, "the update"))
	if err != nil || address.Action != "botstar.user.update" {
		t.Errorf("taken: %v, %v", address, err)
	}
	bustest.Until(t, "one is left", func() bool { return s.Messages("CMD") == 1 })
}

func TestOverlappingGroupsAreRefusedWithTheName(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	some, err := event.QueueFilter("botstar.widget.*")
	if err != nil {
		t.Fatal(err)
	}
	nothing := func(context.Context, *bus.Delivery) error { return nil }
	stop := work(t, s.Bus(), bus.CommandOptions{Filters: []string{some}}, nothing)
	bustest.Until(t, "the first group asks", func() bool { return s.Waiting("CMD") >= 1 })

	other := s.Bus()
	err = other.Commands(t.Context(), bus.CommandOptions{}, nothing)
	wantReason(t, err, fault.BusMisconfigured)
	f := fault.From(err)
	for _, part := range []string{"worker-", some, "cq.>"} {
		if !strings.Contains(f.Error(), part) {
			t.Errorf("the error does not name %s: %v", part, f)
		}
	}
	if !strings.Contains(f.Fix, "--actions") {
		t.Errorf("the fix is %q", f.Fix)
	}

	// A group that has stopped is no longer in the way.
	stop()
	e := publish(t, other, "s1")
	taken := make(chan string, 1)
	work(t, other, bus.CommandOptions{}, func(_ context.Context, d *bus.Delivery) error {
		got, err := d.Envelope()
		taken <- got.ID
		return err
	})
	if got := receive(t, taken, "the command"); got != e.ID {
		t.Errorf("taken: %s, want %s", got, e.ID)
	}
}
