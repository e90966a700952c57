package bus_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

func TestAStopLetsARunningCommandEnd(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	begun, release := make(chan struct{}, 4), make(chan struct{})
	stop := work(t, b, bus.CommandOptions{Grace: 10 * time.Second}, func(ctx context.Context, d *bus.Delivery) error {
		begun <- struct{}{}
		<-release
		e, err := d.Envelope()
		if err != nil {
			return err
		}
		out, subject := result(t, e, event.Succeeded)
		d.After(b.PublishAsync(subject, out))
		return ctx.Err()
	})
	running, waiting := publish(t, b, "s1"), publish(t, b, "s1")
	receive(t, begun, "the first command")
	bustest.Until(t, "both are held", func() bool { return s.Pending("CMD") == 2 })
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	bustest.Until(t, "the worker asks for no more", func() bool { return s.Waiting("CMD") == 0 })
	close(release)
	receive(t, stopped, "the stop")
	if got := bustest.Next[event.Result](t, b, running); got.Status != event.Succeeded {
		t.Errorf("the running command: %+v", got)
	}
	// The waiting one was not begun, and is there for the next worker at once.
	taken := make(chan *bus.Delivery, 1)
	start := time.Now()
	work(t, b, bus.CommandOptions{}, func(_ context.Context, d *bus.Delivery) error { taken <- d; return nil })
	d := receive(t, taken, "the waiting command")
	if e, err := d.Envelope(); err != nil || e.ID != waiting.ID {
		t.Errorf("taken: %s, %v, want %s", e.ID, err, waiting.ID)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it came after %s, so it waited for AckWait", took)
	}
	if len(begun) != 0 {
		t.Error("a command began after the stop")
	}
}

func TestAfterTheGraceTheCommandIsLeftForTheNextWorker(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	begun := make(chan struct{}, 1)
	causes := make(chan error, 1)
	stop := work(t, b, bus.CommandOptions{Grace: 50 * time.Millisecond}, func(ctx context.Context, _ *bus.Delivery) error {
		begun <- struct{}{}
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return fmt.Errorf("waiting for the page: %w", ctx.Err())
	})
	var sent []string
	for range 5 {
		sent = append(sent, publish(t, b, "s1").ID)
	}
	receive(t, begun, "the command")
	stop()
	if cause := receive(t, causes, "the cause"); !errors.Is(cause, bus.ErrStopping) {
		t.Errorf("the cause is %v", cause)
	}
	taken := make(chan string, 5)
	work(t, b, bus.CommandOptions{}, func(_ context.Context, d *bus.Delivery) error {
		e, err := d.Envelope()
		if !d.Recovered {
			t.Errorf("%s: it is not said that somebody may have begun it", e.ID)
		}
		taken <- e.ID
		return err
	})
	for i, id := range sent {
		if got := receive(t, taken, "a command"); got != id {
			t.Errorf("number %d is %s, want %s", i, got, id)
		}
	}
	for d, err := range b.DeadLetters(t.Context(), "") {
		t.Errorf("a dead letter: %+v, %v", d, err)
	}
}

func TestStoppingBelowTheHandlerIsNotAFailure(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	var calls atomic.Int32
	attempts := make(chan int, 10)
	work(t, b, bus.CommandOptions{Attempts: 1, Pause: 10 * time.Millisecond}, func(_ context.Context, d *bus.Delivery) error {
		if calls.Add(1) < 5 {
			return fault.New(fault.ShuttingDown, "the pool closes")
		}
		attempts <- d.Attempt
		return nil
	})
	publish(t, b, "s1")
	receive(t, attempts, "the command")
}

