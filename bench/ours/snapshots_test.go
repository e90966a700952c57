package ours_test

import (
	"testing"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/ours"
)

// TestSnapshotsAreReplaced: the second round writes in the place of the first,
// which compare-and-set allows only with the right revisions.
func TestSnapshotsAreReplaced(t *testing.T) {
	t.Parallel()
	started, err := ours.Start(contend.Setup{Job: "snapshots", Dir: t.TempDir(), Sessions: 2})
	if err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		r, err := started.Round(contend.Order{Round: round, Jobs: 4, Picks: []int{1, 0, 1, 0}})
		if err != nil || len(r.LatenciesUS) != 4 {
			t.Errorf("round %d: %d of 4 jobs were timed (%v)", round, len(r.LatenciesUS), err)
		}
	}
	if err := started.Close(); err != nil {
		t.Error(err)
	}
}
