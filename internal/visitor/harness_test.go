package visitor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/visitor"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, bustest.Leaks()...) }

const (
	patience = 30 * time.Second
	origin   = "https://shop.example.test"
	docs     = "https://docs.example.test"
	shopKey  = "pk_shop_0123456789"
	docsKey  = "pk_docs_0123456789"
	secret   = "a secret of thirty-two characters"
	backend  = "the customer's own secret, long enough"
)

// anonymous is an id that nobody guesses.
func anonymous(n int) string { return fmt.Sprintf("anonymous-visitor-%06d-abcdef", n) }

// A rig is one gateway on a bus of its own.
type rig struct {
	t       testing.TB
	bus     *bus.Bus
	gateway *visitor.Gateway
	address string
	stop    func()

	mu     sync.Mutex // guards the field below
	tracks []visitor.Track
}

func sites() []visitor.Site {
	return []visitor.Site{
		{
			Name: "shop", Provider: botstar.Provider(), Key: shopKey, Origins: []string{origin, "https://shop.example.test:8443"},
			Identity: [][]byte{[]byte(backend)}, Config: wire.Config{Enabled: true, Driver: "botstar", Load: wire.LoadAction},
		},
		{Name: "docs", Provider: botstar.Provider(), Key: docsKey, Origins: []string{docs}, Config: wire.Config{Enabled: true, Driver: "botstar"}},
		{Name: "off", Provider: botstar.Provider(), Key: "pk_off_0123456789", Origins: []string{origin}, Config: wire.Config{}},
	}
}

// setup starts a gateway, which ends with the test.
func setup(t testing.TB, change ...func(*visitor.Options)) *rig {
	t.Helper()
	return join(t, bustest.Start(t), change...)
}

// join starts a gateway on the bus.
func join(t testing.TB, b *bus.Bus, change ...func(*visitor.Options)) *rig {
	t.Helper()
	return joinLogged(t, b, bustest.Log(t), change...)
}

// joinLogged is join with a log of its own.
func joinLogged(t testing.TB, b *bus.Bus, log *slog.Logger, change ...func(*visitor.Options)) *rig {
	t.Helper()
	r := &rig{t: t, bus: b}
	o := visitor.Options{
		Bus: b, Sites: sites(), Secret: []byte(secret), Drain: 200 * time.Millisecond,
		Limits: visitor.Limits{Connects: 10_000, PerIP: 100_000, Visitor: 10_000, IP: 100_000},
		Publish: func(ctx context.Context, subject string, e event.Envelope) error {
			_, err := b.Publish(ctx, subject, e)
			return err
		},
		Track: func(_ context.Context, one visitor.Track) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.tracks = append(r.tracks, one)
			return nil
		},
	}
	for _, f := range change {
		f(&o)
	}
	var err error
	r.gateway, err = visitor.New(log, o)
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	r.address = l.Addr().String()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- r.gateway.Serve(ctx, l) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// dial opens a socket that has said nothing yet.
func (r *rig) dial(t testing.TB, from string) (*websocket.Conn, error) {
	t.Helper()
	return r.dialBy(t, nil, from)
}

// narrow is a client whose sockets take little before somebody reads. The
// system's own buffers may grow to any size.
func narrow() *http.Client {
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if tcp, ok := conn.(*net.TCPConn); ok {
			err = tcp.SetReadBuffer(16 << 10)
		}
		return conn, err
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial}}
}

func (r *rig) dialBy(t testing.TB, client *http.Client, from string) (*websocket.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, answer, err := websocket.Dial(ctx, "ws://"+r.address+wire.SocketPath,
		&websocket.DialOptions{HTTPClient: client, HTTPHeader: http.Header{"Origin": {from}}})
	if answer != nil && answer.Body != nil {
		_ = answer.Body.Close()
	}
	if err == nil {
		ws.SetReadLimit(1 << 20)
	}
	return ws, err
}

// A page is a visitor's page that speaks the protocol, and does what it is told.
type page struct {
	t       testing.TB
	ws      *websocket.Conn
	welcome wire.Welcome

	mu      sync.Mutex // guards the fields below
	heard   []json.RawMessage
	more    chan struct{}
	code    int // it was closed with
	closed  bool
	do      func(wire.Call) string // nil answers nothing
	applied map[string]int         // how often the page did what a key asks for
	answers map[string]string
}

func hello(life string, change ...func(*wire.Hello)) wire.Hello {
	h := wire.Hello{
		T: wire.KindHello, V: wire.Version, Key: shopKey, AnonymousID: anonymous(1), Life: life, Tab: "tab-" + life,
		URL: origin + "/pricing?secret=1#x", Focused: true,
	}
	for _, f := range change {
		f(&h)
	}
	return h
}