// TestARestartOfTheServerInMidCommand has a worker whose server goes away and
// comes back while a command runs: the command is done once, its result is
// published, and it is settled.
func TestARestartOfTheServerInMidCommand(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	begun, release := make(chan string, 4), make(chan struct{})
	work(t, b, bus.CommandOptions{AckWait: time.Second}, func(_ context.Context, d *bus.Delivery) error {
		e, err := d.Envelope()
		if err != nil {
			return err
		}
		begun <- e.ID
		<-release
		out, subject := result(t, e, event.Succeeded)
		d.After(b.PublishAsync(subject, out))
		return nil
	})
	e := publish(t, b, "s1")
	next := publish(t, b, "s1")
	receive(t, begun, "the command")
	s.Stop()
	close(release) // It ends while the server is away.
	if got := receive(t, begun, "the next command, which was here already"); got != next.ID {
		t.Errorf("begun: %s, want %s", got, next.ID)
	}
	s.Start()
	for _, of := range []event.Envelope{e, next} {
		if got := bustest.Next[event.Result](t, b, of); got.Status != event.Succeeded {
			t.Errorf("result: %+v", got)
		}
	}
	bustest.Until(t, "the queue is empty", func() bool { return s.Messages("CMD") == 0 })
	after := publish(t, b, "s1")
	if got := receive(t, begun, "a command after the restart"); got != after.ID {
		t.Errorf("begun: %s, want %s: a command was done twice", got, after.ID)
	}
}

// TestARestartOfTheProcessInMidCommand has the worker and the embedded server
// go away together: the command comes again, at once and in order, and the
// effect record tells that it was begun.
func TestARestartOfTheProcessInMidCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := bustest.Open(t, bus.Options{Dir: dir})
	begun := make(chan struct{}, 1)
	stop := work(t, b, bus.CommandOptions{Grace: time.Millisecond}, func(ctx context.Context, d *bus.Delivery) error {
		e, err := d.Envelope()
		if err != nil {
			return err
		}
		if effect, err := b.Begin(ctx, event.EffectSubject("shop", "s1", event.Key(e.Source, e.ID)), []byte("started")); err != nil || !effect.New {
			t.Errorf("Begin: %+v, %v", effect, err)
		}
		begun <- struct{}{}
		<-ctx.Done()
		return context.Cause(ctx)
	})
	sent := []string{publish(t, b, "s1").ID}
	receive(t, begun, "the command")
	for range 3 {
		sent = append(sent, publish(t, b, "s1").ID)
	}
	stop()
	bustest.Close(t, b)

	b = bustest.Open(t, bus.Options{Dir: dir})
	type got struct {
		ID             string
		Recovered, New bool
	}
	taken := make(chan got, 10)
	work(t, b, bus.CommandOptions{}, func(ctx context.Context, d *bus.Delivery) error {
		e, err := d.Envelope()
		if err != nil {
			return err
		}
		effect, err := b.Begin(ctx, event.EffectSubject("shop", "s1", event.Key(e.Source, e.ID)), []byte("started"))
		taken <- got{e.ID, d.Recovered || d.Attempt > 1, effect.New}
		return err
	})
	for i, id := range sent {
		want := got{ID: id, Recovered: true, New: i > 0}
		if diff := cmp.Diff(want, receive(t, taken, "a command")); diff != "" {
			t.Errorf("command %d (-want +got):\n%s", i, diff)
		}
	}
}

// TestAKilledWorkerLosesNothing kills the only worker process in mid-command.
// The next one gets everything, in order, and does not wait for AckWait.
func TestAKilledWorkerLosesNothing(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	sent := []string{publish(t, b, "s1").ID, publish(t, b, "s1").ID, publish(t, b, "s1").ID}
	kill := childWorker(t, s, sent[0], time.Minute)
	bustest.Until(t, "the worker holds all", func() bool { return s.Pending("CMD") == 3 })
	kill()
	for range 3 { // Whatever comes meanwhile must not turn the order around.
		sent = append(sent, publish(t, b, "s1").ID)
	}
	type got struct {
		ID        string
		Recovered bool
	}
	taken := make(chan got, 10)
	work(t, b, bus.CommandOptions{AckWait: time.Minute}, func(_ context.Context, d *bus.Delivery) error {
		e, err := d.Envelope()
		taken <- got{e.ID, d.Recovered}
		return err
	})
	for i, id := range sent {
		if diff := cmp.Diff(got{id, true}, receive(t, taken, "a command")); diff != "" {
			t.Errorf("command %d (-want +got):\n%s", i, diff)
		}
	}
	bustest.Until(t, "the queue is empty", func() bool { return s.Messages("CMD") == 0 })
	if len(taken) != 0 {
		t.Error("a command came once more")
	}
}

