package visitor

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/visitor/snippet"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

const (
	// sweepEvery is the time between two looks at all connections: one whose
	// identity has lapsed lives so much longer at most.
	sweepEvery = time.Second
	// maxNames bounds how many addresses and visitors rates are kept of.
	maxNames = 200_000
	// handshakeWithin bounds the request that a connection begins with.
	handshakeWithin = 10 * time.Second
	// lastWords bounds the wait for connections that are being closed.
	lastWords = 10 * time.Second
)

// Gateway holds visitors' connections. It is an http.Handler; Run does the rest.
type Gateway struct {
	log     *slog.Logger
	o       Options
	mux     *http.ServeMux
	files   http.Handler     // the snippet's
	sites   map[string]*Site // by key
	tokens  *Tokens
	hub     *hub
	tabs    *bus.Tabs
	life    context.Context //nolint:containedctx // Of what is stored, which outlives each connection.
	end     context.CancelFunc
	connect *buckets // by address
	ips     *buckets // frames, by address
	bySite  *buckets // frames, by site
	work    sync.WaitGroup
	pool    pool
	seen    counters
}

// New returns a gateway that holds nothing yet.
func New(log *slog.Logger, o Options) (*Gateway, error) {
	o.Limits = o.Limits.withDefaults()
	o.Name, o.TokenLife, o.Drain = orElse(o.Name, rand.Text()), orElse(o.TokenLife, 10*time.Minute), orElse(o.Drain, 5*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.TokenLife < time.Second || o.TokenLife > time.Hour {
		return nil, fault.New(fault.BadConfig, "a visitor's token cannot be good for %s", o.TokenLife).WithFix("5 to 15 minutes are usual")
	}
	if err := checkSites(o.Sites); err != nil {
		return nil, err
	}
	tokens, err := newTokens(o.Secret, o.TokenLife, o.Now)
	if err != nil {
		return nil, err
	}
	g := &Gateway{
		log: log, o: o, mux: http.NewServeMux(), sites: map[string]*Site{}, tokens: tokens, hub: newHub(o.Limits), tabs: o.Bus.Tabs(),
		connect: newBuckets(o.Limits.Connects, 10*o.Limits.Connects, maxNames),
		ips:     newBuckets(o.Limits.IP, 4*o.Limits.IP, maxNames),
		bySite:  newBuckets(o.Limits.Site, 4*o.Limits.Site, maxNames),
	}
	g.life, g.end = context.WithCancel(context.Background())
	for i := range o.Sites {
		g.sites[o.Sites[i].Key] = &o.Sites[i]
	}
	g.mux.HandleFunc("GET "+wire.SocketPath, g.socket)
	g.mux.HandleFunc("POST "+wire.BeaconPath, g.beacon)
	g.mux.HandleFunc("GET "+wire.ConfigPath+"/{key}", g.config)
	g.files = snippet.Files()
	g.mux.HandleFunc("GET "+wire.FilesPath+"/{name}", g.file)
	g.mux.HandleFunc("GET /healthz", g.health)
	return g, nil
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	g.mux.ServeHTTP(w, r)
}

// Serve holds connections on the listener until ctx ends. Then it lets nobody in
// any more, asks the pages to connect elsewhere, at a moment of their own choice
// within Options.Drain, closes who is left, and returns when everything that was
// said is stored, or lastWords is over.
func (g *Gateway) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler: g, ReadHeaderTimeout: handshakeWithin, ReadTimeout: handshakeWithin, WriteTimeout: 3 * handshakeWithin,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	answering, stop := context.WithCancel(context.WithoutCancel(ctx))
	answered := make(chan error, 1)
	go func() { answered <- g.tabs.Run(answering, g.answer, g.claimed) }()
	err := g.sweep(ctx, served)
	g.drain()
	if closed := server.Close(); err == nil && closed != nil && !errors.Is(closed, net.ErrClosed) {
		err = closed
	}
	g.finish()
	stop()
	return errors.Join(err, <-answered)
}

// sweep closes what is silent, and forgets who is gone, until ctx ends or the
// server does.
func (g *Gateway) sweep(ctx context.Context, served <-chan error) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case err := <-served:
			return fault.New(fault.InternalError, "holding visitors' connections").Because(err)
		case <-ctx.Done():
			return nil
		}
		now := g.o.Now()
		for _, c := range g.hub.all() {
			c.sweep(now)
		}
		g.hub.forget(now)
		for _, b := range []*buckets{g.connect, g.ips, g.bySite} {
			b.sweep(now)
		}
	}
}

