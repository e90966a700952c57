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

// crawl opens the n-th visitor's socket, whose own buffer is small, and reads it
// at 100 bytes a second from the welcome on.
func crawl(address string, n int) (net.Conn, error) {
	r := &lightPage{crowd: &lightCrowd{}, n: n}
	r.crowd.now.Address = address
	conn, in, err := r.dial(address)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		err = tcp.SetReadBuffer(8 << 10)
	}
	if err == nil {
		_, _, err = readFrame(in)
	}
	go trickle(in)
	return conn, err
}

// trickle reads 100 bytes a second until the connection ends.
func trickle(in *bufio.Reader) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for range tick.C {
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
	for n := range readers {
		conn, err := crawl(c.address, n)
		must(t, err)
		t.Cleanup(func() { _ = conn.Close() })
	}
	ctx, stop := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	defer callers.Wait()
	defer stop()
	large := strings.Repeat("x", 16<<10)
	for i := range 4 * readers {
		n := i / 4
		callers.Go(func() { // Until he is gone.
			tab, err := visitor.Open(ctx, b, "shop", sessionOf("shop", anonymous(n)))
			for err == nil && ctx.Err() == nil {
				call, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
				_ = tab.Call(call, "look.at", map[string]any{"arg": large}, nil)
				cancel()
				_, there, err := visitor.Find(ctx, b, "shop", sessionOf("shop", anonymous(n)))
				if err == nil && !there {
					break
				}
			}
			if tab != nil {
				_ = tab.Close(context.WithoutCancel(ctx))
			}
		})
	}
	most, u := uint64(0), use{}
	bustest.Until(t, "all are closed", func() bool {
		u = c.use()
		if u.Connections > readers/2 {
			most = max(most, (u.Heap+u.Stack-min(u.Heap+u.Stack, before.Heap+before.Stack))/uint64(u.Connections))
		}
		return u.Connections == 0
	})
	if most > uint64(bustest.Count(1<<20, 64<<10)) { // A few bear alone what all share.
		t.Errorf("a slow reader costs %d bytes", most)
	}
	if u.Stats.Slow != int64(readers) {
		t.Errorf("%d slow readers: %+v", readers, u.Stats)
	}
	t.Logf("%d readers at 100 B/s: %d closed as slow, %d bytes each at most", readers, u.Stats.Slow, most)
}

// A single frame may be larger than what may wait, for it waits for nobody.
func TestLargeCallPasses(t *testing.T) {
	t.Parallel()
	r := setup(t, func(o *visitor.Options) { o.Limits.Output = 8 << 10 })
	p := r.connect(t, hello("one"), func(c wire.Call) string { return fmt.Sprintf(`{"ok":true,"value":%d}`, len(c.JSON)) })
	tab, err := visitor.Open(t.Context(), r.bus, "shop", p.welcome.Session)
	must(t, err)
	defer func() { must(t, tab.Close(context.WithoutCancel(t.Context()))) }()
	for _, size := range []int{1, 8 << 10, 100 << 10} {
		var heard int
		must(t, tab.Call(t.Context(), "look.at", map[string]any{"arg": strings.Repeat("x", size)}, &heard))
		if heard < size {
			t.Errorf("a call of %d bytes: %d were heard", size, heard)
		}
	}
}
