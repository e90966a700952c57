package visitor

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

const (
	// readBuffer and writeBuffer are the bytes that an open connection keeps. Most
	// frames of a page fit the first, and a welcome fits the second; what is longer
	// passes by them. The HTTP server's own buffers have 4 KiB each.
	readBuffer, writeBuffer = 512, 1024
	// systemBuffer is what the system may keep of what a page does not read. It
	// would take megabytes otherwise.
	systemBuffer = 64 << 10
	// mostRaw is the most bytes that a message may come in: one of a million
	// fragments is cut off.
	mostRaw = wire.MaxFrame + 64<<10
	// roomy is the most bytes of a buffer for messages that is used again.
	roomy = 16 << 10
)

var errFragments = errors.New("the message comes in too many pieces")

// socket is a connection as the network has it. It counts what passes.
type socket struct {
	net.Conn
	seen *counters
	left atomic.Int64 // bytes that may come: whoever reads counts, and so does who waits for the end
}

// Read implements io.Reader.
func (s *socket) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	s.seen.in.Add(int64(n))
	if s.left.Add(-int64(n)) < 0 && err == nil {
		err = errFragments
	}
	return n, err //nolint:wrapcheck // It is the WebSocket's own.
}

// Write implements io.Writer.
func (s *socket) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	s.seen.out.Add(int64(n))
	return n, err //nolint:wrapcheck // As above.
}

// handshake is the answer to a page that connects. Its connection is taken over
// with small buffers.
type handshake struct {
	http.ResponseWriter
	socket *socket
}

// Hijack implements http.Hijacker.
func (h *handshake) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	taken, large, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, fault.New(fault.InternalError, "taking the connection over").Because(err)
	}
	if tcp, ok := taken.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(systemBuffer) // The system's own is good enough.
	}
	h.socket.Conn = taken
	h.socket.left.Store(math.MaxInt64)
	return h.socket, bufio.NewReadWriter(early(large.Reader), bufio.NewWriterSize(h.socket, writeBuffer)), nil
}

// early returns a reader with a small buffer, which has what the other one has
// buffered. What comes after that is read from elsewhere.
func early(large *bufio.Reader) *bufio.Reader {
	sent, _ := large.Peek(large.Buffered()) // So many are there.
	in := bufio.NewReaderSize(bytes.NewReader(bytes.Clone(sent)), max(readBuffer, len(sent)))
	_, _ = in.Peek(len(sent)) // As above.
	return in
}

// pool has buffers for messages, each used while its message is worked on.
type pool struct{ free sync.Pool }

// take returns an empty buffer.
func (p *pool) take() *bytes.Buffer {
	if b, ok := p.free.Get().(*bytes.Buffer); ok {
		return b
	}
	return &bytes.Buffer{}
}

// give takes the buffer back. Nobody may use what is in it any more.
func (p *pool) give(b *bytes.Buffer) {
	if b.Cap() > roomy {
		return
	}
	b.Reset()
	p.free.Put(b)
}

// whole reads a message into the buffer.
func (s *socket) whole(into *bytes.Buffer, r io.Reader) error {
	s.left.Store(mostRaw)
	_, err := into.ReadFrom(r)
	s.left.Store(math.MaxInt64)
	return err //nolint:wrapcheck // The caller tells what it means.
}