// drain asks the pages to connect elsewhere, and waits until they have, or until
// their time is over.
func (g *Gateway) drain() {
	for _, c := range g.hub.close() {
		if c.greeted.Load() {
			c.send(wire.Drain{T: wire.KindDrain, AfterMS: g.o.Drain.Milliseconds()})
			g.seen.drained.Add(1)
		}
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	over := time.NewTimer(g.o.Drain + g.o.Drain/4)
	defer over.Stop()
	for {
		if conns, _ := g.hub.count(); conns == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-over.C:
			return
		}
	}
}

// finish closes who is left, and waits until all that was said is stored.
func (g *Gateway) finish() {
	for _, c := range g.hub.all() {
		c.close(closing{wire.CloseGoing, "the gateway stops"})
	}
	over := time.AfterFunc(lastWords, g.end)
	defer over.Stop()
	g.work.Wait()
	g.end()
}

// socket begins a connection.
func (g *Gateway) socket(w http.ResponseWriter, r *http.Request) {
	ip, origin, now := g.address(r), r.Header.Get("Origin"), g.o.Now()
	switch {
	case !g.anyOrigin(origin):
		g.seen.refuse(byOrigin)
		http.Error(w, "this origin may not connect", http.StatusForbidden)
		return
	case !g.connect.take(ip, now):
		g.seen.refuse(byRate)
		w.Header().Set("Retry-After", "5")
		http.Error(w, "too many connections at once", http.StatusTooManyRequests)
		return
	case !g.hub.room(ip):
		g.seen.refuse(byRoom)
		w.Header().Set("Retry-After", "10")
		http.Error(w, "no room", http.StatusServiceUnavailable)
		return
	}
	c := &conn{g: g, ip: ip, origin: origin, began: now, socket: socket{seen: &g.seen}}
	c.heard.Store(now.UnixNano())
	ws, err := websocket.Accept(&handshake{w, &c.socket}, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // The origin is checked above, more strictly.
		CompressionMode:    websocket.CompressionDisabled,
		OnPingReceived:     func(context.Context, []byte) bool { return c.counted() },
		OnPongReceived:     func(context.Context, []byte) { c.counted() },
	})
	if err != nil {
		g.hub.vacate(ip)
		return // It has answered.
	}
	ws.SetReadLimit(wire.MaxFrame)
	c.ws = ws
	if !g.hub.join(c) {
		g.hub.vacate(ip)
		g.seen.refuse(byRoom)
		_ = ws.Close(wire.CloseGoing, "the gateway stops")
		return
	}
	g.work.Go(c.run) // A goroutine of its own, so that the request's memory is free.
}

// ended takes note that nothing more comes from the connection.
func (g *Gateway) ended(c *conn) {
	if c.e == nil || !c.e.detach(c, g.o.Now()) {
		return
	}
	g.hold(c.e)
}

// hold answers for the visitor's tab as long as he has a connection. It is called
// after every change of that.
func (g *Gateway) hold(e *entry) {
	e.holding.Lock()
	defer e.holding.Unlock()
	e.mu.Lock()
	here := e.conn != nil
	e.mu.Unlock()
	if !here {
		g.tabs.Release(e.site.Name, e.session)
		return
	}
	if err := g.tabs.Hold(e.site.Name, e.session); err != nil {
		g.log.LogAttrs(g.life, slog.LevelWarn, "a visitor's tab cannot be reached", slog.String("session", e.session), slog.Any("err", err))
	}
}

// address returns where the request comes from.
func (g *Gateway) address(r *http.Request) string {
	if hops := r.Header.Values("X-Forwarded-For"); g.o.Forwarded && len(hops) > 0 {
		last := hops[len(hops)-1]
		last = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
		if net.ParseIP(last) != nil {
			return last
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// anyOrigin reports whether any site has the origin. Which one it must be is
// known with the hello.
func (g *Gateway) anyOrigin(origin string) bool {
	for _, site := range g.sites {
		if slices.Contains(site.Origins, origin) {
			return true
		}
	}
	return false
}
