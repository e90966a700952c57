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
)

// work runs a worker until the test ends, or until the returned function is
// called, which returns when the worker has stopped.
func work(t *testing.T, b *bus.Bus, o bus.CommandOptions, h bus.Handler) (stop func()) {
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

func TestOrderInsideASessionUnderLoad(t *testing.T) {
	t.Parallel()
	const sessions, each = 200, 40
	b := bustest.Start(t)
	var mu sync.Mutex
	seen := map[string][]string{}
	all := make(chan struct{})
	count := 0
	work(t, b, bus.CommandOptions{}, func(_ context.Context, d *bus.Delivery) error {
		e, err := d.Envelope()
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		seen[e.Subject] = append(seen[e.Subject], e.ID)
		if count++; count == sessions*each {
			close(all)
		}
		return nil
	})
	var futures []*bus.Future
	start := time.Now()
	for i := range each {
		for s := range sessions {
			e, subject := command(t, fmt.Sprintf("s%d", s), `{}`)
			e.ID = fmt.Sprintf("%d-%d", s, i)
			futures = append(futures, b.PublishAsync(subject, e))
		}
	}
	for _, f := range futures {
		if _, err := f.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	<-all
	t.Log(time.Since(start))
	for s := range sessions {
		for i, id := range seen[fmt.Sprintf("s%d", s)] {
			if want := fmt.Sprintf("%d-%d", s, i); id != want {
				t.Fatalf("session %d: command %d is %s, want %s", s, i, id, want)
			}
		}
	}
	_ = event.Result{}
}
