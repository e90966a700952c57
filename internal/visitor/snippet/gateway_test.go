//go:build browser

package snippet_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/standin/shop"
	"github.com/parley-chat/parley/internal/visitor/snippet"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

// gateway is a small gateway that speaks PROTOCOL.md and keeps everything it
// heard. It knows a visitor by its anonymous id, and sends a call again after
// each welcome until it is answered.
type gateway struct {
	t testing.TB

	mu       sync.Mutex // guards the fields below
	changed  chan struct{}
	config   wire.Config
	configs  int // how often the configuration was asked for
	status   int // of the configuration, when it is not 200
	hellos   []wire.Hello
	live     []*conn // the connections that were welcomed and are open
	signals  map[string]map[int64]actions.Signal
	sent     map[string]int // how often each signal came, by life and n
	tracks   []wire.Track
	pages    []string
	focus    []bool
	consents []wire.Consent
	beacons  []wire.Beacon
	pings    int
	byes     int
	calls    map[string]*call
	seq      int64
	tokens   int
	mute     bool  // acknowledges nothing
	silent   bool  // answers no ping
	deadline int64 // of the calls, in ms; 0 is 20 s
	tampered func(name string, body []byte) []byte
	refuse   int // the code that a hello is answered with, when it is not 0
}

// conn is one page's connection.
type conn struct {
	*websocket.Conn
	hello wire.Hello
}

// call is one command on its way.
type call struct {
	wire.Call
	sent    int
	answers []wire.Answer
	lives   []string // the documents that gave them
	done    chan wire.Answer
}

func newGateway(t testing.TB) *gateway {
	t.Helper()
	return &gateway{
		t: t, changed: make(chan struct{}), calls: map[string]*call{}, signals: map[string]map[int64]actions.Signal{}, sent: map[string]int{},
		config: wire.Config{Enabled: true, Driver: "botstar", Mode: "livechat"},
	}
}

// set changes the gateway under its lock.
func (g *gateway) set(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
	close(g.changed)
	g.changed = make(chan struct{})
}

// until waits until the condition holds, which is asked under the lock.
func (g *gateway) until(what string, condition func() bool) {
	g.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		g.mu.Lock()
		ok, changed := condition(), g.changed
		g.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			g.t.Fatalf("after 20 s there is still not: %s", what)
		}
	}
}

// never fails if the condition holds within the time.
func (g *gateway) never(what string, within time.Duration, condition func() bool) {
	g.t.Helper()
	timeout := time.After(within)
	for {
		g.mu.Lock()
		bad, changed := condition(), g.changed
		g.mu.Unlock()
		if bad {
			g.t.Fatalf("there is: %s", what)
		}
		select {
		case <-changed:
		case <-timeout:
			return
		}
	}
}

// get returns what the func reads under the lock.
func get[T any](g *gateway, read func() T) T {
	g.mu.Lock()
	defer g.mu.Unlock()
	return read()
}

// handler serves the gateway's host.
func (g *gateway) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.FilesPath+"/{name}", func(w http.ResponseWriter, r *http.Request) {
		change := get(g, func() func(string, []byte) []byte { return g.tampered })
		body, ok := snippet.Content(r.PathValue("name"))
		if change == nil || !ok {
			snippet.Files().ServeHTTP(w, r)
			return
		}
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = w.Write(change(r.PathValue("name"), body))
	})
	mux.HandleFunc("GET "+wire.ConfigPath+"/{file}", func(w http.ResponseWriter, _ *http.Request) {
		var config wire.Config
		status := 200
		g.set(func() {
			g.configs++
			config = g.config
			if g.status != 0 {
				status = g.status
			}
		})
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(config)
	})
	mux.HandleFunc("POST "+wire.BeaconPath, func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(io.LimitReader(r.Body, wire.MaxBeacon+1))
		var beacon wire.Beacon
		if err == nil {
			err = strict(raw, &beacon)
		}
		if err != nil || len(raw) > wire.MaxBeacon || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain") {
			g.t.Errorf("the beacon is wrong: %v: %s", err, raw)
		}
		g.set(func() {
			g.beacons = append(g.beacons, beacon)
			for _, s := range beacon.Signals {
				g.store(beacon.Life, s)
			}
			g.tracks = append(g.tracks, beacon.Tracks...)
		})
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET "+wire.SocketPath, g.serve)
	return mux
}

