package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// TestNATSProcess is what bustest.ServeProcess starts.
func TestNATSProcess(t *testing.T) { bustest.NATSProcess(t) } //nolint:paralleltest // It is a process of its own.

// commits is the ledger of what a bus said was stored.
type commits struct {
	stop func() // ends the load

	mu       sync.Mutex        // guards the fields below
	stored   map[string]uint64 // by id
	together map[string]bool   // it must be one batch
	unknown  map[string]bool   // the caller was told that nobody knows
}

// TestServersKilledDuringCommits kills the server again and again while many
// callers accept events and commit transitions. What was acknowledged is there,
// at the place that was said; everything is there as a whole, and once.
func TestServersKilledDuringCommits(t *testing.T) {
	t.Parallel()
	for _, durability := range []string{bus.DurabilityInterval, bus.DurabilityAlways} {
		t.Run(durability, func(t *testing.T) {
			t.Parallel()
			const kills = 5
			p := bustest.ServeProcess(t, durability)
			b := bustest.Open(t, bus.Options{URL: p.URL(), Timeout: 20 * time.Second})
			l := startCommits(t, b)
			for range kills {
				if err := waitFor(t.Context(), 400*time.Millisecond); err != nil {
					t.Fatal(err)
				}
				p.Kill()
				p.Start()
				l.goesOn(t)
			}
			l.verdict(t, b)
		})
	}
}

// TestACutConnectionDuringCommits cuts and blocks the connection, so that the
// server carries out what its client heard nothing of.
func TestACutConnectionDuringCommits(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	s.Bus()
	proxy := s.Proxy()
	l := startCommits(t, bustest.Connect(t, bus.Options{URL: proxy.URL(), Timeout: 20 * time.Second}))
	for i := range 20 {
		if err := waitFor(t.Context(), 100*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if i == 10 {
			proxy.Block() // Longer than an answer is waited for.
			if err := waitFor(t.Context(), 4500*time.Millisecond); err != nil {
				t.Fatal(err)
			}
		} else {
			proxy.Cut()
		}
		proxy.Mend()
		l.goesOn(t)
	}
	l.verdict(t, s.Bus())
}

// TestCommitsInACluster commits while the leader of FLOW goes away; a timer of a
// batch fires there as well.
func TestCommitsInACluster(t *testing.T) {
	t.Parallel()
	c := bustest.ServeCluster(t)
	b := bustest.Open(t, bus.Options{URL: c.URL(), Replicas: 3, Timeout: time.Minute})
	timer, target := wake("s1", "x")
	if _, err := b.Commit(t.Context(), []bus.FlowMsg{
		{Subject: "run.shop.cluster"},
		{Subject: timer, Due: time.Now().Add(300 * time.Millisecond), Target: target},
		{Subject: "run.shop.cluster"},
	}); err != nil {
		t.Fatal(err)
	}
	bustest.Until(t, "the timer has fired", func() bool { _, ok, err := b.Last(t.Context(), target); return err == nil && ok })
	l := startCommits(t, b)
	l.goesOn(t)
	c.StopLeader(bus.StreamFlow)
	l.goesOn(t)
	l.verdict(t, b)
}

// startCommits commits from many goroutines, until the verdict.
func startCommits(t *testing.T, b *bus.Bus) *commits {
	t.Helper()
	const callers = 12
	l := &commits{stored: map[string]uint64{}, unknown: map[string]bool{}, together: map[string]bool{}}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for c := range callers {
		group.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				l.one(context.WithoutCancel(ctx), t, b, c, i)
				if err := waitFor(ctx, 8*time.Millisecond); err != nil { // Other tests want the processor as well.
					return
				}
			}
		})
	}
	l.stop = sync.OnceFunc(func() { cancel(); group.Wait() })
	t.Cleanup(l.stop)
	return l
}

// goesOn waits until more is stored.
func (l *commits) goesOn(t *testing.T) {
	t.Helper()
	before := l.count()
	bustest.Until(t, "commits go on", func() bool { return l.count() > before+24 })
}

