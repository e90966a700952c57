package bustest

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// Proxy stands between a client and a server, and can be cut or blocked, as a
// network can.
type Proxy struct {
	t        testing.TB
	listener net.Listener
	to       string
	running  sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	flows   *sync.Cond // told when blocked or closed changes
	cut     bool
	blocked bool
	closed  bool
	conns   map[net.Conn]struct{}
}

// Proxy returns a proxy before the server. It ends with the test.
func (s *Server) Proxy() *Proxy {
	s.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // It ends with the test.
	if err != nil {
		s.t.Fatalf("listening for a proxy: %v", err)
	}
	p := &Proxy{t: s.t, listener: listener, to: s.ns.Addr().String(), conns: map[net.Conn]struct{}{}}
	p.flows = sync.NewCond(&p.mu)
	p.running.Go(p.accept)
	s.t.Cleanup(p.close)
	return p
}

// URL returns where clients reach the server through the proxy.
func (p *Proxy) URL() string { return "nats://" + p.listener.Addr().String() }

// Cut ends all connections, as the death of a process does, and lets none in
// until Mend.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for conn := range p.conns {
		_ = conn.Close() // Nothing of it is needed.
	}
}

// Block lets nothing through, and neither side is told, until Mend.
func (p *Proxy) Block() { p.set(true) }

// Mend ends what Cut and Block did.
func (p *Proxy) Mend() { p.set(false) }

func (p *Proxy) set(blocked bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blocked, p.cut = blocked, false
	p.flows.Broadcast()
}

func (p *Proxy) close() {
	_ = p.listener.Close() // Nothing of it is needed.
	p.Cut()
	p.mu.Lock()
	p.closed = true
	p.flows.Broadcast()
	p.mu.Unlock()
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.to) //nolint:noctx // It ends with the client.
		if err != nil || !p.keep(client, server) {
			_ = client.Close() // The client tries again.
			continue
		}
		p.running.Go(func() { p.copy(server, client) })
		p.running.Go(func() { p.copy(client, server) })
	}
}

// keep notes the connections, unless they are cut.
func (p *Proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range conns {
		if p.cut {
			_ = conn.Close() // The client tries again.
			continue
		}
		p.conns[conn] = struct{}{}
	}
	return !p.cut
}

// copy hands on what one side says, and waits while it is blocked.
func (p *Proxy) copy(to, from net.Conn) {
	defer func() {
		_, _ = to.Close(), from.Close() // One end is the other's.
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, from)
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		for p.blocked && !p.closed {
			p.flows.Wait()
		}
		p.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "closed") && !strings.Contains(err.Error(), "reset") {
				p.t.Errorf("the proxy reads: %v", err)
			}
			return
		}
	}
}
