package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
)

// commandSource is the CloudEvents source of the commands.
const commandSource = "/parley/cluster"

const (
	// senders store commands at the same time, each those of its own sessions, one
	// after another, so that a session's commands are stored in their order.
	senders = 64
	// beat is how often the generator looks how many commands are due.
	beat = 5 * time.Millisecond
	// resend is the pause after a command could not be stored.
	resend = 100 * time.Millisecond
)

// load sends commands at a set rate for many sessions, and keeps its own ledger
// of what was sent and what the bus has confirmed.
type load struct {
	log   *slog.Logger
	bus   *bus.Bus
	s     settings
	rng   *rand.Rand
	slots []slot
	lanes []chan *sent

	mu      sync.Mutex // guards the fields below
	sent    []*sent
	resent  int
	doomed  bool // a share goes to the site that hangs
	visitor int  // visitors so far
}

// slot is a place for one visitor.
type slot struct {
	visitor string
	next    int
}

func newLoad(log *slog.Logger, on *bus.Bus, s settings) *load {
	l := &load{
		log: log, bus: on, s: s, slots: make([]slot, s.Sessions),
		rng: rand.New(rand.NewPCG(s.Seed, 2)),
	}
	for range senders {
		l.lanes = append(l.lanes, make(chan *sent, 1024))
	}
	return l
}

// run sends until ctx ends. Then it returns when all that was begun is stored,
// or when limit ends: what is not stored then is not in the ledger as stored.
func (l *load) run(ctx, limit context.Context) {
	var work sync.WaitGroup
	for _, lane := range l.lanes {
		work.Go(func() {
			for c := range lane {
				l.store(limit, c)
			}
		})
	}
	l.pace(ctx)
	for _, lane := range l.lanes {
		close(lane)
	}
	work.Wait()
}

// pace gives the commands that are due to their senders.
func (l *load) pace(ctx context.Context) {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	begun := time.Now()
	for n := 0; ; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		for due := int(time.Since(begun).Seconds() * float64(l.s.Rate)); n < due; n++ {
			at, c := l.next()
			select {
			case l.lanes[at%senders] <- c:
			case <-ctx.Done():
				l.unsend()
				return
			}
		}
	}
}

// next returns the next command, of a session of chance.
func (l *load) next() (int, *sent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.rng.IntN(len(l.slots))
	one := &l.slots[at]
	if one.visitor == "" || one.next >= l.s.Span {
		l.visitor++
		*one = slot{visitor: "v-" + strconv.FormatUint(l.s.Seed, 36) + "-" + strconv.Itoa(l.visitor)}
	}
	c := &sent{Site: loadSite, Visitor: one.visitor, Seq: one.next, Action: putName, Marked: true}
	if l.s.Mode == pages {
		c.Site = shopSite
		c.Action, c.Marked = pageAction(c.Seq)
		if l.doomed && l.rng.IntN(4) == 0 {
			c.Site, c.Visitor, c.Doomed, c.Marked = stuckSite, "stuck-"+strconv.Itoa(at), true, false
		}
	}
	if !c.Doomed {
		one.next++
	}
	c.Session = event.SessionKey(c.Site, event.Visitor{UserID: c.Visitor})
	c.ID = fmt.Sprintf("c-%d-%06d", l.s.Seed, len(l.sent))
	c.Partition = bus.PartitionOf(c.Site, c.Session)
	l.sent = append(l.sent, c)
	return at, c
}

// unsend takes the last command back, which no sender has got.
func (l *load) unsend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = l.sent[:len(l.sent)-1]
}

// doom gives a share of the commands to the site that hangs, or ends that.
func (l *load) doom(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doomed = on
}

// ledger returns what was sent so far, and how often a command was sent again
// because the bus did not confirm it.
func (l *load) ledger() ([]sent, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]sent, len(l.sent))
	for i, c := range l.sent {
		all[i] = *c
	}
	return all, l.resent
}

// store stores the command, and tries for as long as it takes: the sender's part
// of the promise.
func (l *load) store(limit context.Context, c *sent) {
	l.mu.Lock()
	c.Begun = time.Now()
	l.mu.Unlock()
	e, err := c.envelope()
	if err != nil {
		l.log.LogAttrs(limit, slog.LevelError, "making a command", slog.Any("err", err))
		return
	}
	subject := event.CommandSubject(event.ClassWrite, c.Action, c.Site, c.Session)
	for limit.Err() == nil {
		receipt, err := l.bus.Publish(limit, subject, e)
		l.mu.Lock()
		if c.Stored = err == nil; err != nil {
			l.resent++
		}
		c.Acked, c.Place, c.Again = time.Now(), receipt.Sequence, receipt.Duplicate
		l.mu.Unlock()
		if err == nil {
			return
		}
		l.log.LogAttrs(limit, slog.LevelDebug, "storing a command", slog.String("id", c.ID), slog.Any("err", err))
		timer := time.NewTimer(resend)
		select {
		case <-timer.C:
		case <-limit.Done():
			timer.Stop()
		}
	}
}

// envelope returns the command as it is sent.
func (c *sent) envelope() (event.Envelope, error) {
	params := []byte("{}")
	switch {
	case c.Action == putName:
		params = fmt.Appendf(nil, `{"seq":%d}`, c.Seq)
	case c.Marked:
		params = fmt.Appendf(nil, `{%q:"%d"}`, markAttribute, c.Seq)
	}
	e, err := event.New(commandSource, event.CommandType(c.Action), c.Site+"/"+c.Session, event.Command{
		Site: c.Site, Visitor: event.Visitor{UserID: c.Visitor}, Params: json.RawMessage(params),
	})
	if err != nil {
		return e, fmt.Errorf("making the command %s: %w", c.ID, err)
	}
	e.ID = c.ID
	e.Extensions[event.ExtPartitionKey] = c.Session
	return e, nil
}
