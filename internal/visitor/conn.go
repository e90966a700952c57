package visitor

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/parley-chat/parley/internal/visitor/wire"
)

// maxReason is the most bytes of a close frame's reason.
const maxReason = 120

// closing is how a connection ends: the code that its page hears, and why.
type closing struct {
	code int
	why  string
}

// conn is one WebSocket connection. A goroutine reads it; another one writes
// while there is something to write.
type conn struct {
	g  *Gateway
	ws *websocket.Conn
	ip string
	// origin is the page's, which the site must have.
	origin string
	began  time.Time
	heard  atomic.Int64 // when the last frame came, in nanoseconds
	// reading is since when a message has been coming, or 0.
	reading atomic.Int64
	greeted atomic.Bool
	pings   atomic.Int64 // control frames since the last sweep

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

// run reads frames until the connection ends.
func (c *conn) run() {
	defer c.g.ended(c)
	for {
		data, end := c.read()
		if end == nil {
			end = c.g.frame(c, data)
		}
		if end != nil {
			c.close(*end)
			return
		}
	}
}

// read returns the next message. The connection has ended by itself when the
// code is 0.
func (c *conn) read() ([]byte, *closing) {
	// Without a deadline of its own: the sweep closes what is silent for too long.
	kind, r, err := c.ws.Reader(context.Background())
	if err != nil {
		return nil, c.broken(err)
	}
	now := c.g.o.Now()
	c.reading.Store(now.UnixNano())
	data, err := io.ReadAll(r)
	c.reading.Store(0)
	if err != nil {
		return nil, c.broken(err)
	}
	c.heard.Store(now.UnixNano())
	switch {
	case !c.frames.take(now, wire.FramesRate, wire.FramesBurst, 1):
		c.g.seen.flooded.Add(1)
		return nil, &closing{wire.ClosePolicy, "too many frames"}
	case kind != websocket.MessageText:
		return nil, &closing{wire.CloseProtocol, "frames are text"}
	case !utf8.Valid(data):
		return nil, &closing{wire.CloseInvalid, "the text is no UTF-8"}
	case !json.Valid(data):
		return nil, &closing{wire.CloseInvalid, "the text is no JSON"}
	}
	return data, nil
}

// broken says how a connection ends that cannot be read any more.
func (c *conn) broken(err error) *closing {
	if errors.Is(err, websocket.ErrMessageTooBig) {
		c.g.seen.malformed.Add(1)
		return &closing{wire.CloseTooBig, "the frame is too large"}
	}
	return &closing{}
}

// send queues the frame. A page that does not read loses its connection.
func (c *conn) send(frame any) {
	data, err := json.Marshal(frame)
	if err != nil {
		c.g.log.LogAttrs(context.Background(), slog.LevelError, "writing a frame", slog.Any("err", err))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last != nil {
		return
	}
	if c.waiting += len(data); c.waiting > c.g.o.Limits.Output {
		c.g.seen.slow.Add(1)
		c.out, c.last = nil, &closing{wire.CloseBusy, "the page does not read"}
	} else {
		c.out = append(c.out, data)
	}
	c.wake()
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

// write writes until nothing is queued.
func (c *conn) write() {
	for {
		c.mu.Lock()
		if len(c.out) == 0 {
			last := c.last
			c.writing = last != nil // Nothing is written any more after that.
			c.out = nil
			c.mu.Unlock()
			if last != nil {
				c.finish(*last)
			}
			return
		}
		next := c.out[0]
		c.out[0] = nil
		c.out = c.out[1:]
		c.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), c.g.o.Limits.Write)
		err := c.ws.Write(ctx, websocket.MessageText, next)
		cancel()
		c.mu.Lock()
		c.waiting -= len(next)
		if err != nil {
			if c.last == nil {
				c.last = &closing{}
			}
			c.out = nil
		}
		c.mu.Unlock()
	}
}

// finish closes the connection. The page is given a moment to hear the code,
// and nobody waits for its answer.
func (c *conn) finish(end closing) {
	if end.code == 0 {
		_ = c.ws.CloseNow() // It is gone already.
		return
	}
	c.g.closed(end.code)
	if len(end.why) > maxReason {
		end.why = end.why[:maxReason]
	}
	_ = c.ws.Close(websocket.StatusCode(end.code), end.why) // It is bounded by the library: 5 s.
}

// stale says how a connection ends that has been silent for too long, or whose
// visitor is not who he was any more; nil when neither is so.
func (c *conn) stale(now time.Time) *closing {
	l := c.g.o.Limits
	since := func(at int64) time.Duration { return time.Duration(now.UnixNano() - at) }
	switch begun := c.reading.Load(); {
	case begun != 0 && since(begun) > l.Hello:
		return &closing{wire.CloseProtocol, "a frame that does not end"}
	case c.pings.Swap(0) > wire.FramesBurst:
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
