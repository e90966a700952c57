package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// held is one session as the manager holds it.
//
// Who holds the lane owns the session. Its fields below mu belong to the owner;
// while nobody owns it, they belong to whoever holds mu. So a command reads and
// writes them without a lock, and what a page says meanwhile waits in unheard.
type held struct {
	m        *Manager
	key      string
	name     string // of its site
	provider actions.Provider
	lane     chan struct{} // holds one token while somebody owns the session
	out      *outbox
	saver    *time.Timer
	armed    atomic.Bool          // the saver runs
	due      atomic.Bool          // it has fired, and the owner is to save
	tab      atomic.Pointer[page] // main, for those who do not own the session
	pinned   atomic.Bool
	lost     atomic.Bool // to another worker: nothing more is stored
	behind   causes
	kept     atomic.Int64 // changes of the attributes kept for the day of identification

	mu        sync.Mutex // guards the fields below, see above
	owned     bool
	forgotten bool   // by the manager: find the session anew
	fence     uint64 // the token under which we own it, 0 for none
	mem       memory
	mark      uint64       // names the state as it was last given back
	dirty     bool         // something is not stored yet
	sleeping  string       // why its page is closed to be put away; "" otherwise
	restoring bool         // its page is being made like the last one
	restores  int          // how often that was done
	restored  *Restoration // what the page that is open was made like; nil when new
	unheard   []heard
	site      actions.Site
	visitor   event.Visitor
	state     actions.State
	doubtful  bool // whether the state must be compared with the page
	main      *page
	webview   *page
	profile   profile
	adopted   map[string]adoption
	used      time.Time

	action     string // that the page is for
	route      Route  // where that page is
	subscribed int    // subscriptions that the visitor's gateway knows of
}

func newHeld(m *Manager, provider actions.Provider, site actions.Site, key string) *held {
	h := &held{
		m: m, key: key, name: site.Name, provider: provider, lane: make(chan struct{}, 1),
		site: site, adopted: map[string]adoption{},
	}
	h.mark = h.sum()
	h.out = newOutbox(m, key)
	h.saver = time.AfterFunc(time.Hour, h.saveDue)
	h.saver.Stop()
	return h
}

// begin makes the holder of the lane the owner. It is false when the manager
// has forgotten the session.
func (h *held) begin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.forgotten {
		return false
	}
	h.owned = true
	return true
}

// hear takes what a page said. It is false when too much waits.
func (h *held) hear(x heard) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.owned {
		if len(h.unheard) >= maxUnheard && !x.gone {
			return false
		}
		h.unheard = append(h.unheard, x)
		return true
	}
	ok := h.heed(x)
	h.arm()
	return ok
}

// catchUp heeds what the pages said since the owner last looked. Only the owner
// calls it.
func (h *held) catchUp() {
	h.mu.Lock()
	waiting := h.unheard
	h.unheard = nil
	h.mu.Unlock()
	for _, x := range waiting {
		if !h.heed(x) {
			h.overflow(x.page)
		}
	}
}

// heed brings the state up to date, and publishes the fact, if there is one. It
// is false when too many facts wait.
func (h *held) heed(x heard) bool {
	if x.gone {
		h.lose(x)
		return true
	}
	if x.signal.Name == signalStarted && (x.first || x.page.further) {
		return true // A page begins with a state that knows nothing of it.
	}
	if h.provider.Digest == nil {
		return true
	}
	by, known := h.behind.find(x.signal.Key)
	if !known && x.signal.Cause == string(event.CauseAPI) {
		// No command of ours: somebody else has called the vendor's functions.
		x.signal.Cause = string(event.CauseVisitor)
	}
	n, publish := h.provider.Digest(&h.state, x.signal)
	if x.page.far != nil {
		return true // Whoever holds the visitor's connection makes the facts.
	}
	h.dirty = true
	if !publish || h.restoring || by.restoring {
		return true // It happened before, or nobody is to know.
	}
	return h.post(n, event.Cause(x.signal.Cause), by, x.happened(), x.page.address, false)
}

// open opens the session's page when there is none. Only the owner calls it.
func (h *held) open(ctx context.Context) error {
	h.catchUp()
	if h.main != nil && h.main.gone() {
		<-h.main.ended
		h.catchUp()
	}
	if err := h.recall(ctx); err != nil {
		return err
	}
	if far, err := h.reach(ctx); far || err != nil {
		return err
	}
	if err := h.m.warden.admit(ctx, h.key, h.name); err != nil || h.main != nil {
		return err
	}
	r := h.request()
	r.Storage = h.mem.storage
	tab, err := h.m.o.Pool.Open(ctx, r)
	if err != nil {
		h.m.warden.closed(h.key)
		return fmt.Errorf("opening the page of site %s: %w", h.site.Name, err)
	}
	h.m.seen.opened.Add(1)
	h.m.open.Add(1)
	h.main, h.doubtful = h.attend(tab, r.URL, false), true //nolint:contextcheck // A page outlives the command that opened it.
	h.tab.Store(h.main)
	if h.lost.Load() {
		return errors.Join(fault.New(fault.StaleFence, "another worker owns the session now"), h.close(ctx, "lost"))
	}
	return h.restore(ctx)
}

// attend begins to listen to the tab.
func (h *held) attend(tab Tab, address string, further bool) *page {
	p := newPage(tab, address, further)
	listening := h.listenTo(p)
	if !further {
		h.m.work.Go(func() { h.move(listening, p) })
	}
	return p
}

// listenTo hears the page until it ends, or the returned context.
func (h *held) listenTo(p *page) context.Context {
	listening, deafen := context.WithCancel(h.m.life)
	p.deafen = deafen
	h.m.work.Go(func() {
		defer deafen()
		h.listen(listening, p)
	})
	return listening
}

// close ends the session's pages. Only the owner calls it.
func (h *held) close(ctx context.Context, why string) error {
	h.catchUp()
	if h.main == nil {
		return nil
	}
	var err error
	if h.webview != nil {
		err = h.webview.end(ctx, why)
	}
	err = errors.Join(err, h.main.end(ctx, why))
	h.catchUp()
	return err
}

// shutdown puts the session away for good: its command, its facts, its page.
func (h *held) shutdown(ctx context.Context) error {
	if !h.take(ctx) {
		return fault.New(fault.ShuttingDown, "session %s still runs a command", h.key)
	}
	if !h.begin() {
		<-h.lane
		return nil
	}
	err := h.hibernate(ctx, shutdown)
	h.saver.Stop()
	h.due.Store(false)
	h.end(false)
	h.saver.Stop()
	if flushed := h.out.flush(ctx); flushed != nil {
		return flushed
	}
	if err != nil && !errors.Is(err, fault.New(fault.StaleFence, "")) { // Its owner has it, and nothing is lost.
		return fmt.Errorf("putting session %s away: %w", h.key, err)
	}
	return nil
}
