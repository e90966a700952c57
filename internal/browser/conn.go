package browser

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/cdp/jsonv2"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

const (
	// maxFrame is the largest message of the browser that we read. A larger one
	// ends the connection.
	maxFrame = 64 << 20
	// writeLimit is how long one command may wait for the browser to read.
	writeLimit = 5 * time.Second
)

// errLost says that the connection to the browser is gone.
var errLost = errors.New("the connection to the browser is lost")

// errDetached says that a frame's target is gone.
var errDetached = errors.New("the frame is gone")

// A conn is the connection to one browser, shared by its sessions. It speaks
// over chromedp's pipe with cdproto's messages, and routes them itself: an
// event that no session asks for is never decoded.
type conn struct {
	pipe *chromedp.PipeConn
	out  *os.File
	lost chan struct{} // closed when nothing more will arrive
	read atomic.Int64  // messages that have arrived

	mu       sync.Mutex // guards the fields below
	next     int64
	pending  map[int64]*reply
	sessions map[target.SessionID]*session
	err      error // why the connection is lost
}

// A session is one target of the browser, or the browser itself when id is "".
// handle sees the session's events, one after another, in the goroutine that
// reads: it must not wait.
type session struct {
	conn   *conn
	id     target.SessionID
	handle func(method string, params jsonv2.Value) // conn.mu guards it
	ended  error                                    // why nothing can be sent any more; conn.mu guards it
}

// A reply is the place that the answer of one command arrives at.
type reply struct {
	session *session         // nil when it is only the browser's to answer
	done    chan answer      // of capacity 1
	kept    target.SessionID // of a command that only the browser answers, or the end of the target
	after   func(answer)     // called with the answer, unless nil; must not wait
}

// answer answers. It is called once.
func (r *reply) answer(a answer) {
	r.done <- a
	if r.after != nil {
		r.after(a)
	}
}

type answer struct {
	result jsonv2.Value
	err    error
}

// newConn returns the connection over the two pipes, and its root session.
// handle sees the events of the root session. Nothing is read before run.
func newConn(in io.ReadCloser, out *os.File, handle func(string, jsonv2.Value)) (*conn, *session) {
	c := &conn{
		pipe:     chromedp.NewPipeConn(&bounded{in: in}, out),
		out:      out,
		lost:     make(chan struct{}),
		pending:  map[int64]*reply{},
		sessions: map[target.SessionID]*session{},
	}
	return c, c.session("", handle)
}

// session adds a session. handle may be called before session returns.
func (c *conn) session(id target.SessionID, handle func(string, jsonv2.Value)) *session {
	s := &session{conn: c, id: id, handle: handle}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sessions[id] = s
	return s
}

// run reads until the browser closes its end or sends what is no message.
func (c *conn) run() {
	var err error
	for err == nil {
		msg := new(cdproto.Message)
		if err = c.pipe.Read(context.Background(), msg); err == nil {
			c.read.Add(1)
			c.route(msg)
		}
	}
	c.mu.Lock()
	c.err = fmt.Errorf("%w: %w", errLost, err)
	lost := c.pending
	c.pending = nil
	c.mu.Unlock()
	for _, r := range lost {
		r.answer(answer{err: c.err})
	}
	close(c.lost)
}

func (c *conn) route(msg *cdproto.Message) {
	c.mu.Lock()
	if msg.ID != 0 {
		r := c.pending[msg.ID]
		delete(c.pending, msg.ID)
		c.mu.Unlock()
		if r == nil {
			return
		}
		a := answer{result: msg.Result}
		if msg.Error != nil {
			a.err = msg.Error
		}
		r.answer(a)
		return
	}
	var handle func(string, jsonv2.Value)
	if s := c.sessions[msg.SessionID]; s != nil {
		handle = s.handle
	}
	c.mu.Unlock()
	if handle != nil {
		handle(string(msg.Method), msg.Params)
	}
}

// drop forgets the session, and fails its commands with err: those that are
// pending, and those that are sent later. The browser never answers the
// commands of a renderer that died.
func (s *session) drop(err error) {
	s.conn.mu.Lock()
	s.ended = err
	delete(s.conn.sessions, s.id)
	failed := s.take()
	s.conn.mu.Unlock()
	for _, r := range failed {
		r.answer(answer{err: err})
	}
}

// rest fails the session's pending commands with err, and gives its events to
// another func.
func (s *session) rest(err error, handle func(string, jsonv2.Value)) {
	s.conn.mu.Lock()
	s.handle = handle
	failed := s.take()
	s.conn.mu.Unlock()
	for _, r := range failed {
		r.answer(answer{err: err})
	}
}

// take removes the pending commands of the session, but those that are kept. The
// caller holds conn.mu.
func (s *session) take() []*reply {
	var taken []*reply
	for id, r := range s.conn.pending {
		if r.session == s {
			taken = append(taken, r)
			delete(s.conn.pending, id)
		}
	}
	return taken
}