func (l *commits) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.stored)
}

// one commits: by turns an event with its marker, a transition that expects
// nothing, and one that expects what it wrote last.
func (l *commits) one(ctx context.Context, t *testing.T, b *bus.Bus, caller, i int) {
	t.Helper()
	id := fmt.Sprintf("c%d-%d", caller, i)
	session := "s" + strconv.Itoa(caller)
	var at uint64
	var err error
	switch i % 3 {
	case 0:
		var got bus.AcceptResult
		got, err = b.Accept(ctx, trigger(session), flowEnvelope("kill", id), []byte(id))
		if got.Duplicate {
			t.Errorf("%s is a duplicate", id)
		}
		at = got.Sequence
	case 1: // Nothing but its own id keeps it from being stored twice.
		var all []uint64
		all, err = b.Commit(ctx, []bus.FlowMsg{
			{Subject: event.RunSubject("shop", session, "free"), Data: []byte(id + " 1")},
			{Subject: event.RunSubject("shop", session, "free"), Data: []byte(id + " 2")},
		})
		if err == nil {
			at = all[1]
		}
	case 2:
		var last *bus.Delivery
		last, _, err = b.Last(ctx, event.RunsSubject("shop", session))
		expect := uint64(0)
		if last != nil {
			expect = last.Sequence
		}
		if err == nil {
			var all []uint64
			all, err = b.Commit(ctx, []bus.FlowMsg{
				{Subject: event.RunSubject("shop", session, "bound"), Data: []byte(id + " 1")},
				{Subject: event.RunsSubject("shop", session), Data: []byte(id + " 2"), At: &expect},
			})
			if err == nil {
				at = all[1]
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.stored[id], l.together[id] = at, i%3 != 0
	case errors.Is(err, fault.New(fault.BusUnavailable, "")):
		l.unknown[id] = true
	default:
		t.Errorf("%s: %v", id, err)
	}
}

// verdict compares the ledger with what FLOW holds.
func (l *commits) verdict(t *testing.T, b *bus.Bus) {
	t.Helper()
	l.stop()
	halves := map[string][]uint64{} // by id and half
	markers := 0
	for _, d := range flowed(t, b) {
		switch text := string(d.Body); {
		case strings.HasPrefix(d.Subject, "run.shop.s"):
			halves[text] = append(halves[text], d.Sequence)
		case strings.Count(d.Subject, ".") == 1:
			markers++
			halves[text+" 1"] = append(halves[text+" 1"], d.Sequence)
		case strings.HasPrefix(d.Subject, "in."):
			e, err := d.Envelope()
			if err != nil {
				t.Fatal(err)
			}
			halves[e.ID+" 2"] = append(halves[e.ID+" 2"], d.Sequence)
		}
	}
	lost, half, twice, elsewhere, apart := 0, 0, 0, 0, 0
	for id, at := range l.stored {
		one, two := halves[id+" 1"], halves[id+" 2"]
		switch {
		case len(one) == 0 && len(two) == 0:
			lost++
		case len(one) > 1 || len(two) > 1:
			twice++
		case len(one) != len(two):
			half++
		case two[0] != at:
			elsewhere++
		case one[0]+1 != two[0] && l.together[id]:
			apart++
		}
	}
	for id := range l.unknown {
		one, two := halves[id+" 1"], halves[id+" 2"]
		if len(one) != len(two) {
			half++
		}
		if len(one) > 1 {
			twice++
		}
	}
	t.Logf("%d acknowledged, %d not known, %d markers: %d lost, %d half, %d twice, %d elsewhere, %d apart",
		len(l.stored), len(l.unknown), markers, lost, half, twice, elsewhere, apart)
	if lost+half+twice+elsewhere+apart > 0 {
		t.Errorf("%d lost, %d half, %d twice, %d elsewhere, %d apart", lost, half, twice, elsewhere, apart)
	}
	if len(l.unknown) > 0 {
		t.Errorf("%d callers were not told, although the server came back", len(l.unknown))
	}
}