// connect opens a page, and waits until it is welcomed.
func (r *rig) connect(t testing.TB, h wire.Hello, does ...func(wire.Call) string) *page {
	t.Helper()
	p := r.begin(t, origin, h, does...)
	if !p.wait(wire.KindWelcome, 1) {
		t.Fatalf("the page was not welcomed, and closed with %d", p.closedWith())
	}
	must(t, json.Unmarshal(p.all(wire.KindWelcome)[0], &p.welcome))
	return p
}

// begin opens a page that does what it is asked, if it does anything, and says
// hello.
func (r *rig) begin(t testing.TB, from string, h wire.Hello, does ...func(wire.Call) string) *page {
	t.Helper()
	ws, err := r.dial(t, from)
	must(t, err)
	p := &page{t: t, ws: ws, more: make(chan struct{}), applied: map[string]int{}, answers: map[string]string{}}
	for _, do := range does {
		p.do = do
	}
	var reading sync.WaitGroup
	reading.Go(p.read)
	t.Cleanup(func() {
		_ = ws.CloseNow()
		reading.Wait()
	})
	p.say(h)
	return p
}

// read hears frames, and answers calls as parley.js does: a key that was
// answered with success is not done again.
func (p *page) read() {
	for {
		_, data, err := p.ws.Read(context.Background())
		p.mu.Lock()
		if err != nil {
			p.closed, p.code = true, int(websocket.CloseStatus(err))
			close(p.more)
			p.more = make(chan struct{})
			p.mu.Unlock()
			return
		}
		p.heard = append(p.heard, data)
		close(p.more)
		p.more = make(chan struct{})
		answer := p.respond(data)
		p.mu.Unlock()
		if answer != nil {
			p.say(answer)
		}
	}
}

func (p *page) respond(data []byte) any {
	var c wire.Call
	if json.Unmarshal(data, &c) != nil || c.T != wire.KindCall || p.do == nil {
		return nil
	}
	answer := wire.Answer{T: wire.KindAnswer, ID: c.ID, Seq: c.Seq, OK: true}
	if before, done := p.answers[c.Key]; done && c.Key != "" {
		answer.JSON, answer.Again = before, true
		return answer
	}
	answer.JSON = p.do(c)
	if c.Key != "" {
		p.applied[c.Key]++
		p.answers[c.Key] = answer.JSON
	}
	return answer
}

func (p *page) say(frame any) {
	p.t.Helper()
	data, err := json.Marshal(frame)
	must(p.t, err)
	p.raw(data)
}

func (p *page) raw(data []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = p.ws.Write(ctx, websocket.MessageText, data) // A page that is closed hears so.
}

// all returns the frames of the kind that were heard.
func (p *page) all(kind string) []json.RawMessage {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []json.RawMessage
	for _, data := range p.heard {
		var head wire.Head
		if json.Unmarshal(data, &head) == nil && head.T == kind {
			all = append(all, data)
		}
	}
	return all
}

// wait waits until n frames of the kind have come. It is false when the
// connection has ended before.
func (p *page) wait(kind string, n int) bool {
	p.t.Helper()
	return p.until(func() bool { return len(p.all(kind)) >= n })
}

func (p *page) until(is func() bool) bool {
	p.t.Helper()
	over := time.After(patience)
	for {
		p.mu.Lock()
		more, closed := p.more, p.closed
		p.mu.Unlock()
		if is() {
			return true
		}
		if closed {
			return false
		}
		select {
		case <-more:
		case <-over:
			p.t.Fatalf("it did not come within %s", patience)
		}
	}
}

// ends waits until the connection is closed, and returns the code.
func (p *page) ends() int {
	p.t.Helper()
	p.until(func() bool { return false })
	return p.closedWith()
}

func (p *page) closedWith() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.code
}

// leave breaks the connection off, as a network does.
func (p *page) leave() {
	_ = p.ws.CloseNow()
	p.ends()
}

// signal makes the n-th signal of a page.
func signal(n int64, name, cause, key, data string) wire.Signal {
	text := fmt.Sprintf(`{"name":%q,"cause":%q,"key":%q,"seq":%d,"at_ms":%d,"data":%s}`, name, cause, key, n, time.Now().UnixMilli(), data)
	return wire.Signal{T: wire.KindSignal, N: n, JSON: text}
}

// sessionOf is the key of the session of an anonymous visitor.
func sessionOf(site, id string) string {
	return event.SessionKey(site, event.Visitor{AnonymousID: id})
}

// history returns the facts that are stored, waiting for n of them.
func (r *rig) history(filter string, n int) []event.Envelope {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience*time.Duration(bustest.Count(1, 40)))
	defer cancel()
	var all []event.Envelope
	for d, err := range r.bus.Tail(ctx, bus.TailOptions{Subjects: []string{filter}, All: true}) {
		if err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				break
			}
			r.t.Fatal(err)
		}
		e, err := d.Envelope()
		must(r.t, err)
		if all = append(all, e); len(all) == n {
			return all
		}
	}
	r.t.Fatalf("%d facts came, want %d", len(all), n)
	return nil
}

// client asks the gateway over HTTP.
func client() *http.Client { return &http.Client{Timeout: patience} }
