package main

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/parley-chat/parley/bench/report"
)

// machine describes where the benchmark runs. What cannot be found out is left
// out.
func machine(ctx context.Context, b benchmark) report.Machine {
	m := report.Machine{CPU: cpuName(), Cores: runtime.NumCPU(), System: system(), Go: runtime.Version()}
	if b.pages {
		m.Chromium = strings.TrimPrefix(version(ctx, headlessShell), "Chromium ")
		m.Node = version(ctx, node())
	}
	return m
}

func cpuName() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func system() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return runtime.GOOS
	}
	return "Linux " + unix.ByteSliceToString(name.Release[:])
}

func version(ctx context.Context, program string) string {
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(first), "built on Debian GNU/Linux 12 (bookworm)"))
}
