package visitor_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/visitor"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

// TestChild is a gateway in a process of its own, when it is given a job.
func TestChild(t *testing.T) { //nolint:paralleltest // It is alone in its process.
	if flag.NArg() != 1 {
		t.Skip("it is started by other tests")
	}
	if err := childProcess(flag.Arg(0)); err != nil {
		t.Fatal(err)
	}
}

// job is what a process of a test does: hold connections at the address.
type job struct{ URL, Listen string }

// use is what a process uses.
type use struct {
	Heap, Stack, Resident uint64
	Goroutines            int
	Connections           int
	CPU                   time.Duration
}

func childProcess(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	log := slog.New(slog.DiscardHandler)
	b, err := bus.Open(ctx, log, bus.Options{URL: j.URL})
	if err != nil {
		return err
	}
	g, err := visitor.New(log, visitor.Options{
		Bus: b, Sites: sites(), Secret: []byte(secret), Drain: 100 * time.Millisecond,
		Limits: visitor.Limits{Connects: 1e6, PerIP: 1e6, IP: 1e6},
		Publish: func(ctx context.Context, subject string, e event.Envelope) error {
			_, err := b.Publish(ctx, subject, e)
			return err
		},
	})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", j.Listen)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(ctx, l) }()
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(l.Addr().String()); err != nil {
		return err
	}
	for asked := bufio.NewScanner(os.Stdin); asked.Scan(); { // Each line asks for what is used.
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if err := out.Encode(use{m.HeapInuse, m.StackInuse, resident(), runtime.NumGoroutine(), g.Stats().Connections, 0}); err != nil {
			return err
		}
	}
	cancel()
	return <-ended
}

// resident returns how much memory this process has, as the system sees it.
func resident() uint64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmRSS:" {
			kib, _ := strconv.ParseUint(fields[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// A child is a gateway in a process of its own.
type child struct {
	t       testing.TB
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *json.Decoder
	address string
}

// spawn starts a gateway. It is killed when the test ends.
func spawn(t testing.TB, url, listen string) *child {
	t.Helper()
	text, err := json.Marshal(job{url, listen})
	must(t, err)
	c := &child{t: t, cmd: exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], "-test.run=^TestChild$", "-test.timeout=300s", string(text))}
	c.cmd.Stderr = t.Output()
	c.in, err = c.cmd.StdinPipe()
	must(t, err)
	out, err := c.cmd.StdoutPipe()
	must(t, err)
	must(t, c.cmd.Start())
	t.Cleanup(c.kill)
	c.out = json.NewDecoder(out)
	must(t, c.out.Decode(&c.address))
	return c
}

// kill is kill -9, and the wait for the end.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

func (c *child) use() use {
	c.t.Helper()
	_, err := fmt.Fprintln(c.in)
	must(c.t, err)
	var u use
	must(c.t, c.out.Decode(&u))
	return u
}

// socket opens a connection that costs us as little as possible, says hello, and
// waits for the welcome.
func socket(address string, n int) (net.Conn, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		return nil, err
	}
	h, err := json.Marshal(hello("life-"+strconv.Itoa(n), func(h *wire.Hello) { h.AnonymousID = anonymous(n) }))
	if err != nil {
		return nil, err
	}
	frame := append([]byte{0x81, 0x80 | 126, byte(len(h) >> 8), byte(len(h)), 0, 0, 0, 0}, h...) // Masked with zero.
	if _, err := io.WriteString(c, "GET "+wire.SocketPath+" HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: "+origin+
		"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"); err != nil {
		return nil, err
	}
	room := make([]byte, 2048)
	seen := 0
	for said := false; ; {
		k, err := c.Read(room[seen:])
		if err != nil {
			return nil, err
		}
		seen += k
		if !said && bytes.Contains(room[:seen], []byte("\r\n\r\n")) {
			if _, err := c.Write(frame); err != nil {
				return nil, err
			}
			said = true
		}
		if bytes.Contains(room[:seen], []byte(`"t":"welcome"`)) {
			return c, nil
		}
	}
}

