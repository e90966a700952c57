package browser

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"
)

// PoolStats are what a pool has at one moment, and what it has counted.
type PoolStats struct {
	// Tabs is how many places for tabs are taken.
	Tabs int
	// Started, Crashed and Replaced count browsers.
	Started, Crashed, Replaced int
	// Browsers are those that run.
	Browsers []ProcessStats
}

// ProcessStats describe a browser that runs.
type ProcessStats struct {
	// PID is the id of its process group.
	PID int
	// Kind is "light" or "full".
	Kind string
	// Born is when it was started.
	Born time.Time
	// Tabs is how many tabs are in use, and Spare how many are prepared.
	Tabs, Spare int
	// Sessions is how many sessions it has been given.
	Sessions int
	// Wear is why it is being replaced: age, sessions or memory, or "".
	Wear string
	// Leaving says that it takes no more sessions.
	Leaving bool
}

// Stats returns the pool's numbers.
func (p *Pool) Stats() PoolStats {
	p.mu.Lock()
	stats, procs := p.counts, p.all()
	stats.Tabs = p.tabs
	p.mu.Unlock()
	for _, proc := range procs {
		stats.Browsers = append(stats.Browsers, proc.stats())
	}
	return stats
}

func (proc *process) stats() ProcessStats {
	proc.mu.Lock()
	defer proc.mu.Unlock()
	return ProcessStats{
		PID: proc.cmd.Process.Pid, Kind: string(proc.kind), Born: proc.born,
		Tabs: len(proc.tabs) - len(proc.spares), Spare: len(proc.spares), Sessions: proc.served,
		Wear: proc.wear, Leaving: proc.leaves(),
	}
}

// all returns the browsers that run. The caller holds mu.
func (p *Pool) all() []*process {
	var list []*process
	for _, k := range []kind{light, full} {
		list = append(list, p.procs[k]...)
	}
	for proc := range p.retired {
		list = append(list, proc)
	}
	return list
}

// Memory is the memory that browsers use.
type Memory struct {
	// PSS is the sum of all their processes, in bytes. What processes share
	// counts once.
	PSS int64
	// Processes is how many processes that is.
	Processes int
	// Estimated says that the kernel did not tell how some of the memory is
	// shared, as it does not inside most containers. PSS is somewhat too high
	// or too low then.
	Estimated bool
}

func (m *Memory) add(other Memory) {
	m.PSS += other.PSS
	m.Processes += other.Processes
	m.Estimated = m.Estimated || other.Estimated
}

// Memory measures the memory of each browser that runs, by its PID. It costs
// about a millisecond of processor time for each process.
func (p *Pool) Memory(ctx context.Context) (map[int]Memory, error) {
	p.mu.Lock()
	procs := p.all()
	p.mu.Unlock()
	list := map[int]Memory{}
	for _, proc := range procs {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("measuring the browsers' memory: %w", context.Cause(ctx))
		}
		list[proc.cmd.Process.Pid] = group(proc.cmd.Process.Pid).memory()
	}
	return list, nil
}

// memory measures the group's processes.
func (g group) memory() Memory {
	var sum Memory
	var file, shared int64
	for _, pid := range g.living() {
		if pss, ok := kilobytes(pid, "smaps_rollup", "Pss:"); ok {
			sum.add(Memory{PSS: pss[0], Processes: 1})
			continue
		}
		// The text of the binary, and what goes over shared memory, is nearly
		// the same in all processes.
		rss, ok := kilobytes(pid, "status", "RssAnon:", "RssFile:", "RssShmem:")
		if !ok {
			continue // It ended meanwhile.
		}
		sum.add(Memory{PSS: rss[0], Processes: 1, Estimated: true})
		file, shared = max(file, rss[1]), max(shared, rss[2])
	}
	sum.PSS += file + shared
	return sum
}

// kilobytes reads lines of the form "name 12 kB" of a file of the process, and
// returns them in bytes. It fails unless all are there.
func kilobytes(pid int, file string, names ...string) ([]int64, bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/" + file) //nolint:gosec // The names are ours.
	if err != nil {
		return nil, false
	}
	list := make([]int64, len(names))
	found := 0
	for line := range bytes.Lines(text) {
		for i, name := range names {
			value, ok := bytes.CutPrefix(line, []byte(name))
			if !ok {
				continue
			}
			n, err := strconv.ParseInt(string(bytes.TrimSuffix(bytes.TrimSpace(value), []byte(" kB"))), 10, 64)
			if err != nil {
				return nil, false
			}
			list[i] = n << 10
			found++
		}
	}
	return list, found == len(names)
}