// TestAnotherWorkerGetsWhatAKilledOneHeld has a second worker at hand, which
// gets the command without waiting for AckWait.
func TestAnotherWorkerGetsWhatAKilledOneHeld(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	e := publish(t, b, "s1")
	kill := childWorker(t, s, e.ID, time.Minute)
	taken := make(chan *bus.Delivery, 2)
	work(t, b, bus.CommandOptions{AckWait: time.Minute}, func(_ context.Context, d *bus.Delivery) error {
		taken <- d
		return nil
	})
	bustest.Until(t, "both workers are there", func() bool { return len(members(t, b)) == 2 })
	kill()
	start := time.Now()
	d := receive(t, taken, "the command, again")
	if got, err := d.Envelope(); err != nil || got.ID != e.ID || !d.Recovered {
		t.Errorf("taken: %s, recovered %t, %v; want %s, which somebody may have begun", got.ID, d.Recovered, err, e.ID)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it came after %s, so it waited for AckWait", took)
	}
	bustest.Until(t, "the queue is empty", func() bool { return s.Messages("CMD") == 0 })
}

// childWorker starts a worker in a process of its own, and returns when that
// has begun the command. The function kills it as SIGKILL does.
func childWorker(t *testing.T, s *bustest.Server, command string, ackWait time.Duration) (kill func()) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChildWorker$", s.URL(), ackWait.String())
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	begun := false
	for lines := bufio.NewScanner(out); !begun && lines.Scan(); {
		begun = strings.Contains(lines.Text(), "begun "+command)
	}
	if !begun {
		t.Fatal("the worker process did not begin the command")
	}
	return func() {
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, out)
		_ = child.Wait() // It was killed, and says so.
	}
}

// TestChildWorker is what childWorker starts.
func TestChildWorker(t *testing.T) { //nolint:paralleltest // It is a process of its own.
	if flag.NArg() == 0 {
		t.Skip("it is run by another test")
	}
	b := bustest.Connect(t, bus.Options{URL: flag.Arg(0)})
	ackWait, err := time.ParseDuration(flag.Arg(1))
	if err != nil {
		t.Fatal(err)
	}
	err = b.Commands(t.Context(), bus.CommandOptions{AckWait: ackWait}, func(ctx context.Context, d *bus.Delivery) error {
		e, err := d.Envelope()
		_, _ = fmt.Fprintln(os.Stdout, "begun", e.ID)
		<-ctx.Done()
		return err
	})
	t.Errorf("the worker ended by itself: %v", err)
}

func TestCommandsEndsWhenTheConnectionIsGoneForGood(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	done := make(chan error, 1)
	begun := make(chan struct{}, 1)
	go func() {
		done <- b.Commands(t.Context(), bus.CommandOptions{}, func(context.Context, *bus.Delivery) error {
			begun <- struct{}{}
			return nil
		})
	}()
	publish(t, b, "s1")
	receive(t, begun, "the command")
	bustest.Close(t, b)
	wantReason(t, receive(t, done, "the end of Commands"), fault.BusUnavailable)
}

func TestCommandsWaitForTheStreams(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	early := bustest.Connect(t, bus.Options{URL: s.URL()})
	taken := make(chan struct{}, 1)
	work(t, early, bus.CommandOptions{}, func(context.Context, *bus.Delivery) error { taken <- struct{}{}; return nil })
	publish(t, s.Bus(), "s1")
	receive(t, taken, "the command")
}
