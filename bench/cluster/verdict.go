package main

import "time"

// sent is a command in the load generator's own ledger.
type sent struct {
	ID, Site, Session, Visitor, Action string
	// Seq is the place among the commands of the session, from 0.
	Seq       int
	Partition int
	// Begun is when the sender first tried to store it. Stored is true when the
	// bus confirmed it.
	Begun  time.Time
	Stored bool
	// Acked is when the bus confirmed it, and Place where it is in the queue. With
	// Again, the bus had it already from an attempt that it did not confirm.
	Acked time.Time
	Place uint64
	Again bool
	// Marked commands leave an effect that the ledger can tell apart.
	Marked bool
	// Doomed commands go to a site whose tabs all hang: they may fail.
	Doomed bool
}

// effect is what one command did to the outside world, in the order of the
// ledger.
type effect struct {
	ID, Site, Session string
	Seq               int
	Worker            string // "" when the ledger cannot know
	Fence             uint64 // 0 when there is none
	// Life is the page life that it happened in. A command is done once in each.
	Life string
	At   time.Time
}

// outcome is a result, or a dead letter, of a command.
type outcome struct {
	ID, Worker, Status, Reason string
	Fence                      uint64
	Attempt                    int
	At                         time.Time
}

// evidence is all that a verdict is made of.
type evidence struct {
	Sent    []sent
	Effects []effect
	Results map[string][]outcome // by command, in the order of the stream
	Dead    map[string]bool      // commands with a dead letter
	// Refused counts stale writes that the ledger refused.
	Refused int
	// Queued is what was left in the queue at the end.
	Queued int
	// Orphans are processes that outlived their worker.
	Orphans []string
	// Broken is what went wrong with the run itself.
	Broken []string
	// Unsteady is what the vendor's record of windows says that must not be.
	Unsteady []string
	// Closed says that an effect may be missing when the page that it happened on
	// was lost, because the page reports it to the vendor by itself.
	Closed bool
}

// verdict holds what must not be, by the ids of the commands.
type verdict struct {
	Lost      []string `json:"lost"`      // Stored, and neither a result nor a dead letter.
	Hollow    []string `json:"hollow"`    // Succeeded, and there is no effect.
	Twice     []string `json:"twice"`     // More than one effect, in one page life.
	Reordered []string `json:"reordered"` // After a later command of its session.
	Stale     []string `json:"stale"`     // Accepted of an owner who had been followed by another.
	Failed    []string `json:"failed"`    // Nothing was wrong with it, and it did not succeed.
	Orphans   []string `json:"orphans"`
	Queued    int      `json:"queued"`
	Broken    []string `json:"broken"`
}

// clean reports whether nothing was found.
func (v verdict) clean() bool {
	return len(v.Lost)+len(v.Hollow)+len(v.Twice)+len(v.Reordered)+len(v.Stale)+
		len(v.Failed)+len(v.Orphans)+len(v.Broken) == 0 && v.Queued == 0
}

// judge compares what was sent with what was done and told.
func judge(e evidence) verdict {
	v := verdict{Orphans: e.Orphans, Queued: e.Queued, Broken: e.Broken}
	done := map[string]bool{}
	for _, x := range e.Effects {
		done[x.ID] = true
	}
	lives := livesOf(e.Effects)
	for _, c := range e.Sent {
		results := e.Results[c.ID]
		switch {
		case !c.Stored:
		case len(results) == 0 && !e.Dead[c.ID]:
			v.Lost = append(v.Lost, c.ID)
		case len(results) == 0 || results[len(results)-1].Status != "succeeded":
			if !c.Doomed {
				v.Failed = append(v.Failed, c.ID)
			}
		case c.Marked && !done[c.ID] && (!e.Closed || !lives[c.Site+"/"+c.Session].excuses(c.Seq)):
			v.Hollow = append(v.Hollow, c.ID)
		}
	}
	v.Twice = append(twice(e.Effects), e.Unsteady...)
	v.Reordered = reordered(e.Effects)
	v.Stale = stale(e.Effects, partitionsOf(e.Sent))
	return v
}

// twice returns the commands that were done more than once in one page life.
func twice(effects []effect) []string {
	var ids []string
	times := map[[2]string]int{}
	for _, x := range effects {
		key := [2]string{x.ID, x.Life}
		if times[key]++; times[key] == 2 {
			ids = append(ids, x.ID)
		}
	}
	return ids
}

// reordered returns the commands whose first effect came after that of a later
// command of the same session.
func reordered(effects []effect) []string {
	var ids []string
	seen, last := map[string]bool{}, map[string]int{}
	for _, x := range effects {
		key := x.Site + "/" + x.Session
		if seen[x.ID] {
			continue
		}
		seen[x.ID] = true
		if before, ok := last[key]; ok && x.Seq < before {
			ids = append(ids, x.ID)
			continue
		}
		last[key] = x.Seq
	}
	return ids
}

// stale returns the commands whose effect was accepted although a later owner of
// the partition had had one accepted before, in another session perhaps.
func stale(effects []effect, partitions map[string]int) []string {
	var ids []string
	highest, found := map[int]uint64{}, map[string]bool{}
	for _, x := range effects {
		if x.Fence == 0 {
			continue
		}
		at := partitions[x.ID]
		if x.Fence < highest[at] && !found[x.ID] {
			found[x.ID] = true
			ids = append(ids, x.ID)
		}
		highest[at] = max(highest[at], x.Fence)
	}
	return ids
}

func partitionsOf(commands []sent) map[string]int {
	partitions := make(map[string]int, len(commands))
	for _, c := range commands {
		partitions[c.ID] = c.Partition
	}
	return partitions
}

// lives are the effects of one session: the page life and the place of each.
type lives []effect

func livesOf(effects []effect) map[string]lives {
	all := map[string]lives{}
	for _, x := range effects {
		if x.Life != "" {
			all[x.Site+"/"+x.Session] = append(all[x.Site+"/"+x.Session], x)
		}
	}
	return all
}

// excuses reports whether a missing effect can have been lost with its page: no
// page life shows effects both before and after it. A page reports in order, and
// what comes later proves that all before was reported.
func (l lives) excuses(seq int) bool {
	first, last := map[string]int{}, map[string]int{}
	for _, x := range l {
		if before, ok := first[x.Life]; !ok || x.Seq < before {
			first[x.Life] = x.Seq
		}
		last[x.Life] = max(last[x.Life], x.Seq)
	}
	for life, from := range first {
		if from < seq && seq < last[life] {
			return false
		}
	}
	return true
}
