package bus_test

import (
	"context"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
)

// TestACluster runs the whole way on three servers, and then without the one
// that leads the queue; then two workers share the work, and one is killed.
func TestACluster(t *testing.T) {
	t.Parallel()
	c := bustest.ServeCluster(t)
	all := c.URL() // Of all three, also when one has stopped.
	o := bus.Options{URL: all, Replicas: 3, Timeout: time.Minute}
	b := bustest.Open(t, o)
	if err := b.EnsureTopology(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan string, 100)
	stop := work(t, bustest.Connect(t, o), bus.CommandOptions{}, func(ctx context.Context, d *bus.Delivery) error {
		e, err := d.Envelope()
		if err != nil {
			return err
		}
		subject := event.EffectSubject("shop", e.Subject, event.Key(e.Source, e.ID))
		effect, err := b.Begin(ctx, subject, []byte("started"))
		if err != nil {
			return err
		}
		out, on := result(t, e, event.Succeeded)
		d.After(b.PublishAsync(on, out))
		if effect.New {
			d.After(b.Finish(ctx, subject, effect.Revision, []byte("done")))
			done <- e.ID
		}
		return nil
	})
	direct := publish(t, b, "s1")
	if got := receive(t, done, "the command"); got != direct.ID {
		t.Errorf("done: %s, want %s", got, direct.ID)
	}
	timed, _ := command(t, "s1")
	if err := b.Schedule(t.Context(), event.TimerSubject("shop", "s1", "x"), time.Now().Add(200*time.Millisecond), due("s1"), timed); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, done, "the timer"); got != timed.ID {
		t.Errorf("done: %s, want %s", got, timed.ID)
	}
	c.StopLeader(bus.StreamCommands)
	var sent []string
	for range 5 {
		sent = append(sent, publish(t, b, "s1").ID)
	}
	for _, id := range sent {
		if got := receive(t, done, "a command without the leader"); got != id {
			t.Errorf("done: %s, want %s", got, id)
		}
	}
	stop()

	l := newLedger(t)
	startProcess(t, all, 3, l, "one")
	two := startProcess(t, all, 3, l, "two")
	bustest.Until(t, "both share the partitions", func() bool { return shared(t, b, 2) })
	load := startLoad(t, b, 50, 100)
	if err := waitFor(t.Context(), 2*time.Second); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	if err := two.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	bustest.Until(t, "one has all partitions", func() bool { return shared(t, b, 1) })
	stored, at := load.stop()
	total := 0
	for _, ids := range stored {
		total += len(ids)
	}
	bustest.Until(t, "all is done", func() bool { return l.count() >= total })
	l.verdict(t, stored)
	within(t, "kill -9", recovery(l, at, "two", killed), 4900*time.Millisecond) // Below the life of a key.
}
