package visitor_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/visitor"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

// crawl opens the n-th visitor's socket, whose own buffer is small.
func crawl(address string, n int) (net.Conn, *bufio.Reader, error) {
	r := &lightPage{crowd: &lightCrowd{}, n: n}
	conn, in, err := r.dial(address)
	if err != nil {
		return nil, nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		err = tcp.SetReadBuffer(8 << 10)
	}
	if err == nil {
		_, _, err = readFrame(in) // the welcome
	}
	return conn, in, err
}

// trickle reads 100 bytes a second until the connection or ctx ends.
func trickle(ctx context.Context, in *bufio.Reader) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if _, err := io.CopyN(io.Discard, in, 100); err != nil {
			return
		}
	}
}

// G6: many who read 100 bytes a second, and are called again and again. Each costs
// the gateway little, whatever the system's own buffers take, and each loses his
// connection in the end.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	readers := bustest.Count(8, 500)
	b := bustest.Open(t, bus.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	c := spawn(t, b.URL(), "127.0.0.1:0")
	before := c.use()
	ctx, stop := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	defer callers.Wait()
	defer stop()
	for n := range readers {
		conn, in, err := crawl(c.address, n)
		must(t, err)
		defer func() { _ = conn.Close() }() // Before the wait.
		callers.Go(func() { trickle(ctx, in) })
	}
	large := strings.Repeat("x", 16<<10)
	each := bustest.Count(4, 1) // callers, so that it is soon done
	for i := range each * readers {
		n := i / each
		callers.Go(func() { callUntilGone(ctx, b, sessionOf("shop", anonymous(n)), large) })
	}
	most, u := uint64(0), use{}
	bustest.Until(t, "all are closed", func() bool {
		u = c.use()
		if u.Connections == readers {
			most = max(most, (u.Heap+u.Stack-min(u.Heap+u.Stack, before.Heap+before.Stack))/uint64(readers))
		}
		return u.Connections == 0
	})
	if most > uint64(bustest.Count(1<<20, 96<<10)) { // A few bear alone what all share.
		t.Errorf("a slow reader costs %d bytes", most)
	}
	// Whoever was called too seldom, on a machine that is busy, was silent for too long.
	if silent := u.Stats.Ends[wire.CloseGoing]; u.Stats.Slow+silent < int64(readers) || u.Stats.Slow == 0 {
		t.Errorf("%d slow readers: %+v", readers, u.Stats)
	}
	t.Logf("%d readers at 100 B/s: %d closed as slow, %d bytes each at most", readers, u.Stats.Slow, most)
}

// callUntilGone calls the visitor's page again and again until he has gone. He may
// not be there yet.
func callUntilGone(ctx context.Context, b *bus.Bus, session, large string) {
	seen := false
	for ctx.Err() == nil {
		_, there, err := visitor.Find(ctx, b, "shop", session)
		switch {
		case err == nil && !there && seen:
			return
		case err != nil || !there:
			continue
		}
		seen = true
		if tab, err := visitor.Open(ctx, b, "shop", session); err == nil {
			call, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
			_ = tab.Call(call, "look.at", map[string]any{"arg": large}, nil) // Nobody answers.
			cancel()
			_ = tab.Close(ctx) // It cannot fail.
		}
	}
}

// A single frame may be larger than what may wait, also right behind a small one.
func TestLargeCallPasses(t *testing.T) {
	t.Parallel()
	r := setup(t, func(o *visitor.Options) { o.Limits.Output = 8 << 10 })
	p := r.connect(t, hello("one"), func(c wire.Call) string { return fmt.Sprintf(`{"ok":true,"value":%d}`, len(c.JSON)) })
	tab, err := visitor.Open(t.Context(), r.bus, "shop", p.welcome.Session)
	must(t, err)
	defer func() { must(t, tab.Close(context.WithoutCancel(t.Context()))) }()
	for _, size := range []int{1, 8 << 10, 100 << 10, 1, 100 << 10, 100 << 10, 1} {
		var heard int
		must(t, tab.Call(t.Context(), "look.at", map[string]any{"arg": strings.Repeat("x", size)}, &heard))
		if heard < size {
			t.Errorf("a call of %d bytes: %d were heard", size, heard)
		}
	}
}
