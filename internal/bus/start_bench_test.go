package bus_test

import (
	"context"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
)

// BenchmarkStart measures how long a worker that is alone needs until all
// partitions are served, and until it has given them up.
func BenchmarkStart(b *testing.B) {
	at := bustest.Start(b)
	var up, down []time.Duration
	began := cpu()
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		ended := make(chan error, 1)
		start := time.Now()
		go func() {
			ended <- at.Commands(ctx, bus.CommandOptions{}, func(context.Context, *bus.Delivery) error { return nil })
		}()
		bustest.Until(b, "all is served", func() bool { return at.Stats().Served == 64 })
		up = append(up, time.Since(start))
		start = time.Now()
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
		down = append(down, time.Since(start))
	}
	b.ReportMetric(float64((cpu()-began).Microseconds())/float64(len(up)), "cpu-us/op")
	b.Logf("up: %v, down: %v", up, down)
}
