package engine

import (
	"math/rand/v2"
	"testing"
	"time"
)

// bent is a clock whose wall the test moves.
type bent struct {
	passed, ahead time.Duration
}

func (b *bent) clock(began time.Time) clock {
	return clock{
		began: began, passed: func() time.Duration { return b.passed },
		wall: func() time.Time { return began.Add(b.passed + b.ahead) },
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 3, 29, 0, 59, 0, 0, time.UTC) // Summer time begins in Europe.
	b := &bent{}
	c := b.clock(began)
	tests := []struct {
		name          string
		passed, ahead time.Duration
		jumped        time.Duration
	}{
		{"calm", time.Minute, 0, 0},
		{"smeared", time.Hour, 500 * time.Millisecond, 0},
		{"drift of 100 ppm in a day", 24 * time.Hour, 8640 * time.Millisecond, 8640 * time.Millisecond},
		{"an hour ahead", time.Minute, time.Hour, time.Hour},
		{"an hour behind", 2 * time.Minute, -time.Hour, -time.Hour},
		{"a year ahead", 3 * time.Minute, 365 * 24 * time.Hour, 365 * 24 * time.Hour},
	}
	for _, test := range tests {
		b.passed, b.ahead = test.passed, test.ahead
		if got := c.jumped(); got != test.jumped {
			t.Errorf("%s: jumped = %s, want %s", test.name, got, test.jumped)
		}
		if got := c.now(); !got.Equal(began.Add(test.passed)) {
			t.Errorf("%s: now = %s, want %s", test.name, got, began.Add(test.passed))
		}
		stored := began.Add(test.passed + test.ahead)
		if got := c.at(stored); got.After(c.now()) || test.ahead <= 0 && !got.Equal(stored) {
			t.Errorf("%s: what was stored at %s happened at %s", test.name, stored, got)
		}
	}
}

// TestT4Jumps plays a server whose wall clock jumps about at random against a
// timer that is set again as long as it fires too early. It is never early, ends
// in few steps, and is late by no more than the clock was wrong.
func TestT4Jumps(t *testing.T) {
	t.Parallel()
	const seed, rounds = 20261125, 1000
	random := rand.New(rand.NewPCG(seed, 0))
	began := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	steps := []time.Duration{0, time.Second, -time.Second, time.Hour, -time.Hour, 365 * 24 * time.Hour, -24 * time.Hour}
	for round := range rounds {
		b := &bent{}
		c := b.clock(began)
		due := began.Add(time.Duration(random.Int64N(int64(48 * time.Hour))))
		set := c.onServer(due, 0)
		fires, most, least := 0, time.Duration(0), time.Duration(0)
		for {
			if random.IntN(3) == 0 {
				b.ahead = steps[random.IntN(len(steps))]
				most, least = max(most, b.ahead), min(least, b.ahead)
			}
			// The server fires when its wall clock says so, or a little later.
			if wait := set.Sub(c.wall()); wait > 0 {
				b.passed += wait
			}
			b.passed += time.Duration(random.Int64N(int64(250 * time.Millisecond)))
			fires++
			if !c.now().Before(due) {
				break
			}
			set = c.onServer(due, max(0, b.ahead))
			if fires > 200 {
				t.Fatalf("seed %d, round %d: the timer fired %d times, and is not due: %s left, %s ahead", seed, round, fires, due.Sub(c.now()), b.ahead)
			}
		}
		if late := c.now().Sub(due); late > most-least+time.Second {
			t.Errorf("seed %d, round %d: late by %s, and the clock was wrong by %s to %s", seed, round, late, least, most)
		}
	}
}
