package visitor_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
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

// job is what a process of a test does: hold connections at the address, or be a
// crowd.
type job struct {
	URL, Listen string
	Crowd       *crowdJob
}

// use is what a process uses.
type use struct {
	Heap, Stack, Resident uint64
	Goroutines            int
	Connections           int
	CPU                   time.Duration
	Stats                 visitor.Stats
}

func childProcess(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	if j.Crowd != nil {
		return crowdProcess(*j.Crowd)
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
		if err := out.Encode(use{m.HeapInuse, m.StackInuse, resident(), runtime.NumGoroutine(), g.Stats().Connections, 0, g.Stats()}); err != nil {
			return err
		}
	}
	cancel() // The end of the input is SIGTERM.
	err = <-ended
	return errors.Join(err, out.Encode(use{Stats: g.Stats()}))
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
	c := &child{t: t}
	c.cmd, c.in, c.out = startChild(t, job{URL: url, Listen: listen})
	t.Cleanup(c.kill)
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
		after.Goroutines - before.Goroutines, n, 0, after.Stats,
	}, took
}

// mostMemory is what an idle connection may cost: half of what the promise says.
const mostMemory = 16 << 10

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

// G5: the gateway is killed with everybody connected to it, with calls unanswered
// and signals under way, again and again. All come back to another one; nothing is
// lost or told twice, and nothing is done twice.
func TestKilledGateway(t *testing.T) {
	t.Parallel()
	visitors, kills, calls := bustest.Count(200, 5000), bustest.Count(2, 10), bustest.Count(40, 500)
	b := bustest.Open(t, bus.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	here := spawn(t, b.URL(), "127.0.0.1:0")
	crowd := gather(t, visitors, here.address)
	crowd.until("all are there", func(l ledger) bool { return l.Connected == visitors })
	var slowest float64
	for kill := range kills {
		if open := here.use().Connections; open != visitors {
			t.Fatalf("kill %d: the gateway has %d connections, want %d", kill, open, visitors)
		}
		crowd.answer = false
		called := crowd.tell(0).Called
		ended := callAll(t, b, kill, calls)
		crowd.until("all calls are under way", func(l ledger) bool { return l.Called >= called+calls })
		there := spawn(t, b.URL(), "127.0.0.1:0")
		crowd.tell(1)
		here.kill()
		here, crowd.answer, crowd.address = there, true, there.address
		crowd.tell(1)
		l := crowd.until("all are back, and heard", func(l ledger) bool { return l.Connected == visitors && l.Unheard == 0 })
		for range calls {
			must(t, <-ended)
		}
		slowest = max(slowest, quantile(l.Back, 99))
		t.Logf("kill %d: away for %.2f s at the median, %.2f s at p99, %.2f s at most", kill, quantile(l.Back, 50), quantile(l.Back, 99), quantile(l.Back, 100))
	}
	l := crowd.tell(0)
	if len(l.Done) != kills*calls || l.Welcomes < visitors*(kills+1) {
		t.Errorf("%d commands were done, want %d; %d welcomes", len(l.Done), kills*calls, l.Welcomes)
	}
	for key, n := range l.Done {
		if n != 1 {
			t.Errorf("%s was done %d times", key, n)
		}
	}
	facts := visitors * kills * 2
	if once := factsOf(t, b, facts); once != facts {
		t.Errorf("%d facts, want %d", once, facts)
	}
	if bustest.Count(0, 1) == 1 && slowest > 15 {
		t.Errorf("99 of 100 were back after %.1f s", slowest)
	}
	t.Logf("%d kills with %d sockets each: %d welcomes, %d facts stored once, %d commands of %d calls done once, p99 %.2f s away", kills, visitors, l.Welcomes, facts, len(l.Done), l.Called, slowest)
}

// A gateway that is stopped hands everybody over: the pages go elsewhere, each at a
// moment of its own, with what they say meanwhile and what they are asked.
func TestDrainedGateway(t *testing.T) {
	t.Parallel()
	visitors, calls := bustest.Count(100, 2000), bustest.Count(20, 200)
	b := bustest.Open(t, bus.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	here, there := spawn(t, b.URL(), "127.0.0.1:0"), spawn(t, b.URL(), "127.0.0.1:0")
	crowd := gather(t, visitors, here.address)
	crowd.until("all are there", func(l ledger) bool { return l.Connected == visitors })
	crowd.answer = false
	ended := callAll(t, b, 0, calls)
	crowd.until("all calls are under way", func(l ledger) bool { return l.Called >= calls })
	crowd.tell(1)
	crowd.answer, crowd.address = true, there.address
	must(t, here.in.Close())
	var last use
	must(t, here.out.Decode(&last))
	crowd.tell(1)
	l := crowd.until("all are back, and heard", func(l ledger) bool { return l.Connected == visitors && l.Unheard == 0 })
	for range calls {
		must(t, <-ended)
	}
	l.Done = crowd.tell(0).Done
	for key, n := range l.Done {
		if n != 1 {
			t.Errorf("%s was done %d times", key, n)
		}
	}
	if last.Stats.Drained != int64(visitors) || last.Stats.Connections != 0 || len(l.Done) != calls {
		t.Errorf("%d of %d were asked to go, %d are left; %d of %d commands were done", last.Stats.Drained, visitors, last.Stats.Connections, len(l.Done), calls)
	}
	if once := factsOf(t, b, 2*visitors); once != 2*visitors {
		t.Errorf("%d facts, want %d", once, 2*visitors)
	}
	t.Logf("%d pages handed over: away for %.2f s at the median, %.2f s at p99; %d facts stored once, %d commands done once", visitors, quantile(l.Back, 50), quantile(l.Back, 99), 2*visitors, calls)
}

// callAll calls as many pages, each with a key of its own, and returns how the
// calls end.
func callAll(t *testing.T, b *bus.Bus, round, calls int) <-chan error {
	t.Helper()
	ended := make(chan error, calls)
	for i := range calls {
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			tab, err := visitor.Open(ctx, b, "shop", sessionOf("shop", anonymous(i)))
			if err == nil {
				err = tab.Call(ctx, "open", map[string]any{"key": fmt.Sprintf("k-%d-%d/open", round, i)}, nil)
				err = errors.Join(err, tab.Close(ctx))
			}
			ended <- err
		}()
	}
	return ended
}

// factsOf returns how many different facts are stored. There must be n, and one
// more of a page that connects last and says one.
func factsOf(t *testing.T, b *bus.Bus, n int) int {
	t.Helper()
	last := join(t, b)
	p := last.connect(t, ofVisitor(1_000_000))
	p.say(signal(1, "widget.opened", "visitor", "", "null"))
	ids := map[string]bool{}
	for i, e := range last.history("evt.>", n+1) {
		if ids[e.ID] {
			t.Errorf("the fact %s is stored twice", e.ID)
		}
		ids[e.ID] = true
		if of := e.Extension(event.ExtPartitionKey); (of == p.welcome.Session) != (i == n) {
			t.Errorf("fact %d of %d is of %s", i, n+1, of)
		}
	}
	return len(ids) - 1
}

func ofVisitor(i int) wire.Hello {
	return hello(fmt.Sprintf("life-%d", i), func(h *wire.Hello) { h.AnonymousID = anonymous(i) })
}
