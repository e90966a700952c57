package contend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// tick is the unit of CPU time in /proc: 1/100 s on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// settled returns the CPU time of the process and of all below it, as soon as
// they do nothing that can be seen: less than one tick in 50 ms, three times.
func settled(ctx context.Context, pid int) (Cost, error) {
	const (
		every = 50 * time.Millisecond
		times = 3
		most  = 60
	)
	timer := time.NewTicker(every)
	defer timer.Stop()
	last, err := costOf(pid)
	quiet := 0
	for range most {
		if err != nil || quiet == times {
			return last, err
		}
		select {
		case <-ctx.Done():
			return Cost{}, fmt.Errorf("waiting for quiet: %w", context.Cause(ctx))
		case <-timer.C:
		}
		var now Cost
		now, err = costOf(pid)
		if now.Client+now.Browser-last.Client-last.Browser < tick {
			quiet++
		} else {
			quiet = 0
		}
		last = now
	}
	return last, err
}

// costOf adds up the process and all below it. The time of a process that has
// ended is not lost: the kernel adds it to the parent that waited for it.
func costOf(pid int) (Cost, error) {
	all, err := processes()
	if err != nil {
		return Cost{}, err
	}
	self, ok := all[pid]
	if !ok {
		return Cost{}, errors.New("the contender is gone")
	}
	cost := Cost{Client: self.own, Browser: self.children}
	for _, id := range below(all, pid) {
		cost.Browser += all[id].own + all[id].children
	}
	return cost, nil
}

// below returns the processes that the process has started, and those that they
// have started.
func below(all map[int]process, pid int) []int {
	var list []int
	found := map[int]bool{pid: true}
	for grew := true; grew; {
		grew = false
		for id, p := range all {
			if found[p.parent] && !found[id] {
				found[id], grew = true, true
				list = append(list, id)
			}
		}
	}
	return list
}

// process is one line of /proc/<pid>/stat: its own CPU time, and that of the
// children that it has waited for.
type process struct {
	parent        int
	own, children time.Duration
}

// processes reads all processes of the machine. Those that end meanwhile are
// left out: their parents have them.
func processes() (map[int]process, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, fmt.Errorf("listing the processes: %w", err)
	}
	all := make(map[int]process, len(files))
	for _, file := range files {
		line, err := os.ReadFile(file) //nolint:gosec // a file of /proc.
		if errors.Is(err, fs.ErrNotExist) || len(line) == 0 {
			continue
		}
		if err != nil {
			continue // ESRCH: it has ended between opening and reading.
		}
		id, p, err := parseStat(line)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		all[id] = p
	}
	return all, nil
}

// parseStat reads the line. The program's name is in parentheses and may hold
// anything, so the fields are counted from the last one.
func parseStat(line []byte) (int, process, error) {
	open, last := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 0 || last < open {
		return 0, process{}, errors.New("no program name")
	}
	id, err := strconv.Atoi(string(bytes.TrimSpace(line[:open])))
	if err != nil {
		return 0, process{}, fmt.Errorf("the process id: %w", err)
	}
	// After the name: state, ppid, …; utime, stime, cutime and cstime are the
	// fields 14 to 17 of the line.
	fields := bytes.Fields(line[last+1:])
	const parent, utime, stime, cutime, cstime = 1, 11, 12, 13, 14
	if len(fields) <= cstime {
		return 0, process{}, errors.New("too few fields")
	}
	var n [cstime + 1]int64
	for _, i := range []int{parent, utime, stime, cutime, cstime} {
		if n[i], err = strconv.ParseInt(string(fields[i]), 10, 64); err != nil {
			return 0, process{}, fmt.Errorf("field %d: %w", i, err)
		}
	}
	return id, process{
		parent:   int(n[parent]),
		own:      time.Duration(n[utime]+n[stime]) * tick,
		children: time.Duration(n[cutime]+n[cstime]) * tick,
	}, nil
}
