package visitor_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/visitor/wire"
)

// A crowd is many visitors' pages in a process of their own: each has a real
// socket, comes again by itself with jitter, does what it is asked once, and keeps
// what it has said until it is acknowledged. It is as much of parley.js as the
// gateway can tell.
type crowdJob struct{ Visitors int }

// order is what a crowd is told to do.
type order struct {
	Address string // where pages connect from now on, as a balancer in front would know
	Say     int    // each page says so many further signals
	Answer  bool   // whether pages answer calls; who does not loses its answer half the time, and the call the other half
}

// ledger is what a crowd knows of itself.
type ledger struct {
	Connected int            // pages that are welcomed now
	Welcomes  int            // since the beginning
	Unheard   int            // signals without an acknowledgement
	Called    int            // calls that came, those that came again too
	Done      map[string]int // how often each key was done
	Back      []float64      // how many seconds each page was away the last time
	Codes     map[int]int    // that connections were closed with; 0 is without
}

// lightPage is one page of a crowd.
type lightPage struct {
	crowd *lightCrowd
	n     int

	mu      sync.Mutex // guards the fields below
	conn    net.Conn   // nil while it is away
	told    int64      // signals that were said
	acked   int64
	done    map[string]int
	called  int
	welcome int
	lost    time.Time
	away    time.Duration
	codes   map[int]int
}

type lightCrowd struct {
	all []*lightPage

	mu  sync.Mutex // guards the field below
	now order
}

// crowdProcess is a crowd's process: it does what each line of the input says,
// and answers with its ledger.
func crowdProcess(j crowdJob) error {
	c := &lightCrowd{}
	for n := range j.Visitors {
		p := &lightPage{crowd: c, n: n, done: map[string]int{}, codes: map[int]int{}, lost: time.Now()}
		c.all = append(c.all, p)
		go p.live() // It ends with the process.
	}
	out := json.NewEncoder(os.Stdout)
	for in := json.NewDecoder(os.Stdin); ; {
		var o order
		if err := in.Decode(&o); err != nil {
			return nil //nolint:nilerr // There is no more to do.
		}
		c.mu.Lock()
		c.now = o
		c.mu.Unlock()
		for _, p := range c.all {
			p.say(int64(o.Say))
		}
		if err := out.Encode(c.ledger()); err != nil {
			return err
		}
	}
}

func (c *lightCrowd) ledger() ledger {
	l := ledger{Done: map[string]int{}, Codes: map[int]int{}}
	for _, p := range c.all {
		p.mu.Lock()
		if p.conn != nil {
			l.Connected++
		}
		l.Welcomes += p.welcome
		l.Unheard += int(p.told - p.acked)
		l.Called += p.called
		l.Back = append(l.Back, p.away.Seconds())
		for key, n := range p.done {
			l.Done[key] += n
		}
		for code, n := range p.codes {
			l.Codes[code] += n
		}
		p.mu.Unlock()
	}
	return l
}

