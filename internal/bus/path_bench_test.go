package bus_test

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
)

// cpu returns the processor time of this process.
func cpu() time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return 0
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// BenchmarkPath measures commands from the queue to their settlement, the
// embedded server included: fetch, decode, publish the result, acknowledge.
func BenchmarkPath(b *testing.B) {
	at := bustest.Start(b)
	fill(b, at, b.N)
	var count atomic.Int64
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	b.ResetTimer()
	start := cpu()
	go func() {
		ended <- at.Commands(ctx, bus.CommandOptions{}, func(_ context.Context, d *bus.Delivery) error {
			e, err := d.Envelope()
			if err != nil {
				return err
			}
			out, subject := result(b, e, event.Succeeded)
			d.After(at.PublishAsync(subject, out))
			if count.Add(1) == int64(b.N) {
				close(done)
			}
			return nil
		})
	}()
	<-done
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
	b.ReportMetric(float64((cpu()-start).Microseconds())/float64(b.N), "cpu-us/op")
}

// BenchmarkRaw does the same with nats.go alone, and neither order nor retry.
func BenchmarkRaw(b *testing.B) {
	at := bustest.Start(b)
	fill(b, at, b.N)
	js := at.JetStream()
	cons, err := js.CreateConsumer(b.Context(), "CMD", jetstream.ConsumerConfig{Durable: "raw", MaxAckPending: 1024, AckPolicy: jetstream.AckExplicitPolicy, MemoryStorage: true})
	if err != nil {
		b.Fatal(err)
	}
	var count atomic.Int64
	done := make(chan struct{})
	type item struct {
		msg jetstream.Msg
		f   jetstream.PubAckFuture
	}
	settle := make(chan item, 1024)
	go func() {
		for i := range settle {
			<-i.f.Ok()
			_ = i.msg.Ack()
			if count.Add(1) == int64(b.N) {
				close(done)
				return
			}
		}
	}()
	of, _ := command(b, "s1")
	out, subject := result(b, of, event.Succeeded)
	header, body := event.Encode(out)
	var n atomic.Int64
	b.ResetTimer()
	start := cpu()
	flow, err := cons.Consume(func(msg jetstream.Msg) {
		own := nats.Header(maps.Clone(header))
		own[nats.MsgIdHdr] = []string{strconv.FormatInt(n.Add(1), 10)}
		f, err := js.PublishMsgAsync(&nats.Msg{Subject: subject, Header: own, Data: body})
		if err != nil {
			b.Error(err)
		}
		settle <- item{msg, f}
	}, jetstream.PullMaxMessages(256), jetstream.PullHeartbeat(500*time.Millisecond), jetstream.PullExpiry(5*time.Second))
	if err != nil {
		b.Fatal(err)
	}
	<-done
	flow.Stop()
	b.ReportMetric(float64((cpu()-start).Microseconds())/float64(b.N), "cpu-us/op")
}

func fill(b *testing.B, at *bus.Bus, n int) {
	b.Helper()
	var last []*bus.Future
	for i := range n {
		e, _ := command(b, fmt.Sprintf("s%d", i%200))
		subject := event.CommandSubject(event.ClassWrite, fmt.Sprintf("botstar.widget.v%d", i/200%1000), "shop", e.Subject)
		last = append(last, at.PublishAsync(subject, e))
	}
	for _, f := range last {
		if _, err := f.Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
