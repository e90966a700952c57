package model_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/bench/model"
)

// brief is a run of some seconds of work, with faults of all kinds.
func brief(seed uint64) model.Config {
	c := model.Quick(seed)
	c.Length, c.Day = time.Minute, time.Minute
	c.StormLength, c.HangLength = 5*time.Second, 10*time.Second
	c.PerSecond, c.Faults = 200, 40
	return c
}

func run(t *testing.T, c model.Config) model.Report {
	t.Helper()
	r, err := model.Run(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestOneSeedIsOneRun is the promise of the seed: a second run has the same
// report, with the fingerprint of every answer, effect and move.
func TestOneSeedIsOneRun(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	first := run(t, brief(seed))
	if diff := cmp.Diff(first.String(), run(t, brief(seed)).String()); diff != "" {
		t.Errorf("seed %d: two runs differ:\n%s", seed, diff)
	}
	if other := run(t, brief(seed+1)); other.Fingerprint == first.Fingerprint {
		t.Errorf("the seeds %d and %d have one run", seed, seed+1)
	}
}

// TestNothingIsLostOrDoneTwice is the verdict, on new seeds each time.
func TestNothingIsLostOrDoneTwice(t *testing.T) {
	t.Parallel()
	for range 4 {
		r := run(t, brief(rand.Uint64()))
		if !r.OK() {
			t.Errorf("the verdict is not ok:\n%s", r)
		}
		if r.Kills == 0 || r.Pauses == 0 || r.Leaves == 0 || r.Joins == 0 || r.Moves == 0 {
			t.Errorf("the run had no faults to speak of:\n%s", r)
		}
	}
}

// TestTheVerdictSeesAWorkerWithoutAFence: with the check of the lease left out,
// the same runs must be found wrong.
func TestTheVerdictSeesAWorkerWithoutAFence(t *testing.T) {
	t.Parallel()
	wrong, stale := 0, 0
	for seed := range uint64(6) {
		c := brief(seed)
		c.Costs.SlowPart = 0.5 // Much is under way when a worker freezes.
		stale += run(t, c).Stale
		if !run(t, model.Unfenced(c)).OK() {
			wrong++
		}
	}
	if wrong == 0 || stale == 0 {
		t.Errorf("%d of 6 runs without a fence were found wrong, %d stale writes were refused with it; want some of both", wrong, stale)
	}
}

func TestAKilledWorkersPartitionsMoveSoon(t *testing.T) {
	t.Parallel()
	c := brief(3)
	r := run(t, c)
	for _, g := range r.Gaps {
		switch g.Cause {
		case "killed":
			if most := c.Costs.Detect.To + c.Costs.Watch.To + c.Costs.TakeOver.To; g.Count == 0 || g.P50 > float64(most.Milliseconds()) {
				t.Errorf("half of the %d partitions of killed workers waited %.0f ms, want at most %v", g.Count, g.P50, most)
			}
		case "paused":
			if g.Count == 0 || g.P50 > 2500 {
				t.Errorf("half of the %d partitions of paused workers waited %.0f ms, want at most 2.5 s", g.Count, g.P50)
			}
		case "planned":
			if g.Count == 0 || g.P50 > 300 {
				t.Errorf("half of the %d partitions that were handed over waited %.0f ms, want at most 300 ms", g.Count, g.P50)
			}
		}
	}
}

// TestAHangingSiteLeavesTheOthersAlone compares with the same run in which it
// does not hang.
func TestAHangingSiteLeavesTheOthersAlone(t *testing.T) {
	t.Parallel()
	c := brief(4)
	c.Faults, c.Storm, c.PerSecond = 0, 0, 60
	c.Workers, c.Partitions, c.Places = 4, 16, 20
	hung := run(t, c)
	c.HangLength = 0
	well := run(t, c)
	for i, site := range hung.Sites {
		if i == 1 {
			if site.P99 < 2*well.Sites[i].P99 {
				t.Errorf("the site that hangs has a p99 of %.0f ms, and %.0f ms when it does not", site.P99, well.Sites[i].P99)
			}
			continue
		}
		if site.Succeeded != site.Commands || site.P90 > 2*well.Sites[i].P90 {
			t.Errorf("%s: %d of %d commands, p90 %.0f ms; when no site hangs %.0f ms",
				site.Name, site.Succeeded, site.Commands, site.P90, well.Sites[i].P90)
		}
	}
}

// TestOverloadIsToldEarly: far more than can be done, and yet every command has
// its answer within its deadline, and the sites are served alike.
func TestOverloadIsToldEarly(t *testing.T) {
	t.Parallel()
	c := brief(5)
	c.Faults, c.Storm, c.HangLength, c.Swing = 0, 0, 0, 0
	c.Workers, c.Partitions, c.Places, c.Deadline = 1, 8, 10, 4*time.Second
	r := run(t, c)
	refused := 0
	for _, site := range r.Sites {
		refused += site.Refused
		if site.P999 > 2*4000 {
			t.Errorf("%s: p99.9 is %.0f ms, the deadline is 4 s to begin", site.Name, site.P999)
		}
	}
	if !r.OK() || refused < 1000 {
		t.Errorf("%d were refused, want many:\n%s", refused, r)
	}
}

func TestIdleSessionsHibernate(t *testing.T) {
	t.Parallel()
	c := brief(6)
	c.Faults, c.Storm, c.PerSecond, c.Idle = 0, 0, 5, 10*time.Second
	if r := run(t, c); r.Idled == 0 || r.Evicted > r.Idled {
		t.Errorf("%d tabs were closed for idleness, %d to make room", r.Idled, r.Evicted)
	}
}

// TestMemoryStaysNearItsLimit compares with the same run without a limit. The
// number of tabs follows the measurements; when the next visitors come from a
// site with large pages, there is too much until the next one.
func TestMemoryStaysNearItsLimit(t *testing.T) {
	t.Parallel()
	c := brief(8)
	c.Workers, c.Partitions, c.Faults = 6, 64, 0
	limited := run(t, c)
	limit := c.Memory
	c.Memory = 0
	free := run(t, c)
	if limited.Pressed == 0 || limited.MostMemory > limit*3/2 {
		t.Errorf("%d tabs were closed for memory; at most %d MiB, the limit is %d", limited.Pressed, limited.MostMemory>>20, limit>>20)
	}
	if free.MostMemory < limit*8/5 {
		t.Errorf("without a limit there are at most %d MiB: the limit of %d is no test", free.MostMemory>>20, limit>>20)
	}
}

// TestLogicalNearTheOptimum is the benchmark sessions-logical in small: one
// worker, the whole model around the policy, against the optimum.
func TestLogicalNearTheOptimum(t *testing.T) {
	t.Parallel()
	c := model.Logical(rand.Uint64(), 2*time.Minute)
	r := run(t, c)
	trace := c.Trace()
	best, recent := model.Belady(trace, c.Places), model.LeastRecent(trace, c.Places)
	ratio := float64(r.Opened()) / float64(best)
	t.Logf("seed %d: %d commands, %d restores, %d at best (%.3f), %d by least recent use", c.Seed, len(trace), r.Opened(), best, ratio, recent)
	if !r.OK() || ratio > 1.3 || r.Opened() >= recent {
		t.Errorf("%d restores, %d at best, %d by least recent use:\n%s", r.Opened(), best, recent, r)
	}
	if site := r.Sites[0]; site.Succeeded != len(trace) || site.Cold != 0 {
		t.Errorf("%d of %d commands succeeded, %d in cold tabs", site.Succeeded, len(trace), site.Cold)
	}
}

func TestWhatCannotBePlayed(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*model.Config){
		"no workers":    func(c *model.Config) { c.Workers = 0 },
		"no partitions": func(c *model.Config) { c.Partitions = 0 },
		"no tabs":       func(c *model.Config) { c.Places = 0 },
		"no time":       func(c *model.Config) { c.Length = 0 },
		"no load":       func(c *model.Config) { c.PerSecond = 0 },
		"no sites":      func(c *model.Config) { c.Sites = nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := brief(1)
			spoil(&c)
			if _, err := model.Run(c); err == nil || !strings.HasPrefix(err.Error(), "a run needs") {
				t.Errorf("got the error %v", err)
			}
		})
	}
}

func TestProgressIsTold(t *testing.T) {
	t.Parallel()
	c := brief(7)
	told := 0
	last := time.Duration(-1)
	c.Progress = func(at, of time.Duration) {
		told++
		if at < last || of != c.Length {
			t.Errorf("told %v of %v after %v", at, of, last)
		}
		last = at
	}
	run(t, c)
	if told < 50 || told > 300 {
		t.Errorf("told %d times, want about a hundred", told)
	}
}
