package main

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// proxy stands between one worker and the NATS servers, one address for each,
// so that the two can be cut off from each other.
type proxy struct {
	addresses []string
	listeners []net.Listener
	work      sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	state line
	open  map[net.Conn]bool
	heal  chan struct{} // closed when a silent line speaks again
}

// line is the state of the connection between the two sides.
type line int

// The states.
const (
	whole  line = iota
	silent      // Nothing gets through, and nobody is told.
	broken      // Connections are reset, and new ones too.
	closed      // The proxy has ended.
)

// startProxy listens on one loopback port for each target. Close it once.
func startProxy(ctx context.Context, targets []string) (*proxy, error) {
	p := &proxy{open: map[net.Conn]bool{}, heal: make(chan struct{})}
	var config net.ListenConfig
	for _, target := range targets {
		listener, err := config.Listen(ctx, "tcp4", "127.0.0.1:0")
		if err != nil {
			p.close()
			return nil, fmt.Errorf("listening in front of %s: %w", target, err)
		}
		p.listeners = append(p.listeners, listener)
		p.addresses = append(p.addresses, listener.Addr().String())
		p.work.Go(func() { p.serve(context.WithoutCancel(ctx), listener, target) })
	}
	return p, nil
}

// set changes the state of the line.
func (p *proxy) set(state line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = state
	if state == broken || state == closed {
		for conn := range p.open {
			abort(conn)
		}
	}
	if state != silent {
		close(p.heal)
		p.heal = make(chan struct{})
	}
}

// close ends the proxy and its connections.
func (p *proxy) close() {
	for _, listener := range p.listeners {
		_ = listener.Close()
	}
	p.set(closed)
	p.work.Wait()
}

// abort resets the connection: the other side learns of it at once, and what
// was under way is lost.
func abort(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

func (p *proxy) serve(ctx context.Context, listener net.Listener, target string) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		if !p.keep(conn) {
			continue
		}
		p.work.Go(func() { p.join(ctx, conn, target) })
	}
}

// keep remembers the connection, or resets it when the line is broken.
func (p *proxy) keep(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == broken || p.state == closed {
		abort(conn)
		return false
	}
	p.open[conn] = true
	return true
}

func (p *proxy) forget(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, conn)
	_ = conn.Close()
}

// join connects to the target and copies in both directions until one side
// ends.
func (p *proxy) join(ctx context.Context, near net.Conn, target string) {
	defer p.forget(near)
	if !p.passes() {
		return
	}
	var dialer net.Dialer
	far, err := dialer.DialContext(ctx, "tcp4", target)
	if err != nil {
		abort(near)
		return
	}
	if !p.keep(far) {
		return
	}
	defer p.forget(far)
	var both sync.WaitGroup
	both.Go(func() { p.pour(far, near) })
	both.Go(func() { p.pour(near, far) })
	both.Wait()
}

// pour copies until a side ends. What comes while the line is silent waits, as
// in the buffers of a network.
func (p *proxy) pour(to, from net.Conn) {
	defer abort(to)
	defer abort(from)
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && p.passes() {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil || !p.passes() {
			return
		}
	}
}

// passes waits while the line is silent, and reports whether it is whole then.
func (p *proxy) passes() bool {
	for {
		p.mu.Lock()
		state, heal := p.state, p.heal
		p.mu.Unlock()
		if state != silent {
			return state == whole
		}
		<-heal
	}
}
