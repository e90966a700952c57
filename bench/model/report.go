package model

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is what a run showed.
type Report struct {
	Seed                                    uint64
	Sessions, Workers, Partitions, MostTabs int
	Places                                  int
	Length                                  time.Duration

	Sites []SiteReport
	// Fairness is Jain's index of the parts of their commands that the sites had
	// served: 1 when all had the same part.
	Fairness float64

	Joins, Leaves, Kills, Pauses int
	// Moves are changes of the owner. Reassigned are the partitions that another
	// worker should have after the members changed, Needed the fewest possible.
	Moves, Reassigned, Needed int
	Gaps                      []Gap
	// Evicted, Idled and Pressed count tabs that were closed to make room, for
	// idleness and for memory. MostMemory is the most that one worker's tabs used.
	Evicted, Idled, Pressed int
	MostMemory, Memory      int64

	// Lost, Twice, Disorder and TwoOwners are the verdict: all must be 0. Lost
	// commands have no answer, Twice had two effects, Disorder had its effect
	// after a later one of its session, and TwoOwners were effects by a worker
	// that the lease does not name.
	Lost, Twice, Disorder, TwoOwners int
	// Stale counts what workers were about to do under a lease that they had
	// lost, and what was refused. Reconciled counts commands that another owner
	// had begun.
	Stale, Reconciled int
	// Fingerprint is of every answer, effect and move, with its time.
	Fingerprint string
}

// SiteReport is what a run showed of one site, times in milliseconds.
type SiteReport struct {
	Name                              string
	Commands                          int
	Succeeded, Refused, Expired, Full int
	Cold, Restored                    int
	P50, P90, P99, P999               float64
}

// Gap is how long a partition's commands had no owner to run them, for one
// cause, in milliseconds.
type Gap struct {
	Cause         string
	Count         int
	P50, P99, Max float64
}

func (w *world) report() Report {
	l := &w.ledger
	r := Report{
		Seed: w.c.Seed, Sessions: len(w.sessions), Workers: w.c.Workers, Partitions: w.c.Partitions,
		Places: w.c.Places, MostTabs: l.mostTabs, Length: w.c.Length,
		Joins: l.joins, Leaves: l.leaves, Kills: l.kills, Pauses: l.pauses,
		Moves: l.moves - w.c.Partitions, Reassigned: l.changed, Needed: l.needed,
		Evicted: l.closings["evicted"], Idled: l.closings["idle"], Pressed: l.closings["memory"],
		MostMemory: l.mostMemory, Memory: w.c.Memory,
		Lost: l.asked - l.answered, Twice: l.twice, Disorder: l.disorder, TwoOwners: l.twoOwners,
		Stale: l.stale, Reconciled: l.reconciled, Fingerprint: fmt.Sprintf("%016x", l.trace),
	}
	served := make([]float64, len(l.sites))
	for i, s := range l.sites {
		slices.Sort(s.latencies)
		r.Sites = append(r.Sites, SiteReport{
			Name: w.c.Sites[i].Name, Commands: s.asked,
			Succeeded: s.answers[succeeded], Refused: s.answers[refused], Expired: s.answers[expired], Full: s.answers[full],
			Cold: s.cold, Restored: s.restored,
			P50: part(s.latencies, 0.5), P90: part(s.latencies, 0.9), P99: part(s.latencies, 0.99), P999: part(s.latencies, 0.999),
		})
		served[i] = float64(s.answers[succeeded]) / float64(max(s.asked, 1))
	}
	r.Fairness = jain(served)
	for why, name := range map[cause]string{planned: "planned", killed: "killed", paused: "paused"} {
		gaps := l.gaps[why]
		slices.Sort(gaps)
		r.Gaps = append(r.Gaps, Gap{Cause: name, Count: len(gaps), P50: part(gaps, 0.5), P99: part(gaps, 0.99), Max: part(gaps, 1)})
	}
	slices.SortFunc(r.Gaps, func(a, b Gap) int { return strings.Compare(a.Cause, b.Cause) })
	return r
}

// part returns the value that the given part of the sorted values does not
// exceed.
func part(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, int(math.Ceil(p*float64(len(sorted))))-1)]
}

// jain returns Jain's index of fairness: 1 when all are equal, 1/n when one has
// all.
func jain(x []float64) float64 {
	sum, squares := 0.0, 0.0
	for _, v := range x {
		sum += v
		squares += v * v
	}
	if squares == 0 {
		return 1
	}
	return sum * sum / (float64(len(x)) * squares)
}

// OK reports whether the verdict is that nothing went wrong.
func (r Report) OK() bool {
	return r.Lost == 0 && r.Twice == 0 && r.Disorder == 0 && r.TwoOwners == 0 && r.MostTabs <= r.Places
}

// Opened is how many tabs were opened.
func (r Report) Opened() int {
	n := 0
	for _, s := range r.Sites {
		n += s.Cold + s.Restored
	}
	return n
}

// String writes the report for people.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d sessions, %d workers with %d tabs each, %d partitions, %v of virtual time\n\n",
		r.Seed, r.Sessions, r.Workers, r.Places, r.Partitions, r.Length)
	to := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(to, "site\tcommands\tserved\trefused\texpired\tfull\tcold\trestored\tp50\tp90\tp99\tp99.9 ms\t")
	for _, s := range r.Sites {
		fmt.Fprintf(to, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t\n", s.Name, s.Commands,
			s.Succeeded, s.Refused, s.Expired, s.Full, s.Cold, s.Restored, s.P50, s.P90, s.P99, s.P999)
	}
	_ = to.Flush() // A builder takes all.
	fmt.Fprintf(&b, "fairness of the served parts (Jain) %.4f\n\n", r.Fairness)
	fmt.Fprintf(&b, "workers: %d joined, %d left, %d killed, %d paused\n", r.Joins, r.Leaves, r.Kills, r.Pauses)
	fmt.Fprintf(&b, "partitions: %d moves; %d reassigned, %d at least (%.2f times)\n",
		r.Moves, r.Reassigned, r.Needed, float64(r.Reassigned)/float64(max(r.Needed, 1)))
	for _, g := range r.Gaps {
		fmt.Fprintf(&b, "without an owner, %s: %d times, p50 %.0f ms, p99 %.0f ms, max %.0f ms\n", g.Cause, g.Count, g.P50, g.P99, g.Max)
	}
	fmt.Fprintf(&b, "tabs: at most %d on a worker; %d opened, %d evicted, %d idle, %d for memory\n",
		r.MostTabs, r.Opened(), r.Evicted, r.Idled, r.Pressed)
	fmt.Fprintf(&b, "memory: at most %d MiB on a worker, of %d MiB\n\n", r.MostMemory>>20, r.Memory>>20)
	fmt.Fprintf(&b, "verdict: %d lost, %d twice, %d out of order, %d by two owners; %d stale refused, %d reconciled: %s\n",
		r.Lost, r.Twice, r.Disorder, r.TwoOwners, r.Stale, r.Reconciled, map[bool]string{true: "ok", false: "NOT OK"}[r.OK()])
	fmt.Fprintf(&b, "fingerprint %s\n", r.Fingerprint)
	return b.String()
}
