package app

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// leastMemory is the least limit that is set, in bytes.
const leastMemory = 512 << 20

// limitMemory bounds the memory of a process with an embedded NATS server,
// which else keeps what it once used. GOMEMLIMIT, where it is set, wins.
func limitMemory(cfg *Config, env Env) {
	if cfg.Bus.URL != "" || env["GOMEMLIMIT"] != "" {
		return
	}
	debug.SetMemoryLimit(memoryLimit(readText("/proc/meminfo"), readText("/sys/fs/cgroup/memory.max")))
}

// memoryLimit returns a quarter of what the machine or the container has.
func memoryLimit(meminfo, cgroup string) int64 {
	var have int64
	for line := range strings.Lines(meminfo) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			have = kib << 10
		}
	}
	if most, err := strconv.ParseInt(strings.TrimSpace(cgroup), 10, 64); err == nil && (have == 0 || most < have) {
		have = most
	}
	return max(have/4, leastMemory)
}

// readText returns the file's text, or "" where there is none.
func readText(file string) string {
	text, _ := os.ReadFile(file) //nolint:gosec // the callers name fixed files.
	return string(text)
}
