package visitor_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/visitor"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

// A stranger is a connection that is written to byte by byte.
type stranger struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

// strange opens a connection that is welcomed as the n-th visitor.
func (r *rig) strange(t testing.TB, n int) *stranger {
	t.Helper()
	conn, err := net.DialTimeout("tcp", r.address, patience)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(2*patience)))
	s := &stranger{t: t, conn: conn, in: bufio.NewReader(conn)}
	s.write([]byte("GET " + wire.SocketPath + " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: " + origin +
		"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"))
	if _, err := upgraded(s.in); err != nil {
		t.Fatal(err)
	}
	hello, err := json.Marshal(ofVisitor(n))
	must(t, err)
	s.write(rawFrame(0x81, hello))
	if _, body, err := readFrame(s.in); err != nil || !bytes.Contains(body, []byte(`"t":"welcome"`)) {
		t.Fatalf("answered %s, %v", body, err)
	}
	return s
}

func (s *stranger) write(data []byte) {
	_, _ = s.conn.Write(data) // Whoever is closed hears so.
}

// ends reads until the connection ends, and returns the code of the close frame;
// 0 is an end without one, and -1 none at all.
func (s *stranger) ends() int {
	s.t.Helper()
	code := 0
	for {
		first, body, err := readFrame(s.in)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return -1
		}
		if err != nil {
			return code
		}
		if first&0x0f == 8 && len(body) >= 2 {
			code = int(binary.BigEndian.Uint16(body))
			s.write(rawFrame(0x88, body[:2]))
		}
	}
}

// attacks are what is no WebSocket, and how it ends: with one of these codes.
func attacks() map[string]struct {
	send  []byte
	codes []int
} {
	text, more, last := func(b []byte) []byte { return rawFrame(0x01, b) }, func(b []byte) []byte { return rawFrame(0x00, b) }, func(b []byte) []byte { return rawFrame(0x80, b) }
	huge := append([]byte{0x81, 0x80 | 127}, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0) // 1 GiB, which never comes whole.
	protocol, invalid, large := []int{wire.CloseProtocol}, []int{wire.CloseInvalid}, []int{wire.CloseTooBig}
	return map[string]struct {
		send  []byte
		codes []int
	}{
		"a frame of 1 GiB":              {append(huge, bytes.Repeat([]byte(" "), wire.MaxFrame+100)...), large},
		"a length below zero":           {append([]byte{0x81, 0x80 | 127}, bytes.Repeat([]byte{0xff}, 12)...), append(protocol, wire.CloseTooBig)},
		"a million empty fragments":     {append(text(nil), bytes.Repeat(more(nil), 1_000_000)...), protocol},
		"a fragment for each byte":      {append(text([]byte(`"`)), bytes.Repeat(more([]byte("x")), 300_000)...), append(protocol, wire.CloseTooBig)},
		"fragments beyond the limit":    {append(text([]byte(`"`)), bytes.Repeat(more(bytes.Repeat([]byte("x"), 16<<10)), 5)...), large},
		"text that is cut in a letter":  {append(text([]byte("{\"t\":\"ping\",\"x\":\"\xc3")), last([]byte(`"}`))...), invalid},
		"overlong UTF-8":                {rawFrame(0x81, []byte("{\"t\":\"ping\",\"x\":\"\xc0\xaf\"}")), invalid},
		"a surrogate in UTF-8":          {rawFrame(0x81, []byte("{\"t\":\"ping\",\"x\":\"\xed\xa0\x80\"}")), invalid},
		"a fragment of nothing":         {more([]byte("x")), protocol},
		"a text in a text":              {append(text([]byte(`{"t":`)), rawFrame(0x81, []byte(`{"t":"ping"}`))...), protocol},
		"the first reserved bit":        {rawFrame(0xc1, []byte(`{"t":"ping"}`)), protocol},
		"the second reserved bit":       {rawFrame(0xa1, []byte(`{"t":"ping"}`)), protocol},
		"the third reserved bit":        {rawFrame(0x91, []byte(`{"t":"ping"}`)), protocol},
		"a bomb of deflate":             {rawFrame(0xc1, bytes.Repeat([]byte{0xec, 0xc1, 0x01, 0x01, 0, 0, 0}, 2000)), protocol},
		"a kind of frame":               {rawFrame(0x83, nil), protocol},
		"another kind of control frame": {rawFrame(0x8b, nil), protocol},
		"a long ping":                   {rawFrame(0x89, bytes.Repeat([]byte("x"), 126)), protocol},
		"a ping in fragments":           {rawFrame(0x09, []byte("x")), protocol},
		"no mask":                       {append([]byte{0x81, 12}, `{"t":"ping"}`...), protocol},
		"a close of one byte":           {rawFrame(0x88, []byte{3}), protocol},
		"a close with no code":          {rawFrame(0x88, []byte{0, 1}), protocol},
		"a close of bad text":           {rawFrame(0x88, []byte{3, 232, 0xff, 0xfe}), append(protocol, wire.CloseInvalid, wire.CloseNormal)},
		"another protocol":              {[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), append(protocol, wire.CloseTooBig)},
	}
}

