package app

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// proc is a worker process.
type proc struct {
	t       *testing.T
	command *exec.Cmd
	ended   chan error
	ready   chan struct{}
	scratch string // of its browsers

	mu  sync.Mutex // guards the fields below
	log strings.Builder
	url string
}

// startWorker starts a worker as the configuration says, and returns when it
// takes work.
func startWorker(t *testing.T, c childConfig) *proc {
	t.Helper()
	child, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return launchProc(t, asWorker+"="+string(child))
}

// startCommand starts the worker's command line, as `worker` with the arguments
// does, and returns when it takes work.
func startCommand(t *testing.T, args ...string) *proc {
	t.Helper()
	return launchProc(t, asCommand+"=1", args...)
}

// launchProc starts this test as another process, with the variable that tells it
// what it is.
func launchProc(t *testing.T, variable string, args ...string) *proc {
	t.Helper()
	p := &proc{t: t, ended: make(chan error, 1), ready: make(chan struct{})}
	p.command = exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], args...)
	p.command.Env = append(os.Environ(), variable)
	out, in := io.Pipe()
	p.command.Stdout, p.command.Stderr = in, in
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go p.read(out)
	go func() {
		err := p.command.Wait()
		_ = in.Close()
		p.ended <- err
	}()
	t.Cleanup(func() {
		_ = p.command.Process.Kill()
		if t.Failed() {
			t.Logf("the worker process said:\n%s", p.said())
		}
	})
	select {
	case <-p.ready:
	case <-time.After(time.Minute):
		t.Fatal("the worker process did not start")
	}
	return p
}

// read keeps what the process says, and notes that it is ready.
func (p *proc) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	for once := false; lines.Scan(); {
		p.mu.Lock()
		p.log.WriteString(lines.Text() + "\n")
		if rest, ok := strings.CutPrefix(lines.Text(), "started NATS with JetStream "); ok {
			p.url = rest
		}
		p.mu.Unlock()
		if !once && strings.Contains(lines.Text(), "worker runs") {
			once = true
			close(p.ready)
		}
	}
}

// said returns what the process has said so far.
func (p *proc) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// end sends the signal, and returns the exit code when the process has ended.
func (p *proc) end(signal syscall.Signal) int {
	p.t.Helper()
	if err := p.command.Process.Signal(signal); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.ended: //nolint:errcheck // the exit code tells.
	case <-time.After(time.Minute):
		p.t.Fatalf("the process did not end after %s", signal)
	}
	return p.command.ProcessState.ExitCode()
}
