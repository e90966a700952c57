package main

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
)

// TestTheLoadIsStoredInOrder sends a load to a real bus. Every command is in the
// queue once, in the order of its session, at its session's partition, and the
// ledger says so.
func TestTheLoadIsStoredInOrder(t *testing.T) {
	t.Parallel()
	on := bustest.Start(t)
	s := settings{Mode: simulated, Seed: 3, Rate: 400, Sessions: 7, Span: 20}
	l := newLoad(bustest.Log(t), on, s)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	l.run(ctx, t.Context())
	commands, resent := l.ledger()
	if len(commands) < 100 || len(commands) > s.Rate*11/10 { // The second ends a little late.
		t.Errorf("%d commands in a second, want about %d", len(commands), s.Rate)
	}
	if resent != 0 {
		t.Errorf("%d were sent again", resent)
	}
	byID, visitors := map[string]sent{}, map[string]bool{}
	for _, c := range commands {
		if !c.Stored || c.Begun.IsZero() || byID[c.ID].ID != "" {
			t.Errorf("the ledger has %+v", c)
		}
		byID[c.ID], visitors[c.Visitor] = c, true
	}
	if len(visitors) <= s.Sessions {
		t.Errorf("%d visitors: nobody left after %d commands", len(visitors), s.Span)
	}

	got := take(t, on, len(commands))
	next := map[string]int{}
	for _, id := range got {
		c := byID[id]
		if c.Seq != next[c.Session] {
			t.Errorf("the queue has the command %d of %s, want %d", c.Seq, c.Visitor, next[c.Session])
		}
		next[c.Session]++
	}
}

// take takes so many commands from the queue, and returns their ids in the order
// of each session.
func take(t *testing.T, on *bus.Bus, most int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var mu sync.Mutex
	var ids []string
	err := on.Commands(ctx, bus.CommandOptions{Grace: time.Second}, func(_ context.Context, d *bus.Delivery) error {
		e, err := d.Envelope()
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if ids = append(ids, e.ID); len(ids) == most {
			cancel()
		}
		return nil
	})
	if err != nil || len(ids) != most {
		t.Fatalf("took %d of %d commands: %v", len(ids), most, err)
	}
	return ids
}

// TestTheSeedDecidesTheLoad makes the commands of two runs with one seed.
func TestTheSeedDecidesTheLoad(t *testing.T) {
	t.Parallel()
	first := func(m mode, seed uint64) []sent {
		l := newLoad(bustest.Log(t), nil, settings{Mode: m, Seed: seed, Sessions: 5, Span: 9})
		for range 200 {
			l.next()
		}
		all, _ := l.ledger()
		return all
	}
	for _, m := range []mode{simulated, pages} {
		if diff := cmp.Diff(first(m, 1), first(m, 1)); diff != "" {
			t.Errorf("%s: one seed has two loads:\n%s", m, diff)
		}
		if cmp.Equal(first(m, 1), first(m, 2)) {
			t.Errorf("%s: two seeds have one load", m)
		}
		last := map[string]int{}
		for _, c := range first(m, 1) {
			if before, ok := last[c.Session]; ok && c.Seq != before+1 || !ok && c.Seq != 0 {
				t.Errorf("%s: the command %d of %s follows %d", m, c.Seq, c.Visitor, before)
			}
			last[c.Session] = c.Seq
			if c.Partition != bus.PartitionOf(c.Site, c.Session) || c.Session != event.SessionKey(c.Site, event.Visitor{UserID: c.Visitor}) {
				t.Errorf("%s: the address of %+v is wrong", m, c)
			}
		}
	}
}
