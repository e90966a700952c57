package ingest

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/event"
)

func TestByVisitor(t *testing.T) {
	t.Parallel()
	item := func(user, email, anonymous string) Item {
		return Item{Trigger: event.Trigger{Visitor: event.Visitor{UserID: user, Email: email, AnonymousID: anonymous}}}
	}
	alias := item("u3", "", "")
	alias.Trigger.Previous = &event.Visitor{AnonymousID: "a4"}
	items := []Item{
		item("", "", "a1"), item("u2", "", ""), item("", "", "a4"), item("u1", "", "a1"), item("", "e@x", ""), item("u1", "E@X", ""),
		alias,
		{},
		item("u4", "", "u2"),
		{},
	}
	want := [][]int{{0, 3, 4, 5}, {1}, {2, 6}, {7}, {8}, {9}}
	if diff := cmp.Diff(want, byVisitor(items)); diff != "" {
		t.Errorf("the groups differ (-want +got):\n%s", diff)
	}
}

// TestEachGroupOnce: every place comes once, and those of a group in their order.
func TestEachGroupOnce(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	for size := range 200 {
		items := make([]Item, size)
		for i := range items {
			items[i].Trigger.Visitor.UserID = strconv.Itoa(random.IntN(size/3 + 1))
		}
		groups, of := byVisitor(items), make([]int, size)
		for number, group := range groups {
			for _, place := range group {
				of[place] = number
			}
		}
		seen := make([][]int, len(groups)) // Each belongs to one goroutine.
		eachGroup(groups, func(place int) { seen[of[place]] = append(seen[of[place]], place) })
		if diff := cmp.Diff(groups, seen); diff != "" || len(slices.Concat(seen...)) != size {
			t.Fatalf("of %d places came (-want +got):\n%s", size, diff)
		}
	}
}
