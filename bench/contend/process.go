package contend

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// patience is how long a contender may stay quiet after the end was asked for.
const patience = 20 * time.Second

// Process is a contender as the runner sees it.
type Process struct {
	cmd     *exec.Cmd
	orders  *json.Encoder
	reports *json.Decoder
	input   io.WriteCloser
	errors  tail
}

// nobody is the user that browsers run as when we are root: Chromium's sandbox
// does not work for root.
const nobody = 65534

// Start runs the command as a contender, and waits until it is ready. The
// context's end kills it and all that it started. A humble contender does not
// run as root: then its browser keeps its sandbox, as ours does by itself.
func Start(ctx context.Context, command []string, s Setup, humble bool) (*Process, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // the commands are the suite's own.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if humble && os.Getuid() == 0 {
		if err := os.Chown(s.Dir, nobody, nobody); err != nil {
			return nil, fmt.Errorf("giving the contender its folder: %w", err)
		}
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		cmd.Env = append(cmd.Environ(), "HOME="+s.Dir)
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	p := &Process{cmd: cmd}
	cmd.Stderr = &p.errors
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("opening the contender's input: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("opening the contender's output: %w", err)
	}
	p.input, p.orders, p.reports = in, json.NewEncoder(in), json.NewDecoder(out)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", command[0], err)
	}
	if _, err := p.ask(s); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Cost is the CPU time that something took.
type Cost struct {
	// Client is the contender's own process, Browser all that it started.
	Client, Browser time.Duration
}

// Prepare has the contender prepare a round.
func (p *Process) Prepare(o Order) error {
	o.Prepare = true
	_, err := p.ask(o)
	return err
}

// Clear has the contender put away what the round has left.
func (p *Process) Clear(o Order) error {
	o.Clear = true
	_, err := p.ask(o)
	return err
}

// Memory returns the memory of all that the contender has started, in bytes, as
// soon as they are quiet.
func (p *Process) Memory(ctx context.Context) (int64, error) {
	if _, err := settled(ctx, p.cmd.Process.Pid); err != nil {
		return 0, err
	}
	return memoryBelow(p.cmd.Process.Pid)
}

// Round has the contender do a round, and says what it cost. It measures from
// quiet to quiet: what a round leaves to be done after its end is part of it.
func (p *Process) Round(ctx context.Context, o Order) (Report, Cost, error) {
	before, err := settled(ctx, p.cmd.Process.Pid)
	if err != nil {
		return Report{}, Cost{}, err
	}
	report, err := p.ask(o)
	if err != nil {
		return Report{}, Cost{}, err
	}
	if report.Jobs != o.Jobs {
		return Report{}, Cost{}, fmt.Errorf("%d of %d jobs were done", report.Jobs, o.Jobs)
	}
	after, err := settled(ctx, p.cmd.Process.Pid)
	if err != nil {
		return Report{}, Cost{}, err
	}
	return report, Cost{Client: after.Client - before.Client, Browser: after.Browser - before.Browser}, nil
}

// Close asks the contender to end, and waits for it. What it leaves behind is
// killed.
func (p *Process) Close() error {
	_, _ = io.WriteString(p.input, "{}\n") // A contender that is gone needs no order.
	_ = p.input.Close()
	late := time.AfterFunc(patience, func() { _ = p.cmd.Cancel() })
	defer late.Stop()
	err := p.cmd.Wait()
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	if err != nil {
		return fmt.Errorf("the contender ended badly: %w%s", err, p.errors.text())
	}
	return nil
}

// ask sends one line and reads the answer.
func (p *Process) ask(line any) (Report, error) {
	var r Report
	if err := p.orders.Encode(line); err != nil {
		return r, fmt.Errorf("sending an order: %w%s", err, p.errors.text())
	}
	if err := p.reports.Decode(&r); err != nil {
		return r, fmt.Errorf("reading the report: %w%s", err, p.errors.text())
	}
	if r.Error != "" {
		return r, fmt.Errorf("the contender: %s%s", r.Error, p.errors.text())
	}
	return r, nil
}

// tail keeps the end of what a contender says on its error output. It is
// written by one goroutine of exec, and read after the process has failed.
type tail struct{ kept bytes.Buffer }

// Write keeps the last lines.
func (t *tail) Write(b []byte) (int, error) {
	const room = 4096
	t.kept.Write(b)
	if over := t.kept.Len() - room; over > 0 {
		t.kept.Next(over)
	}
	return len(b), nil
}

func (t *tail) text() string {
	if t.kept.Len() == 0 {
		return ""
	}
	return "; it said:\n" + t.kept.String()
}
