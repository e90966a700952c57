package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shell starts a script as a process of ours.
func shell(t *testing.T, script string) *process {
	t.Helper()
	p, err := launch(t.Context(), command{
		name: "script", path: "/bin/sh", args: []string{"-c", script}, ready: "go", log: filepath.Join(t.TempDir(), "log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		<-p.ended
	})
	return p
}

func TestAProcessSaysThatItIsReady(t *testing.T) {
	t.Parallel()
	p := shell(t, "echo more; echo go; exec sleep 60")
	if err := p.begun(t.Context(), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if !p.alive() {
		t.Error("it has ended")
	}
	if err := p.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.wait(t.Context()); err != nil || p.alive() {
		t.Errorf("it lives: %v", err)
	}
}

func TestAProcessThatDoesNotStart(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]string{"exit 3": "exit status 3", "exec sleep 60": "was not ready within"} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			err := shell(t, script).begun(t.Context(), 500*time.Millisecond)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q in it", err, want)
			}
		})
	}
	_, err := launch(t.Context(), command{name: "nothing", path: "/does/not/exist", log: filepath.Join(t.TempDir(), "log")})
	if err == nil || !strings.Contains(err.Error(), "starting nothing") {
		t.Errorf("got %v", err)
	}
}

func TestWaitingHasAnEnd(t *testing.T) {
	t.Parallel()
	p := shell(t, "exec sleep 60")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.wait(ctx); err == nil || !p.alive() {
		t.Errorf("got %v", err)
	}
}

// TestTheTreeBelowAProcess finds grandchildren, and tells browsers from
// renderers by their command lines.
func TestTheTreeBelowAProcess(t *testing.T) {
	t.Parallel()
	p := shell(t, `sh -c 'echo go; sleep 60; : --remote-debugging-pipe' & sh -c 'sleep 60; : --type=renderer' & wait`)
	if err := p.begun(t.Context(), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	var found []task
	err := until(t.Context(), 10*time.Second, func(context.Context) bool {
		found = below(p.pid(), tasks())
		return len(found) == 4
	})
	if err != nil {
		t.Fatalf("found %+v", found)
	}
	if n := len(browsers(below(p.pid(), tasks()))); n != 1 {
		t.Errorf("%d browsers", n)
	}
	if n := len(renderers(below(p.pid(), tasks()))); n != 1 {
		t.Errorf("%d renderers", n)
	}
	for _, one := range found {
		if err := hit(one.pid); err != nil {
			t.Error(err)
		}
	}
	if err := p.wait(t.Context()); err != nil {
		t.Error(err)
	}
	if err := hit(p.pid()); err != nil {
		t.Errorf("killing what has ended: %v", err)
	}
}

// TestOrphansAreFound leaves a grandchild behind. It is adopted, found, and not
// found any more when it is dead.
//
//nolint:paralleltest // It looks at all children of this process.
func TestOrphansAreFound(t *testing.T) {
	if err := adopt(); err != nil {
		t.Fatal(err)
	}
	p := shell(t, "sleep 61 & echo go; exec sleep 62")
	if err := p.begun(t.Context(), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if left := orphans(p); len(left) != 0 {
		t.Errorf("found %+v, whose parent lives", left)
	}
	p.kill()
	<-p.ended
	left := orphans()
	if len(left) != 1 || !strings.Contains(left[0].line, "sleep 61") || left[0].parent != os.Getpid() {
		t.Fatalf("found %+v, want the child of the dead", left)
	}
	if err := hit(left[0].pid); err != nil {
		t.Fatal(err)
	}
	err := until(t.Context(), 10*time.Second, func(context.Context) bool { return len(orphans()) == 0 })
	if err != nil {
		t.Error(err)
	}
	for _, one := range tasks() {
		if one.parent == os.Getpid() && one.state == "Z" {
			t.Errorf("the dead process %d was not reaped", one.pid)
		}
	}
}
