package sql_test

import (
	"context"
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
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/crm/sql"
)

// postgres is a server of PostgreSQL in a process of its own.
type postgres struct {
	t       testing.TB
	process *exec.Cmd
	address string
}

// postgresBinaries returns the directory of the programs of Debian's package.
func postgresBinaries() string {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return ""
	}
	return filepath.Dir(slices.Max(found))
}

// startPostgres starts a server on a directory of its own; the test is skipped
// where none is installed. It refuses to run as root, so it gets another user
// then.
func startPostgres(t testing.TB) *postgres {
	t.Helper()
	binaries := postgresBinaries()
	if binaries == "" {
		t.Skip("PostgreSQL is not installed: scripts/postgres.sh installs it from Debian's packages")
	}
	dir, err := os.MkdirTemp("", "parley-pg-") //nolint:usetesting // The path of a socket is short, and another user owns it.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // The server may still write its last words.
	attributes := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Getuid() == 0 {
		who, err := user.Lookup("postgres")
		if err != nil {
			t.Skipf("PostgreSQL does not run as root, and there is no user postgres: %v", err)
		}
		uid, _ := strconv.ParseUint(who.Uid, 10, 32)
		gid, _ := strconv.ParseUint(who.Gid, 10, 32)
		attributes.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, int(uid), int(gid)); err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(dir, "data")
	run := func(name string, args ...string) *exec.Cmd {
		c := exec.Command(filepath.Join(binaries, name), args...)
		c.SysProcAttr, c.Dir = attributes, dir
		c.Env = []string{"LC_ALL=C", "TZ=UTC"}
		return c
	}
	if out, err := run("initdb", "-D", data, "-U", "parley", "-A", "trust", "-E", "UTF8", "--no-sync").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := netip.MustParseAddrPort(l.Addr().String()).Port()
	_ = l.Close() // The server takes the port.
	p := &postgres{t: t, address: fmt.Sprintf("postgres://parley@127.0.0.1:%d/postgres?sslmode=disable", port)}
	p.process = run("postgres", "-D", data, "-p", strconv.Itoa(int(port)), "-h", "127.0.0.1", "-k", dir, "-c", "max_connections=40")
	if err := p.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.process.Process.Signal(syscall.SIGINT) // It may have ended.
		_ = p.process.Wait()
	})
	return p
}

// open returns a connector to the server, with its tables.
func (p *postgres) open() *sql.Connector {
	p.t.Helper()
	c, err := sql.OpenPostgres(p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			p.t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err = c.Migrate(ctx); err == nil {
			return c
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			p.t.Fatal(err)
		}
	}
}
