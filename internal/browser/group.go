package browser

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pollEvery is how often a process is looked at that the kernel gives no handle
// for.
const pollEvery = 10 * time.Millisecond

// A group is a process group, by its id, as /proc shows it.
type group int

// living returns the processes of the group that run. Those that have ended, and
// were not yet collected by their parent, do not.
func (g group) living() []int {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close() //nolint:errcheck // It was only read.
	names, _ := proc.Readdirnames(-1)
	var list []int
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if of, err := syscall.Getpgid(pid); err != nil || of != int(g) {
			continue
		}
		if alive(pid) {
			list = append(list, pid)
		}
	}
	return list
}

// alive reports whether the process has not ended.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	// The state comes after the name, which stands in brackets.
	_, rest, found := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	return found && len(rest) > 0 && rest[0] != 'Z' && rest[0] != 'X'
}

// wait waits until no process of the group runs, no longer than the limit, and
// returns those that still do.
func (g group) wait(limit time.Duration) []int {
	end := time.Now().Add(limit)
	for {
		left := g.living()
		rest := time.Until(end)
		if len(left) == 0 || rest <= 0 {
			return left
		}
		waitOne(left[0], rest)
	}
}

// waitOne waits for the end of one process, no longer than the limit. It may
// return early.
func waitOne(pid int, limit time.Duration) {
	var watched []unix.PollFd
	fd, err := unix.PidfdOpen(pid, 0)
	if err == nil {
		defer unix.Close(fd)                                          //nolint:errcheck // It is a handle, and no file.
		watched = []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // A descriptor is small.
	} else {
		limit = min(limit, pollEvery)
	}
	_, _ = unix.Poll(watched, int(max(limit, time.Millisecond).Milliseconds()))
}
