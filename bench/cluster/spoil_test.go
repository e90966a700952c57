package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// spoiled returns a run of 40 sessions with 25 commands each, some of which were
// lost, done twice, or overtaken by the next one, and what a verdict must say.
func spoiled(seed uint64) (evidence, verdict) {
	rng := rand.New(rand.NewPCG(seed, 9))
	e := evidence{Results: map[string][]outcome{}, Dead: map[string]bool{}}
	var want verdict
	queues := make([][]effect, 40)
	for session := range queues {
		name := fmt.Sprintf("s%d", session)
		for seq := range 25 {
			c := sent{
				ID: fmt.Sprintf("%s-%d", name, seq), Site: "load", Session: name, Seq: seq,
				Partition: session % 7, Stored: true, Marked: true, Begun: time.Unix(int64(seq), 0),
			}
			e.Sent = append(e.Sent, c)
			x := effect{ID: c.ID, Site: c.Site, Session: name, Seq: seq, Fence: 3}
			switch rng.IntN(20) {
			case 0:
				want.Lost = append(want.Lost, c.ID)
				continue
			case 1:
				want.Twice = append(want.Twice, c.ID)
				queues[session] = append(queues[session], x)
			case 2:
				// It overtakes the one before, if that was not overtaken itself.
				if n := len(queues[session]); n > 0 && !slices.Contains(want.Reordered, queues[session][n-1].ID) &&
					!slices.Contains(want.Twice, queues[session][n-1].ID) {
					want.Reordered = append(want.Reordered, queues[session][n-1].ID)
					queues[session] = slices.Insert(queues[session], n-1, x)
					e.Results[c.ID] = []outcome{{ID: c.ID, Status: "succeeded"}}
					continue
				}
			}
			queues[session] = append(queues[session], x)
			e.Results[c.ID] = []outcome{{ID: c.ID, Status: "succeeded"}}
		}
	}
	// The sessions run in parallel: their effects mix, in the order of each.
	for left := true; left; {
		left = false
		for _, session := range rng.Perm(len(queues)) {
			if len(queues[session]) > 0 {
				e.Effects = append(e.Effects, queues[session][0])
				queues[session], left = queues[session][1:], true
			}
		}
	}
	return e, want
}
