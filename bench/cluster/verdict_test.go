package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// flawless is what a run without a flaw leaves behind: two sessions of two
// partitions, three commands each, in order, and the owner of the first
// partition changes after the second command.
func flawless() evidence {
	e := evidence{Results: map[string][]outcome{}, Dead: map[string]bool{}}
	at := time.Unix(1000, 0)
	for seq := range 3 {
		for session := range 2 {
			c := sent{
				ID: fmt.Sprintf("s%d-%d", session, seq), Site: "load", Session: fmt.Sprintf("s%d", session),
				Seq: seq, Partition: session, Begun: at, Stored: true, Marked: true,
			}
			worker, fence := "w1", uint64(5)
			if session == 0 && seq == 2 {
				worker, fence = "w2", 9
			}
			at = at.Add(time.Second)
			e.Sent = append(e.Sent, c)
			e.Effects = append(e.Effects, effect{ID: c.ID, Site: c.Site, Session: c.Session, Seq: seq, Worker: worker, Fence: fence, At: at})
			e.Results[c.ID] = []outcome{{ID: c.ID, Worker: worker, Fence: fence, Status: "succeeded", At: at}}
		}
	}
	return e
}

// swap exchanges two effects: the commands were done in the other order.
func swap(e *evidence, a, b string) {
	at := func(id string) int { return slices.IndexFunc(e.Effects, func(x effect) bool { return x.ID == id }) }
	e.Effects[at(a)], e.Effects[at(b)] = e.Effects[at(b)], e.Effects[at(a)]
}

// without removes the effect of the command.
func without(e *evidence, id string) {
	e.Effects = slices.DeleteFunc(e.Effects, func(x effect) bool { return x.ID == id })
}

// TestEveryFlawIsFound spoils a flawless run in one way at a time. A verdict
// that would overlook it judges nothing.
func TestEveryFlawIsFound(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		spoil func(e *evidence)
		want  verdict
	}{
		{"nothing", func(*evidence) {}, verdict{}},
		{"a command is lost", func(e *evidence) {
			delete(e.Results, "s1-1")
			without(e, "s1-1")
		}, verdict{Lost: []string{"s1-1"}}},
		{"a command is done and not told", func(e *evidence) { delete(e.Results, "s1-1") }, verdict{Lost: []string{"s1-1"}}},
		{"a command that the bus never confirmed is no loss", func(e *evidence) {
			e.Sent[1].Stored = false
			delete(e.Results, "s1-0")
			without(e, "s1-0")
		}, verdict{}},
		{"a dead letter is no loss, and no success", func(e *evidence) {
			delete(e.Results, "s1-1")
			e.Dead["s1-1"] = true
		}, verdict{Failed: []string{"s1-1"}}},
		{"a success without an effect", func(e *evidence) { without(e, "s0-1") }, verdict{Hollow: []string{"s0-1"}}},
		{"a failure", func(e *evidence) {
			e.Results["s0-1"][0].Status = "failed"
		}, verdict{Failed: []string{"s0-1"}}},
		{"a failure that was the purpose", func(e *evidence) {
			e.Results["s0-1"][0].Status = "failed"
			e.Sent[2].Doomed = true
		}, verdict{}},
		{"a failure that a replay made good", func(e *evidence) {
			e.Results["s0-1"] = []outcome{{Status: "failed"}, {Status: "succeeded"}}
		}, verdict{}},
		{"a command is done twice in a row", func(e *evidence) {
			e.Effects = slices.Insert(e.Effects, 1, e.Effects[0])
		}, verdict{Twice: []string{"s0-0"}}},
		{"a command is done again at the end", func(e *evidence) {
			last := e.Effects[1]
			last.Worker = "w2"
			e.Effects = append(e.Effects, last, last)
		}, verdict{Twice: []string{"s1-0"}}},
		{"a command is done in two page lives", func(e *evidence) {
			again := e.Effects[0]
			again.Life = "other"
			e.Effects = slices.Insert(e.Effects, 1, again)
		}, verdict{}},
		{"two commands of a session change places", func(e *evidence) { swap(e, "s1-0", "s1-1") }, verdict{Reordered: []string{"s1-0"}}},
		{"the first command comes last", func(e *evidence) {
			swap(e, "s1-0", "s1-1")
			swap(e, "s1-0", "s1-2")
		}, verdict{Reordered: []string{"s1-0"}}},
		{"two sessions change places", func(e *evidence) { swap(e, "s0-0", "s1-0") }, verdict{}},
		{"an owner writes after the next one", func(e *evidence) {
			late := effect{ID: "s0-1", Site: "load", Session: "s0", Seq: 1, Fence: 5}
			without(e, "s0-1")
			e.Effects = append(e.Effects, late)
		}, verdict{Reordered: []string{"s0-1"}, Stale: []string{"s0-1"}}},
		{"an owner writes for another session after the next one", func(e *evidence) {
			e.Sent = append(e.Sent, sent{ID: "s2-0", Site: "load", Session: "s2", Partition: 0, Stored: true, Marked: true})
			e.Effects = append(e.Effects, effect{ID: "s2-0", Site: "load", Session: "s2", Fence: 5})
			e.Results["s2-0"] = []outcome{{Status: "succeeded"}}
		}, verdict{Stale: []string{"s2-0"}}},
		{"what comes without a fence cannot be stale", func(e *evidence) { e.Effects[5].Fence = 0 }, verdict{}},
		{"a process is left", func(e *evidence) { e.Orphans = []string{"7 chromium"} }, verdict{Orphans: []string{"7 chromium"}}},
		{"a command is left", func(e *evidence) { e.Queued = 1 }, verdict{Queued: 1}},
		{"the run broke", func(e *evidence) { e.Broken = []string{"w1 ended"} }, verdict{Broken: []string{"w1 ended"}}},
		{"a window opened twice", func(e *evidence) { e.Unsteady = []string{"v opened twice"} }, verdict{Twice: []string{"v opened twice"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := flawless()
			test.spoil(&e)
			got := judge(e)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if got.clean() != cmp.Equal(test.want, verdict{}) {
				t.Errorf("clean is %t", got.clean())
			}
		})
	}
}

// TestAPageMayTakeItsReportAlong has an effect missing in a run with pages. It
// is excused only when no page life shows effects on both sides of it.
func TestAPageMayTakeItsReportAlong(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		lives   []string // of the effects of the three commands
		missing int
		want    []string
	}{
		{"within one life", []string{"a", "a", "a"}, 1, []string{"s1-1"}},
		{"between two lives", []string{"a", "a", "b"}, 1, nil},
		{"at the end", []string{"a", "a", "a"}, 2, nil},
		{"at the beginning", []string{"a", "a", "a"}, 0, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := flawless()
			e.Closed = true
			for i := range e.Effects {
				if e.Effects[i].Life = "x"; e.Effects[i].Session == "s1" {
					e.Effects[i].Life = test.lives[e.Effects[i].Seq]
				}
			}
			without(&e, fmt.Sprintf("s1-%d", test.missing))
			if diff := cmp.Diff(verdict{Hollow: test.want}, judge(e)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestManySeededFlaws spoils large runs in random ways and asks the sets back.
func TestManySeededFlaws(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			e, want := spoiled(seed)
			got := judge(e)
			for _, set := range []*[]string{&got.Lost, &got.Twice, &got.Reordered, &want.Lost, &want.Twice, &want.Reordered} {
				slices.Sort(*set)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
