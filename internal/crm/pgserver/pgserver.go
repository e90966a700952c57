// Package pgserver runs a real server of PostgreSQL in a process of its own, for
// tests and benchmarks. Its data are gone with it.
package pgserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// ErrMissing says that no server can be run here; its text says why.
var ErrMissing = errors.New("PostgreSQL cannot be run: scripts/postgres.sh installs it from Debian's packages")

// Server is a running server. Close it.
type Server struct {
	binaries, dir string
	attributes    *syscall.SysProcAttr
	port          uint16
	process       *exec.Cmd
}

// Start starts a server on a directory of its own. It writes to disk as
// PostgreSQL does by default: a commit is flushed. It may not take connections
// yet when Start returns. A server does not run as root: it gets the package's
// user then.
func Start(ctx context.Context) (_ *Server, err error) {
	s := &Server{attributes: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}}
	if s.binaries, err = binaries(); err != nil {
		return nil, err
	}
	// The path of a socket is short, and another user owns it.
	if s.dir, err = os.MkdirTemp("", "parley-pg-"); err != nil {
		return nil, fmt.Errorf("making the server's directory: %w", err)
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// binaries returns the directory of the programs of Debian's package.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", ErrMissing
	}
	return filepath.Dir(slices.Max(found)), nil
}

// start makes the data and starts the process.
func (s *Server) start(ctx context.Context) (err error) {
	if err = s.humble(); err != nil {
		return err
	}
	if err = s.initialise(ctx); err != nil {
		return err
	}
	if s.port, err = freePort(ctx); err != nil {
		return err
	}
	return s.launch(ctx)
}

// humble gives the directory to the package's user when this is root.
func (s *Server) humble() error {
	if os.Getuid() != 0 {
		return nil
	}
	who, err := user.Lookup("postgres")
	if err != nil {
		return fmt.Errorf("%w: it does not run as root, and there is no user postgres", ErrMissing)
	}
	uid, _ := strconv.ParseUint(who.Uid, 10, 32) // Linux has numbers.
	gid, _ := strconv.ParseUint(who.Gid, 10, 32)
	s.attributes.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(s.dir, int(uid), int(gid)) //nolint:wrapcheck // It names the path.
}

// command is a program of the package, run as the server is.
func (s *Server) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, filepath.Join(s.binaries, name), args...) //nolint:gosec // Our own words.
	c.SysProcAttr, c.Dir = s.attributes, s.dir
	c.Env = []string{"LC_ALL=C", "TZ=UTC"}
	return c
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) initialise(ctx context.Context) error {
	out, err := s.command(ctx, "initdb", "-D", s.data(), "-U", "parley", "-A", "trust", "-E", "UTF8", "--no-sync").CombinedOutput()
	if err != nil {
		return fmt.Errorf("making the database: %w: %s", err, out)
	}
	return nil
}

// freePort returns a port that nobody has now: the server takes it.
func freePort(ctx context.Context) (uint16, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("looking for a port: %w", err)
	}
	port := netip.MustParseAddrPort(l.Addr().String()).Port()
	return port, l.Close() //nolint:wrapcheck // It cannot fail.
}

// launch starts the process, which outlives ctx.
func (s *Server) launch(ctx context.Context) error {
	s.process = s.command(context.WithoutCancel(ctx), "postgres", "-D", s.data(), "-p", strconv.Itoa(int(s.port)), "-h", "127.0.0.1",
		"-k", s.dir, "-c", "max_connections=40")
	if err := s.process.Start(); err != nil {
		return fmt.Errorf("starting the server: %w", err)
	}
	return nil
}

// Address is the URL of the server's database.
func (s *Server) Address() string {
	return fmt.Sprintf("postgres://parley@127.0.0.1:%d/postgres?sslmode=disable", s.port)
}

// Close ends the server and removes its data.
func (s *Server) Close() error {
	if s.process != nil && s.process.Process != nil {
		_ = s.process.Process.Signal(syscall.SIGINT) // It may have ended.
		_ = s.process.Wait()
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("removing the server's directory: %w", err)
	}
	return nil
}

// Program is the file that must be there for a server to be run.
func Program() string {
	dir, err := binaries()
	if err != nil {
		dir = "/usr/lib/postgresql"
	}
	return filepath.Join(dir, "initdb")
}
