// Package botstar stands in for BotStar: the widget on the page, its frame, the
// webview SDK, the vendor's side of them, and the REST API, each on its real host
// name. It follows the documented contract; what is not documented is in
// unknown.go, unknown_rest.go and js/unknown.js. Ledgers tell what reached the
// vendor.
package botstar

import (
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// The host names of the vendor that are stood in for.
const (
	WidgetHost      = "widget.botstar.com"
	ChunkHost       = "d1a354cq788jiu.cloudfront.net"
	StaticHost      = "static.botstar.com"
	AssetsHost      = "app-upload-assets.cdn.botstar.com"
	OlderAssetsHost = "d1fmnevnt6737i.cloudfront.net"
)

// WidgetOrigin is the origin of the frame, and so of the visitor's storage.
const WidgetOrigin = "https://" + WidgetHost

// Options shape a stand-in. The zero value works.
type Options struct {
	// Apps are the published bots by app id. Nil publishes a demo bot under
	// every well-formed id.
	Apps map[string]App
	// Bots are the bots that the REST API knows at the start.
	Bots []Bot
	// Token is the account token that the REST API takes. "" is one of its own:
	// see REST.Token.
	Token string
	// EntryDelay and ChunkDelay hold the scripts back, as a far-away CDN does.
	EntryDelay, ChunkDelay time.Duration
	// EntrySize is the size of the entry script in bytes, filled up with
	// polyfills. 0 means 100 KB; less than the script itself needs adds nothing.
	EntrySize int
	// ReportEvery is how long the frame gathers what happened before it reports
	// to the vendor. 0 reports at once; a negative value reports boots only,
	// for benchmarks that must not measure the reports.
	ReportEvery time.Duration
	// Keep is how many ledger entries, visitors and frames are remembered.
	// 0 means 20,000.
	Keep int
	// Now is the vendor's clock. Nil means the real one.
	Now func() time.Time
}

// Standin is one stand-in for the vendor. It is safe for use by many
// goroutines.
type Standin struct {
	options Options
	hashes  hashes
	fixed   fixed
	ledger  *Ledger
	vendor  *vendor
	rest    *REST

	mu      sync.Mutex // serialises Set
	current atomic.Pointer[edition]
}

// New returns a stand-in with fresh class hashes, no faults and an empty
// ledger.
func New(o Options) *Standin {
	if o.EntrySize == 0 {
		o.EntrySize = 100_000
	}
	if o.Keep <= 0 {
		o.Keep = 20_000
	}
	if o.ReportEvery < 0 {
		o.ReportEvery = -time.Millisecond
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Standin{options: o, hashes: newHashes(), fixed: newFixed(), ledger: newLedger(o.Keep)}
	s.vendor = newVendor(o, s.ledger)
	s.rest = newREST(o, s.vendor)
	s.Set(Faults{})
	return s
}

// Hosts returns the handler of each host name of the vendor.
func (s *Standin) Hosts() map[string]http.Handler {
	hosts := map[string]http.Handler{
		WidgetHost:      s.widgetHost(),
		ChunkHost:       s.chunkHost(),
		StaticHost:      s.staticHost(),
		AssetsHost:      assetsHost(),
		OlderAssetsHost: assetsHost(),
	}
	maps.Copy(hosts, s.rest.hosts())
	return hosts
}

// REST returns the REST API. Its users are the widget's visitors, and its
// ledger is its own.
func (s *Standin) REST() *REST { return s.rest }

// Ledger returns what reached the vendor.
func (s *Standin) Ledger() *Ledger { return s.ledger }

// Set changes the faults. Scripts and frames that are asked for from now on
// have them; a widget that has booted keeps the faults it booted with until it
// boots again. Only the update limit changes at once.
func (s *Standin) Set(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.vendor.limit(f.Throttle)
	s.current.Store(newEdition(s.options, s.hashes, f))
}
