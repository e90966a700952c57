package bus_test

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
)

// TestALostDeliveryDoesNotChangeTheOrder loses one delivery on its way, as the
// end of a server does: somebody else takes it, and never says a word. With a
// successor and without one, the worker gets it at once, and in its place.
func TestALostDeliveryDoesNotChangeTheOrder(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		workers int
		after   int // commands behind the lost one
	}{
		{"a consumer for all, with successors", 1, 5},
		{"a consumer for all, the last one", 1, 0},
		{"a consumer for each, with successors", 2, 5},
		{"a consumer for each, the last one", 2, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := bustest.Serve(t)
			b := server.Bus()
			var mu sync.Mutex
			var done []string
			for i := range test.workers {
				work(t, b, bus.CommandOptions{Worker: "w" + strconv.Itoa(i)}, func(_ context.Context, d *bus.Delivery) error {
					e, err := d.Envelope()
					mu.Lock()
					defer mu.Unlock()
					done = append(done, e.ID)
					return err
				})
			}
			session := event.SessionKey("shop", event.Visitor{UserID: "v"})
			consumer := serving(t, server, bus.PartitionOf("shop", session), test.workers)
			lost := make(chan error, 1)
			go func() { lost <- steal(consumer) }()
			bustest.Until(t, "somebody else asks too", func() bool {
				info, err := consumer.Info(t.Context())
				return err == nil && info.NumWaiting > 1
			})

			var want []string
			send := func() {
				want = append(want, "c"+strconv.Itoa(len(want)))
				store(t, b, session, want[len(want)-1])
			}
			for stolen := false; !stolen; {
				send()
				select {
				case err := <-lost:
					if stolen = true; err != nil {
						t.Fatal(err)
					}
				case <-time.After(200 * time.Millisecond): // The worker got it.
				}
			}
			for range test.after {
				send()
			}
			bustest.Until(t, "all commands are done", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(done) == len(want)
			})
			if !slices.Equal(done, want) {
				t.Errorf("done %q, want %q", done, want)
			}
		})
	}
}

// store stores a command of the session.
func store(t *testing.T, b *bus.Bus, session, id string) {
	t.Helper()
	e, err := event.New("/test", event.CommandType("test.thing.do"), "shop/"+session, map[string]string{})
	if err != nil {
		t.Fatal(err)
	}
	e.ID = id
	if _, err := b.Publish(t.Context(), event.CommandSubject(event.ClassWrite, "test.thing.do", "shop", session), e); err != nil {
		t.Fatal(err)
	}
}

// serving returns the consumer that serves the partition, once all workers have
// their share.
func serving(t *testing.T, server *bustest.Server, partition, workers int) jetstream.Consumer {
	t.Helper()
	conn, err := nats.Connect(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	prefix, count := "p"+strconv.Itoa(partition)+"-", 64
	if workers == 1 {
		prefix, count = "all-", 1
	}
	var found jetstream.Consumer
	bustest.Until(t, "all partitions are served", func() bool {
		stream, err := js.Stream(t.Context(), bus.StreamCommands)
		if err != nil {
			return false
		}
		n := 0
		list := stream.ConsumerNames(t.Context())
		for name := range list.Name() {
			n++
			if strings.HasPrefix(name, prefix) {
				found, err = stream.Consumer(t.Context(), name)
			}
		}
		return err == nil && n == count && found != nil
	})
	return found
}

// steal takes one delivery, and says nothing of it.
func steal(from jetstream.Consumer) error {
	batch, err := from.Fetch(1, jetstream.FetchMaxWait(10*time.Second))
	if err != nil {
		return err
	}
	for range batch.Messages() {
		return nil
	}
	return context.DeadlineExceeded
}
