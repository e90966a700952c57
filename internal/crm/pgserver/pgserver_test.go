package pgserver

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startServer starts a server; the test is skipped where none is installed.
func startServer(t *testing.T) *Server {
	t.Helper()
	s, err := Start(t.Context())
	if errors.Is(err, ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask has the server answer, as soon as it takes connections.
func ask(t *testing.T, s *Server, query string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		out, err := exec.CommandContext(ctx, filepath.Join(s.binaries, "psql"), "-Atc", query, s.Address()).CombinedOutput()
		if err == nil {
			return strings.TrimSpace(string(out))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("no answer: %v: %s", err, out)
		}
	}
}

// TestServer has a server that flushes what it commits, on loopback alone, and
// leaves nothing behind.
func TestServer(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for query, want := range map[string]string{
		"SHOW fsync": "on", "SHOW synchronous_commit": "on", "SHOW listen_addresses": "127.0.0.1", "SELECT current_user": "parley",
	} {
		if got := ask(t, s, query); got != want {
			t.Errorf("%s says %s, want %s", query, got, want)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is there after the end: %v", err)
	}
	if s.process.ProcessState == nil {
		t.Error("the process was not waited for")
	}
}

// TestServersAreApart has two at once.
func TestServersAreApart(t *testing.T) {
	t.Parallel()
	one, other := startServer(t), startServer(t)
	if one.Address() == other.Address() || one.dir == other.dir {
		t.Errorf("two servers share %s or %s", one.Address(), one.dir)
	}
	for _, s := range []*Server{one, other} {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestNoServer tells what is missing, and leaves nothing behind.
func TestNoServer(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := Start(ctx); s != nil || err == nil {
		t.Errorf("starting when it is over: %v, %v", s, err)
	}
}
