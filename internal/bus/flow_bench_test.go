package bus_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
)

// callers runs the function b.N times on so many goroutines, and reports the
// rate.
func callers(b *testing.B, n int, do func(i int) error) {
	b.Helper()
	var next atomic.Int64
	var group sync.WaitGroup
	b.ResetTimer()
	start := cpu()
	for range n {
		group.Go(func() {
			for {
				i := int(next.Add(1))
				if i > b.N {
					return
				}
				if err := do(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64((cpu()-start).Microseconds())/float64(b.N), "cpu-us/op")
}

// benchTrigger is an event of about 1 KiB.
func benchTrigger(i int) event.Envelope {
	e := flowEnvelope("bench", "m"+strconv.Itoa(i))
	e.Data = benchData
	return e
}

var benchData = fmt.Appendf(nil, `{"event":"Pricing Viewed","properties":{"text":"%0700d"}}`, 1)

// BenchmarkAccept compares events that are accepted once with what JetStream
// does alone: one plain publish per event, as many at the same time; and an
// atomic batch per round of all callers, of bare events.
func BenchmarkAccept(b *testing.B) {
	for _, durability := range []string{bus.DurabilityInterval, bus.DurabilityAlways} {
		for _, n := range []int{1, 16, 64, 256} {
			name := fmt.Sprintf("%s/%d/", durability, n)
			b.Run(name+"accept", func(b *testing.B) {
				at := bustest.Open(b, bus.Options{Dir: b.TempDir(), Durability: durability})
				callers(b, n, func(i int) error {
					_, err := at.Accept(b.Context(), trigger("s"+strconv.Itoa(i%100)), benchTrigger(i), []byte("0123456789abcdef"))
					return err
				})
			})
			b.Run(name+"publish", func(b *testing.B) {
				at := bustest.Open(b, bus.Options{Dir: b.TempDir(), Durability: durability})
				js := at.JetStream()
				callers(b, n, func(i int) error {
					header, body := event.Encode(benchTrigger(i))
					_, err := js.PublishMsg(b.Context(), &nats.Msg{Subject: trigger("s" + strconv.Itoa(i%100)), Header: header, Data: body})
					return err
				})
			})
			b.Run(name+"batch", func(b *testing.B) {
				at := bustest.Open(b, bus.Options{Dir: b.TempDir(), Durability: durability})
				rawBatches(b, at.JetStream(), n)
			})
		}
	}
}

// rawBatches publishes b.N events in atomic batches of n, one after the other.
func rawBatches(b *testing.B, js jetstream.JetStream, n int) {
	b.Helper()
	b.ResetTimer()
	start := cpu()
	for i := 0; i < b.N; i += n {
		size := min(n, b.N-i)
		for k := range size {
			header, body := event.Encode(benchTrigger(i + k))
			msg := &nats.Msg{Subject: trigger("s" + strconv.Itoa(k%100)), Header: header, Data: body}
			msg.Header["Nats-Batch-Id"] = []string{"b" + strconv.Itoa(i)}
			msg.Header["Nats-Batch-Sequence"] = []string{strconv.Itoa(k + 1)}
			var err error
			if k == size-1 {
				msg.Header["Nats-Batch-Commit"] = []string{"1"}
				_, err = js.PublishMsg(context.WithoutCancel(b.Context()), msg)
			} else {
				err = js.Conn().PublishMsg(msg)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64((cpu()-start).Microseconds())/float64(b.N), "cpu-us/op")
}
