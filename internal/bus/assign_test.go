package bus_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus"
)

func TestAssignKeepsEveryWorkerWithinItsShare(t *testing.T) {
	t.Parallel()
	for _, partitions := range []int{1, 3, 64, 256} {
		for _, n := range []int{1, 2, 3, 5, 16, 33, 64, 65, 200} {
			workers := crew("w", n)
			owners := bus.Assign(workers, partitions)
			if len(owners) != partitions {
				t.Fatalf("%d partitions have %d owners", partitions, len(owners))
			}
			share := (partitions + n - 1) / n
			for worker, load := range loads(owners) {
				if !slices.Contains(workers, worker) {
					t.Errorf("%d partitions, %d workers: %q owns some, and is no worker", partitions, n, worker)
				}
				if load > share {
					t.Errorf("%d partitions, %d workers: %s has %d, more than %d", partitions, n, worker, load, share)
				}
			}
		}
	}
}

func TestAssignDependsOnTheSetOfNamesAlone(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	dice := rand.New(rand.NewPCG(seed, 1))
	for range 30 {
		workers := crew(fmt.Sprintf("pod-%d", dice.IntN(1000)), 1+dice.IntN(40))
		want := bus.Assign(workers, 64)
		shuffled := append(slices.Clone(workers), workers[0])
		dice.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		before := slices.Clone(shuffled)
		if diff := cmp.Diff(want, bus.Assign(shuffled, 64)); diff != "" {
			t.Errorf("seed %d: another order of %d workers has another result:\n%s", seed, len(workers), diff)
		}
		if diff := cmp.Diff(before, shuffled); diff != "" {
			t.Errorf("seed %d: the caller's names were changed:\n%s", seed, diff)
		}
	}
}

// TestAssignIsStable holds the result itself: workers of two versions must find
// the same one.
func TestAssignIsStable(t *testing.T) {
	t.Parallel()
	got := bus.Assign([]string{"worker-a", "worker-b", "worker-c"}, 12)
	want := []string{
		"worker-b", "worker-b", "worker-c", "worker-a", "worker-c", "worker-c",
		"worker-c", "worker-b", "worker-b", "worker-a", "worker-a", "worker-a",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAssignWithoutWorkers(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff([]string{"", "", ""}, bus.Assign(nil, 3)); diff != "" {
		t.Error(diff)
	}
	if got := bus.Assign([]string{"a"}, 0); len(got) != 0 {
		t.Errorf("no partitions have the owners %v", got)
	}
}

// TestAssignMovesLittle counts the moves of joins and leaves. A join must move
// what the others have above their new share, or at least fill the new worker;
// a leave must move what the worker had. A bound keeps what is moved beyond.
func TestAssignMovesLittle(t *testing.T) {
	t.Parallel()
	tests := []struct {
		partitions, workers int
		bound               float64 // moves through those that must be
	}{
		{64, 1, 1},
		{64, 2, 1.15},
		{64, 3, 1.3},
		{64, 7, 1.6},
		{256, 2, 1.1},
		{256, 3, 1.15},
		{256, 7, 1.4},
		{256, 16, 1.7},
		{256, 50, 1.6},
	}
	const samples = 40
	for _, test := range tests {
		moved, must := 0, 0
		for sample := range samples {
			workers := crew(fmt.Sprintf("pod-%d", sample), test.workers+1)
			before := bus.Assign(workers[:test.workers], test.partitions)
			after := bus.Assign(workers, test.partitions)
			moved += moves(before, after)
			must += needed(before, after, workers[test.workers])
		}
		ratio := float64(moved) / float64(must)
		t.Logf("%d partitions, %d workers and one more: %.1f moves, %.2f of the fewest",
			test.partitions, test.workers, float64(moved)/samples, ratio)
		if ratio > test.bound {
			t.Errorf("%d partitions, %d workers and one more: %.2f times the fewest moves, want at most %.2f",
				test.partitions, test.workers, ratio, test.bound)
		}
	}
}

// TestAssignMovesFewerThanHalfOfAModulo compares with the plain way: the n-th
// partition to the n-th worker.
func TestAssignMovesFewerThanHalfOfAModulo(t *testing.T) {
	t.Parallel()
	workers := crew("w", 21)
	plain := func(names []string) []string {
		owners := make([]string, 64)
		for p := range owners {
			owners[p] = names[p%len(names)]
		}
		return owners
	}
	ours := moves(bus.Assign(workers[:20], 64), bus.Assign(workers, 64))
	theirs := moves(plain(workers[:20]), plain(workers))
	if 2*ours > theirs {
		t.Errorf("%d moves, a modulo has %d", ours, theirs)
	}
}

func FuzzAssign(f *testing.F) {
	f.Add("a,b,c", uint8(64))
	f.Add("", uint8(3))
	f.Add("x,x,,y", uint8(0))
	f.Fuzz(func(t *testing.T, names string, partitions uint8) {
		workers := splitNames(names)
		owners := bus.Assign(workers, int(partitions))
		distinct := len(slices.Compact(slices.Sorted(slices.Values(workers))))
		for worker, load := range loads(owners) {
			if !slices.Contains(workers, worker) || load > (int(partitions)+distinct-1)/distinct {
				t.Errorf("%q has %d of %d partitions, of %d workers", worker, load, partitions, distinct)
			}
		}
	})
}

func BenchmarkAssign(b *testing.B) {
	for _, n := range []int{3, 20, 200} {
		workers := crew("w", n)
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bus.Assign(workers, 256)
			}
		})
	}
}

// splitNames returns at least one name.
func splitNames(text string) []string {
	names := []string{""}
	for _, r := range text {
		if r == ',' {
			names = append(names, "")
			continue
		}
		names[len(names)-1] += string(r)
	}
	return names[:min(len(names), 50)]
}

func crew(prefix string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	return names
}

func loads(owners []string) map[string]int {
	n := map[string]int{}
	for _, owner := range owners {
		n[owner]++
	}
	return n
}

func moves(before, after []string) int {
	n := 0
	for p := range before {
		if before[p] != after[p] {
			n++
		}
	}
	return n
}

// needed is the fewest moves that can lead to the loads after the join.
func needed(before, after []string, joined string) int {
	had, have := loads(before), loads(after)
	share := slices.Max(slices.Collect(maps.Values(have)))
	over := 0
	for _, load := range had {
		over += max(0, load-share)
	}
	return max(over, have[joined], 1)
}
