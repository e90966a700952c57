package bus_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
)

// TestWorkersComeGoAndDie has worker processes join, be killed, be paused and
// leave, while commands come. The pages' ledger decides: nothing is lost, done
// twice, or done out of order.
func TestWorkersComeGoAndDie(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	l := newLedger(t)
	wait := func(d time.Duration) {
		t.Helper()
		if err := waitFor(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	settled := func(workers int) {
		t.Helper()
		bustest.Until(t, "the partitions are shared", func() bool { return shared(t, b, workers) })
	}
	one := startProcess(t, s.URL(), 1, l, "one")
	settled(1)
	load := startLoad(t, b, 200, 500)
	wait(time.Second)

	joined := time.Now()
	two, three := startProcess(t, s.URL(), 1, l, "two"), startProcess(t, s.URL(), 1, l, "three")
	settled(3)
	wait(time.Second)

	killed := time.Now()
	two.tell(syscall.SIGKILL)
	settled(2)
	wait(time.Second)

	four := startProcess(t, s.URL(), 1, l, "four")
	settled(3)
	wait(500 * time.Millisecond)
	paused := time.Now()
	three.tell(syscall.SIGSTOP)
	wait(5 * time.Second)
	three.tell(syscall.SIGCONT)
	settled(3)
	wait(500 * time.Millisecond)

	left := time.Now()
	one.tell(syscall.SIGTERM)
	receive(t, one.gone, "the end of the worker")
	settled(2)
	wait(500 * time.Millisecond)

	sent, at := load.stop()
	total := 0
	for _, ids := range sent {
		total += len(ids)
	}
	bustest.Until(t, "the queue is empty", func() bool { return s.Messages("CMD") == 0 && l.count() >= total })
	for _, p := range []*process{three, four} {
		p.tell(syscall.SIGTERM)
		receive(t, p.gone, "the end of the worker")
	}
	l.verdict(t, sent)
	if len(l.workers) != 4 {
		t.Errorf("who acted: %v", l.workers)
	}
	// Below the life of a key, so that a slow way shows; on a quiet machine it is a
	// tenth of that.
	within(t, "joined", recovery(l, at, "one", joined), 5*time.Second) // It includes the start of a process.
	within(t, "kill -9", recovery(l, at, "two", killed), 1900*time.Millisecond)
	within(t, "paused 5 s", recovery(l, at, "three", paused), 4*time.Second)
	within(t, "SIGTERM", recovery(l, at, "one", left), 1500*time.Millisecond)
}

// shared reports whether so many workers own all partitions, about as many each.
func shared(t testing.TB, b *bus.Bus, workers int) bool {
	t.Helper()
	all, err := b.Members(context.WithoutCancel(t.Context()))
	if err != nil || len(all) != workers {
		return false
	}
	owned := 0
	for _, m := range all {
		owned += len(m.Partitions)
		if len(m.Partitions) > (64+workers-1)/workers {
			return false
		}
	}
	return owned == 64
}
