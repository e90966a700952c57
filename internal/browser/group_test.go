package browser

import (
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"
)

// A process that has closed its output has not ended yet: the wait must not
// believe it. The group has a second process, as a browser has many.
func TestGroupWaitsForTheLastProcess(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("/bin/sh", "-c", `sleep 100 >&- 2>&- & exec sleep 100 >&- 2>&-`)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g := group(cmd.Process.Pid)
	t.Cleanup(func() { _ = syscall.Kill(-int(g), syscall.SIGKILL) })
	if left := g.wait(50 * time.Millisecond); !slices.Contains(left, int(g)) {
		t.Fatalf("the wait ended with %v, and the group runs", left)
	}
	ended := make(chan []int, 1)
	go func() { ended <- g.wait(20 * time.Second) }()
	if err := syscall.Kill(-int(g), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if left := <-ended; len(left) > 0 {
		t.Errorf("%v are left", left)
	}
	// Nobody has collected them so far: they have ended even so.
	if left := g.living(); len(left) > 0 {
		t.Errorf("%v run", left)
	}
	_ = cmd.Wait()
	if left := g.wait(time.Hour); len(left) > 0 {
		t.Errorf("a group that does not exist has %v", left)
	}
}

func TestAlive(t *testing.T) {
	t.Parallel()
	if !alive(syscall.Getpid()) {
		t.Error("this test does not run")
	}
	if alive(1 << 30) {
		t.Error("a process that does not exist runs")
	}
}
