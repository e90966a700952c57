package app

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
)

// History is read in the order in which it happened, whatever the order in which
// it was filled in, and as if it had been stored then.
func TestPastEvents(t *testing.T) {
	t.Parallel()
	begun := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for name, minutes := range map[string][]int{"in order": {0, 1, 1, 2, 3, 4}, "out of order": {3, 1, 0, 4, 1, 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := bustest.Start(t)
			for i, m := range minutes {
				for _, site := range []string{"shop", "docs"} {
					data := event.Trigger{Site: site, Visitor: event.Visitor{UserID: "u"}, Event: "Seen", OccurredAt: begun.Add(time.Duration(m) * time.Minute)}
					e, err := event.New("/ingest/x", event.TriggerType(event.KindTrack), "s", data)
					if err != nil {
						t.Fatal(err)
					}
					e.ID, e.Time = fmt.Sprintf("%s-%d-%d", site, m, i), data.OccurredAt
					subject := event.TriggerSubject("x", event.KindTrack, site, "s")
					if _, err := b.Commit(t.Context(), []bus.FlowMsg{{Subject: event.PastSubject(subject), Envelope: &e}, {Subject: subject, Envelope: &e}}); err != nil {
						t.Fatal(err)
					}
				}
			}
			read := func(site string, since, until time.Time) (times []int, of map[string]int) {
				of = map[string]int{}
				for e, err := range pastEvents(t.Context(), b, site, since, until) {
					if err != nil {
						t.Fatal(err)
					}
					times = append(times, int(e.At.Sub(begun)/time.Minute))
					of[e.Subject]++
				}
				return times, of
			}
			times, of := read("shop", time.Time{}, time.Time{})
			if diff := cmp.Diff([]int{0, 1, 1, 2, 3, 4}, times); diff != "" || of["in.x.track.shop.s"] != 6 {
				t.Errorf("the subjects are %v, the times (-want +got):\n%s", of, diff)
			}
			if times, of = read("", time.Time{}, time.Time{}); len(times) != 12 || len(of) != 2 {
				t.Errorf("of all sites there are %v, %v", times, of)
			}
			if times, _ = read("shop", begun.Add(time.Minute), begun.Add(3*time.Minute)); !cmp.Equal(times, []int{1, 1, 2}) {
				t.Errorf("in the window there are %v", times)
			}
			for _, err := range pastEvents(t.Context(), b, "", time.Time{}, time.Time{}) {
				if err != nil {
					t.Error(err)
				}
				break // A reader may stop at any event.
			}
		})
	}
}
