package main

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func settingsOf(t *testing.T, args string) settings {
	t.Helper()
	var s settings
	if err := s.read(strings.Fields(args), io.Discard); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDefaultsFollowTheMode(t *testing.T) {
	t.Parallel()
	s := settingsOf(t, "-seed 5")
	want := settings{
		Mode: simulated, Seed: 5, Workers: 3, Rate: 500, Duration: time.Minute, Sessions: 400, Span: 200,
		Work: 20 * time.Millisecond, Faults: kindsOf(simulated), Calm: 6 * time.Second, Sync: "always", Drain: 90 * time.Second,
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Error(diff)
	}
	s = settingsOf(t, "-seed 5 -mode pages -rate 3 -faults kill,browser")
	want.Mode, want.Rate, want.Sessions, want.Span, want.Faults = pages, 3, 24, 48, []kind{killWorker, killBrowser}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Error(diff)
	}
	if s = settingsOf(t, "-faults none"); len(s.Faults) != 0 || s.Seed == 0 {
		t.Errorf("without faults and seed: %+v", s)
	}
}

// TestTheSeedDecidesTheFaults plans the faults of two runs with one seed.
func TestTheSeedDecidesTheFaults(t *testing.T) {
	t.Parallel()
	first := func(seed uint64, n int) []blow {
		var all []blow
		s := settings{Seed: seed, Faults: kindsOf(pages)}
		for b := range s.plan() {
			if all = append(all, b); len(all) == n {
				break
			}
		}
		return all
	}
	if diff := cmp.Diff(first(7, 100), first(7, 100)); diff != "" {
		t.Errorf("one seed has two plans:\n%s", diff)
	}
	if cmp.Equal(first(7, 100), first(8, 100)) {
		t.Error("two seeds have one plan")
	}
	kinds := kindsOf(pages)
	for i, round := 0, first(3, 3*len(kinds)); i < len(round); i += len(kinds) {
		var got []kind
		for _, b := range round[i : i+len(kinds)] {
			got = append(got, b.Kind)
		}
		slices.Sort(got)
		want := slices.Sorted(slices.Values(kinds))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("round %d does not have every kind once:\n%s", i/len(kinds), diff)
		}
	}
	for b := range (&settings{Seed: 1}).plan() {
		t.Errorf("a run without faults has %v", b)
	}
}
