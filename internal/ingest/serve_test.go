package ingest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/ingest"
)

// dial opens a connection to the edge, that ends with the test.
func (r *rig) dial() net.Conn {
	r.t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(r.t.Context(), "tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// request is an event as bytes on the wire.
func request(body string) string {
	return fmt.Sprintf("POST /in/web HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		secret, len(body), body)
}

// hungUp reports whether the edge closed the connection within the time.
func hungUp(conn net.Conn, within time.Duration) bool {
	if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return false
	}
	_, err := io.Copy(io.Discard, conn)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// TestSlowSenders is I14, scaled: senders that begin and do not go on are hung up
// on, at each place where one can stop, and others are served all the while.
func TestSlowSenders(t *testing.T) {
	t.Parallel()
	limits := ingest.Limits{Header: 300 * time.Millisecond, Body: 300 * time.Millisecond, Idle: 300 * time.Millisecond, Answer: time.Second}
	r := newRigWith(t, bustest.Start(t), nil, limits, mountPlain(t, "web"))
	whole := request(`{"event":"E","user_id":"u","site":"shop"}`)
	head := strings.Index(whole, "\r\n\r\n") + 4
	beginnings := []string{"", "P", whole[:30], whole[:head-2], whole[:head], whole[:head+5], whole[:len(whole)-1], whole}
	var slow []net.Conn
	rounds := bustest.Count(25, 625) // 5,000 sockets
	for range rounds {
		for _, beginning := range beginnings {
			conn := r.dial()
			if _, err := conn.Write([]byte(beginning)); err != nil {
				t.Fatal(err)
			}
			slow = append(slow, conn)
		}
	}
	var slowest time.Duration
	for i := range 50 {
		begun := time.Now()
		if a := r.post("web", fmt.Sprintf(`{"id":"good-%d","event":"E","user_id":"u","site":"shop"}`, i)); a.status != http.StatusAccepted {
			t.Fatalf("a good request is answered %d %s", a.status, a.body)
		}
		slowest = max(slowest, time.Since(begun))
	}
	t.Logf("the slowest of 50 good requests beside %d slow ones took %s", len(slow), slowest)
	for i, conn := range slow {
		if !hungUp(conn, 10*time.Second) {
			t.Errorf("a sender that stopped after %q is still connected", beginnings[i%len(beginnings)])
		}
	}
	good, complete := 0, 0
	for _, one := range r.triggers() {
		if strings.HasPrefix(one.ID, "good-") {
			good++
		} else {
			complete++
		}
	}
	if good != 50 || complete != rounds {
		t.Errorf("%d good events and %d of the complete slow ones are stored, want 50 and %d", good, complete, rounds)
	}
}

// TestConnectionsGiveWay: at the bound the connection that has waited longest is
// closed for a new one, and none that has work under way.
func TestConnectionsGiveWay(t *testing.T) {
	t.Parallel()
	const most, idle = 40, 200
	hold := make(chan struct{})
	r := newRigWith(t, bustest.Start(t), func(o *ingest.Options) { o.Store = slowStore{o.Store, hold} },
		ingest.Limits{Connections: most}, mountPlain(t, "web"))
	busy := r.dial()
	if _, err := busy.Write([]byte(request(`{"id":"busy","event":"E","user_id":"u","site":"shop"}`))); err != nil {
		t.Fatal(err)
	}
	var waiting []net.Conn
	for range idle {
		waiting = append(waiting, r.dial())
	}
	for _, conn := range waiting[:idle-most+1] {
		if !hungUp(conn, 10*time.Second) {
			t.Fatal("a connection beyond the bound is still open")
		}
	}
	open := 0
	for _, conn := range waiting[idle-most+1:] {
		if !hungUp(conn, time.Millisecond) {
			open++
		}
	}
	if open == 0 {
		t.Error("no connection is left")
	}
	close(hold)
	response, err := http.ReadResponse(bufio.NewReader(busy), nil)
	if err != nil {
		t.Fatalf("the connection with work gave way: %v", err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusAccepted {
		t.Errorf("the event under way is answered %d", response.StatusCode)
	}
	if a := r.post("web", `{"id":"new","event":"E","user_id":"u","site":"shop"}`); a.status != http.StatusAccepted {
		t.Errorf("a new connection is answered %d %s", a.status, a.body)
	}
}

// TestSenderGone is I15, scaled: the sender hangs up at a random byte of its
// request, or before the answer. The event stands or it does not; after another
// try it is there once.
func TestSenderGone(t *testing.T) {
	t.Parallel()
	senders, each := 4, bustest.Count(50, 500)
	r := newRig(t, bustest.Start(t), nil, mountPlain(t, "web"))
	random := rand.New(rand.NewPCG(1, 2)) // The same cuts every time.
	var running sync.WaitGroup
	var repeated atomic.Int64
	for sender := range senders {
		var cuts []int
		for range each {
			cuts = append(cuts, random.IntN(400))
		}
		running.Go(func() {
			for i, cut := range cuts {
				body := fmt.Sprintf(`{"id":"m-%d-%d","event":"E","site":"shop","user_id":"u-%d","anonymous_id":"a-%d"}`, sender, i, i, i)
				whole := request(body)
				conn := r.dial()
				_, _ = conn.Write([]byte(whole[:min(cut, len(whole))]))
				_ = conn.Close()
				switch a := r.post("web", body); a.status {
				case http.StatusAccepted:
				case http.StatusOK:
					repeated.Add(1)
				default:
					t.Errorf("another try is answered %d %s", a.status, a.body)
				}
			}
		})
	}
	running.Wait()
	counts := map[string]int{}
	for _, one := range r.triggers() {
		counts[one.ID]++
	}
	for sender := range senders {
		for i := range each {
			if n := counts[fmt.Sprintf("m-%d-%d", sender, i)]; n != 1 {
				t.Errorf("event %d of sender %d is stored %d times", i, sender, n)
			}
		}
	}
	t.Logf("%d of %d events stood already when they were sent again", repeated.Load(), senders*each)
}

// TestStopAnswersWhatIsUnderWay: an edge that is told to stop takes nothing new,
// and answers what it took.
func TestStopAnswersWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	o, err := options(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	hold, entered := make(chan struct{}), make(chan struct{})
	o.Sources, o.Counter, o.Store = []ingest.Mount{mountPlain(t, "web")}, newLedger(), enteredStore{slowStore{o.Store, hold}, entered}
	edge, err := ingest.New(bustest.Log(t), o)
	if err != nil {
		t.Fatal(err)
	}
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- edge.Serve(ctx, l, ingest.Limits{}) }()
	r := &rig{t: t, url: "http://" + l.Addr().String()}
	under := r.dial()
	if _, err := under.Write([]byte(request(`{"id":"m-1","event":"E","user_id":"u","site":"shop"}`))); err != nil {
		t.Fatal(err)
	}
	<-entered
	stop()
	bustest.Until(t, "the edge takes no new connection", func() bool {
		var dialer net.Dialer
		conn, err := dialer.DialContext(t.Context(), "tcp", l.Addr().String())
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	close(hold)
	response, err := http.ReadResponse(bufio.NewReader(under), nil)
	if err != nil || response.StatusCode != http.StatusAccepted {
		t.Errorf("what was under way is answered %v, %v", response, err)
	} else {
		_ = response.Body.Close()
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve = %v", err)
	}
	if all := triggersOf(t, b); len(all) != 1 || all[0].subject != event.TriggerSubject("web", "track", "shop", event.SessionKey("shop", event.Visitor{UserID: "u"})) {
		t.Errorf("stored are %v", all)
	}
}

// enteredStore tells that an event has come as far as the store.
type enteredStore struct {
	slowStore
	entered chan struct{}
}

func (s enteredStore) Accept(ctx context.Context, events []ingest.Event) []ingest.Stored {
	close(s.entered)
	return s.slowStore.Accept(ctx, events)
}
