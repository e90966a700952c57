package ours

import (
	"testing"

	"github.com/parley-chat/parley/bench/contend"
)

// TestTheJobsOfEventsCountThemselves does a small round of every job about
// events: each looks itself whether what came out is what must come out.
func TestTheJobsOfEventsCountThemselves(t *testing.T) {
	t.Parallel()
	tests := []struct {
		job                    string
		sessions, window, jobs int
		prepare                bool
	}{
		{"ingest-single", 50, 4, 120, true},
		{"ingest-batch", 50, 2, 300, true},
		{"event-path", 50, 1, 400, true},
		{"event-rules-10", 200, 1, 300, false},
		{"event-command", 200, 1, 100, false},
		{"timers", 300, 1, 50, false},
		{"backtest", 0, 1, 2000, true},
	}
	for _, test := range tests {
		t.Run(test.job, func(t *testing.T) {
			t.Parallel()
			job, err := Start(contend.Setup{Job: test.job, Dir: t.TempDir(), Sessions: test.sessions, Window: test.window})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := job.Close(); err != nil {
					t.Error(err)
				}
			}()
			order := contend.Order{Round: 1, Jobs: test.jobs, Picks: make([]int, test.jobs)}
			for i := range order.Picks {
				order.Picks[i] = i % max(test.sessions, 1)
			}
			if test.prepare {
				order.Prepare = true
				if _, err := job.Round(order); err != nil {
					t.Fatal(err)
				}
				order.Prepare = false
			}
			report, err := job.Round(order)
			if err != nil || report.Jobs != test.jobs {
				t.Errorf("it did %d of %d jobs: %v", report.Jobs, test.jobs, err)
			}
		})
	}
}