// idle opens n connections, and returns what each costs its gateway.
func idle(t testing.TB, n int) (each use, took time.Duration) {
	t.Helper()
	b := bustest.Open(t, bus.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	c := spawn(t, b.URL(), "127.0.0.1:0")
	before := c.use()
	begun := time.Now()
	var failed atomic.Int64
	var dialling sync.WaitGroup
	all := make([]net.Conn, n)
	for lane := range 16 {
		dialling.Go(func() {
			for i := lane; i < n; i += 16 {
				var err error
				if all[i], err = socket(c.address, i); err != nil {
					failed.Add(1)
					t.Log(err)
					return
				}
			}
		})
	}
	dialling.Wait()
	took = time.Since(begun)
	t.Cleanup(func() {
		for _, one := range all {
			if one != nil {
				_ = one.Close()
			}
		}
	})
	if failed.Load() > 0 {
		t.Fatalf("%d connections failed", failed.Load())
	}
	after := c.use()
	if after.Connections != n {
		t.Fatalf("%d connections are open, want %d", after.Connections, n)
	}
	per := func(x, y uint64) uint64 { return (x - min(x, y)) / uint64(n) }
	return use{
		per(after.Heap, before.Heap), per(after.Stack, before.Stack), per(after.Resident, before.Resident),
		after.Goroutines - before.Goroutines, n, 0,
	}, took
}

// mostMemory is what an idle connection may cost.
const mostMemory = 32 << 10

// G11, scaled: what an idle connection costs.
func TestIdleConnection(t *testing.T) { //nolint:paralleltest // It measures.
	each, took := idle(t, 2000)
	t.Logf("2000 connections in %s; each: heap %d, stack %d, resident %d bytes; %d goroutines", took, each.Heap, each.Stack, each.Resident, each.Goroutines)
	if each.Heap+each.Stack > mostMemory {
		t.Errorf("a connection costs %d bytes", each.Heap+each.Stack)
	}
}

// BenchmarkIdleConnections is G11: 15,000 idle visitors.
func BenchmarkIdleConnections(b *testing.B) {
	for b.Loop() {
		const n = 15_000
		each, took := idle(b, n)
		b.ReportMetric(float64(each.Heap+each.Stack), "B/conn")
		b.ReportMetric(float64(each.Resident), "RSS-B/conn")
		b.ReportMetric(float64(each.Goroutines)/n, "goroutines/conn")
		b.ReportMetric(took.Seconds(), "s-to-connect")
	}
}

// G5, scaled: the gateway is killed with many connections, signals under way and
// calls unanswered. All come back to the next one; no fact is lost or told twice,
// and nothing is done twice.
func TestKilledGateway(t *testing.T) {
	t.Parallel()
	const visitors, signals, calls = 300, 6, 40
	b := bustest.Open(t, bus.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	first := spawn(t, b.URL(), "127.0.0.1:0")
	r := &rig{t: t, bus: b, address: first.address}
	pages := make([]*page, visitors)
	var each sync.WaitGroup
	for i := range pages {
		each.Go(func() { pages[i] = r.connect(t, ofVisitor(i)) })
	}
	each.Wait()
	ended := make(chan error, calls)
	for i := range calls {
		tab, err := visitor.Open(t.Context(), b, "shop", pages[i].welcome.Session)
		must(t, err)
		t.Cleanup(func() { _ = tab.Close(context.Background()) })
		go func() {
			ended <- tab.Call(t.Context(), "open", map[string]any{"key": fmt.Sprintf("k-%d/open", i)}, nil)
		}()
		if !pages[i].wait(wire.KindCall, 1) {
			t.Fatal("no call came")
		}
	}
	for _, p := range pages {
		for n := range int64(signals) {
			p.say(signal(n+1, [2]string{"widget.opened", "widget.closed"}[n%2], "visitor", "", "null"))
		}
	}
	first.kill()
	begun := time.Now()
	spawn(t, b.URL(), first.address)
	var back, slow atomic.Int64
	for i, p := range pages {
		each.Go(func() {
			p.ends()
			jitter(t, 500*time.Millisecond)
			next := r.connect(t, ofVisitor(i), func(wire.Call) string { return `{"ok":true,"value":null}` })
			if back.Add(1); time.Since(begun) > patience {
				slow.Add(1)
			}
			for n := next.welcome.N; n < signals; n++ {
				next.say(signal(n+1, [2]string{"widget.opened", "widget.closed"}[n%2], "visitor", "", "null"))
			}
			pages[i] = next
		})
	}
	each.Wait()
	for range calls {
		select {
		case err := <-ended:
			must(t, err)
		case <-time.After(patience):
			t.Fatal("a call did not end")
		}
	}
	told := map[string]int{}
	for _, e := range r.history("evt.>", visitors*signals) {
		told[e.ID]++
	}
	for i := range calls {
		if n := pages[i].applied[fmt.Sprintf("k-%d/open", i)]; n != 1 {
			t.Errorf("call %d was done %d times", i, n)
		}
	}
	if len(told) != visitors*signals || back.Load() != visitors || slow.Load() > visitors/100 {
		t.Errorf("%d facts, want %d; %d of %d are back, %d of them late", len(told), visitors*signals, back.Load(), visitors, slow.Load())
	}
	t.Logf("%d visitors back in %s, %d facts, %d calls done once", visitors, time.Since(begun), len(told), calls)
}

func ofVisitor(i int) wire.Hello {
	return hello(fmt.Sprintf("life-%d", i), func(h *wire.Hello) { h.AnonymousID = anonymous(i) })
}

// jitter waits for a random time, as parley.js does before it comes again.
func jitter(t testing.TB, most time.Duration) {
	t.Helper()
	timer := time.NewTimer(time.Duration(rand.Int64N(int64(most))))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}
