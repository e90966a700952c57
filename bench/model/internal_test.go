package model

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestAgendaIsInOrder(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	var a agenda
	last, order := time.Duration(-1), uint64(0)
	for range 5000 {
		if random.IntN(3) > 0 {
			a.push(event{at: max(last, 0) + time.Duration(random.IntN(20))})
			continue
		}
		at, ok := a.next()
		if !ok {
			continue
		}
		e := a.pop()
		if e.at != at || e.at < last || e.at == last && e.order < order {
			t.Fatalf("seed %d: an event at %v (%d) comes after one at %v (%d)", seed, e.at, e.order, last, order)
		}
		last, order = e.at, e.order
	}
}

func TestLedgerCounts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name            string
		numbers         []int
		twice, disorder int
	}{
		{"in order", []int{1, 2, 3, 70, 200}, 0, 0},
		{"one was refused", []int{1, 3}, 0, 0},
		{"twice in a row", []int{1, 1}, 1, 0},
		{"twice, much later", []int{1, 2, 3, 1}, 1, 0},
		{"a later one first", []int{1, 3, 2}, 0, 1},
		{"all of it", []int{5, 4, 5, 6, 64, 63, 64}, 2, 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := newLedger(nil)
			var s sess
			for _, n := range test.numbers {
				l.act(0, &s, n)
			}
			if l.twice != test.twice || l.disorder != test.disorder {
				t.Errorf("%d twice and %d out of order, want %d and %d", l.twice, l.disorder, test.twice, test.disorder)
			}
		})
	}
}

func TestLedgerSeesAnotherOwner(t *testing.T) {
	t.Parallel()
	l := newLedger(nil)
	l.owner(record{owner: 3, life: 2}, &worker{id: 3, life: 2})
	if l.twoOwners != 0 {
		t.Error("the owner is taken for another")
	}
	l.owner(record{owner: 3, life: 2}, &worker{id: 3, life: 1})
	l.owner(record{owner: 3, life: 2}, &worker{id: 4, life: 2})
	l.owner(record{owner: nobody}, &worker{id: 4, life: 2})
	if l.twoOwners != 3 {
		t.Errorf("%d of 3 others were seen", l.twoOwners)
	}
}

func TestFairnessIndex(t *testing.T) {
	t.Parallel()
	tests := []struct {
		x    []float64
		want float64
	}{
		{[]float64{1, 1, 1, 1}, 1},
		{[]float64{1, 0, 0, 0}, 0.25},
		{[]float64{0, 0}, 1},
		{[]float64{2, 1}, 0.9},
	}
	for _, test := range tests {
		if got := jain(test.x); got != test.want {
			t.Errorf("%v has the index %g, want %g", test.x, got, test.want)
		}
	}
}

func TestFewestMoves(t *testing.T) {
	t.Parallel()
	l := newLedger(nil)
	before := view{lives: map[int]int{1: 1, 2: 1}, owners: []int{1, 1, 1, 2, 2, 2}}
	l.change(before, view{lives: map[int]int{1: 1, 2: 1, 3: 1}, owners: []int{3, 1, 1, 2, 2, 3}})
	if l.changed != 2 || l.needed != 2 {
		t.Errorf("a join: %d changed, %d needed, want 2 and 2", l.changed, l.needed)
	}
	l.change(before, view{lives: map[int]int{1: 1, 3: 1}, owners: []int{3, 1, 1, 3, 3, 1}})
	if l.changed != 6 || l.needed != 5 {
		t.Errorf("another one instead of 2: %d changed, %d needed, want 4 more and 3 more", l.changed, l.needed)
	}
}
