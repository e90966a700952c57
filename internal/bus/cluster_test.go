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
// that leads the queue.
func TestACluster(t *testing.T) {
	t.Parallel()
	c := bustest.ServeCluster(t)
	o := bus.Options{URL: c.URL(), Replicas: 3, Timeout: time.Minute}
	b := bustest.Open(t, o)
	if err := b.EnsureTopology(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan string, 100)
	work(t, bustest.Connect(t, o), bus.CommandOptions{}, func(ctx context.Context, d *bus.Delivery) error {
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
}
