package model_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/parley-chat/parley/bench/model"
)

func two(seed uint64) model.Load {
	return model.Load{
		Seed: seed, Length: 10 * time.Minute, PerSecond: 100,
		Sites: []model.Site{
			{Name: "a", Sessions: 1000, Exponent: 1, Share: 3},
			{Name: "b", Sessions: 500, Exponent: 0, Share: 1},
		},
	}
}

// near reports whether the count is within five standard deviations of what a
// Poisson process has.
func near(got int, want float64) bool {
	return math.Abs(float64(got)-want) < 5*math.Sqrt(want)+1
}

func TestLoadIsSharedAmongTheSites(t *testing.T) {
	t.Parallel()
	count := [2]int{}
	last := time.Duration(0)
	for c := range two(1).Each {
		count[c.Site]++
		if c.At < last {
			t.Fatalf("a command at %v comes after %v", c.At, last)
		}
		if inA := c.Session < 1000; inA != (c.Site == 0) || c.Session >= 1500 {
			t.Fatalf("session %d is of site %d", c.Session, c.Site)
		}
		last = c.At
	}
	if !near(count[0], 45_000) || !near(count[1], 15_000) {
		t.Errorf("the sites have %v commands, want about 45000 and 15000", count)
	}
}

func TestSessionsFollowZipfsLaw(t *testing.T) {
	t.Parallel()
	uses := make([]int, 1500)
	for _, s := range two(2).Trace() {
		uses[s]++
	}
	a := slices.Sorted(slices.Values(uses[:1000]))
	slices.Reverse(a)
	sum := 0.0
	for rank := range 1000 {
		sum += 1 / float64(rank+1)
	}
	for _, rank := range []int{1, 2, 5, 20} {
		if want := 45_000 / sum / float64(rank); !near(a[rank-1], want) {
			t.Errorf("number %d has %d commands, want about %.0f", rank, a[rank-1], want)
		}
	}
	if most := slices.Max(uses[1000:]); most > 65 {
		t.Errorf("with the exponent 0, a session has %d commands, want about 30 each", most)
	}
}

func TestDayAndStorm(t *testing.T) {
	t.Parallel()
	l := two(3)
	l.Day, l.Swing, l.Storm, l.StormLength = 10*time.Minute, 0.5, 4, time.Minute
	var first, second, storm int
	for c := range l.Each {
		if c.Site != 0 {
			continue
		}
		switch minute := c.At / time.Minute; {
		case c.At >= 4*time.Minute+30*time.Second && c.At < 5*time.Minute+30*time.Second:
			storm++
		case minute == 2:
			first++
		case minute == 7:
			second++
		}
	}
	// A sine's mean over the third minute of ten is 0.984 of its top.
	if top := 4500 * (1 + 0.5*0.984); !near(first, top) {
		t.Errorf("by day there are %d a minute, want about %.0f", first, top)
	}
	if low := 4500 * (1 - 0.5*0.984); !near(second, low) {
		t.Errorf("by night there are %d a minute, want about %.0f", second, low)
	}
	if !near(storm, 4*4500) {
		t.Errorf("the storm has %d in a minute, want about 18000", storm)
	}
}
