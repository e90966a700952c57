package bus

import (
	"hash/fnv"
	"slices"
)

// Assign returns the worker of each partition: bounded rendezvous hashing. Every
// pair of a worker and a partition has a score; a partition goes to the worker
// where it scores most, and a worker keeps the partitions that score most with
// it, at most ⌈partitions/workers⌉.
//
// The result depends on the set of names alone, not on their order and not on
// any result before, so all workers find the same one without a leader. When a
// worker joins or leaves, few partitions move beyond those that must. Names that
// occur twice count once. Without workers, every partition has the worker "".
func Assign(workers []string, partitions int) []string {
	owners := make([]string, max(partitions, 0))
	if len(workers) == 0 || len(owners) == 0 {
		return owners
	}
	names := slices.Compact(slices.Sorted(slices.Values(workers)))
	r := newRendezvous(names, len(owners))
	for p := range owners {
		r.place(p)
	}
	for w, held := range r.held {
		for _, p := range held {
			owners[p] = names[w]
		}
	}
	return owners
}

// rendezvous matches partitions and workers as in the stable marriage problem:
// what it finds does not depend on the order in which partitions are placed.
type rendezvous struct {
	seeds []uint64 // by worker
	most  int      // partitions of one worker
	held  [][]int  // partitions by worker
	asked [][]bool // by partition and worker: whether the worker was asked
}

func newRendezvous(names []string, partitions int) *rendezvous {
	r := &rendezvous{
		seeds: make([]uint64, len(names)),
		most:  (partitions + len(names) - 1) / len(names),
		held:  make([][]int, len(names)),
		asked: make([][]bool, partitions),
	}
	for w, name := range names {
		h := fnv.New64a()
		_, _ = h.Write([]byte(name)) // A hash takes all.
		r.seeds[w] = mix(h.Sum64())
	}
	for p := range r.asked {
		r.asked[p] = make([]bool, len(names))
	}
	return r
}

// place finds a worker for the partition, and then for those that had to give
// way. A partition asks no worker twice, and there is room for all, so it ends.
func (r *rendezvous) place(p int) {
	for p >= 0 {
		w := r.favourite(p)
		r.asked[p][w] = true
		r.held[w] = append(r.held[w], p)
		p = -1
		if len(r.held[w]) > r.most {
			p = r.dismiss(w)
		}
	}
}

// favourite returns the worker with the highest score that was not asked yet.
func (r *rendezvous) favourite(p int) int {
	best, most := -1, uint64(0)
	for w, asked := range r.asked[p] {
		if score := r.score(w, p); !asked && (best < 0 || score > most) {
			best, most = w, score
		}
	}
	return best
}

// dismiss takes from the worker the partition with its lowest score.
func (r *rendezvous) dismiss(w int) int {
	least := 0
	for i, p := range r.held[w] {
		if r.score(w, p) < r.score(w, r.held[w][least]) {
			least = i
		}
	}
	p := r.held[w][least]
	r.held[w] = slices.Delete(r.held[w], least, least+1)
	return p
}

func (r *rendezvous) score(w, p int) uint64 {
	return mix(r.seeds[w] ^ mix(uint64(p))) //nolint:gosec // a partition is not negative.
}

// mix spreads the bits of a number over all 64, one to one: the last step of
// splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
