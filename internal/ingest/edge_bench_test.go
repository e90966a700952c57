package ingest_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/ingest"
)

// BenchmarkEdge takes events of 1,000 visitors, one in a request and a hundred,
// from 64 senders at a time, without a network; inbox is the same number of
// events straight into the store, a hundred at a time.
func BenchmarkEdge(b *testing.B) {
	const visitors, batch = 1000, 100
	one := func(n int64) string {
		return fmt.Sprintf(`{"id":"m-%d","event":"Pricing Viewed","user_id":"u-%d","site":"shop","properties":{"plan":"pro"}}`, n, n%visitors)
	}
	run := func(b *testing.B, each int64, body func(n int64) string) {
		b.Helper()
		on := bustest.Start(b)
		o, err := options(b.Context(), on)
		if err != nil {
			b.Fatal(err)
		}
		o.Sources, o.Counter = []ingest.Mount{mountPlain(b, "web")}, newLedger()
		edge, err := ingest.New(bustest.Log(b), o)
		if err != nil {
			b.Fatal(err)
		}
		var next atomic.Int64
		b.SetParallelism(32)
		b.ReportAllocs()
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if a := serve(edge, body(next.Add(each)-each)); a.status/100 != 2 || strings.Contains(a.body, "rejected") {
					b.Errorf("the answer is %d %s", a.status, a.body)
					return
				}
			}
		})
		b.ReportMetric(float64(b.N)*float64(each)/b.Elapsed().Seconds(), "events/s")
	}
	b.Run("single", func(b *testing.B) { run(b, 1, one) })
	b.Run("batch", func(b *testing.B) {
		run(b, batch, func(n int64) string {
			all := make([]string, batch)
			for i := range all {
				all[i] = one(n + int64(i))
			}
			return "[" + strings.Join(all, ",") + "]"
		})
	})
	b.Run("inbox", func(b *testing.B) { benchInbox(b, bustest.Start(b), batch) })
}

// benchInbox stores events of the same kind without an edge.
func benchInbox(b *testing.B, on *bus.Bus, batch int) {
	b.Helper()
	store := ingest.OnBus(on)
	var next atomic.Int64
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			events := make([]ingest.Event, batch)
			for i := range events {
				subject, e, err := ingest.Trigger("web", fmt.Sprintf("m-%d", next.Add(1)), event.Trigger{
					Site: "shop", Visitor: event.Visitor{UserID: "u"}, Event: "Pricing Viewed", Properties: map[string]any{"plan": "pro"},
				})
				if err != nil {
					b.Error(err)
					return
				}
				events[i] = ingest.Event{Subject: subject, Envelope: e, Sum: []byte("sum")}
			}
			for _, stored := range store.Accept(b.Context(), events) {
				if stored.Err != nil || stored.Duplicate {
					b.Errorf("stored %+v", stored)
				}
			}
		}
	})
	b.ReportMetric(float64(b.N)*float64(batch)/b.Elapsed().Seconds(), "events/s")
}
