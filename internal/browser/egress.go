package browser

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

const (
	// noBypass makes Chromium use the proxy for loopback addresses too.
	noBypass     = "<-loopback>"
	dialLimit    = 10 * time.Second
	headerLimit  = 10 * time.Second
	maxHeader    = 64 << 10
	maxRefusals  = 3 // of one host, that are logged
	lookupFamily = "ip"
)

// egress is the proxy that is the browsers' only way to the network. It
// resolves each name itself, checks every address, and dials the very address
// that it checked.
type egress struct {
	log     *slog.Logger
	rules   []rule            // for every session
	resolve map[string]string // host → loopback address, in development
	lookup  func(ctx context.Context, host string) ([]netip.Addr, error)
	server  *http.Server
	forward *httputil.ReverseProxy
	serving sync.WaitGroup
	uid     atomic.Int64 // the user that may connect
}

func newEgress(log *slog.Logger, o Options) (*egress, error) {
	rules, err := parseRules(o.Hosts)
	if err != nil {
		return nil, err
	}
	e := &egress{
		log:     log,
		rules:   rules,
		resolve: map[string]string{},
		lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, lookupFamily, host)
		},
	}
	for name, address := range o.Resolve {
		host, at, err := standIn(name, address)
		if err != nil {
			return nil, err
		}
		e.resolve[host] = at
	}
	transport := &http.Transport{
		DialContext:           e.dialHost,
		DisableCompression:    true,
		ResponseHeaderTimeout: time.Minute,
		IdleConnTimeout:       time.Minute,
		MaxIdleConnsPerHost:   8,
	}
	e.forward = &httputil.ReverseProxy{
		Rewrite:   func(*httputil.ProxyRequest) {},
		Transport: transport,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			outletOf(r).refuse(r.Context(), w, r.URL.Host, err)
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	e.server = &http.Server{
		Handler:           http.HandlerFunc(e.serve),
		ReadHeaderTimeout: headerLimit,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext: func(l net.Listener) context.Context {
			return context.WithValue(context.Background(), outletKey{}, l)
		},
	}
	return e, nil
}

// standIn checks an entry of [Options.Resolve].
func standIn(name, address string) (host, at string, err error) {
	where, err := netip.ParseAddrPort(address)
	if err != nil || !where.Addr().IsLoopback() {
		return "", "", fault.New(fault.BadConfig, "the stand-in for %q must be a loopback address and a port, not %q", name, address)
	}
	if host = canonical(name); host == "" {
		return "", "", fault.New(fault.BadConfig, "%q is not a host name", name)
	}
	return host, address, nil
}

// close ends all connections, and returns when nothing of the proxy runs.
func (e *egress) close() {
	_ = e.server.Close()
	e.serving.Wait()
	if t, ok := e.forward.Transport.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}

func (e *egress) serve(w http.ResponseWriter, r *http.Request) {
	o := outletOf(r)
	if r.Method == http.MethodConnect {
		o.tunnel(w, r)
		return
	}
	if r.URL.Scheme != "http" || r.URL.Host == "" {
		o.refuse(r.Context(), w, r.Host, fault.New(fault.EgressDenied, "only http and https pass the proxy"))
		return
	}
	at := place{host: canonical(r.URL.Hostname()), port: r.URL.Port(), plain: true}
	if at.port == "" {
		at.port = "80"
	}
	if err := o.check(at); err != nil {
		o.refuse(r.Context(), w, at.host, err)
		return
	}
	e.forward.ServeHTTP(w, r)
}

// dialHost dials "host:port".
func (e *egress) dialHost(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	return e.dial(ctx, network, canonical(host), port)
}

// dial connects to the host. Every address of the name must be public, and the
// one that is dialled is one of those that were checked.
func (e *egress) dial(ctx context.Context, network, host, port string) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, dialLimit, fmt.Errorf("%s did not accept a connection within %s", host, dialLimit))
	defer cancel()
	var d net.Dialer
	if at, ok := e.resolve[host]; ok {
		return d.DialContext(ctx, network, at)
	}
	addresses, err := e.addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	var failed error
	for _, a := range addresses {
		c, err := d.DialContext(ctx, network, net.JoinHostPort(a.String(), port))
		if err == nil {
			return c, nil
		}
		failed = errors.Join(failed, err)
	}
	return nil, failed
}

// addresses resolves the host once, and refuses it when one address is not
// public.
func (e *egress) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	list := []netip.Addr{}
	if a, err := netip.ParseAddr(host); err == nil {
		list = append(list, a)
	} else if list, err = e.lookup(ctx, host); err != nil {
		return nil, fmt.Errorf("resolving %s: %w", host, err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("resolving %s: no address", host)
	}
	for i, a := range list {
		if !public(a) {
			return nil, fault.New(fault.EgressDenied, "%s has the address %s, which is not public", host, a)
		}
		list[i] = a.Unmap()
	}
	return list, nil
}

// join copies between the two connections until both directions have ended.
func join(client net.Conn, early io.Reader, server net.Conn) {
	var copies sync.WaitGroup
	copies.Go(func() {
		_, _ = io.Copy(server, early)
		_, _ = io.Copy(server, client)
		closeWrite(server)
	})
	copies.Go(func() {
		_, _ = io.Copy(client, server)
		closeWrite(client)
	})
	copies.Wait()
}

func closeWrite(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.CloseWrite()
		return
	}
	_ = c.Close()
}

// early returns what was read ahead of the answer.
func early(b *bufio.ReadWriter) io.Reader {
	return io.LimitReader(b.Reader, int64(b.Reader.Buffered()))
}
