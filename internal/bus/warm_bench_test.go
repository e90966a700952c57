package bus_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
)

// BenchmarkWarm measures one command after another, from its publish to its
// result, with an effect record, against the same two messages by nats.go.
func BenchmarkWarm(b *testing.B) {
	at := bustest.Start(b)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- at.Commands(ctx, bus.CommandOptions{}, func(ctx context.Context, d *bus.Delivery) error {
			e, err := d.Envelope()
			if err != nil {
				return err
			}
			subject := event.EffectSubject("shop", e.Subject, event.Key(e.Source, e.ID))
			effect, err := at.Begin(ctx, subject, []byte("started"))
			if err != nil {
				return err
			}
			out, on := result(b, e, event.Succeeded)
			d.After(at.PublishAsync(on, out))
			d.After(at.Finish(ctx, subject, effect.Revision, out.Data))
			return at.Answer(d.ReplyTo, out)
		})
	}()
	var all []time.Duration
	for b.Loop() {
		e, subject := command(b, "s1")
		start := time.Now()
		reply, err := at.Send(b.Context(), subject, e)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := reply.Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
		reply.Close()
		all = append(all, time.Since(start))
	}
	report(b, all)
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
}

// BenchmarkWarmRaw is the reference.
func BenchmarkWarmRaw(b *testing.B) {
	at := bustest.Start(b)
	js := at.JetStream()
	body := make([]byte, 500)
	take := func(stream, name string, do func(jetstream.Msg)) {
		cons, err := js.CreateConsumer(b.Context(), stream, jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy})
		if err != nil {
			b.Fatal(err)
		}
		flow, err := cons.Consume(do, jetstream.PullHeartbeat(500*time.Millisecond), jetstream.PullExpiry(5*time.Second))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(flow.Stop)
	}
	take("CMD", "raw", func(msg jetstream.Msg) {
		if _, err := js.Publish(b.Context(), "res.botstar.widget.open.shop.s1", body); err != nil {
			b.Error(err)
		}
		_ = msg.Ack()
	})
	came := make(chan struct{}, 1)
	take("EVT", "raw", func(msg jetstream.Msg) { _ = msg.Ack(); came <- struct{}{} })
	var all []time.Duration
	for b.Loop() {
		start := time.Now()
		subject := fmt.Sprintf("cmd.w.botstar.widget.v%d.shop.s1", len(all)%100) // One subject takes 64 only.
		if _, err := js.Publish(b.Context(), subject, body); err != nil {
			b.Fatal(err)
		}
		<-came
		all = append(all, time.Since(start))
	}
	report(b, all)
}

func report(b *testing.B, all []time.Duration) {
	b.Helper()
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-us")
}
