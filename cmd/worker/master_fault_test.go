package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/vault"
)

// runWorker runs a worker in the directory. One that takes work is told to stop.
func runWorker(t *testing.T, dir string) (served bool, code int, said string) {
	t.Helper()
	worker := exec.CommandContext(context.WithoutCancel(t.Context()), "worker", "run")
	worker.Dir = dir
	out, err := worker.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = worker.Process.Kill() }() // It has ended.
	var text strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		text.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "worker runs") {
			served = true
			if err := worker.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = worker.Wait() // The code says how.
	return served, worker.ProcessState.ExitCode(), text.String()
}

// TestTheWorkerNeedsItsKey is row K3: with another master key than the records of
// its bus are sealed by, or with none, a worker does not start. With the right one
// it does, before and after.
func TestTheWorkerNeedsItsKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secrets := keyed(t, dir)
	key := filepath.Join(dir, "vault.key")
	right, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "parley.yaml"), fmt.Appendf(nil, config, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	if served, code, said := runWorker(t, dir); !served || code != 0 {
		t.Fatalf("with its key it served: %t, and ended with %d:\n%s", served, code, said)
	}
	starts, served := bustest.Count(3, 20), 0
	for n := range starts {
		if err := os.Remove(key); err != nil && n == 0 {
			t.Fatal(err)
		}
		if n%4 != 3 { // Else there is none.
			keyed(t, dir)
		}
		did, code, said := runWorker(t, dir)
		if did {
			served++
		}
		if code != 1 || !strings.Contains(said, "vault.key") || !strings.Contains(said, "fix: ") {
			t.Errorf("start %d ended with %d, and without a word on the key:\n%s", n, code, said)
		}
		for _, secret := range secrets {
			if strings.Contains(said, secret) {
				t.Error("the key is in what the worker wrote")
			}
		}
	}
	if served != 0 {
		t.Errorf("%d of %d workers served with the wrong key", served, starts)
	}
	if err := os.WriteFile(key, right, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := vault.ReadMaster(key); err != nil {
		t.Fatal(err)
	}
	if did, code, said := runWorker(t, dir); !did || code != 0 {
		t.Errorf("with its key again it served: %t, and ended with %d:\n%s", did, code, said)
	}
	t.Logf("%d starts without the right key, %d served", starts, served)
}