func (c *lightCrowd) order() order {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// live connects again and again. Whoever was cut off waits for a random time
// first, as parley.js does.
func (p *lightPage) live() {
	for {
		if conn, in, err := p.dial(p.crowd.order().Address); err == nil {
			p.end(conn, p.serve(conn, in))
		}
		pause := time.NewTimer(time.Duration(rand.Int64N(int64(time.Second))))
		<-pause.C
	}
}

func (p *lightPage) dial(address string) (net.Conn, *bufio.Reader, error) {
	conn, err := net.DialTimeout("tcp", address, 30*time.Second)
	if err != nil {
		return nil, nil, err
	}
	in := bufio.NewReaderSize(conn, 1024)
	_, err = io.WriteString(conn, "GET "+wire.SocketPath+" HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: "+origin+
		"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	if err == nil {
		_, err = upgraded(in)
	}
	if err == nil {
		err = writeFrame(conn, ofVisitor(p.n))
	}
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, in, nil
}

// upgraded reads the answer to a handshake.
func upgraded(in *bufio.Reader) (status int, err error) {
	answer, err := http.ReadResponse(in, nil)
	if err != nil {
		return 0, err
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return answer.StatusCode, fmt.Errorf("answered %s", answer.Status)
	}
	return answer.StatusCode, nil
}

// writeFrame sends a text frame, masked with zeros.
func writeFrame(to io.Writer, frame any) error {
	text, err := json.Marshal(frame)
	if err != nil {
		return err
	}
	_, err = to.Write(rawFrame(0x81, text))
	return err
}

// rawFrame is a masked frame with the first byte.
func rawFrame(first byte, body []byte) []byte {
	frame := []byte{first, 0x80}
	switch n := len(body); {
	case n < 126:
		frame[1] |= byte(n)
	case n < 1<<16:
		frame[1] |= 126
		frame = binary.BigEndian.AppendUint16(frame, uint16(n))
	default:
		frame[1] |= 127
		frame = binary.BigEndian.AppendUint64(frame, uint64(n))
	}
	return append(append(frame, 0, 0, 0, 0), body...)
}

// readFrame returns the next frame.
func readFrame(in *bufio.Reader) (first byte, body []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(in, head[:2]); err != nil {
		return 0, nil, err
	}
	first = head[0]
	size := uint64(head[1] & 0x7f)
	switch size {
	case 126:
		_, err = io.ReadFull(in, head[:2])
		size = uint64(binary.BigEndian.Uint16(head[:]))
	case 127:
		_, err = io.ReadFull(in, head[:8])
		size = binary.BigEndian.Uint64(head[:])
	}
	if err != nil || size > 1<<20 {
		return 0, nil, errors.Join(err, errors.New("a frame that is too large"))
	}
	body = make([]byte, size)
	_, err = io.ReadFull(in, body)
	return first, body, err
}

// serve hears frames until the connection ends, and returns the code.
func (p *lightPage) serve(conn net.Conn, in *bufio.Reader) int {
	for {
		first, body, err := readFrame(in)
		if err != nil {
			return 0
		}
		switch first & 0x0f {
		case 8:
			if len(body) < 2 {
				return 0
			}
			return int(binary.BigEndian.Uint16(body))
		case 1:
			if err := p.hear(conn, body); err != nil {
				return 0
			}
		}
	}
}

func (p *lightPage) hear(conn net.Conn, body []byte) error {
	var f struct {
		wire.Call
		N       int64 `json:"n"`
		AfterMS int64 `json:"after_ms"`
	}
	if err := json.Unmarshal(body, &f); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch f.T {
	case wire.KindWelcome:
		p.conn, p.away = conn, time.Since(p.lost)
		p.welcome++
		return p.repeat(max(p.acked, f.N))
	case wire.KindDrain:
		time.AfterFunc(time.Duration(rand.Int64N(f.AfterMS+1))*time.Millisecond, func() { _ = conn.Close() })
	case wire.KindAck:
		p.acked = max(p.acked, f.N)
	case wire.KindCall:
		p.called++
		return p.do(conn, f.Call)
	}
	return nil
}

// do does what a call asks for, once for a key. While the crowd does not answer,
// half of the pages do it and do not get round to their answer, and the others do
// not get round to it. The caller holds the lock.
func (p *lightPage) do(conn net.Conn, c wire.Call) error {
	answers := p.crowd.order().Answer
	if again := p.done[c.Key] > 0; !again && (answers || p.n%2 == 0) {
		p.done[c.Key]++
	}
	if !answers {
		return nil
	}
	return writeFrame(conn, wire.Answer{T: wire.KindAnswer, ID: c.ID, Seq: c.Seq, OK: true, JSON: `{"ok":true,"value":null}`})
}

// say says n further signals.
func (p *lightPage) say(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.told
	p.told += n
	_ = p.repeat(before) // A page that is away says them when it is back.
}

// repeat says the signals after that number. The caller holds the lock.
func (p *lightPage) repeat(after int64) error {
	for n := after + 1; n <= p.told && p.conn != nil; n++ {
		if err := writeFrame(p.conn, signal(n, [2]string{"widget.opened", "widget.closed"}[n%2], "visitor", "", "null")); err != nil {
			return err
		}
	}
	return nil
}

func (p *lightPage) end(conn net.Conn, code int) {
	_ = conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.codes[code]++
	if p.conn == conn {
		p.conn, p.lost = nil, time.Now()
	}
}

// crowdChild is a crowd as its test sees it.
type crowdChild struct {
	t       testing.TB
	answer  bool
	address string
	in      *json.Encoder
	out     *json.Decoder
}

// gather starts a crowd. It is killed when the test ends.
func gather(t testing.TB, visitors int, address string) *crowdChild {
	t.Helper()
	cmd, in, out := startChild(t, job{Crowd: &crowdJob{visitors}})
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &crowdChild{t: t, answer: true, address: address, in: json.NewEncoder(in), out: out}
}

// tell has the crowd say so many signals each, and returns its ledger.
func (c *crowdChild) tell(say int) ledger {
	c.t.Helper()
	must(c.t, c.in.Encode(order{Address: c.address, Say: say, Answer: c.answer}))
	var l ledger
	must(c.t, c.out.Decode(&l))
	return l
}

// until waits until the ledger says so.
func (c *crowdChild) until(what string, is func(ledger) bool) ledger {
	c.t.Helper()
	var l ledger
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for over := time.After(4 * time.Minute); ; {
		if l = c.tell(0); is(l) {
			return l
		}
		select {
		case <-tick.C:
		case <-over:
			l.Done, l.Back = nil, nil
			c.t.Fatalf("not true within 4 minutes: %s: %+v", what, l)
		}
	}
}

// quantile returns the value below which so many of a hundred are.
func quantile(values []float64, of int) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, len(sorted)*of/100)]
}

// startChild starts this test binary with the job.
func startChild(t testing.TB, j job) (*exec.Cmd, io.WriteCloser, *json.Decoder) {
	t.Helper()
	text, err := json.Marshal(j)
	must(t, err)
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.timeout=3600s", string(text))
	cmd.Stderr = &strings.Builder{}
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	return cmd, in, json.NewDecoder(out)
}
