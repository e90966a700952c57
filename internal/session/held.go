package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	provider actions.Provider
	lane     chan struct{} // holds one token while somebody owns the session
	out      *outbox
	idle     *time.Timer
	paged    atomic.Bool // whether it has a page; a hint for those who look for a victim
	behind   causes
	kept     atomic.Int64 // changes of the attributes kept for the day of identification

	mu        sync.Mutex // guards the fields below, see above
	owned     bool
	forgotten bool // by the manager: find the session anew
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
}

func newHeld(m *Manager, provider actions.Provider, site actions.Site, key string) *held {
	h := &held{
		m: m, key: key, provider: provider, lane: make(chan struct{}, 1),
		site: site, adopted: map[string]adoption{},
	}
	h.out = newOutbox(m, key)
	h.idle = time.AfterFunc(m.o.Idle, h.rest)
	h.idle.Stop()
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

// end gives the session back.
func (h *held) end() {
	h.mu.Lock()
	for _, x := range h.unheard {
		if !h.heed(x) {
			h.overflow(x.page)
		}
	}
	h.unheard = nil
	h.owned, h.used = false, time.Now()
	if h.main != nil {
		h.idle.Reset(h.m.o.Idle)
	}
	h.mu.Unlock()
	<-h.lane
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
	return h.heed(x)
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
	if !publish {
		return true
	}
	return h.post(n, event.Cause(x.signal.Cause), by, x.happened(), x.page.address, false)
}

// lose takes note that a page is gone.
func (h *held) lose(x heard) {
	switch x.page {
	case h.webview:
		h.webview, h.state.WebviewURL = nil, ""
	case h.main:
		h.main = nil
		h.paged.Store(false)
		h.state.Forget()
		h.m.open.Add(-1)
		h.m.seen.ended.Add(1)
		why := x.page.reason()
		h.post(actions.Notice{Name: event.FactSessionEnded, Data: func(o event.Occurrence) any {
			return event.SessionEnded{Occurrence: o, Why: why}
		}}, event.CauseNavigation, Command{}, x.at.UTC(), x.page.address, true)
		level := slog.LevelInfo
		if why == "crash" || why == "hang" || why == "overflow" {
			level = slog.LevelWarn
		}
		h.m.log.LogAttrs(h.m.life, level, "a session's page ended",
			slog.String("session", h.key), slog.String("why", why))
	}
}

// open opens the session's page when there is none. Only the owner calls it.
func (h *held) open(ctx context.Context) error {
	h.catchUp()
	if h.main != nil && h.main.gone() {
		<-h.main.ended
		h.catchUp()
	}
	if h.main != nil {
		return nil
	}
	if err := h.m.admit(ctx); err != nil {
		return err
	}
	r := h.request()
	tab, err := h.m.o.Pool.Open(ctx, r)
	if err != nil {
		h.m.open.Add(-1)
		return fmt.Errorf("opening the page of site %s: %w", h.site.Name, err)
	}
	h.m.seen.opened.Add(1)
	h.main, h.doubtful = h.attend(tab, r.URL, false), true //nolint:contextcheck // A page outlives the command that opened it.
	h.paged.Store(true)
	return nil
}

// attend begins to listen to the tab.
func (h *held) attend(tab Tab, address string, further bool) *page {
	p := newPage(tab, address, further)
	listening, deafen := context.WithCancel(h.m.life)
	p.deafen = deafen
	h.m.work.Go(func() {
		defer deafen()
		h.listen(listening, p)
	})
	return p
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

// shutdown ends the session for good: its command, its facts, its pages.
func (h *held) shutdown(ctx context.Context) error {
	select {
	case h.lane <- struct{}{}:
	case <-ctx.Done():
		return fault.New(fault.ShuttingDown, "session %s still runs a command", h.key)
	}
	if !h.begin() {
		<-h.lane
		return nil
	}
	err := h.close(ctx, "shutdown")
	h.end()
	h.idle.Stop()
	if flushed := h.out.flush(ctx); flushed != nil {
		return flushed
	}
	if err != nil {
		return fmt.Errorf("closing the page of session %s: %w", h.key, err)
	}
	return nil
}
