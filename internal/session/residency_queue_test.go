package session_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/session"
)

// crowd makes all places run a command of the site "first", and then lets the
// sites' sessions wait, n of each.
func (d *desk) crowd(places, n int, sites ...string) {
	d.t.Helper()
	for i := range places {
		if _, err := d.want(fmt.Sprintf("first-%d", i), "first", 0); err != nil {
			d.t.Fatal(err)
		}
	}
	for _, site := range sites {
		for i := range n {
			if _, err := d.want(fmt.Sprintf("%s-%d", site, i), site, 0); err != nil {
				d.t.Fatal(err)
			}
		}
	}
	d.said()
}

// serve ends one command after another, each as soon as it runs, until n
// openings were let in. It returns how many of them each site had.
func (d *desk) serve(n int) map[string]int {
	d.t.Helper()
	got := map[string]int{}
	for range n {
		ready := slices.DeleteFunc(sorted(d.running), func(key string) bool { return d.waiting[key] })
		d.now = d.now.Add(50 * time.Millisecond)
		d.end(ready[0])
		for _, line := range d.said() {
			if key, ok := strings.CutPrefix(line, "open "); ok {
				site, _, _ := strings.Cut(key, "-")
				got[site]++
			}
		}
	}
	return got
}

func TestSitesAreServedInTurns(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		weights map[string]int
		sites   []string
		want    map[string]int
	}{
		{"equal", nil, []string{"busy", "calm"}, map[string]int{"busy": 20, "calm": 20}},
		{"by weight", map[string]int{"calm": 3}, []string{"busy", "calm"}, map[string]int{"busy": 10, "calm": 30}},
		{"three", nil, []string{"x", "y", "z"}, map[string]int{"x": 14, "y": 13, "z": 13}},
		{"a weight below 1 is 1", map[string]int{"x": -5}, []string{"x", "y"}, map[string]int{"x": 20, "y": 20}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, session.ResidencyOptions{Held: 2, Waiting: 200, Weights: test.weights, Share: 1})
			d.crowd(2, 60, test.sites...)
			got := d.serve(40)
			for site, want := range test.want {
				if off := got[site] - want; off < -1 || off > 1 {
					t.Errorf("%s was let in %d times of 40, want %d", site, got[site], want)
				}
			}
		})
	}
}

// TestABusySiteDelaysNobodyElse: a hundred openings of one site wait; one of
// another comes and is the next but one.
func TestABusySiteDelaysNobodyElse(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.ResidencyOptions{Held: 2, Waiting: 200})
	d.crowd(2, 100, "busy")
	d.serve(30)
	if _, err := d.want("calm-0", "calm", 0); err != nil {
		t.Fatal(err)
	}
	if got := d.serve(2); got["calm"] != 1 {
		t.Errorf("of the next two, %v were let in, want the one of the calm site", got)
	}
}

// TestAQuietSiteSavesNothingUp: who was away for long has no claim to more than
// its part.
func TestAQuietSiteSavesNothingUp(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.ResidencyOptions{Held: 2, Waiting: 400, Share: 1})
	d.crowd(2, 150, "busy")
	d.serve(100)
	for i := range 50 {
		if _, err := d.want(fmt.Sprintf("late-%d", i), "late", 0); err != nil {
			t.Fatal(err)
		}
	}
	if got := d.serve(20); got["late"] < 9 || got["late"] > 11 {
		t.Errorf("the late site was let in %d times of 20, want half", got["late"])
	}
}

// TestOneSiteCannotHoldAllPlaces: a site whose commands hang keeps a quarter of
// the places free for the others.
func TestOneSiteCannotHoldAllPlaces(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.ResidencyOptions{Held: 8})
	d.visit("calm-0", "calm")
	for i := range 20 {
		if _, err := d.want(fmt.Sprintf("hangs-%d", i), "hangs", 0); err != nil {
			t.Fatal(err)
		}
	}
	if got := d.r.Stats(); got.Running-got.Waiting != 6 {
		t.Errorf("%d of 8 places run commands of the site that hangs, want 6", got.Running-got.Waiting)
	}
	for i := range 2 {
		key := fmt.Sprintf("calm-%d", i)
		if _, err := d.want(key, "calm", time.Second); err != nil || !d.open[key] {
			t.Errorf("the calm site has no tab at once: %v", err)
		}
	}
}

func TestTheOnlySiteMayHoldAllPlaces(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.ResidencyOptions{Held: 8})
	d.crowd(8, 0)
	if got := d.r.Stats(); got.Placed != 8 || got.Waiting != 0 {
		t.Errorf("%+v, want all 8 placed", got)
	}
}

func TestTheQueueIsBounded(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.ResidencyOptions{Held: 1, Waiting: 10, Share: 1})
	d.crowd(1, 10, "busy")
	_, err := d.want("busy-more", "busy", 0)
	isBusy(t, err)
	if d.waiting["busy-more"] {
		t.Error("who was refused waits")
	}
	// Another site has a claim on half of the queue: the busy site's last ones go.
	for i := range 8 {
		if _, err := d.want(fmt.Sprintf("calm-%d", i), "calm", 0); i < 5 && err != nil {
			t.Errorf("calm-%d: %v", i, err)
		} else if i >= 5 {
			isBusy(t, err)
		}
	}
	for i := range 10 {
		key := fmt.Sprintf("busy-%d", i)
		if i < 5 && d.refused[key] != nil {
			t.Errorf("%s was refused: %v", key, d.refused[key])
		} else if i >= 5 {
			isBusy(t, d.refused[key])
		}
	}
	if got := d.r.Stats(); got.Waiting != 10 || got.Refused != 9 {
		t.Errorf("%+v, want 10 waiting and 9 refused", got)
	}
}

