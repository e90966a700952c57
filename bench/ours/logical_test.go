package ours_test

import (
	"testing"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/ours"
)

// TestTheContendersOfSessionsLogical: the optimum needs the fewest restores, ours
// fewer than the plain policy; and a round is the same each time.
func TestTheContendersOfSessionsLogical(t *testing.T) {
	t.Parallel()
	restores := func(job string, round int) map[string]float64 {
		started, err := ours.Start(contend.Setup{Job: job})
		if err != nil {
			t.Fatal(err)
		}
		r, err := started.Round(contend.Order{Round: round, Jobs: 15_000})
		if err != nil {
			t.Fatal(err)
		}
		if err := started.Close(); err != nil || r.Jobs != 15_000 {
			t.Errorf("%s did %d jobs of 15000 (%v)", job, r.Jobs, err)
		}
		return r.Values
	}
	mine, best, plain := restores("sessions-logical", 1), restores("sessions-belady", 1), restores("sessions-least-recent", 1)
	for _, m := range []string{contend.RestoresShort, contend.RestoresLong} {
		a, b, c := mine[m], best[m], plain[m]
		if b <= 0 || a < b || a >= c || a > 1.3*b {
			t.Errorf("%s: ours %.0f, the optimum %.0f, least recent use %.0f", m, a, b, c)
		}
	}
	const long = contend.RestoresLong
	if again := restores("sessions-logical", 1); again[long] != mine[long] {
		t.Errorf("one round has %.0f restores, and then %.0f", mine[long], again[long])
	}
	if other := restores("sessions-belady", 2); other[long] == best[long] {
		t.Errorf("two rounds have %.0f restores each", best[long])
	}
}