// G8: what is no WebSocket ends its own connection, with a code where there can be
// one, however often; it costs no memory, and the gateway goes on.
func TestRawAttacks(t *testing.T) {
	t.Parallel()
	r := setup(t, func(o *visitor.Options) { o.Limits.Connects, o.Limits.PerIP = 1e6, 1e6 })
	rounds := bustest.Count(1, 40)
	made, malformed := 0, int64(0)
	for round := range rounds {
		for name, attack := range attacks() {
			made++
			s := r.strange(t, made)
			go s.write(attack.send)
			code, fits := s.ends(), false
			for _, one := range attack.codes {
				fits = fits || one == code
			}
			if code != wire.CloseNormal {
				malformed++
			}
			if !fits {
				t.Errorf("round %d, %s: closed with %d, want one of %d", round, name, code, attack.codes)
			}
			_ = s.conn.Close()
		}
	}
	bustest.Until(t, "nobody is there", func() bool { return r.gateway.Stats().Connections == 0 })
	s := r.gateway.Stats()
	if s.Opened != int64(made) || s.Malformed != malformed || s.In > int64(made)*(1<<20) {
		t.Errorf("%d attacks: %d welcomed, %d bytes read", made, s.Opened, s.In)
	}
	if p := r.connect(t, hello("after")); p.welcome.Token == "" {
		t.Error("the gateway does not go on")
	}
	t.Logf("%d attacks of %d kinds: %d closed as malformed, 0 panics, %d bytes read of each", made, len(attacks()), s.Malformed, s.In/int64(made))
}

// Whoever pings without end is cut off, and hears no more than he may.
func TestControlFramesAreBounded(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for i, first := range []byte{0x89, 0x8a} {
		s := r.strange(t, i)
		go func() {
			for range 2000 {
				if _, err := s.conn.Write(bytes.Repeat(rawFrame(first, []byte("x")), 50)); err != nil {
					return
				}
			}
		}()
		if code := s.ends(); code != wire.ClosePolicy && code != 0 {
			t.Errorf("frames %x: closed with %d", first, code)
		}
		_ = s.conn.Close()
	}
	bustest.Until(t, "nobody is there", func() bool { return r.gateway.Stats().Connections == 0 })
}

