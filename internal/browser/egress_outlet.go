package browser

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// outletKey is the key of the outlet in the context of its requests.
type outletKey struct{}

// An outlet is the proxy as one browser context sees it: a port of its own, so
// that a connection tells its session, and a list of hosts of its own.
type outlet struct {
	egress *egress
	*net.TCPListener

	mu      sync.Mutex // guards the fields below
	rules   []rule
	tunnels map[net.Conn]tunnel // by the client's end
	reached map[place]struct{}  // the places that were allowed to be asked for
	session int                 // counts the sessions that it has served
	closed  bool
	refused int   // requests that were refused
	trouble error // the last reason that a connection was refused or failed
}

func outletOf(r *http.Request) *outlet {
	o, _ := r.Context().Value(outletKey{}).(*outlet)
	return o
}

// open opens an outlet that reaches nothing, until allow says so.
func (e *egress) open() (*outlet, error) {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("opening the egress proxy: %w", err)
	}
	o := &outlet{egress: e, TCPListener: l, tunnels: map[net.Conn]tunnel{}, reached: map[place]struct{}{}}
	e.serving.Go(func() { _ = e.server.Serve(o) })
	return o, nil
}

// Accept gives the server the connections of the browsers' user. Those of any
// other user are closed.
func (o *outlet) Accept() (net.Conn, error) {
	for {
		c, err := o.AcceptTCP()
		if err != nil {
			return nil, err
		}
		if err := o.admit(c); err == nil {
			return c, nil
		}
		_ = c.Close()
	}
}

func (o *outlet) admit(c *net.TCPConn) error {
	ends, err := endsOf(c)
	if err != nil {
		return err
	}
	other, err := peerOf(ends.client, ends.server)
	if err == nil && int64(other.uid) != o.egress.uid.Load() {
		err = fmt.Errorf("user %d is not the browsers' user", other.uid)
	}
	if err != nil {
		o.egress.log.LogAttrs(context.Background(), slog.LevelWarn, "egress connection refused", slog.Any("err", err))
	}
	return err
}

// ended is a tunnel that was cut.
type ended struct {
	ends
	done <-chan struct{}
}

// ends are the addresses of a connection to an outlet.
type ends struct{ client, server netip.AddrPort }

func endsOf(c net.Conn) (ends, error) {
	client, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return ends{}, err
	}
	server, err := netip.ParseAddrPort(c.LocalAddr().String())
	return ends{client, server}, err
}

// url is how Chromium is told of the outlet.
func (o *outlet) url() string { return "http://" + o.Addr().String() }

// allow sets the hosts that may be reached, beside those for every session.
func (o *outlet) allow(rules []rule) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rules = append(o.rules, rules...)
}

// check says why the place may not be reached, or nil.
func (o *outlet) check(at place) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, list := range [][]rule{o.rules, o.egress.rules} {
		for _, r := range list {
			if r.allows(at.host, at.port, at.plain) && len(o.rules) > 0 {
				o.reached[at] = struct{}{}
				return nil
			}
		}
	}
	return fault.New(fault.EgressDenied, "the host %s, port %s, is not one of this session", at.host, at.port)
}

// tunnel answers CONNECT.
func (o *outlet) tunnel(w http.ResponseWriter, r *http.Request) {
	host, port, err := net.SplitHostPort(r.Host)
	at := place{host: canonical(host), port: port}
	session := o.current()
	if err == nil {
		err = o.check(at)
	}
	if err != nil {
		o.refuse(r.Context(), w, r.Host, err)
		return
	}
	server, err := o.egress.dial(r.Context(), "tcp", at.host, at.port)
	if err != nil {
		o.refuse(r.Context(), w, r.Host, err)
		return
	}
	defer server.Close() //nolint:errcheck // The tunnel has ended.
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		return
	}
	client, buffered, err := hijacker.Hijack()
	if err != nil {
		return
	}
	done := make(chan struct{})
	defer close(done)
	defer client.Close() //nolint:errcheck // The tunnel has ended.
	if !o.track(session, client, tunnel{server, done}) {
		return
	}
	defer o.untrack(client)
	if _, err := client.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n")); err == nil {
		join(client, early(buffered), server)
	}
}

// refuse answers with the reason's status, and keeps the reason for whoever
// waits for the page.
func (o *outlet) refuse(ctx context.Context, w http.ResponseWriter, host string, err error) {
	status := http.StatusBadGateway
	denied := errors.Is(err, fault.New(fault.EgressDenied, ""))
	if denied {
		status = http.StatusForbidden
	}
	o.mu.Lock()
	o.refused++
	o.trouble = err
	loud := denied && o.refused <= maxRefusals
	o.mu.Unlock()
	if loud {
		o.egress.log.LogAttrs(ctx, slog.LevelInfo, "egress denied", slog.String("host", short(host)), slog.Any("err", err))
	}
	http.Error(w, http.StatusText(status), status)
}

// forgive forgets the last trouble. Call it before a page is loaded.
func (o *outlet) forgive() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.trouble = nil
}

// last returns why the last connection was refused or failed, or nil.
func (o *outlet) last() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.trouble
}

// count returns how many requests were refused.
func (o *outlet) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.refused
}

// A tunnel is a connection through the proxy.
type tunnel struct {
	server net.Conn
	done   chan struct{} // closed when nothing more goes to the client
}

// A past is what an outlet knows of a session that has ended.
type past struct {
	places  []place // that were reached
	tunnels []ended // that were open
}

// cut ends the connections and allows nothing any more. The outlet is as if it
// were new then.
func (o *outlet) cut() past {
	o.mu.Lock()
	defer o.mu.Unlock()
	var p past
	for client, t := range o.tunnels {
		if e, err := endsOf(client); err == nil {
			p.tunnels = append(p.tunnels, ended{e, t.done})
		}
		// Nothing is read from either end any more, so the tunnel ends: after
		// what it has read is written.
		_ = t.server.Close()
		_ = client.SetReadDeadline(time.Now())
	}
	p.places = slices.Collect(maps.Keys(o.reached))
	o.rules, o.refused, o.trouble = nil, 0, nil
	o.session++
	clear(o.reached)
	return p
}

// drained waits for the end of the tunnels, and fails when the browser has not
// yet read everything that came by them: an answer in there could still set a
// cookie.
func (p past) drained(ctx context.Context) error {
	for _, e := range p.tunnels {
		select {
		case <-e.done:
		case <-ctx.Done():
			return fmt.Errorf("ending a tunnel: %w", context.Cause(ctx))
		}
		other, err := peerOf(e.client, e.server)
		switch {
		case errors.Is(err, syscall.ENOENT):
			continue // The browser has closed it.
		case err != nil:
			return err
		case other.unread > 1: // One is the end of the stream.
			return fmt.Errorf("%w: an answer of %d bytes was not read", errUnclean, other.unread)
		}
	}
	return nil
}

func (o *outlet) current() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.session
}

// track keeps the two ends of a tunnel. It refuses when the session that asked
// for the tunnel has ended.
func (o *outlet) track(session int, client net.Conn, t tunnel) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.session != session {
		return false
	}
	o.tunnels[client] = t
	return true
}

func (o *outlet) untrack(client net.Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.tunnels, client)
}

// close ends the outlet and its tunnels. It may be called many times.
func (o *outlet) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for client, t := range o.tunnels {
		_ = client.Close()
		_ = t.server.Close()
	}
	_ = o.Close()
}