// send writes the command. The answer arrives at the reply, always.
func (s *session) send(r *reply, method string, params any) {
	raw, err := jsonv2.Marshal(params, chromedp.DefaultMarshalOptions)
	if err != nil {
		r.answer(answer{err: fmt.Errorf("encoding %s: %w", method, err)})
		return
	}
	c := s.conn
	c.mu.Lock()
	if ended := cmp.Or(s.ended, c.err); ended != nil {
		c.mu.Unlock()
		r.answer(answer{err: ended})
		return
	}
	c.next++
	id := c.next
	c.pending[id] = r
	c.mu.Unlock()
	msg := &cdproto.Message{ID: id, SessionID: s.id, Method: cdproto.MethodType(method), Params: raw}
	_ = c.out.SetWriteDeadline(time.Now().Add(writeLimit))
	if err := c.pipe.Write(context.Background(), msg); err != nil {
		// Half a command may be in the pipe: nobody can go on with it.
		_ = c.pipe.Close()
	}
}

// detached answers the commands that were kept for the session's target.
func (c *conn) detached(id target.SessionID) {
	c.mu.Lock()
	var left []*reply
	for n, r := range c.pending {
		if r.kept == id {
			left = append(left, r)
			delete(c.pending, n)
		}
	}
	c.mu.Unlock()
	for _, r := range left {
		r.answer(answer{err: errDetached})
	}
}

// A future is a command that was sent, and will be answered.
type future[R any] struct {
	method string
	reply  *reply
}

// begin sends the command and does not wait, so that many commands can be
// under way at once.
func begin[P, R any](s *session, c cdp.Command[P, R], params P) future[R] {
	return beginAs(&reply{session: s}, s, c, params)
}

// beginKept is begin for a command that goes on when the session is dropped or
// rests. after is called with its answer; it must not wait.
func beginKept[P, R any](s *session, c cdp.Command[P, R], params P, after func()) future[R] {
	return beginAs(&reply{kept: s.id, after: func(answer) { after() }}, s, c, params)
}

// beginThen is begin for what only its answer's reader waits for: then is called
// with a good answer, in the goroutine that reads, so it must not wait.
func beginThen[P, R any](s *session, c cdp.Command[P, R], params P, then func(R)) future[R] {
	return beginAs(&reply{session: s, after: func(a answer) {
		var result R
		if a.err == nil && jsonv2.Unmarshal(a.result, &result, chromedp.DefaultUnmarshalOptions) == nil {
			then(result)
		}
	}}, s, c, params)
}

func beginAs[P, R any](r *reply, s *session, c cdp.Command[P, R], params P) future[R] {
	r.done = make(chan answer, 1)
	s.send(r, c.Method, params)
	return future[R]{c.Method, r}
}

// call sends the command and waits for its answer.
func call[P, R any](ctx context.Context, s *session, c cdp.Command[P, R], params P) (R, error) {
	return begin(s, c, params).wait(ctx)
}

// wait returns the answer, or the cause of ctx.
func (f future[R]) wait(ctx context.Context) (R, error) {
	var result R
	select {
	case a := <-f.reply.done:
		err := a.err
		if err == nil {
			err = jsonv2.Unmarshal(a.result, &result, chromedp.DefaultUnmarshalOptions)
		}
		if err != nil {
			return result, fmt.Errorf("%s: %w", f.method, err)
		}
		return result, nil
	case <-ctx.Done():
		return result, fmt.Errorf("%s: %w", f.method, context.Cause(ctx))
	}
}

// waiter is any future.
type waiter interface {
	finish(ctx context.Context) error
}

func (f future[R]) finish(ctx context.Context) error {
	_, err := f.wait(ctx)
	return err
}

// refused reports whether the browser answered the command with an error.
func refused(err error) bool {
	_, is := errors.AsType[*cdproto.Error](err)
	return is
}

// all waits for the futures and returns the first error.
func all(ctx context.Context, futures ...waiter) error {
	for _, f := range futures {
		if err := f.finish(ctx); err != nil {
			return err
		}
	}
	return nil
}

// bounded refuses a message that is larger than maxFrame.
type bounded struct {
	in   io.ReadCloser
	size int
}

// Read satisfies io.Reader.
func (f *bounded) Read(p []byte) (int, error) {
	n, err := f.in.Read(p)
	if end := bytes.LastIndexByte(p[:n], 0); end >= 0 {
		f.size = n - end - 1
	} else {
		f.size += n
	}
	if f.size > maxFrame {
		return 0, fmt.Errorf("a message is larger than %d bytes", maxFrame)
	}
	return n, err
}

// Close satisfies io.Closer.
func (f *bounded) Close() error { return f.in.Close() }
