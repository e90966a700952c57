package crm

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/fault"
)

// TestDailyBudget: what the vendor says last of the day's budget is kept, also when
// an answer says nothing of it, and a budget that is used up holds all calls.
func TestDailyBudget(t *testing.T) {
	t.Parallel()
	now := noon()
	g := newGate(Limits{Parallel: 2})
	steps := []struct {
		err    error
		budget Budget
		want   Health
		room   int
	}{
		{nil, Budget{}, Health{}, 2},
		{nil, Budget{Remaining: 5, Daily: 900, DailyOf: 1000}, Health{Daily: 900, DailyOf: 1000}, 2},
		{nil, Budget{Remaining: 4}, Health{Daily: 900, DailyOf: 1000}, 2},
		{fault.New(fault.VendorRejects, "no"), Budget{Remaining: 1, Daily: 10, DailyOf: 1000}, Health{Daily: 10, DailyOf: 1000}, 2},
		{nil, Budget{Resets: now.Add(time.Hour), DailyOf: 1000}, Health{DailyOf: 1000, Held: now.Add(time.Hour)}, 0},
	}
	for i, step := range steps {
		g.answered(now, step.err, step.budget)
		if diff := cmp.Diff(step.want, g.health(now)); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
		if room, _ := g.room(now); room != step.room {
			t.Errorf("step %d: room for %d, want %d", i, room, step.room)
		}
	}
}
