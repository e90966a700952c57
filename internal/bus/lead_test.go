package bus_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// campaign calls Lead in the background. What leads is told on the channel with
// its term, and ends with the function.
func campaign(t *testing.T, b *bus.Bus) (led <-chan uint64, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	terms, ended := make(chan uint64, 10), make(chan error, 1)
	go func() {
		ended <- b.Lead(ctx, "test", func(ctx context.Context, term uint64) error {
			terms <- term
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Lead: %v", err)
		}
	})
	t.Cleanup(stop)
	return terms, stop
}

func TestOneLeads(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	first, stop := campaign(t, s.Bus())
	before := receive(t, first, "the first leader")
	second, _ := campaign(t, s.Bus())
	select {
	case <-second:
		t.Fatal("two lead")
	case <-time.After(700 * time.Millisecond):
	}
	left := time.Now()
	stop()
	if term := receive(t, second, "the second leader"); term <= before {
		t.Errorf("the terms are %d and %d", before, term)
	}
	if took := time.Since(left); took > 10*time.Second {
		t.Errorf("the clean change took %s", took)
	}
}

func TestALeaderThatReturnsIsDone(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	boom := errors.New("boom")
	for _, want := range []error{nil, boom} {
		err := b.Lead(t.Context(), "test", func(context.Context, uint64) error { return want })
		if !errors.Is(err, want) {
			t.Errorf("Lead returned %v, want %v", err, want)
		}
	}
	wantReason(t, b.Lead(t.Context(), "not a token", nil), fault.Malformed)
}

// A leader whose sign of life does not arrive stops before another one leads,
// and leads again when its turn comes.
func TestALeaderThatIsCutOffIsDeposed(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	s.Bus()
	proxy := s.Proxy()
	far := bustest.Connect(t, bus.Options{URL: proxy.URL()})
	type span struct{ from, to time.Time }
	var mu sync.Mutex
	var spans []span
	terms := make(chan uint64, 10)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	lead := func(b *bus.Bus) {
		ended <- b.Lead(ctx, "test", func(ctx context.Context, term uint64) error {
			from := time.Now()
			terms <- term
			<-ctx.Done()
			mu.Lock()
			defer mu.Unlock()
			spans = append(spans, span{from, time.Now()})
			return context.Cause(ctx)
		})
	}
	go lead(far)
	first := receive(t, terms, "the first leader")
	go lead(bustest.Connect(t, bus.Options{URL: s.URL()}))
	proxy.Block()
	if second := receive(t, terms, "the second leader"); second <= first {
		t.Errorf("the terms are %d and %d", first, second)
	}
	proxy.Mend()
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			t.Errorf("Lead: %v", err)
		}
	}
	if len(spans) != 2 || spans[0].to.After(spans[1].from) {
		t.Errorf("two led at the same time: %v", spans)
	}
}

// TestLeaderProcess is a leader that TestAKilledLeaderIsFollowed kills.
func TestLeaderProcess(t *testing.T) { //nolint:paralleltest // It is a process of its own.
	if flag.NArg() != 1 {
		t.Skip("it is run by another test")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	b := bustest.Connect(t, bus.Options{URL: flag.Arg(0)})
	err := b.Lead(ctx, "test", func(ctx context.Context, term uint64) error {
		at := uint64(0)
		if _, err := b.Commit(ctx, []bus.FlowMsg{{Subject: event.PositionSubject, Data: []byte(strconv.FormatUint(term, 10)), At: &at}}); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	})
	if err != nil {
		t.Errorf("Lead: %v", err)
	}
}

func TestAKilledLeaderIsFollowed(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	process := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLeaderProcess$", s.URL())
	process.Stderr = t.Output()
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	bustest.Until(t, "the process leads", func() bool {
		_, ok, err := b.Last(t.Context(), event.PositionSubject)
		return err == nil && ok
	})
	led, _ := campaign(t, b)
	if err := waitFor(t.Context(), 300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	if err := process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	receive(t, led, "the next leader")
	took := time.Since(killed)
	t.Logf("taken over after %s", took.Round(time.Millisecond))
	if took > 15*time.Second {
		t.Errorf("the change took %s", took)
	}
	_ = process.Wait() // It was killed, and says so.
}
