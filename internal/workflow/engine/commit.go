package engine

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/workflow/machine"
)

const (
	// fullAt is how many messages a commit may have before the next one begins.
	fullAt = 600
	// quietAt is how many inputs without an effect are folded before the position
	// is stored for their sake.
	quietAt = 10_000
	// gather is how long what was folded waits for more of what lies there
	// already: a large commit costs less than many small ones.
	gather = 20 * time.Millisecond
	// mostAt is the most that it may have, and mostBytes about how large it may
	// be: the server takes no more.
	mostAt, mostBytes = 950, 4 << 20
	// runsKept is how long the record of a run that ended is kept.
	runsKept = 30 * 24 * time.Hour
)

// group is what was folded and waits to be committed: all of it or nothing, with
// the position behind it.
type group struct {
	sessions map[place]*machine.Session
	sites    map[string]*machine.Site // by name
	timers   map[string]machine.Timer // by subject; the last word counts
	change   machine.Effects
	at       position
	inputs   int
	buried   []letter
	bytes    int       // about
	place    int       // of the position among the messages
	begun    time.Time // when the first effect was added
}

// letter is a message to bury before the group is committed.
type letter struct {
	d   *bus.Delivery
	why error
}

func newGroup() *group {
	return &group{
		sessions: map[place]*machine.Session{}, sites: map[string]*machine.Site{}, timers: map[string]machine.Timer{},
	}
}

// empty reports whether the group only moves the position.
func (g *group) empty() bool { return g.messages() == 1 }

// moved reports whether the group moves the position, or more.
func (g *group) moved() bool { return g.inputs > 0 || len(g.buried) > 0 || !g.empty() }

// messages returns how many messages the commit will have.
func (g *group) messages() int {
	return len(g.sessions) + len(g.sites) + len(g.change.Messages) + len(g.change.Calls) + len(g.change.Ended) + len(g.timers) + 1
}

// full reports whether the group has room for so much more.
func (g *group) full(messages, bytes int) bool {
	return g.messages()+messages > mostAt || g.bytes+bytes > mostBytes
}

// weight returns how many messages the change adds at most, and about how large
// they are.
func weight(c machine.Change) (messages, bytes int) {
	messages = len(c.Sessions) + len(c.Sites) + len(c.Messages) + len(c.Calls) + len(c.Ended) + len(c.Timers)
	for _, s := range c.Sessions {
		bytes += s.Size()
	}
	for _, run := range c.Ended {
		bytes += run.Size()
	}
	for _, m := range c.Messages {
		bytes += len(m.Envelope.Data)
	}
	for _, call := range c.Calls {
		bytes += 2 * len(call.Body) // It is base64.
	}
	return messages, bytes + 512*messages
}

// add adds what a step did.
func (g *group) add(c machine.Change) {
	messages, bytes := weight(c)
	g.bytes += bytes
	if messages > 0 && g.begun.IsZero() {
		g.begun = time.Now()
	}
	for _, s := range c.Sessions {
		g.sessions[placeOf(s)] = s
	}
	for _, s := range c.Sites {
		g.sites[s.Name] = s
	}
	g.change.Messages = append(g.change.Messages, c.Messages...)
	g.change.Calls = append(g.change.Calls, c.Calls...)
	g.change.Ended = append(g.change.Ended, c.Ended...)
	g.change.Marks = append(g.change.Marks, c.Marks...)
	for _, timer := range c.Timers {
		g.timers[timer.Subject()] = timer
	}
}

// encode returns the group's messages: records before what they lead to, so that
// whoever sees a command finds the run; then the position, and timers, whose
// times due turns into the server's.
func (g *group) encode(fence uint64, due func(time.Time) time.Time) ([]bus.FlowMsg, error) {
	msgs := make([]bus.FlowMsg, 0, g.messages()+len(g.timers))
	record := func(subject string, of any, life time.Duration) error {
		data, err := json.Marshal(of)
		if err != nil {
			return fault.New(fault.InternalError, "writing the record %s: %s", subject, err)
		}
		msgs = append(msgs, bus.FlowMsg{Subject: subject, Data: data, TTL: life, Only: true})
		return nil
	}
	for at, s := range g.sessions {
		if err := record(event.RunsSubject(at.site, at.session), s, s.Life(g.at.At)); err != nil {
			return nil, err
		}
	}
	for name, s := range g.sites {
		if err := record(event.SiteRunsSubject(name), s, 0); err != nil {
			return nil, err
		}
	}
	for _, run := range g.change.Ended {
		if err := record(event.RunSubject(run.Site, run.Session, run.ID), run, runsKept); err != nil {
			return nil, err
		}
	}
	for i := range g.change.Messages {
		m := &g.change.Messages[i]
		msgs = append(msgs, bus.FlowMsg{Subject: m.Subject, Envelope: &m.Envelope})
	}
	for _, call := range g.change.Calls {
		if err := record(event.CallSubject(call.Site, call.Session, call.Key), call, 2*24*time.Hour); err != nil {
			return nil, err
		}
	}
	data, err := json.Marshal(g.at)
	if err != nil {
		return nil, fmt.Errorf("writing the position: %w", err)
	}
	g.place = len(msgs)
	msgs = append(msgs, bus.FlowMsg{Subject: event.PositionSubject, Data: data, At: &fence, Only: true})
	return g.encodeTimers(msgs, due), nil
}

// encodeTimers adds the timers that are set. Records carry the end of those that
// are taken back; where there are too few, a timer fires and wakes nobody.
func (g *group) encodeTimers(msgs []bus.FlowMsg, due func(time.Time) time.Time) []bus.FlowMsg {
	carrier := 0
	for subject, timer := range g.timers {
		if !timer.Due.IsZero() {
			msgs = append(msgs, bus.FlowMsg{Subject: subject, Data: []byte("{}"), Due: due(timer.Due), Target: timer.Target()})
			continue
		}
		for carrier < len(msgs) && !strings.HasPrefix(msgs[carrier].Subject, "run.") {
			carrier++
		}
		if carrier < len(msgs) {
			msgs[carrier].Cancels = subject
			carrier++
		}
	}
	return msgs
}
