package visitor

import (
	"sync"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

// hub has everybody who is there, or was lately.
type hub struct {
	most, perIP int

	mu      sync.Mutex // guards the fields below
	closing bool
	entries map[string]*entry // by site and session
	conns   map[*conn]struct{}
	ips     map[string]int // connections
}

func newHub(l Limits) *hub {
	return &hub{
		most: l.Connections, perIP: l.PerIP,
		entries: map[string]*entry{}, conns: map[*conn]struct{}{}, ips: map[string]int{},
	}
}

// room counts a new connection, unless there is no room for it. The answer is
// false then.
func (h *hub) room(ip string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing || len(h.conns) >= h.most || h.ips[ip] >= h.perIP {
		return false
	}
	h.ips[ip]++
	return true
}

// join takes the connection, for which room was true. It is false when the
// gateway stops.
func (h *hub) join(c *conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		return false
	}
	h.conns[c] = struct{}{}
	return true
}

// leave gives the connection's place back.
func (h *hub) leave(c *conn) {
	h.mu.Lock()
	delete(h.conns, c)
	h.mu.Unlock()
	h.vacate(c.ip)
}

// vacate gives back what room took.
func (h *hub) vacate(ip string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ips[ip]--; h.ips[ip] <= 0 {
		delete(h.ips, ip)
	}
}

// entry returns the visitor's entry, and makes it when there is none.
func (h *hub) entry(site *Site, v event.Visitor) *entry {
	session := event.SessionKey(site.Name, v)
	h.mu.Lock()
	defer h.mu.Unlock()
	name := site.Name + "." + session
	e := h.entries[name]
	if e == nil {
		e = newEntry(site, session, v)
		h.entries[name] = e
	}
	return e
}

// find returns the visitor's entry, or nil.
func (h *hub) find(site, session string) *entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.entries[site+"."+session]
}

// all returns the connections.
func (h *hub) all() []*conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*conn, 0, len(h.conns))
	for c := range h.conns {
		all = append(all, c)
	}
	return all
}

// count returns how many connections and visitors there are.
func (h *hub) count() (conns, visitors int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.conns), len(h.entries)
}

// close lets nobody in any more, and returns who is there.
func (h *hub) close() []*conn {
	h.mu.Lock()
	h.closing = true
	h.mu.Unlock()
	return h.all()
}

// forget removes visitors who have been away for long, and whose signals are
// stored.
func (h *hub) forget(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, e := range h.entries {
		e.mu.Lock()
		if e.conn == nil && !e.storing && len(e.queue) == 0 && now.Sub(e.left) > lingers {
			e.gone = true
			delete(h.entries, name)
		}
		e.mu.Unlock()
	}
}

// attach makes the connection the visitor's, unless the one that he has is
// better: the one of the tab that is looked at, and the newer among several. It
// returns the connection that is given up, with its own life and calls.
func (e *entry) attach(c *conn) (loser *conn, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone {
		return nil, false
	}
	old := e.conn
	if old != nil && old.browser() != c.browser() && old.focused && !c.focused {
		return c, true
	}
	if old != nil {
		e.drop() // The calls come again, to this connection.
	}
	e.conn = c
	return old, true
}

// detach takes note that the connection has ended. It is false when the visitor
// has another one.
func (e *entry) detach(c *conn, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conn != c {
		return false
	}
	e.conn, e.left = nil, now
	e.drop()
	return true
}

// browser tells connections of one browser from those of others: a browser has
// one at a time, and its tabs hand it on.
func (c *conn) browser() string { return c.tab }

// replaced is how a connection ends that gives way to another one.
var replaced = closing{wire.CloseReplaced, "the visitor has a newer connection"} //nolint:gochecknoglobals // A constant.
