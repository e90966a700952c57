package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/parley-chat/parley/internal/vault"
)

// config is that of a worker with a vault, and with no browser.
const config = `
bus: {dir: data, listen: "127.0.0.1:0"}
vault: {key: "file:%s/vault.key"}
worker: {roles: [crm]}
crm: {targets: {local: {type: sqlite, path: crm.db}}}
sites: {shop: {app_id: s0a1b2c3d-0000-4000-8000-000000000001, domains: [shop.example.test]}}
`

// keyed writes a master key into the directory, and returns what is secret in it.
func keyed(t *testing.T, dir string) []string {
	t.Helper()
	master, err := vault.NewMaster()
	if err == nil {
		err = vault.WriteMaster(filepath.Join(dir, "vault.key"), master)
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := master.Text()
	if err != nil {
		t.Fatal(err)
	}
	var secrets []string
	for _, field := range strings.FieldsFunc(text.Reveal(), func(r rune) bool { return r == '"' }) {
		if len(field) > 40 && !strings.Contains(field, "type.googleapis") {
			secrets = append(secrets, field)
		}
	}
	if len(secrets) == 0 {
		t.Fatal("there is no secret to look for")
	}
	return secrets
}

// TestTheWorkerLeavesNoDump kills a worker by SIGABRT where core files may be as
// large as they like: it writes none, and the stacks that it prints have no
// secret.
func TestTheWorkerLeavesNoDump(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secrets := keyed(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "parley.yaml"), fmt.Appendf(nil, config, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	worker := exec.CommandContext(context.WithoutCancel(t.Context()), "/bin/sh", "-c", `ulimit -c "$(ulimit -Hc)"; exec worker run`)
	worker.Dir, worker.Env = dir, append(os.Environ(), "GOTRACEBACK=crash")
	out, err := worker.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = worker.Process.Kill() }() // It has ended.
	var said strings.Builder
	limits, lines := "", bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		said.WriteString(lines.Text() + "\n")
		if limits == "" && strings.Contains(lines.Text(), "worker runs") {
			limits = coreLimit(t, worker.Process.Pid)
			if err := worker.Process.Signal(syscall.SIGABRT); err != nil {
				t.Fatal(err)
			}
		}
	}
	err = worker.Wait()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		t.Fatalf("the worker ended with %v:\n%s", err, said.String())
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	files, _ := filepath.Glob(filepath.Join(dir, "core*"))
	if !ok || status.Signal() != syscall.SIGABRT || status.CoreDump() || len(files) != 0 {
		t.Errorf("it ended with %v, a core file %t, and the files %v:\n%s", exit, status.CoreDump(), files, said.String())
	}
	if limits != "0 0" {
		t.Errorf("the limits of core files are %q, want 0 and 0", limits)
	}
	if !strings.Contains(said.String(), "SIGABRT") || strings.Count(said.String(), "goroutine ") < 10 {
		t.Errorf("the stacks of goroutines are missing:\n%s", said.String())
	}
	for _, secret := range secrets {
		if strings.Contains(said.String(), secret) || strings.Contains(said.String(), fmt.Sprintf("%x", secret)) {
			t.Errorf("a secret is in what the worker wrote:\n%s", said.String())
		}
	}
}

// coreLimit returns the soft and the hard limit of the process's core files.
func coreLimit(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Max core file size"); ok {
			return strings.Join(strings.Fields(rest)[:2], " ")
		}
	}
	t.Fatalf("no limit of core files:\n%s", text)
	return ""
}