// Half-open sockets, and those that were never opened whole, do not stay.
func TestHalfOpenSockets(t *testing.T) {
	t.Parallel()
	r := setup(t, func(o *visitor.Options) { o.Limits.Hello, o.Limits.Idle = time.Second, 2*time.Second })
	sockets := bustest.Count(60, 2000)
	for i := range sockets {
		p := &lightPage{crowd: &lightCrowd{}, n: i}
		if i%3 == 1 { // It shakes hands, and says nothing.
			ws, err := r.dial(t, origin)
			must(t, err)
			t.Cleanup(func() { _ = ws.CloseNow() })
			continue
		}
		conn, _, err := p.dial(r.address) // It says hello, and is never heard of again,
		must(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		if i%3 == 2 { // or begins a frame, and does not end it.
			_, _ = conn.Write(rawFrame(0x81, []byte(strings.Repeat(" ", 1000)))[:500])
		}
	}
	bustest.Until(t, "none of them is left", func() bool { return r.gateway.Stats().Connections == 0 })
	s := r.gateway.Stats()
	if got := s.Ends[wire.CloseGoing] + s.Ends[wire.CloseProtocol] + s.Ends[0]; got != int64(sockets) {
		t.Errorf("%d sockets ended as %v", sockets, s.Ends)
	}
	t.Logf("%d half-open sockets: ended as %v", sockets, s.Ends)
}

// FuzzSocket gives an open connection any bytes. Whatever they are, the gateway
// goes on, and answers who is well-behaved.
func FuzzSocket(f *testing.F) {
	for _, attack := range attacks() {
		if len(attack.send) < 1000 {
			f.Add(attack.send)
		}
	}
	f.Add(rawFrame(0x81, []byte(`{"t":"ping"}`)))
	f.Add(rawFrame(0x81, []byte(`{"t":"signal","n":1,"json":"{\"name\":\"widget.opened\",\"cause\":\"visitor\",\"seq\":1,\"at_ms\":1}"}`)))
	f.Add(append(rawFrame(0x01, []byte(`{"t":`)), rawFrame(0x80, []byte(`"ping"}`))...))
	r := setup(f, func(o *visitor.Options) { o.Limits.Connects, o.Limits.PerIP, o.Limits.IP = 1e6, 1e6, 1e6 })
	good, asked := r.strange(f, 0), time.Now()
	n := 0
	f.Fuzz(func(t *testing.T, data []byte) {
		n++
		s := r.strange(t, n)
		s.write(data)
		s.write(rawFrame(0x88, []byte{3, 232}))
		if tcp, ok := s.conn.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
		_, _ = io.Copy(io.Discard, s.in)
		_ = s.conn.Close()
		if time.Since(asked) < 50*time.Millisecond {
			return // Asking more often is a flood.
		}
		asked = time.Now()
		must(t, good.conn.SetDeadline(asked.Add(patience)))
		good.write(rawFrame(0x81, []byte(`{"t":"ping"}`)))
		if _, body, err := readFrame(good.in); err != nil || string(body) != `{"t":"pong"}` {
			t.Fatalf("after %q somebody else hears %s, %v", data, body, err)
		}
	})
}

// FuzzHello gives a new connection any first frame. Nobody is welcomed as anybody
// but the anonymous visitor whom the frame names.
func FuzzHello(f *testing.F) {
	for _, change := range []func(*wire.Hello){
		func(*wire.Hello) {},
		func(h *wire.Hello) { h.Token, h.AnonymousID = "eyJ.eyJ.x", "" },
		func(h *wire.Hello) {
			h.Identity = jwt([]byte("another secret, which is long enough"), hs256, `{"sub":"ada"}`)
		},
		func(h *wire.Hello) { h.Key = docsKey },
	} {
		text, err := json.Marshal(hello("fuzz", change))
		must(f, err)
		f.Add(text)
	}
	r := setup(f, func(o *visitor.Options) { o.Limits.Connects, o.Limits.PerIP, o.Limits.IP = 1e6, 1e6, 1e6 })
	f.Fuzz(func(t *testing.T, first []byte) {
		ws, err := r.dial(t, origin)
		must(t, err)
		_ = ws.Write(t.Context(), 1, first)
		var got wire.Welcome
		for err == nil && got.T != wire.KindWelcome {
			var body []byte
			if _, body, err = ws.Read(t.Context()); err == nil {
				err = json.Unmarshal(body, &got)
			}
		}
		_ = ws.CloseNow()
		var h wire.Hello
		if err == nil && (json.Unmarshal(first, &h) != nil || h.Identity != "" || h.Token != "" || got.Session != sessionOf("shop", h.AnonymousID)) {
			t.Errorf("%q is welcomed as %s", first, got.Session)
		}
	})
}
