package worker_test

import (
	"slices"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/event"
)

// BenchmarkRESTOverBus is what a caller waits for an action of the REST API: the
// command on the bus, the session's lease, the call, the proof, the result. The
// call itself is measured in the package of the actions.
func BenchmarkRESTOverBus(b *testing.B) {
	r, _ := restRig(b, 0)
	var all []time.Duration
	for range b.N {
		began := time.Now()
		r.succeed(order{action: "botstar.bots.get", visitor: event.Visitor{AnonymousID: "operator"}})
		all = append(all, time.Since(began))
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
}
