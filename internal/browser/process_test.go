//go:build browser

package browser

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// A family is what /proc tells of a browser: its processes by their group.
type family []proc

type proc struct {
	pid     int
	cmdline []string
	status  map[string]string
}

// members returns the processes of the group.
func members(t *testing.T, group int) family {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var list family
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if g, err := syscall.Getpgid(pid); err != nil || g != group {
			continue
		}
		raw, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		text, err := os.ReadFile(filepath.Join("/proc", e.Name(), "status"))
		if err != nil {
			continue
		}
		status := map[string]string{}
		for line := range strings.Lines(string(text)) {
			if k, v, ok := strings.Cut(line, ":"); ok {
				status[k] = strings.TrimSpace(v)
			}
		}
		if !strings.HasPrefix(status["State"], "Z") {
			list = append(list, proc{pid, words(raw), status})
		}
	}
	return list
}

// words splits a command line. A child of Chromium joins its own with spaces.
func words(cmdline []byte) []string {
	return strings.FieldsFunc(string(cmdline), func(r rune) bool { return r == 0 || r == ' ' })
}

// named returns the processes whose command line has the argument.
func (f family) named(arg string) family {
	return slices.DeleteFunc(slices.Clone(f), func(p proc) bool { return !slices.Contains(p.cmdline, arg) })
}

// only returns the one browser process of the kind.
func only(t *testing.T, p *Pool, k kind) *process {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.procs[k]) != 1 {
		t.Fatalf("%d browsers of the kind %s run, want 1", len(p.procs[k]), k)
	}
	return p.procs[k][0]
}

func TestBrowserIsLockedIn(t *testing.T) {
	t.Parallel()
	s := newSite(t, pages(map[string]string{"/": "<title>real</title>"}))
	p := newPool(t, s.options(t))
	open(t, p, lightRequest(""))
	open(t, p, fullRequest("/"))
	for _, k := range []kind{light, full} {
		main := only(t, p, k)
		all := members(t, main.cmd.Process.Pid)
		renderers := all.named("--type=renderer")
		if len(renderers) == 0 {
			t.Fatalf("%s: no renderer runs", k)
		}
		for _, r := range renderers {
			if r.status["Seccomp"] != "2" || r.status["NoNewPrivs"] != "1" {
				t.Errorf("%s: renderer %d has Seccomp %s, NoNewPrivs %s", k, r.pid, r.status["Seccomp"], r.status["NoNewPrivs"])
			}
		}
		for _, m := range all {
			if strings.HasPrefix(m.status["Uid"], "0\t") || strings.Contains(m.status["Groups"], "0 ") {
				t.Errorf("%s: process %d runs as %q, groups %q", k, m.pid, m.status["Uid"], m.status["Groups"])
			}
			for _, arg := range m.cmdline {
				if arg == "--no-sandbox" || strings.HasPrefix(arg, "--remote-debugging-port") {
					t.Errorf("%s: process %d has %s", k, m.pid, arg)
				}
			}
			if n := listening(t, m.pid); n > 0 {
				t.Errorf("%s: process %d listens on %d sockets", k, m.pid, n)
			}
		}
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", main.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if names := len(bytes.Split(bytes.TrimRight(env, "\x00"), []byte{0})); names != len(main.cmd.Env) {
			t.Errorf("%s: the browser has %d variables: %q", k, names, env)
		}
	}
}

// listening counts the TCP sockets of the process that listen.
func listening(t *testing.T, pid int) int {
	t.Helper()
	inodes := map[string]bool{}
	for _, name := range []string{"tcp", "tcp6"} {
		table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, name))
		if err != nil {
			continue // A sandboxed process does not show it; it has no sockets.
		}
		for line := range strings.Lines(string(table)) {
			if f := strings.Fields(line); len(f) > 9 && f[3] == "0A" {
				inodes["socket:["+f[9]+"]"] = true
			}
		}
	}
	count := 0
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && inodes[target] {
			count++
		}
	}
	return count
}

func TestFramesOfOtherSitesAreTheirOwnProcesses(t *testing.T) {
	t.Parallel()
	s := newSite(t, pages(map[string]string{
		"/":      `<iframe src="https://` + widgetHost + `/frame"></iframe><iframe src="https://` + otherHost + `/frame"></iframe><script>function loaded() { return new Promise(d => document.readyState === "complete" ? d(1) : addEventListener("load", () => d(1))); }</script>`,
		"/frame": "frame",
	}))
	p := newPool(t, s.options(t))
	r := fullRequest("/")
	r.Hosts = []string{otherHost}
	tab := open(t, p, r)
	ask[int](t, tab, "run", map[string]any{"name": "loaded"})
	got := len(members(t, only(t, p, full).cmd.Process.Pid).named("--type=renderer"))
	// The page, its two frames; spare tabs have renderers too.
	if got < 3 {
		t.Errorf("%d renderers run, want at least 3", got)
	}
}