// store keeps a signal. The caller holds mu.
func (g *gateway) store(life string, s wire.Signal) {
	var signal actions.Signal
	if err := json.Unmarshal([]byte(s.JSON), &signal); err != nil {
		g.t.Errorf("a signal is no JSON: %v", err)
	}
	if g.signals[life] == nil {
		g.signals[life] = map[int64]actions.Signal{}
	}
	g.signals[life][s.N] = signal
	g.sent[life+"/"+strconv.FormatInt(s.N, 10)]++
}

// named counts the stored signals of the name.
func (g *gateway) named(name string) int {
	count := 0
	for _, life := range g.signals {
		for _, signal := range life {
			if signal.Name == name {
				count++
			}
		}
	}
	return count
}

// strict reads a frame, and refuses fields that the wire does not have.
func strict(raw []byte, out any) error {
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.DisallowUnknownFields()
	return d.Decode(out)
}

func (g *gateway) serve(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{OriginPatterns: []string{siteHost, shop.Host}, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		g.t.Errorf("a handshake failed: %v", err)
		return
	}
	ws.SetReadLimit(wire.MaxFrame)
	c := &conn{Conn: ws}
	defer g.drop(c)
	ctx := context.WithoutCancel(r.Context())
	for {
		kind, raw, err := ws.Read(ctx)
		if err != nil {
			return
		}
		if kind != websocket.MessageText {
			g.t.Errorf("a frame that is no text")
		}
		if err := g.hear(ctx, c, raw); err != nil {
			if !errors.Is(err, errClosed) {
				g.t.Errorf("%v: %s", err, raw)
			}
			return
		}
	}
}

func (g *gateway) drop(c *conn) {
	_ = c.CloseNow()
	g.set(func() {
		for i, other := range g.live {
			if other == c {
				g.live = append(g.live[:i:i], g.live[i+1:]...)
				break
			}
		}
	})
}

var errClosed = errors.New("closed")

// hear reads one frame of a page.
func (g *gateway) hear(ctx context.Context, c *conn, raw []byte) error {
	var head wire.Head
	if err := json.Unmarshal(raw, &head); err != nil {
		return fmt.Errorf("a frame that is no JSON: %w", err)
	}
	if head.T != wire.KindHello && c.hello.T == "" {
		return errors.New("a frame before the hello")
	}
	switch head.T {
	case wire.KindHello:
		return g.welcome(ctx, c, raw)
	case wire.KindAnswer:
		return heard(g, raw, func(f wire.Answer) { g.answered(c.hello.Life, f) })
	case wire.KindSignal:
		return g.ack(ctx, c, heard(g, raw, func(f wire.Signal) { g.store(c.hello.Life, f) }), raw)
	case wire.KindTrack:
		return g.ack(ctx, c, heard(g, raw, func(f wire.Track) { g.tracks = append(g.tracks, f) }), raw)
	case wire.KindFocus:
		return heard(g, raw, func(f wire.Focus) { g.focus = append(g.focus, f.On) })
	case wire.KindPage:
		return heard(g, raw, func(f wire.Page) { g.pages = append(g.pages, f.URL) })
	case wire.KindConsent:
		return heard(g, raw, func(f wire.ConsentFrame) { g.consents = append(g.consents, f.Consent) })
	case wire.KindPing:
		silent := false
		err := heard(g, raw, func(wire.Head) { g.pings++; silent = g.silent })
		if err != nil || silent {
			return err
		}
		return send(ctx, c, wire.Head{T: wire.KindPong})
	case wire.KindBye:
		return heard(g, raw, func(wire.Head) { g.byes++ })
	}
	return errors.New("a frame of an unknown kind")
}

// heard reads a frame and gives it to do, under the lock.
func heard[T any](g *gateway, raw []byte, do func(T)) error {
	var frame T
	if err := strict(raw, &frame); err != nil {
		return fmt.Errorf("a frame of a wrong shape: %w", err)
	}
	g.set(func() { do(frame) })
	return nil
}

// ack acknowledges a signal or a track.
func (g *gateway) ack(ctx context.Context, c *conn, err error, raw []byte) error {
	var numbered struct{ N int64 }
	if err != nil || json.Unmarshal(raw, &numbered) != nil || get(g, func() bool { return g.mute }) {
		return err
	}
	return send(ctx, c, wire.Ack{T: wire.KindAck, N: numbered.N})
}

