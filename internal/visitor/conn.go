package visitor

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/parley-chat/parley/internal/visitor/wire"
)

// ping and pong are how nearly all frames of an idle page are written: nobody
// need read or write them as JSON.
const (
	ping = `{"t":"` + wire.KindPing + `"}`
	pong = `{"t":"` + wire.KindPong + `"}`
)

const (
	// maxReason is the most bytes of a close frame's reason.
	maxReason = 120
	// farewell is how long a page has to answer that its connection is closed.
	farewell = 3 * time.Second
)

// closing is how a connection ends: the code that its page hears, and why.
type closing struct {
	code int
	why  string
}

// conn is one WebSocket connection. A goroutine reads it, and writes what answers
// a frame at once; another one writes while there is more to write.
type conn struct {
	g      *Gateway
	ws     *websocket.Conn
	socket socket
	ip     string
	// origin is the page's, which the site must have.
	origin string
	began  time.Time
	heard  atomic.Int64 // when the last frame came, in nanoseconds
	// reading is since when a message has been coming, and sending since when a
	// frame has been leaving; or 0.
	reading, sending atomic.Int64
	greeted, slow    atomic.Bool
	control          atomic.Int64 // control frames since the last sweep

	// These are set by the hello, before the connection is the visitor's.
	site  *Site
	e     *entry
	life  string
	tab   string
	stamp int64
	until time.Time // when the visitor's identity lapses, or zero

	// These are guarded by e.mu.
	url     string
	focused bool

	frames bucket // of the reader

	mu      sync.Mutex // guards the fields below
	out     [][]byte
	waiting int // bytes of out
	writing bool
	last    *closing // how it ends, after what is in out
}

// run takes frames until the connection ends. A frame that is work makes the
// goroutine's stack grow, and it would stay so while the page is silent: another
// goroutine goes on after it.
func (c *conn) run() {
	for light := true; light; {
		var end *closing
		if light, end = c.take(); end != nil {
			c.close(*end)
			c.g.ended(c)
			return
		}
	}
	c.g.work.Go(c.run)
}

// take reads the next message and works on it. Light says that it was hardly any
// work. The connection has ended by itself when the code is 0.
func (c *conn) take() (light bool, end *closing) {
	// Without a deadline of its own: the sweep closes what is silent for too long.
	kind, r, err := c.ws.Reader(context.Background())
	if err != nil {
		return false, broken(err)
	}
	buffer := c.g.pool.take()
	defer c.g.pool.give(buffer)
	now := c.g.o.Now()
	c.reading.Store(now.UnixNano())
	err = c.socket.whole(buffer, r)
	c.reading.Store(0)
	if err != nil {
		return false, broken(err)
	}
	c.heard.Store(now.UnixNano())
	if end := c.check(kind, buffer.Bytes(), now); end != nil {
		return false, end
	}
	data := buffer.Bytes()
	if end = c.g.frame(c, data, now); end != nil && end.code == wire.CloseProtocol && !json.Valid(data) {
		end = &closing{wire.CloseInvalid, "the text is no JSON"}
	}
	return string(data) == ping, end
}

// check refuses what is no frame, or one too many.
func (c *conn) check(kind websocket.MessageType, data []byte, now time.Time) *closing {
	switch {
	case !c.frames.take(now, wire.FramesRate, wire.FramesBurst):
		c.g.seen.flooded.Add(1)
		return &closing{wire.ClosePolicy, "too many frames"}
	case kind != websocket.MessageText:
		return &closing{wire.CloseProtocol, "frames are text"}
	case !utf8.Valid(data):
		return &closing{wire.CloseInvalid, "the text is no UTF-8"}
	}
	return nil
}

// broken says how a connection ends that cannot be read any more.
func broken(err error) *closing {
	switch {
	case errors.Is(err, websocket.ErrMessageTooBig):
		return &closing{wire.CloseTooBig, "the frame is too large"}
	case errors.Is(err, errFragments):
		return &closing{wire.CloseProtocol, errFragments.Error()}
	case isCut(err):
		return &closing{}
	}
	return &closing{wire.CloseProtocol, "this is no WebSocket"}
}

