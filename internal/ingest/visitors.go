package ingest

import (
	"sync"

	"github.com/parley-chat/parley/internal/event"
)

// together is how many visitors of one request are looked up at the same time.
const together = 16

// byVisitor returns the places of the items, grouped: the items of a group share
// ids, directly or by way of others, and are in their order. Different groups
// are about different visitors.
func byVisitor(items []Item) [][]int {
	parent := make([]int, len(items))
	root := func(i int) int {
		for parent[i] != i {
			parent[i] = parent[parent[i]]
			i = parent[i]
		}
		return i
	}
	first := map[string]int{}
	for i := range items {
		parent[i] = i
		t := &items[i].Trigger
		ids := idsOf(t.Visitor)
		if t.Previous != nil {
			ids = append(ids, idsOf(*t.Previous)...)
		}
		for _, id := range ids {
			if other, ok := first[id]; ok {
				parent[root(i)] = root(other)
			} else {
				first[id] = i
			}
		}
	}
	groups, at := [][]int{}, map[int]int{}
	for i := range items {
		r := root(i)
		if _, ok := at[r]; !ok {
			at[r] = len(groups)
			groups = append(groups, nil)
		}
		groups[at[r]] = append(groups[at[r]], i)
	}
	return groups
}

// idsOf returns the ids of the visitor, each with its kind.
func idsOf(v event.Visitor) []string {
	var ids []string
	for _, one := range []event.Visitor{{UserID: v.UserID}, {Email: v.Email}, {AnonymousID: v.AnonymousID}} {
		if key := one.Key(); key != "" {
			ids = append(ids, key)
		}
	}
	return ids
}

// eachGroup calls the function with every place, some groups at a time.
func eachGroup(groups [][]int, do func(place int)) {
	if len(groups) == 1 {
		for _, place := range groups[0] {
			do(place)
		}
		return
	}
	var running sync.WaitGroup
	next := make(chan []int)
	for range min(together, len(groups)) {
		running.Go(func() {
			for group := range next {
				for _, place := range group {
					do(place)
				}
			}
		})
	}
	for _, group := range groups {
		next <- group
	}
	close(next)
	running.Wait()
}
