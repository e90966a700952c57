// Package browser owns Chromium: a pool of browser processes, tabs that are
// isolated from each other, and the checking proxy that is their only way to
// the network. DESIGN.md explains it.
package browser

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// Options are the settings of a pool. The zero value works.
type Options struct {
	// Binary is the path of Chromium's real binary, not of a wrapper script.
	// "" looks in Debian's places.
	Binary string
	// Dir is the folder that the browsers' scratch folders are made in. "" is
	// the system's folder for temporary files. Its path must be passable for
	// the user that the browsers run as.
	Dir string
	// Processes is the most browser processes of each kind. 0 is 1.
	Processes int
	// Tabs is the most tabs that are open at once. 0 is 100.
	Tabs int
	// Spare is how many tabs each browser keeps prepared. 0 is 2, and a
	// negative number is none.
	Spare int
	// Sessions is how many sessions one browser process serves before it is
	// replaced. 0 is 2,000.
	Sessions int
	// MaxAge is how long a browser process runs before it is replaced. 0 is 12
	// hours, and a negative time is for ever.
	MaxAge time.Duration
	// MaxMemory is how many bytes (PSS) the processes of one browser may use
	// before it is replaced. 0 is no limit.
	MaxMemory int64
	// Leave is how long a browser that is being replaced waits for its tabs to be
	// closed, before it ends with them. 0 is 5 minutes.
	Leave time.Duration
	// Watch is how often the browsers are looked at for age and memory. 0 is 15
	// seconds.
	Watch time.Duration
	// Fresh makes every session start in a browser context that nobody has
	// used. Without it, the context of a light page is cleaned after its
	// session, and serves the next one of the same address and hosts.
	Fresh bool
	// Window is the size of the tabs. 0 is 420 by 720.
	Window struct{ Width, Height int }
	// OwnFrames lets light browsers make sixty frames a second by themselves.
	// Otherwise a page gets ten while something happens in it, and none when
	// nothing does (see pacer), which saves most of the rendering.
	OwnFrames bool
	// Images makes pages load their images and web fonts: somebody looks at
	// pictures of them.
	Images bool
	// UID and GID are the user that the browsers run as when we are root. 0 is
	// 65534. A browser never runs as root.
	UID, GID int
	// LoadTimeout bounds the loading of one page. 0 is 30 seconds.
	LoadTimeout time.Duration
	// Hosts are the hosts that every session may reach: the vendors'. The form
	// of an entry is described at [Request.Hosts].
	Hosts []string
	// Resolve maps a host name to the loopback address that stands in for it.
	// It is for development and tests, and the only exception to the rule that
	// a browser reaches public addresses only.
	Resolve map[string]string
	// TrustSPKI are SHA-256 hashes, in base64, of public keys whose
	// certificates count as valid: those of the stand-ins.
	TrustSPKI []string
}

func (o Options) filled() Options {
	o.Processes = orDefault(o.Processes, 1)
	o.Tabs = orDefault(o.Tabs, 100)
	o.Spare = max(orDefault(o.Spare, 2), 0)
	o.Sessions = orDefault(o.Sessions, 2000)
	o.MaxAge = orDefault(o.MaxAge, 12*time.Hour)
	o.Leave = orDefault(o.Leave, 5*time.Minute)
	o.Watch = orDefault(o.Watch, 15*time.Second)
	o.Window.Width = orDefault(o.Window.Width, windowWidth)
	o.Window.Height = orDefault(o.Window.Height, windowHeight)
	o.UID = orDefault(o.UID, nobody)
	o.GID = orDefault(o.GID, nobody)
	o.LoadTimeout = orDefault(o.LoadTimeout, 30*time.Second)
	o.Resolve = maps.Clone(o.Resolve)
	return o
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// Request describes the page that a session needs.
type Request struct {
	// URL is the address of the page. It is https, or http where Hosts says so.
	URL string
	// Light is the HTML that is served at URL in place of the real page. ""
	// loads the real page.
	Light string
	// Hosts are the hosts that this session may reach beside URL's and
	// [Options.Hosts]: "host" means https on port 443, "*.host" its
	// subdomains, "host:port" another port, and "http://" in front allows
	// plain http too.
	Hosts []string
	// Main and Look are the scripts that run before the page's own: Main in
	// the page's world, Look in the isolated world "parley".
	Main, Look string
	// Label names the session in log lines. It holds nothing personal.
	Label string
	// Storage is put into the session's browser context before any script of a
	// page runs, unless it is nil.
	Storage *Storage
}

// Pool is a pool of browsers. Its methods may be called from many goroutines.
type Pool struct {
	log    *slog.Logger
	opts   Options
	egress *egress

	work sync.WaitGroup // what runs in the background
	stop chan struct{}  // closed when the pool closes

	mu       sync.Mutex // guards the fields below
	launcher *launcher  // nil until Start
	procs    map[kind][]*process
	starting map[kind]*start
	retired  map[*process]struct{}
	tabs     int
	counts   PoolStats // only its counters
	closed   bool
}

// New returns a pool. Chromium does not start before [Pool.Start].
func New(log *slog.Logger, o Options) (*Pool, error) {
	o = o.filled()
	guard, err := newEgress(log, o)
	if err != nil {
		return nil, err
	}
	return &Pool{
		log:      log,
		opts:     o,
		egress:   guard,
		stop:     make(chan struct{}),
		procs:    map[kind][]*process{},
		starting: map[kind]*start{},
		retired:  map[*process]struct{}{},
	}, nil
}

// Start starts the proxy and the first browser, and prepares its spare tabs.
// ctx bounds the start only. Call Close afterwards, also when Start fails.
func (p *Pool) Start(ctx context.Context) error {
	l, err := newLauncher(ctx, p.log, p.opts)
	if err != nil {
		return err
	}
	p.mu.Lock()
	if p.closed || p.launcher != nil {
		p.mu.Unlock()
		l.close()
		return fault.New(fault.InternalError, "the browser pool was started before")
	}
	p.launcher = l
	p.mu.Unlock()
	p.egress.uid.Store(int64(l.uid))
	background := context.WithoutCancel(ctx)
	p.spawn(func() { p.supervise(background) })
	proc, err := p.process(ctx, light)
	if err != nil {
		return err
	}
	return proc.fill(ctx)
}

// Close ends every tab and every browser, and returns when no process and no
// file of theirs is left, or when ctx ends.
func (p *Pool) Close(ctx context.Context) error {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.stop)
	}
	procs := p.all()
	l := p.launcher
	p.mu.Unlock()

	for _, proc := range procs {
		proc.kill(fault.New(fault.ShuttingDown, "the browser pool is closed"))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.work.Wait()
		p.egress.close()
		if l != nil {
			l.close()
		}
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("closing the browser pool: %w", context.Cause(ctx))
	}
}

// errClosed says that the pool takes no more work.
func errClosed() error {
	return fault.New(fault.ShuttingDown, "the browser pool is not running")
}
