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
	"sync/atomic"
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
	seen    counters
}

// counters are what a gateway has done since its start.
type counters struct {
	opened, refused, forged, replayed, origins, flooded, malformed, slow atomic.Int64
	frames, calls, signals, facts, tracks, dropped, handed               atomic.Int64
}

// Stats are what a gateway has done since its start, and what it holds.
type Stats struct {
	// Connections are open; Visitors are remembered.
	Connections, Visitors int
	// Opened counts connections that were welcomed, Refused those that were not:
	// of them Forged by a token or an identity that is not good, Replayed by a
	// token that was used before, and Origins by the page's origin.
	Opened, Refused, Forged, Replayed, Origins int64
	// Flooded, Malformed and Slow count connections that were closed for what they
	// sent, and did not read.
	Flooded, Malformed, Slow int64
	// Frames came in. Calls went out. Signals and Tracks were taken, Facts stored,
	// and Dropped came to nothing.
	Frames, Calls, Signals, Facts, Tracks, Dropped int64
	// Handed counts connections that gave way to another one of their visitor.
	Handed int64
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

// Stats returns the gateway's counters.
func (g *Gateway) Stats() Stats {
	s := Stats{
		Opened: g.seen.opened.Load(), Refused: g.seen.refused.Load(), Forged: g.seen.forged.Load(),
		Replayed: g.seen.replayed.Load(), Origins: g.seen.origins.Load(), Flooded: g.seen.flooded.Load(),
		Malformed: g.seen.malformed.Load(), Slow: g.seen.slow.Load(), Frames: g.seen.frames.Load(),
		Calls: g.seen.calls.Load(), Signals: g.seen.signals.Load(), Facts: g.seen.facts.Load(),
		Tracks: g.seen.tracks.Load(), Dropped: g.seen.dropped.Load(), Handed: g.seen.handed.Load(),
	}
	s.Connections, s.Visitors = g.hub.count()
	return s
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
			if end := c.stale(now); end != nil {
				c.close(*end)
			}
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
		g.seen.refused.Add(1)
		g.seen.origins.Add(1)
		http.Error(w, "this origin may not connect", http.StatusForbidden)
		return
	case !g.connect.take(ip, now):
		g.seen.refused.Add(1)
		g.seen.flooded.Add(1)
		w.Header().Set("Retry-After", "5")
		http.Error(w, "too many connections at once", http.StatusTooManyRequests)
		return
	case !g.hub.room(ip):
		g.seen.refused.Add(1)
		w.Header().Set("Retry-After", "10")
		http.Error(w, "no room", http.StatusServiceUnavailable)
		return
	}
	c := &conn{g: g, ip: ip, origin: origin, began: now}
	c.heard.Store(now.UnixNano())
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // The origin is checked above, more strictly.
		CompressionMode:    websocket.CompressionDisabled,
		OnPingReceived:     func(context.Context, []byte) bool { return c.pings.Add(1) <= wire.FramesBurst },
	})
	if err != nil {
		g.hub.vacate(ip)
		return // It has answered.
	}
	ws.SetReadLimit(wire.MaxFrame)
	c.ws = ws
	if !g.hub.join(c) {
		g.hub.vacate(ip)
		_ = ws.Close(wire.CloseGoing, "the gateway stops")
		return
	}
	g.work.Go(c.run) // A goroutine of its own, so that the request's memory is free.
}

// ended gives back what the connection held.
func (g *Gateway) ended(c *conn) {
	g.hub.leave(c)
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

// closed counts why connections are closed.
func (g *Gateway) closed(code int) {
	switch code {
	case wire.CloseProtocol, wire.CloseInvalid, wire.CloseTooBig:
		g.seen.malformed.Add(1)
	case wire.CloseReplaced:
		g.seen.handed.Add(1)
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
