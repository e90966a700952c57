package bustest

import (
	"context"
	"flag"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/parley-chat/parley/internal/bus"
)

// Process is Parley's embedded NATS server in a process of its own, which can
// be killed in the middle of anything, and started again with the same streams
// and the same port.
type Process struct {
	t          testing.TB
	dir        string
	address    string
	durability string
	cmd        *exec.Cmd
	gone       chan struct{}
}

// ServeProcess starts a server process. The durability is one of the bus, or ""
// for its default. The test's package must have
//
//	func TestNATSProcess(t *testing.T) { bustest.NATSProcess(t) }
//
// because the process is the test binary itself. It ends with the test.
func ServeProcess(t testing.TB, durability string) *Process {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // It is closed at once.
	if err != nil {
		t.Fatalf("looking for a free port: %v", err)
	}
	p := &Process{t: t, dir: t.TempDir(), address: listener.Addr().String(), durability: durability}
	if err := listener.Close(); err != nil {
		t.Fatalf("freeing the port: %v", err)
	}
	p.Start()
	t.Cleanup(p.Kill)
	return p
}

// URL returns where clients reach the server.
func (p *Process) URL() string { return "nats://" + p.address }

// Start starts the server, and returns when it answers.
func (p *Process) Start() {
	p.t.Helper()
	p.cmd = exec.CommandContext(context.WithoutCancel(p.t.Context()), os.Args[0], //nolint:gosec // It is this test.
		"-test.run=^TestNATSProcess$", "-test.timeout=300s", p.dir, p.address, p.durability)
	p.cmd.Stderr = p.t.Output()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatalf("starting the NATS process: %v", err)
	}
	cmd, gone := p.cmd, make(chan struct{})
	p.gone = gone
	go func() { defer close(gone); _ = cmd.Wait() }() // It is killed, and says so.
	Until(p.t, "the NATS process answers", func() bool {
		conn, err := nats.Connect(p.URL(), nats.Timeout(time.Second))
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// Kill ends the process as kill -9 does, and returns when it is gone. It may be
// called twice.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // It fails when the process is gone.
	<-p.gone
}

// NATSProcess is what ServeProcess starts. In any other run of the tests it is
// skipped.
func NATSProcess(t *testing.T) {
	t.Helper()
	if flag.NArg() != 3 {
		t.Skip("it is run by another test")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	Connect(t, bus.Options{Dir: flag.Arg(0), Listen: flag.Arg(1), Durability: flag.Arg(2)})
	<-ctx.Done()
}