func (g *gateway) welcome(ctx context.Context, c *conn, raw []byte) error {
	if err := strict(raw, &c.hello); err != nil {
		return fmt.Errorf("a hello of a wrong shape: %w", err)
	}
	var again []wire.Call
	var token string
	refuse := 0
	g.set(func() {
		g.hellos = append(g.hellos, c.hello)
		if refuse = g.refuse; refuse != 0 {
			return
		}
		g.tokens++
		token = "token-" + strconv.Itoa(g.tokens)
		g.live = append(g.live, c)
		for _, one := range g.calls {
			if len(one.answers) == 0 {
				one.sent++
				again = append(again, one.Call)
			}
		}
	})
	if refuse != 0 {
		_ = c.Close(websocket.StatusCode(refuse), "refused")
		return errClosed
	}
	welcome := wire.Welcome{
		T: wire.KindWelcome, V: wire.Version, Token: token, TokenMS: 300_000, Session: "session", Epoch: "epoch-1",
		Resume: c.hello.Epoch == "epoch-1",
	}
	if err := send(ctx, c, welcome); err != nil {
		return errClosed
	}
	for _, one := range again {
		if err := send(ctx, c, one); err != nil {
			return errClosed
		}
	}
	return nil
}

// answered keeps an answer. The caller holds mu.
func (g *gateway) answered(life string, f wire.Answer) {
	one := g.calls[f.ID]
	if one == nil {
		g.t.Errorf("an answer to nothing: %+v", f)
		return
	}
	one.answers, one.lives = append(one.answers, f), append(one.lives, life)
	if len(one.answers) == 1 {
		one.done <- f
	}
}

func send(ctx context.Context, c *conn, frame any) error {
	raw, err := json.Marshal(frame)
	if err != nil {
		return fmt.Errorf("writing a frame: %w", err)
	}
	if err := c.Write(ctx, websocket.MessageText, raw); err != nil {
		return fmt.Errorf("sending a frame: %w", err)
	}
	return nil
}

// begin sends a call of the driver's function to the page that is connected,
// and to each that will be until it is answered.
func (g *gateway) begin(key, name string, arg any) *call {
	g.t.Helper()
	request, err := json.Marshal(map[string]any{"key": key, "fence": 1, "arg": arg})
	if err != nil {
		g.t.Fatal(err)
	}
	one := &call{done: make(chan wire.Answer, 1)}
	var to []*conn
	g.set(func() {
		g.seq++
		one.Call = wire.Call{
			T: wire.KindCall, ID: "call-" + strconv.FormatInt(g.seq, 10), Seq: g.seq, Key: key, DeadlineMS: 20_000, Name: name, JSON: string(request),
		}
		if g.deadline != 0 {
			one.DeadlineMS = g.deadline
		}
		g.calls[one.ID] = one
		to = append(to, g.live...)
		one.sent += len(to)
	})
	for _, c := range to {
		_ = send(context.Background(), c, one.Call) // A page that goes gets it again.
	}
	return one
}

// wait returns the call's answer.
func (g *gateway) wait(one *call) wire.Answer {
	g.t.Helper()
	select {
	case answer := <-one.done:
		return answer
	case <-time.After(25 * time.Second):
		g.t.Fatalf("%s was not answered; it was sent %d times", one.Name, get(g, func() int { return one.sent }))
		return wire.Answer{}
	}
}

// do sends a call and returns its answer.
func (g *gateway) do(key, name string, arg any) wire.Answer {
	g.t.Helper()
	return g.wait(g.begin(key, name, arg))
}

// tell sends a frame to every page.
func (g *gateway) tell(frame any) {
	g.t.Helper()
	for _, c := range get(g, func() []*conn { return append([]*conn(nil), g.live...) }) {
		if err := send(context.Background(), c, frame); err != nil {
			g.t.Error(err)
		}
	}
}

// cut ends every connection: abruptly, or with a code.
func (g *gateway) cut(code int) {
	for _, c := range get(g, func() []*conn { return append([]*conn(nil), g.live...) }) {
		if code == 0 {
			_ = c.CloseNow()
			continue
		}
		go func() { _ = c.Close(websocket.StatusCode(code), "") }()
	}
}

// connected waits until exactly n pages are connected.
func (g *gateway) connected(n int) {
	g.t.Helper()
	g.until(fmt.Sprintf("%d connections", n), func() bool { return len(g.live) == n })
}

// raw sends a text to every page.
func (g *gateway) raw(text string) {
	g.t.Helper()
	for _, c := range get(g, func() []*conn { return append([]*conn(nil), g.live...) }) {
		if err := c.Write(context.Background(), websocket.MessageText, []byte(text)); err != nil {
			g.t.Error(err)
		}
	}
}

// tamper changes the files on their way.
func (g *gateway) tamper(change func(name string, body []byte) []byte) {
	g.set(func() { g.tampered = change })
}
