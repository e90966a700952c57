package session

import (
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
)

// Command is the cause of what an action does, as far as facts tell it.
type Command struct {
	// Key is the command's effect key: see event.Key.
	Key string
	// ID is the command's id.
	ID string
	// Correlation and Trace are the command's extension attributes of the same
	// kind, or "".
	Correlation, Trace string
	// Fence is the owner's token; the page refuses a lower one than it has seen.
	Fence uint64

	restoring bool // no command: a page is made like the last one
}

// post publishes the fact, after those that were posted before. It is false
// when too many facts wait, unless always is set.
func (h *held) post(n actions.Notice, cause event.Cause, by Command, at time.Time, address string, always bool) bool {
	site := h.site.Name
	if cause != event.CauseAPI {
		by = Command{}
	}
	data := n.Data(event.Occurrence{
		Site: site, Session: h.key, Provider: h.provider.Name, At: at,
		Cause: cause, CommandID: by.ID, Page: address,
	})
	e, err := event.New(Source, event.FactType(h.provider.Name, n.Name), site+"/"+h.key, data)
	if err != nil {
		h.m.seen.dropped.Add(1)
		h.m.log.LogAttrs(h.m.life, slog.LevelError, "making a fact",
			slog.String("session", h.key), slog.String("fact", n.Name), slog.Any("err", err))
		return true
	}
	e.Time = at
	setExtension(e, event.ExtPartitionKey, h.key)
	setExtension(e, event.ExtCausationID, by.ID)
	setExtension(e, event.ExtCorrelationID, by.Correlation)
	setExtension(e, event.ExtTraceParent, by.Trace)
	return h.out.put(parcel{
		subject:  event.FactSubject(h.provider.Name, n.Name, site, h.key),
		envelope: e,
	}, always)
}

func setExtension(e event.Envelope, name, value string) {
	if value != "" {
		e.Extensions[name] = value
	}
}

// causes remembers the last commands of a session by their keys, so that a
// signal finds its command.
type causes struct {
	mu    sync.Mutex // guards the fields below
	last  [64]Command
	count int
}

func (c *causes) add(by Command) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count > 0 && c.last[(c.count-1)%len(c.last)].Key == by.Key {
		return
	}
	c.last[c.count%len(c.last)] = by
	c.count++
}

// clear forgets all of them.
func (c *causes) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.last[:])
	c.count = 0
}

// find returns the command of the signal's key, which is the effect key with
// the function's name behind it. It is false when the key is of no command.
func (c *causes) find(key string) (Command, bool) {
	key, _, _ = strings.Cut(key, "/")
	if key == "" {
		return Command{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := c.count - 1; i >= 0 && i > c.count-1-len(c.last); i-- {
		if at := c.last[i%len(c.last)]; at.Key == key {
			return at, true
		}
	}
	return Command{}, false
}
