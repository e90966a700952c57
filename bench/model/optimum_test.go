package model_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/parley-chat/parley/bench/model"
)

func TestBelady(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		sessions []int
		places   int
		want     int
	}{
		{"nothing", nil, 2, 0},
		{"one again and again", []int{1, 1, 1}, 1, 1},
		{"two in turns on one place", []int{1, 2, 1, 2}, 1, 4},
		{"the textbook", []int{7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2, 1, 2, 0, 1, 7, 0, 1}, 3, 9},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := model.Belady(test.sessions, test.places); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

// TestBeladyIsTheBest compares with all that could be done, on small traces.
func TestBeladyIsTheBest(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	for range 200 {
		sessions := make([]int, 10)
		for i := range sessions {
			sessions[i] = random.IntN(5)
		}
		places := 1 + random.IntN(3)
		want := fewest(sessions, nil, places)
		if got := model.Belady(sessions, places); got != want {
			t.Errorf("seed %d: %v on %d places: got %d, want %d", seed, sessions, places, got, want)
		}
		if got := model.LeastRecent(sessions, places); got < want {
			t.Errorf("seed %d: %v on %d places: the least recent has %d, fewer than the best, %d", seed, sessions, places, got, want)
		}
	}
}

func TestLeastRecent(t *testing.T) {
	t.Parallel()
	textbook := []int{7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2, 1, 2, 0, 1, 7, 0, 1}
	if got := model.LeastRecent(textbook, 3); got != 12 {
		t.Errorf("got %d, want 12", got)
	}
}

// fewest tries every choice.
func fewest(rest, held []int, places int) int {
	if len(rest) == 0 {
		return 0
	}
	if slices.Contains(held, rest[0]) {
		return fewest(rest[1:], held, places)
	}
	if len(held) < places {
		return 1 + fewest(rest[1:], append(slices.Clone(held), rest[0]), places)
	}
	best := len(rest) + 1
	for i := range held {
		other := slices.Clone(held)
		other[i] = rest[0]
		best = min(best, 1+fewest(rest[1:], other, places))
	}
	return best
}
