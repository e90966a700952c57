package tracking

import (
	"fmt"
	"strings"
	"testing"

	"github.com/parley-chat/parley/internal/ingest"
)

// typical is an event as Segment's clients send it.
const typical = `{"timestamp":"2026-11-25T09:27:24.678Z","integrations":{},"event":"Pricing Viewed","type":"track",` +
	`"properties":{"plan":"pro","price":19.99,"currency":"EUR","items":[{"sku":"a-1","n":2},{"sku":"b-2","n":1}]},` +
	`"context":{"page":{"url":"https://shop.test/pricing","title":"Pricing","referrer":"https://search.test/"},"traits":{"plan":"free"},` +
	`"library":{"name":"@segment/analytics-node","version":"3.1.0"},"userAgent":"Mozilla/5.0","locale":"de-DE"},` +
	`"messageId":"node-next-%d","userId":"user-7","anonymousId":"anon-7","_metadata":{"nodeVersion":"20.20.2"}}`

// BenchmarkReceive measures what a source does with an event: proof, parsing,
// normal form.
func BenchmarkReceive(b *testing.B) {
	var events []string
	for i := range 100 {
		events = append(events, fmt.Sprintf(typical, i))
	}
	for _, bench := range []struct {
		name    string
		request *ingest.Request
		events  int
	}{
		{"single", request("/v1/track", events[0], basic(key, "")), 1},
		{"batch", request("/v1/batch", `{"batch":[`+strings.Join(events, ",")+`],"writeKey":"`+key+`"}`, basic(key, "")), len(events)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			s := newSource(b, key)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				got, err := s.Receive(b.Context(), bench.request)
				if err != nil || len(got.Items) != bench.events || got.Items[0].Err != nil {
					b.Fatal(err, len(got.Items))
				}
				n += len(got.Items)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
		})
	}
}
