//go:build browser

package worker_test

import (
	"slices"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/event"
)

// BenchmarkWarmAction opens and closes the widget of a held session, one
// command after another: published, done, verified, answered.
func BenchmarkWarmAction(b *testing.B) {
	w := newWorld(b, plan{})
	visitor := event.Visitor{UserID: "warm"}
	w.succeed(order{action: "botstar.widget.open", visitor: visitor})
	names := []string{"botstar.widget.close", "botstar.widget.open"}
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		began := time.Now()
		w.succeed(order{action: names[i%2], visitor: visitor})
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
}