// isCut reports whether the connection has ended, by its page or the network, and
// not by what came over it.
func isCut(err error) bool {
	_, network := errors.AsType[net.Error](err)
	return network || websocket.CloseStatus(err) != -1 || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// counted notes a control frame. It is false when there are too many, and no
// answer is due.
func (c *conn) counted() bool { return c.control.Add(1) <= wire.FramesBurst }

// send queues the frame. A page that does not read loses its connection.
func (c *conn) send(frame any) {
	data := text(frame)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue(data)
	c.wake()
}

// text returns the frame as it is sent. Every frame can be written: its parts
// are texts, numbers, and what was read as JSON.
func text(frame any) []byte {
	data, _ := json.Marshal(frame) //nolint:errchkjson // As above.
	return data
}

// reply queues the frame too, and writes it when nobody else does. Only the
// reader calls it: it waits for the page, which reads no further meanwhile.
func (c *conn) reply(data []byte) {
	c.mu.Lock()
	c.queue(data)
	mine := !c.writing
	c.writing = true
	c.mu.Unlock()
	if mine {
		c.write()
	}
}

// queue puts the frame behind the others, unless too much waits already: a single
// frame may be of any size. The caller holds the lock.
func (c *conn) queue(data []byte) {
	if c.last != nil || len(data) == 0 {
		return
	}
	if c.waiting < c.g.o.Limits.Output {
		c.waiting += len(data)
		c.out = append(c.out, data)
		return
	}
	c.lags()
	c.out, c.last = nil, &closing{wire.CloseBusy, "the page does not read"}
}

// lags counts a connection whose page does not read, once.
func (c *conn) lags() {
	if !c.slow.Swap(true) {
		c.g.seen.slow.Add(1)
	}
}

// close ends the connection after what was queued has left. The first call
// decides how.
func (c *conn) close(end closing) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil {
		c.last = &end
		c.wake()
	}
}

// wake makes sure that somebody writes. The caller holds the lock.
func (c *conn) wake() {
	if !c.writing {
		c.writing = true
		c.g.work.Go(c.write)
	}
}

// write writes until nothing is queued. Whoever calls it has set writing.
func (c *conn) write() {
	for {
		next, last := c.next()
		switch {
		case next != nil:
			c.wrote(c.put(next))
		case last != nil:
			c.finish(*last)
			return
		default:
			return
		}
	}
}

// next returns what is to be written, or else how the connection ends. When
// neither is so, nobody writes any more; after the end nobody ever does.
func (c *conn) next() ([]byte, *closing) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.out) == 0 {
		c.out, c.writing = nil, c.last != nil
		return nil, c.last
	}
	next := c.out[0]
	c.out[0] = nil
	c.out = c.out[1:]
	c.waiting -= len(next) // Its page may have answered it before we know that it has left.
	return next, nil
}

// put writes a frame. It has no deadline of its own: the sweep breaks off what
// takes too long.
func (c *conn) put(data []byte) error {
	c.sending.Store(c.g.o.Now().UnixNano())
	defer c.sending.Store(0)
	return c.ws.Write(context.Background(), websocket.MessageText, data) //nolint:wrapcheck // It ends the connection, whatever it is.
}

// wrote takes note that the frame has left, or that none ever will again.
func (c *conn) wrote(err error) {
	if err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = nil
	if c.last == nil {
		c.last = &closing{}
	}
}

// finish closes the connection, and gives its place back. The page is given a
// moment to hear the code: without the deadline, one that has not ended its last
// frame could stay for ever.
func (c *conn) finish(end closing) {
	defer c.g.hub.leave(c)
	c.g.seen.end(end.code)
	if end.code == 0 {
		_ = c.ws.CloseNow() // It is gone already.
		return
	}
	_ = c.socket.SetDeadline(time.Now().Add(farewell)) // It fails on one that is closed.
	_ = c.ws.Close(websocket.StatusCode(end.code), end.why[:min(len(end.why), maxReason)])
}

// sweep closes the connection if it is stale, and breaks it off if its page does
// not read.
func (c *conn) sweep(now time.Time) {
	if begun := c.sending.Load(); begun != 0 && now.UnixNano()-begun > int64(c.g.o.Limits.Write) {
		c.lags()
		_ = c.socket.Close() // What writes ends, and closes the rest.
		return
	}
	if end := c.stale(now); end != nil {
		c.close(*end)
	}
}

// stale says how a connection ends that has been silent for too long, or whose
// visitor is not who he was any more; nil when neither is so.
func (c *conn) stale(now time.Time) *closing {
	l := c.g.o.Limits
	since := func(at int64) time.Duration { return time.Duration(now.UnixNano() - at) }
	switch begun := c.reading.Load(); {
	case begun != 0 && since(begun) > l.Hello:
		return &closing{wire.CloseProtocol, "a frame that does not end"}
	case c.control.Swap(0) > wire.FramesBurst:
		return &closing{wire.ClosePolicy, "too many control frames"}
	case !c.greeted.Load() && now.Sub(c.began) > l.Hello:
		return &closing{wire.CloseProtocol, "no hello came"}
	case since(c.heard.Load()) > l.Idle:
		return &closing{wire.CloseGoing, "silent for too long"}
	}
	if c.greeted.Load() && !c.until.IsZero() && !now.Before(c.until) {
		return &closing{wire.CloseToken, "the identity has lapsed"}
	}
	return nil
}
