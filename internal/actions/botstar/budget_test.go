package botstar

import (
	"strconv"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/actions"
)

func TestBudgetSlides(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)
	b := budget{&actions.Profile{}, "botstar.widget.update"}
	for i := range updateCalls {
		now := start.Add(time.Duration(i) * time.Minute)
		if got := b.left(now); got != updateCalls-i {
			t.Fatalf("after %d calls %d are left", i, got)
		}
		if at := b.freeAt(now); !at.Equal(now) {
			t.Fatalf("after %d calls the next may be made at %s", i, at)
		}
		b.spend(now, strconv.Itoa(i))
		b.spend(now, strconv.Itoa(i)) // the same command, repeated
	}
	now := start.Add(20 * time.Minute)
	free := start.Add(updateWindow + updateMargin)
	if b.left(now) != 0 || !b.freeAt(now).Equal(free) {
		t.Fatalf("%d are left, the next at %s, want %s", b.left(now), b.freeAt(now), free)
	}
	if got := b.left(free.Add(-time.Nanosecond)); got != 0 {
		t.Errorf("%d are left before the oldest call has gone", got)
	}
	if got := b.left(free); got != 1 {
		t.Errorf("%d are left when the oldest call has gone", got)
	}
	b.spend(free, "last")
	if got := len(b.profile.Sent["botstar.widget.update"]); got != updateCalls {
		t.Errorf("the profile holds %d calls", got)
	}
	if got := b.left(free.Add(2 * updateWindow)); got != updateCalls {
		t.Errorf("%d are left after everything has gone", got)
	}
}
