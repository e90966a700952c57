package main

import (
	"slices"
	"time"
)

// hurt is a fault that was done, and what it hit.
type hurt struct {
	Kind kind `json:"kind"`
	// Victim is the worker that it hit, or the newcomer; "" when it hit no worker.
	Victim string    `json:"victim,omitempty"`
	Detail string    `json:"detail,omitempty"`
	At     time.Time `json:"at"`
	// Until is when the next fault began, or the load ended.
	Until time.Time `json:"until"`
}

// deed is the moment at which a command was done, and who did it.
type deed struct {
	ID, Worker string
	At         time.Time
}

// spread describes the samples of one kind of fault.
type spread struct {
	Faults int           `json:"faults"`
	N      int           `json:"n"`
	P50    time.Duration `json:"p50_ns"`
	P99    time.Duration `json:"p99_ns"`
	Max    time.Duration `json:"max_ns"`
}

// waitWindow is how long after a fault a command must have been sent to count
// for the wait that the fault caused.
const waitWindow = 10 * time.Second

// handled is a command that was done, with its deed.
type handled struct {
	sent
	deed
}

// recoveries measures, by the kind of fault, how long the partitions that it hit
// were without service. After the loss of a worker that is the time to the first
// action elsewhere; otherwise it is the longest that a command of the partition
// waited. Time in which nothing waited does not count.
func recoveries(hurts []hurt, commands []sent, deeds []deed) map[kind]spread {
	done := map[string]deed{}
	for _, d := range deeds {
		if _, ok := done[d.ID]; !ok {
			done[d.ID] = d
		}
	}
	byPartition := map[int][]handled{}
	for _, c := range commands {
		if d, ok := done[c.ID]; ok && !c.Doomed {
			byPartition[c.Partition] = append(byPartition[c.Partition], handled{c, d})
		}
	}
	for _, all := range byPartition {
		slices.SortFunc(all, func(a, b handled) int { return a.At.Compare(b.At) })
	}
	samples, faults := map[kind][]time.Duration{}, map[kind]int{}
	for _, h := range hurts {
		faults[h.Kind]++
		for _, all := range byPartition {
			if wait, ok := h.sample(all); ok {
				samples[h.Kind] = append(samples[h.Kind], wait)
			}
		}
	}
	spreads := map[kind]spread{}
	for k, n := range faults {
		spreads[k] = spreadOf(samples[k])
		one := spreads[k]
		one.Faults = n
		spreads[k] = one
	}
	return spreads
}

// sample returns how long the fault kept the partition waiting. It is not ok
// when the fault did not hit the partition, or nothing waited.
func (h hurt) sample(all []handled) (time.Duration, bool) {
	switch h.Kind {
	case killWorker, stopWorker, pauseWorker:
		if owner(all, h.At) != h.Victim {
			return 0, false
		}
		return h.elsewhere(all)
	case cutWorker, killBrowser, killPage:
		if owner(all, h.At) != h.Victim {
			return 0, false
		}
	case addWorker:
		if !slices.ContainsFunc(all, func(x handled) bool { return x.Worker == h.Victim && x.At.Before(h.Until) }) {
			return 0, false
		}
	case killNode, hangSite:
	}
	return h.longest(all)
}

// owner returns who did the last command of the partition before the time.
func owner(all []handled, at time.Time) string {
	name := ""
	for _, x := range all {
		if x.At.After(at) {
			break
		}
		name = x.Worker
	}
	return name
}

// elsewhere returns the time to the first action of another worker, from the
// fault, or from when there was something to do.
func (h hurt) elsewhere(all []handled) (time.Duration, bool) {
	var first, waiting time.Time
	for _, x := range all {
		if !x.At.After(h.At) || x.Worker == h.Victim || x.At.After(h.Until) {
			continue
		}
		if first.IsZero() {
			first = x.At
		}
		if waiting.IsZero() || x.Begun.Before(waiting) {
			waiting = x.Begun
		}
	}
	if first.IsZero() {
		return 0, false
	}
	return first.Sub(later(h.At, waiting)), true
}

// longest returns the longest wait of a command after the fault.
func (h hurt) longest(all []handled) (time.Duration, bool) {
	longest, found := time.Duration(0), false
	for _, x := range all {
		if !x.At.After(h.At) || x.Begun.After(h.Until) || x.Begun.After(h.At.Add(waitWindow)) {
			continue
		}
		longest, found = max(longest, x.At.Sub(later(h.At, x.Begun))), true
	}
	return longest, found
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// latencies returns how long commands took from the sender to their effect.
func latencies(commands []sent, deeds []deed) spread {
	done := map[string]time.Time{}
	for _, d := range deeds {
		if _, ok := done[d.ID]; !ok {
			done[d.ID] = d.At
		}
	}
	var all []time.Duration
	for _, c := range commands {
		if at, ok := done[c.ID]; ok && !c.Doomed {
			all = append(all, at.Sub(c.Begun))
		}
	}
	return spreadOf(all)
}

func spreadOf(all []time.Duration) spread {
	if len(all) == 0 {
		return spread{}
	}
	slices.Sort(all)
	at := func(share float64) time.Duration { return all[int(share*float64(len(all)-1))] }
	return spread{N: len(all), P50: at(.5), P99: at(.99), Max: all[len(all)-1]}
}