func TestRendererDeathLosesOneSession(t *testing.T) {
	t.Parallel()
	o := newSite(t, pages(nil)).options(t)
	o.Spare = -1
	p := newPool(t, o)
	before := renderersOf(t, p)
	victim := open(t, p, lightRequest(""))
	var pids []int
	for pid := range renderersOf(t, p) {
		if !before[pid] {
			pids = append(pids, pid)
		}
	}
	others := []*Tab{open(t, p, lightRequest("")), open(t, p, lightRequest(""))}
	pending := make(chan error, 1)
	go func() { pending <- victim.Call(within(t, 20*time.Second), "wait", nil, nil) }()
	ask[int](t, victim, "echo", 1)
	begun := time.Now()
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	wantFault(t, <-pending, fault.PageCrashed)
	t.Log("the pending call failed after", time.Since(begun))
	<-victim.Done()
	wantFault(t, victim.Err(), fault.PageCrashed)
	wantFault(t, victim.Call(t.Context(), "echo", 1, nil), fault.PageCrashed)
	for _, err := range victim.Events(within(t, 5*time.Second)) {
		wantFault(t, err, fault.PageCrashed)
	}
	for _, tab := range others {
		if got := ask[int](t, tab, "echo", 5); got != 5 {
			t.Errorf("another session answers %d", got)
		}
	}
	open(t, p, lightRequest(""))
}

func renderersOf(t *testing.T, p *Pool) map[int]bool {
	t.Helper()
	list := map[int]bool{}
	for _, m := range members(t, only(t, p, light).cmd.Process.Pid).named("--type=renderer") {
		list[m.pid] = true
	}
	return list
}

