// Package standin serves the stand-ins of outside hosts: vendors, shops, and
// whatever else the demo and the tests need under its real name. One server on
// one loopback port answers for many host names over TLS, with a certificate
// authority that lives only as long as the server.
package standin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// grace is how long Close waits for requests that are being answered.
const grace = 2 * time.Second

// Server answers for many host names on one loopback port. Close it once.
type Server struct {
	log   *slog.Logger
	addr  string
	hosts map[string]http.Handler
	certs *authority
	http  *http.Server
	stop  context.CancelFunc
	done  chan error

	once   sync.Once
	closed error
}

// Start listens on a free loopback port and serves the handlers by host name.
// Every request of a handler is cancelled when the server closes, so a handler
// that never answers does not hold it up.
func Start(log *slog.Logger, hosts map[string]http.Handler) (*Server, error) {
	certs, err := newAuthority(slices.Sorted(maps.Keys(hosts)))
	if err != nil {
		return nil, fmt.Errorf("making the stand-in's certificates: %w", err)
	}
	base, stop := context.WithCancel(context.Background())
	var config net.ListenConfig
	listener, err := config.Listen(base, "tcp4", "127.0.0.1:0")
	if err != nil {
		stop()
		return nil, fmt.Errorf("listening for the stand-in: %w", err)
	}
	s := &Server{
		log:   log,
		addr:  listener.Addr().String(),
		hosts: maps.Clone(hosts),
		certs: certs,
		stop:  stop,
		done:  make(chan error, 1),
	}
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.route),
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certs.certificate},
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go func() { s.done <- s.http.ServeTLS(listener, "", "") }()
	return s, nil
}

// Addr returns the address that the server listens on, as "127.0.0.1:port".
func (s *Server) Addr() string { return s.addr }

// SPKI returns the base64 SHA-256 of the public key of every certificate, as
// Chromium's --ignore-certificate-errors-spki-list takes it.
func (s *Server) SPKI() string { return s.certs.spki }

// Resolve returns the server's address for each of its host names.
func (s *Server) Resolve() map[string]string {
	addrs := make(map[string]string, len(s.hosts))
	for host := range s.hosts {
		addrs[host] = s.addr
	}
	return addrs
}

// Roots returns the pool that holds the server's own authority.
func (s *Server) Roots() *x509.CertPool { return s.certs.roots }

// Client returns a client that reaches every host name at this server, trusts
// its authority and never leaves the machine. Close its idle connections when
// you are done with it.
func (s *Server) Client() *http.Client {
	var dialer net.Dialer
	return &http.Client{
		Timeout: 30 * time.Second,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, network, s.addr)
			},
			TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.certs.roots},
			ForceAttemptHTTP2: true,
		},
	}
}

// Close stops listening, lets the running answers end within a short grace, and
// returns when nothing of the server is left. It may be called twice.
func (s *Server) Close() error {
	s.once.Do(func() { s.closed = s.shutDown() })
	return s.closed
}

func (s *Server) shutDown() error {
	s.stop()
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err != nil {
		return fmt.Errorf("closing the stand-in: %w", err)
	}
	return nil
}

// route finds the handler of the request's host. A host that nobody serves, or
// that differs from the name of the TLS connection, is a misdirected request.
func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	host := hostOf(r.Host)
	handler, ok := s.hosts[host]
	if !ok || (r.TLS != nil && r.TLS.ServerName != "" && !strings.EqualFold(r.TLS.ServerName, host)) {
		s.log.LogAttrs(r.Context(), slog.LevelDebug, "misdirected request", slog.String("host", r.Host))
		http.Error(w, fmt.Sprintf("the stand-in does not serve the host %q; it serves: %s",
			host, strings.Join(slices.Sorted(maps.Keys(s.hosts)), ", ")), http.StatusMisdirectedRequest)
		return
	}
	handler.ServeHTTP(w, r)
}

// hostOf returns the host name without its port, in lower case.
func hostOf(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		hostport = host
	}
	return strings.ToLower(hostport)
}
