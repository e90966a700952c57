package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// command is a process to be started. The environment is empty but for what is
// needed to find programs and folders.
type command struct {
	name, path string
	args       []string
	env        []string
	log        string // file for what it says
	// ready, if set, is the line on which it says that it has started.
	ready string
}

// process is a process of ours, in a group of its own. It dies with us.
type process struct {
	name  string
	cmd   *exec.Cmd
	ready chan struct{} // closed when it said that it is ready
	ended chan struct{} // closed when it has ended
}

// launch starts the process. It outlives ctx.
func launch(ctx context.Context, c command) (*process, error) {
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", c.name, err)
	}
	defer log.Close() //nolint:errcheck // The child has its own.
	p := &process{name: c.name, ready: make(chan struct{}), ended: make(chan struct{})}
	p.cmd = exec.CommandContext(context.WithoutCancel(ctx), c.path, c.args...) //nolint:gosec // We started it to start others.
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LANG=C.UTF-8"}, c.env...)
	p.cmd.Stderr = log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// A pipe of our own: its end is not the end of the process, which may leave
	// children behind.
	out, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("preparing %s: %w", c.name, err)
	}
	defer in.Close() //nolint:errcheck // The child has its own.
	p.cmd.Stdout = in
	started := make(chan error, 1)
	go func() {
		// Pdeathsig is sent when the thread that forked ends, so it stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer out.Close() //nolint:errcheck // It ends the reading.
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		go p.listen(out, c.ready)
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.name, err)
	}
	return p, nil
}

// listen reads what the process says, until it has ended.
func (p *process) listen(out io.Reader, ready string) {
	said := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if !said && ready != "" && lines.Text() == ready {
			said = true
			close(p.ready)
		}
	}
}

// pid returns the process's id.
func (p *process) pid() int { return p.cmd.Process.Pid }

// signal sends a signal to the process alone.
func (p *process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("sending %s to %s: %w", s, p.name, err)
	}
	return nil
}

// kill ends the process at once, also when it is stopped.
func (p *process) kill() { _ = p.cmd.Process.Kill() }

// alive reports whether the process has not ended.
func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// wait waits for the end of the process.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the end of %s: %w", p.name, context.Cause(ctx))
	}
}

// begun waits until the process said that it is ready.
func (p *process) begun(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.ready:
		return nil
	case <-p.ended:
		return fmt.Errorf("%s ended at its start: %s", p.name, p.cmd.ProcessState)
	case <-timer.C:
		return fmt.Errorf("%s was not ready within %s", p.name, limit)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// adopt makes this process the parent of every process that a child of ours
// leaves behind, so that none can hide.
func adopt() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("adopting orphans: %w", err)
	}
	return nil
}

// task is a process of the machine, as /proc shows it.
type task struct {
	pid, parent int
	state       string
	line        string // its command line
}

// tasks returns all processes that can be seen.
func tasks() []task {
	var all []task
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // The pattern is right.
	for _, file := range files {
		text, err := os.ReadFile(file) //nolint:gosec // It is below /proc.
		if err != nil {
			continue // It has ended meanwhile.
		}
		// pid (name) state parent …; the name may hold anything.
		rest := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(rest) < 2 {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		parent, _ := strconv.Atoi(rest[1])
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		all = append(all, task{pid, parent, rest[0], strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))})
	}
	return all
}

// below returns the living descendants of the process.
func below(pid int, all []task) []task {
	var found []task
	for _, t := range all {
		if t.parent == pid && t.state != "Z" {
			found = append(append(found, t), below(t.pid, all)...)
		}
	}
	return found
}

// browsers returns the main processes of the browsers below the worker, and
// renderers their renderers.
func browsers(all []task) []task {
	return slices.DeleteFunc(all, func(t task) bool {
		return !strings.Contains(t.line, "--remote-debugging-pipe") || strings.Contains(t.line, "--type=")
	})
}

func renderers(all []task) []task {
	return slices.DeleteFunc(all, func(t task) bool { return !strings.Contains(t.line, "--type=renderer") })
}

// orphans reaps the dead that were left to us, and returns the living ones whose
// parent is gone, but for those that are to live.
func orphans(keep ...*process) []task {
	own := map[int]bool{}
	for _, p := range keep {
		own[p.pid()] = true
	}
	var left []task
	for _, t := range tasks() {
		switch {
		case t.parent != os.Getpid() || own[t.pid]:
		case t.state == "Z":
			_, _ = syscall.Wait4(t.pid, nil, syscall.WNOHANG, nil)
		default:
			left = append(left, t)
		}
	}
	return left
}

// hit kills the process, unless it has ended meanwhile.
func hit(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("killing the process %d: %w", pid, err)
	}
	return nil
}
