package vault_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parley-chat/parley/internal/standin/oauth"
	"github.com/parley-chat/parley/internal/vault"
)

// crash is a process that uses a token and dies by SIGABRT.
type crash struct {
	said  string   // all that it wrote, with the stacks of its goroutines
	cores [][]byte // the core files
	dump  bool     // the kernel says that it wrote one
}

// crashed starts a process that does the job with the token of a connection, and
// kills it while it holds the token. Core files may be as large as they like.
func (w *world) crashed(do string, name vault.Name) crash {
	w.t.Helper()
	dir := w.t.TempDir()
	child, lines := w.spawnIn(dir, job{Do: do, Keys: w.keys(), Names: []vault.Name{name}})
	said := &sink{}
	for lines.Scan() {
		_, _ = said.Write(append(lines.Bytes(), '\n'))
		if lines.Text() == "holding" {
			if err := child.Process.Signal(syscall.SIGABRT); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	_ = child.Wait() // It was killed.
	status, ok := child.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() && status.ExitStatus() != 2 {
		w.t.Fatalf("the process ended with %v:\n%s", child.ProcessState, said)
	}
	c := crash{said: said.String(), dump: status.CoreDump()}
	files, err := filepath.Glob(filepath.Join(dir, "core*"))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			w.t.Fatal(err)
		}
		c.cores = append(c.cores, text)
	}
	return c
}

// spawnIn starts a process in the directory, with core files allowed and all
// that it says on one pipe.
func (w *world) spawnIn(dir string, j job) (*exec.Cmd, *bufio.Scanner) {
	w.t.Helper()
	text := w.filled(j)
	child := exec.CommandContext(context.WithoutCancel(w.t.Context()), "/bin/sh", "-c", `ulimit -c "$(ulimit -Hc)"; exec "$0" "$@"`,
		executable(w.t), "-test.run=^TestChild$", "-test.timeout=60s", text)
	child.Dir, child.Env = dir, append(os.Environ(), "GOTRACEBACK=crash")
	read, write, err := os.Pipe()
	if err != nil {
		w.t.Fatal(err)
	}
	child.Stdout, child.Stderr = write, write
	if err := child.Start(); err != nil {
		w.t.Fatal(err)
	}
	_ = write.Close() // The child has it.
	w.t.Cleanup(func() {
		_ = child.Process.Kill() // It has ended.
		_ = read.Close()
	})
	return child, bufio.NewScanner(read)
}

func executable(t testing.TB) string {
	t.Helper()
	file, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// found returns how many of the secrets are in the text, in plain or encoded as
// one would print bytes.
func found(text []byte, secrets ...string) int {
	n := 0
	for _, s := range secrets {
		for _, form := range []string{s, fmt.Sprintf("%x", s), base64.StdEncoding.EncodeToString([]byte(s))} {
			if bytes.Contains(text, []byte(form)) {
				n++
				break
			}
		}
	}
	return n
}

// TestNoSecretInADump has processes die by SIGABRT while they hold a secret: what
// the runtime prints then, with the stacks of all goroutines, has none, and when
// the process has called NoDumps there is no core file. Beside it one that has
// not called it: its core file has the secret, which proves that this search
// would find one, and that nothing less would do.
func TestNoSecretInADump(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{})
	name := vault.Name{Provider: oauth.BotStar}.Filled()
	secret := w.vendor.Issue()
	if _, err := w.vault.PutToken(t.Context(), name, vault.NewSecret(secret), time.Time{}); err != nil {
		t.Fatal(err)
	}
	kept := w.crashed("hold-hidden", name)
	if kept.dump || len(kept.cores) != 0 {
		t.Errorf("the kernel wrote a core file: %t; there are %d", kept.dump, len(kept.cores))
	}
	open := w.crashed("hold", name)
	for what, c := range map[string]crash{"with NoDumps": kept, "without": open} {
		if n := found([]byte(c.said), secret); n != 0 {
			t.Errorf("%s: the secret is in what the process wrote:\n%s", what, c.said)
		}
		if !strings.Contains(c.said, "SIGABRT") || strings.Count(c.said, "goroutine ") < 3 {
			t.Errorf("%s: the stacks of goroutines are missing:\n%s", what, c.said)
		}
	}
	if len(open.cores) == 0 {
		t.Skipf("no core file to look into (the kernel says that it wrote one: %t): %s", open.dump, whyNoCore(t))
	}
	n := 0
	for _, core := range open.cores {
		n += found(core, secret)
		t.Logf("the core file of a process without NoDumps has %d bytes, and the secret: %d", len(core), found(core, secret))
	}
	if n == 0 {
		t.Error("the secret is not in the core file of the process that holds it, so the search proves nothing")
	}
}

// whyNoCore says why this machine writes no core files.
func whyNoCore(t *testing.T) string {
	t.Helper()
	pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern")
	if err != nil {
		return err.Error()
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("core_pattern is %q, and the hard limit of core files %d", strings.TrimSpace(string(pattern)), limit.Max)
}
