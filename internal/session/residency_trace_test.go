package session_test

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/parley-chat/parley/bench/model"
	"github.com/parley-chat/parley/internal/session"
)

// visit is one command of a trace.
type visit struct {
	at      time.Duration
	session int
}

// restores plays the trace through the policy, and returns how often a session
// got a tab.
func restores(t *testing.T, trace []visit, places int) int {
	t.Helper()
	start := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	r := session.NewResidency(session.ResidencyOptions{Held: places, Idle: 24 * time.Hour, Remembered: 20_000})
	for _, v := range trace {
		now, key := start.Add(v.at), strconv.Itoa(v.session)
		warm, err := r.Want(now, key, "shop", time.Time{})
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		for step, ok := r.Next(now); ok; step, ok = r.Next(now) {
			if step.Do == session.CloseTab {
				r.Closed(step.Key)
			}
			warm = warm || step.Do == session.OpenTab && step.Key == key
		}
		if !warm {
			t.Fatalf("session %s was not served", key)
		}
		r.End(now, key)
	}
	return int(r.Stats().Opened)
}

func zipf(seed uint64, exponent, perSecond float64, length time.Duration) []visit {
	load := model.Load{
		Seed: seed, Length: length, PerSecond: perSecond,
		Sites: []model.Site{{Name: "shop", Sessions: 20_000, Exponent: exponent, Share: 1}},
	}
	var trace []visit
	for c := range load.Each {
		trace = append(trace, visit{c.At, c.Session})
	}
	return trace
}

// talks is a trace of conversations: visitors come by Zipf's law, send some
// commands a few seconds apart, and go.
func talks(seed uint64, perSecond float64, length time.Duration) []visit {
	const commands, pause = 8, 10 * time.Second
	random := rand.New(rand.NewPCG(seed, 1))
	var trace []visit
	for _, begin := range zipf(seed, 0.8, perSecond/commands, length) {
		for at := begin.at; at < length; at += time.Duration(random.ExpFloat64() * float64(pause)) {
			trace = append(trace, visit{at, begin.session})
			if random.IntN(commands) == 0 {
				break
			}
		}
	}
	slices.SortStableFunc(trace, func(a, b visit) int { return int(a.at - b.at) })
	return trace
}

func sessionsOf(trace []visit) []int {
	all := make([]int, len(trace))
	for i, v := range trace {
		all[i] = v.session
	}
	return all
}

// TestRestoresNearTheOptimum is the bar of the policy: at most 1.3 times the
// restores of one that knows the future.
func TestRestoresNearTheOptimum(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name                string
		exponent, perSecond float64
		length              time.Duration
	}{
		{"two minutes", 1, 100, 2 * time.Minute},
		{"six minutes", 1, 50, 6 * time.Minute},
		{"few commands", 1, 20, 10 * time.Minute},
		{"flat", 0.8, 100, 2 * time.Minute},
		{"steep", 1.2, 100, 2 * time.Minute},
		{"steep, few commands", 1.1, 30, 10 * time.Minute},
	}
	const bar = 1.3
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			trace := zipf(seed, test.exponent, test.perSecond, test.length)
			all := sessionsOf(trace)
			ours, best, recent := restores(t, trace, 100), model.Belady(all, 100), model.LeastRecent(all, 100)
			ratio := float64(ours) / float64(best)
			t.Logf("seed %d: %d commands, %d restores, %d at best (%.3f), %d by least recent use (%.3f)",
				seed, len(trace), ours, best, ratio, recent, float64(recent)/float64(best))
			if ratio > bar || ours < best {
				t.Errorf("%.3f times the optimum, want 1 to %.1f", ratio, bar)
			}
			if ours >= recent {
				t.Errorf("%d restores, by least recent use there are %d", ours, recent)
			}
		})
	}
}

// TestConversationsStayOpen: where visitors talk and go, recency is all; a
// policy of frequency alone closes who talks now for who talked much once.
func TestConversationsStayOpen(t *testing.T) {
	t.Parallel()
	for _, perSecond := range []float64{20, 100} {
		seed := rand.Uint64()
		trace := talks(seed, perSecond, 6*time.Minute)
		ours, recent := restores(t, trace, 100), model.LeastRecent(sessionsOf(trace), 100)
		t.Logf("seed %d: %d commands, %d restores, %d by least recent use", seed, len(trace), ours, recent)
		if float64(ours) > 1.1*float64(recent) {
			t.Errorf("seed %d, %.0f commands/s: %d restores, by least recent use there are %d", seed, perSecond, ours, recent)
		}
	}
}

// BenchmarkResidency is one command that finds no tab, with the choice among a
// hundred.
func BenchmarkResidency(b *testing.B) {
	r := session.NewResidency(session.ResidencyOptions{Held: 100})
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	keys := make([]string, 5000)
	for i := range keys {
		keys[i] = strconv.Itoa(i)
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		now = now.Add(time.Millisecond)
		key := keys[n%len(keys)]
		if _, err := r.Want(now, key, "shop", time.Time{}); err != nil {
			b.Fatal(err)
		}
		for step, ok := r.Next(now); ok; step, ok = r.Next(now) {
			if step.Do == session.CloseTab {
				r.Closed(step.Key)
			}
		}
		r.End(now, key)
	}
}