func TestBrowserDeath(t *testing.T) {
	t.Parallel()
	p := newPool(t, newSite(t, pages(nil)).options(t))
	for range 3 {
		tabs := []*Tab{open(t, p, lightRequest("")), open(t, p, lightRequest(""))}
		pending := make(chan error, 1)
		go func() { pending <- tabs[0].Call(within(t, 20*time.Second), "wait", nil, nil) }()
		ask[int](t, tabs[0], "echo", 1)
		dead := only(t, p, light)
		begun := time.Now()
		if err := syscall.Kill(dead.cmd.Process.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		wantFault(t, <-pending, fault.BrowserCrashed)
		t.Log("the pending call failed after", time.Since(begun))
		tab := open(t, p, lightRequest(""))
		t.Log("a new page was open after", time.Since(begun))
		if got := ask[int](t, tab, "echo", 5); got != 5 {
			t.Errorf("the new session answers %d", got)
		}
		for _, old := range tabs {
			<-old.Done()
			wantFault(t, old.Err(), fault.BrowserCrashed)
		}
		<-dead.ended
		if left := members(t, dead.cmd.Process.Pid); len(left) > 0 {
			t.Errorf("%d processes of the dead browser are left", len(left))
		}
	}
}

func TestStoppedBrowserIsReplaced(t *testing.T) {
	t.Parallel()
	o := newSite(t, pages(nil)).options(t)
	p := newPool(t, o)
	tab := open(t, p, lightRequest(""))
	dead := only(t, p, light)
	for _, m := range members(t, dead.cmd.Process.Pid) {
		if err := syscall.Kill(m.pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	wantFault(t, tab.Call(within(t, 200*time.Millisecond), "echo", 1, nil), fault.PageHung)
	t.Log("the call failed after", time.Since(begun))
	select {
	case <-dead.ended:
	case <-within(t, 20*time.Second).Done():
		t.Fatal("the stopped browser is still there")
	}
	t.Log("the browser was gone after", time.Since(begun))
	open(t, p, lightRequest(""))
}

func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	s := newSite(t, pages(map[string]string{"/": "<title>real</title>"}))
	o := s.options(t)
	o.Sessions = 20 // browsers are replaced on the way
	p, err := New(testLog(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closePool(t, p) })
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	groups := map[int]bool{}
	for i := range 50 {
		r := lightRequest("")
		if i%10 == 9 {
			r = fullRequest("/")
		}
		tab, err := p.Open(within(t, 30*time.Second), r)
		if err != nil {
			t.Fatal(err)
		}
		groups[tab.room.proc.cmd.Process.Pid] = true
		for range 4 {
			ask[int](t, tab, "echo", i)
		}
		if i%25 == 24 {
			_ = syscall.Kill(tab.room.proc.cmd.Process.Pid, syscall.SIGKILL)
		}
		if err := tab.Close(within(t, 10*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.inUse(); got != 0 {
		t.Errorf("%d tabs are counted", got)
	}
	closePool(t, p)
	for group := range groups {
		if left := members(t, group); len(left) > 0 {
			t.Errorf("%d processes of browser %d are left", len(left), group)
		}
	}
	if left, _ := os.ReadDir(o.Dir); len(left) > 0 {
		t.Errorf("%d scratch folders are left", len(left))
	}
	t.Logf("%d browsers served 50 sessions", len(groups))
	_, err = p.Open(t.Context(), lightRequest(""))
	wantFault(t, err, fault.ShuttingDown)
}

func TestStaleFoldersAreSwept(t *testing.T) {
	t.Parallel()
	o := newSite(t, pages(nil)).options(t)
	stale := filepath.Join(o.Dir, scratchPrefix+"stale")
	if err := os.Mkdir(stale, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(stale, lockName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(o.Dir, scratchPrefix+"foreign")
	if err := os.Mkdir(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	first := newPool(t, o)
	newPool(t, o)
	if _, err := os.Stat(stale); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the stale folder is there: %v", err)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Error("a folder without a lock was removed")
	}
	open(t, first, lightRequest("")) // its folder is still there
}

func TestStartFailsClearly(t *testing.T) {
	t.Parallel()
	dir := scratch(t)
	truncated := filepath.Join(dir, "chromium-headless-shell")
	whole, err := os.ReadFile(headlessShell)
	if err != nil {
		t.Fatal(err)
	}
	speaking := filepath.Join(dir, "speaking")
	for name, content := range map[string][]byte{
		truncated: whole[:1<<20],
		speaking:  []byte("#!/bin/sh\necho 'error while loading shared libraries: libnss3.so' >&2\nexit 127\n"),
	} {
		if err := os.WriteFile(name, content, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		binary string
		reason fault.Reason
		text   string
	}{
		{filepath.Join(dir, "nothing"), fault.BrowserMissing, "no such file"},
		{dir, fault.BrowserMissing, "not an executable file"},
		{truncated, fault.BrowserStart, "starting " + truncated},
		{speaking, fault.BrowserStart, "libnss3.so"},
	}
	for _, test := range tests {
		p, err := New(testLog(t), Options{Binary: test.binary, Dir: scratch(t)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		err = p.Start(ctx)
		t.Log(err)
		wantFault(t, err, test.reason)
		if !strings.Contains(err.Error(), test.text) {
			t.Errorf("the error is %q, and does not say %q", err, test.text)
		}
		if e := fault.From(err); e.Reason == fault.BrowserMissing && !strings.Contains(e.Fix, "apt-get install") {
			t.Errorf("the fix is %q", e.Fix)
		}
		_, err = p.Open(ctx, lightRequest(""))
		if err == nil {
			t.Error("a page was opened")
		}
		closePool(t, p)
		cancel()
	}
}

func TestTabsAreLimited(t *testing.T) {
	t.Parallel()
	o := newSite(t, pages(nil)).options(t)
	o.Tabs = 2
	p := newPool(t, o)
	a := open(t, p, lightRequest(""))
	open(t, p, lightRequest(""))
	_, err := p.Open(t.Context(), lightRequest(""))
	wantFault(t, err, fault.BrowserBusy)
	if err := a.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	open(t, p, lightRequest(""))
}

func TestTwoBrowsersShareTheTabs(t *testing.T) {
	t.Parallel()
	o := newSite(t, pages(nil)).options(t)
	o.Tabs, o.Processes, o.Spare = 4, 2, -1
	p := newPool(t, o)
	used := map[*process]int{}
	for range 4 {
		tab := open(t, p, lightRequest(""))
		used[tab.room.proc]++
		if st := p.underway(light); st != nil {
			<-st.done
		}
	}
	if len(used) != 2 {
		t.Errorf("%d browsers were used, want 2", len(used))
	}
}

func (p *Pool) underway(k kind) *start {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.starting[k]
}