// TestTheQueueIsSharedByWeight: nobody leaves for one that would have to leave
// in turn.
func TestTheQueueIsSharedByWeight(t *testing.T) {
	t.Parallel()
	tests := []struct {
		waiting, weight, calm int
	}{
		{10, 1, 5},
		{11, 1, 5},
		{12, 3, 9},
	}
	for _, test := range tests {
		d := newDesk(t, session.ResidencyOptions{Held: 1, Waiting: test.waiting, Weights: map[string]int{"calm": test.weight}})
		d.crowd(1, test.waiting, "busy")
		let := 0
		for i := range test.waiting {
			if _, err := d.want(fmt.Sprintf("calm-%d", i), "calm", 0); err == nil {
				let++
			}
		}
		if let != test.calm {
			t.Errorf("%d of %d places of the queue are the calm site's, of weight %d; want %d", let, test.waiting, test.weight, test.calm)
		}
	}
}

// TestWhoHasLeftIsNotRefused: a command gives up in the moment in which another
// site takes its place in the queue.
func TestWhoHasLeftIsNotRefused(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	r := session.NewResidency(session.ResidencyOptions{Held: 1, Waiting: 2})
	for _, key := range []string{"runs", "busy-0", "busy-1"} {
		if _, err := r.Want(now, key, "busy", time.Time{}); err != nil {
			t.Fatal(err)
		}
		if key == "runs" {
			if step, ok := r.Next(now); !ok || step.Do != session.OpenTab {
				t.Fatalf("got %+v", step)
			}
		}
	}
	if _, err := r.Want(now, "calm", "calm", time.Time{}); err != nil {
		t.Fatal(err)
	}
	r.Closed("busy-1")
	r.End(now, "busy-1")
	if step, ok := r.Next(now); ok {
		t.Errorf("got %+v, want nothing to do", step)
	}
	if got := r.Stats(); got.Waiting != 2 {
		t.Errorf("%d wait, want 2", got.Waiting)
	}
}

func TestDeadlines(t *testing.T) {
	t.Parallel()
	t.Run("passed", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t, session.ResidencyOptions{})
		_, err := d.want("late", "shop", -time.Second)
		if fault.CodeOf(err) != fault.Expired {
			t.Errorf("got %v, want an expired deadline", err)
		}
	})
	t.Run("near, with a free place", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t, session.ResidencyOptions{Opening: time.Second})
		if _, err := d.want("a", "shop", 10*time.Millisecond); err != nil || !d.open["a"] {
			t.Errorf("it has no tab: %v", err)
		}
	})
	t.Run("told before it passes", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t, session.ResidencyOptions{Held: 1, Opening: 200 * time.Millisecond})
		d.crowd(1, 0)
		if _, err := d.want("a", "first", time.Second); err != nil {
			t.Fatal(err)
		}
		at, ok := d.r.Wake()
		if want := d.now.Add(800 * time.Millisecond); !ok || !at.Equal(want) {
			t.Fatalf("woken at %v (%t), want %v: a tab takes 200 ms", at, ok, want)
		}
		d.now = at
		d.steps()
		isBusy(t, d.refused["a"])
	})
	t.Run("passed while the caller slept", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t, session.ResidencyOptions{Held: 1})
		d.crowd(1, 0)
		if _, err := d.want("a", "first", time.Second); err != nil {
			t.Fatal(err)
		}
		d.now = d.now.Add(time.Hour)
		d.end("first-0")
		if err := d.refused["a"]; fault.CodeOf(err) != fault.Expired {
			t.Errorf("got %v, want an expired deadline, and no tab", err)
		}
	})
}

// TestWhoWouldWaitInVainIsToldAtOnce: the pace of late and the length of the
// queue say how long it will take.
func TestWhoWouldWaitInVainIsToldAtOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.ResidencyOptions{Held: 1, Waiting: 500})
	d.crowd(1, 120, "first")
	d.serve(60) // One in 50 ms. 60 wait: that takes 3 s.
	_, err := d.want("hasty", "first", time.Second)
	if after := isBusy(t, err); after < 2*time.Second || after > 4*time.Second {
		t.Errorf("it is to come again after %v, want about 3s", after)
	}
	d.end("hasty")
	if _, err := d.want("patient", "first", 10*time.Second); err != nil {
		t.Errorf("who has time is refused: %v", err)
	}
	// Another site is served in turns with the long line, so it waits little.
	if _, err := d.want("other", "calm", time.Second); err != nil {
		t.Errorf("another site is refused: %v", err)
	}
}

// TestAStandstillIsNoticed: when nothing moves, the pace of old is no promise.
func TestAStandstillIsNoticed(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.ResidencyOptions{Held: 1, Waiting: 500})
	d.crowd(1, 20, "first")
	d.serve(10)
	d.now = d.now.Add(20 * time.Second)
	_, err := d.want("hasty", "first", 10*time.Second)
	isBusy(t, err)
}
