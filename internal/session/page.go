package session

import (
	"context"
	"crypto/rand"
	"net/url"
	"sync/atomic"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/fault"
)

// Pool opens pages in browsers. [Chromium] makes one from a browser.Pool.
type Pool interface {
	// Open opens a page in a browser context of its own and waits until its
	// document is there. The page outlives ctx.
	Open(ctx context.Context, r Request) (Tab, error)
}

// Request describes a page to open.
type Request struct {
	URL string
	// Light is the document to serve at URL; "" loads the real page.
	Light string
	// Hosts are the hosts that the page may reach beside its own.
	Hosts []string
	// Main and Look are the document-start scripts of the two worlds.
	Main, Look string
	// Label names the session in logs.
	Label string
	// Storage is what the session had stored when it was put away, or nil.
	Storage *browser.Storage
}

// Tab is a page in a browser of ours. It ends by itself when its renderer or
// its browser dies, or when it hangs.
type Tab interface {
	actions.Page
	// ClearOrigin and Reload are those of actions.Browser.
	ClearOrigin(ctx context.Context, origin string) error
	Reload(ctx context.Context) error
	// OpenPage opens a further page in the same browser context. It ends with
	// the tab.
	OpenPage(ctx context.Context, r Request) (Tab, error)
	// Storage returns what the session has stored in its browser, in all frames.
	Storage(ctx context.Context) (browser.Storage, error)
	// Retire is closed when the tab's browser is to be replaced: the tab works,
	// and is to be closed soon.
	Retire() <-chan struct{}
	// Close ends the tab. What it reported before can still be read from Events.
	Close(ctx context.Context) error
	// Done is closed when the tab has ended; Err says why.
	Done() <-chan struct{}
	Err() error
}

// page is a tab with somebody who listens to it.
type page struct {
	tab     Tab
	far     FarTab       // the same tab, when it is the visitor's own; nil otherwise
	address string       // without query and fragment
	further bool         // a webview, not the session's own page
	lives   atomic.Int64 // documents that the tab has shown
	born    chan struct{}
	ended   chan struct{} // closed when all that it said has been heard
	why     atomic.Value  // string: why we end it; nil when it ended by itself
	deafen  context.CancelFunc
}

func newPage(tab Tab, address string, further bool) *page {
	return &page{
		tab: tab, address: bare(address), further: further,
		born: make(chan struct{}, 1), ended: make(chan struct{}),
	}
}

// gone reports whether the tab has ended.
func (p *page) gone() bool {
	select {
	case <-p.tab.Done():
		return true
	default:
		return false
	}
}

// end closes the tab and waits until everything that it had said was heard.
func (p *page) end(ctx context.Context, why string) error {
	p.why.CompareAndSwap(nil, why)
	err := p.tab.Close(ctx)
	select {
	case <-p.ended:
		return err
	case <-ctx.Done():
		p.deafen()
		<-p.ended
		return fault.From(context.Cause(ctx))
	}
}

// leave is end for a page that is well: it waits until everything that it had
// said was heard, and not until nothing of it is left. closing does that.
func (p *page) leave(ctx context.Context, why string, closing func(do func())) error {
	p.why.CompareAndSwap(nil, why)
	closing(func() { _ = p.tab.Close(ctx) }) // It goes anyway.
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		p.deafen()
		<-p.ended
		return fault.From(context.Cause(ctx))
	}
}

// reason says why the page ended, in the words of event.SessionEnded.
func (p *page) reason() string {
	if why, ok := p.why.Load().(string); ok {
		return why
	}
	if err := p.tab.Err(); err != nil {
		switch fault.From(err).Reason { //nolint:exhaustive // All others are crashes.
		case fault.PageHung:
			return "hang"
		case fault.PageFlooded:
			return "overflow"
		case fault.ShuttingDown:
			return "shutdown"
		}
	}
	return "crash"
}

// bare returns the address without its query and fragment, which may be
// personal.
func bare(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	u.RawQuery, u.Fragment, u.RawFragment, u.User = "", "", "", nil
	return u.String()
}

// request returns the request for the session's own page.
func (h *held) request() Request {
	r := h.scripted(h.provider.Driver)
	r.URL = h.site.URL
	if !h.site.FullPage && h.provider.Light != nil {
		r.Light = h.provider.Light(h.site)
	}
	r.Hosts = append(r.Hosts, h.provider.Hosts...)
	return r
}

// scripted returns a request with the driver's scripts, which share a new
// secret.
func (h *held) scripted(driver actions.Driver) Request {
	nonce := rand.Text()
	return Request{
		Main:  actions.Script(actions.WorldMain, nonce, driver.Main),
		Look:  actions.Script(actions.WorldLook, nonce, driver.Look),
		Label: h.site.Name + "/" + h.key,
	}
}
