package crm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
)

// world is a target whose log, store and CRM are in memory, so that it can run
// in virtual time. The bus has tests of its own; see package sql for both.
type world struct {
	t            *testing.T
	crm          *ledger
	target       *Target
	store        *memoryStore
	flow, events chan Input
	asks         chan asked
	leader       *leader
	seq          uint64
	end          func()
}

// memoryStore keeps visitors as JSON, as the bus does.
type memoryStore struct {
	visitors map[place][]byte
	updates  []bus.FlowMsg
	at       Position
	saves    int
	largest  int
}

func (s *memoryStore) load(_ context.Context, places []place) (map[place]*Visitor, error) {
	found := map[place]*Visitor{}
	for _, p := range places {
		v := &Visitor{}
		if data, ok := s.visitors[p]; ok {
			if err := json.Unmarshal(data, v); err != nil {
				return nil, err
			}
		}
		v.Site, v.Session = p.site, p.session
		found[p] = v
	}
	return found, nil
}

func (s *memoryStore) find(_ context.Context, session string) (place, bool, error) {
	for p := range s.visitors {
		if p.session == session {
			return p, true, nil
		}
	}
	return place{}, false, nil
}

// saved is a save that is done.
type saved struct{}

func (saved) Done() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}

func (saved) finish(context.Context) error { return nil }

func (s *memoryStore) save(_ context.Context, visitors []*Visitor, at Position) (saving, error) {
	for _, v := range visitors {
		data, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		s.visitors[place{v.Site, v.Session}] = data
		s.updates = append(s.updates, v.updates...)
		s.largest = max(s.largest, len(data))
	}
	s.at, s.saves = at, s.saves+1
	return saved{}, nil
}

// newWorld starts a target in the bubble of the test.
func newWorld(t *testing.T, crm *ledger, o Options) *world {
	t.Helper()
	return newWorldOf(t, crm, crm, o)
}

// newWorldOf starts a target of a connector that keeps its ledger in crm.
func newWorldOf(t *testing.T, crm *ledger, c Connector, o Options) *world {
	t.Helper()
	o.Name, o.Connector = "local", c
	target, err := New(slog.New(slog.DiscardHandler), nil, o)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, crm: crm, target: target, store: &memoryStore{visitors: map[place][]byte{}}}
	w.lead()
	return w
}

// lead begins a time of leading.
func (w *world) lead() {
	w.t.Helper()
	program, _, err := w.target.Program(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	l := newLeader(w.target, program, w.store, w.store.at)
	for p, data := range w.store.visitors {
		v := &Visitor{}
		if err := json.Unmarshal(data, v); err != nil {
			w.t.Fatal(err)
		}
		if v.Dirty {
			l.queue.put(p, time.Now())
		}
	}
	w.flow, w.events, w.asks = make(chan Input), make(chan Input), make(chan asked)
	l.inputs, w.leader = inputs{w.flow, w.events, w.asks}, l
	ctx, stop := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.run(ctx) }()
	w.end = func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			w.t.Errorf("the leader ended with %v", err)
		}
	}
}

// visitor is the n-th visitor of the tests, whose session is not a hash, to be
// read by people.
func (w *world) session(n int) string { return fmt.Sprintf("s%05d", n) }

func (w *world) next() uint64 {
	w.seq++
	return w.seq
}

// identify says who the visitor is.
func (w *world) identify(n int, traits map[string]any) {
	w.flow <- Input{
		Site: "shop", Session: w.session(n), Flow: true, Sequence: w.next(), StoredAt: time.Now(), kind: event.KindIdentify,
		trigger: &event.Trigger{
			Site: "shop", Visitor: event.Visitor{UserID: fmt.Sprintf("u-%d", n), Email: fmt.Sprintf("u%d@example.test", n)}, OccurredAt: time.Now(), Traits: traits,
		},
	}
}

// happen says that a fact happened to the visitor.
func (w *world) happen(n int, name string) {
	o := event.Occurrence{Site: "shop", Session: w.session(n), Provider: "botstar", At: time.Now(), Cause: event.CauseVisitor, Page: "https://shop.test/"}
	w.events <- Input{
		Site: "shop", Session: w.session(n), Sequence: w.next(), StoredAt: time.Now(), kind: name, provider: "botstar", fact: &fact{Occurrence: o},
	}
}

// pass lets virtual time pass, and waits until everything rests.
func (w *world) pass(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
	synctest.Wait()
}

// want checks the ledger: so many contacts and chats, each once, in order, all
// with the last state.
func (w *world) want(contacts, chats int) {
	w.t.Helper()
	l := w.crm
	l.mu.Lock()
	defer l.mu.Unlock()
	twice := 0
	for _, n := range l.creates {
		twice += max(0, n-1)
	}
	w.t.Logf("%d contacts and %d chats in %d calls; twice %d, inversions %d, orphans %d, repeated %d, at once %d; figures %+v",
		len(l.contacts), len(l.activities), l.calls, twice, l.inversions, l.orphans, l.repeated, l.overlaps, w.target.Figures())
	if len(l.contacts) != contacts || len(l.activities) != chats {
		w.t.Errorf("the CRM has %d contacts and %d chats, want %d and %d", len(l.contacts), len(l.activities), contacts, chats)
	}
	if twice+l.inversions+l.orphans+l.repeated+l.overlaps != 0 {
		w.t.Errorf("twice %d, inversions %d, orphans %d, repeated %d, at once %d, want none", twice, l.inversions, l.orphans, l.repeated, l.overlaps)
	}
	if n := w.target.Figures().Waiting; n != 0 {
		w.t.Errorf("%d visitors wait, want none", n)
	}
	for key, a := range l.activities {
		if a.Record.Open || a.Record.Seconds == 0 {
			w.t.Errorf("the chat %s is not as it ended: open %t after %g s", key, a.Record.Open, a.Record.Seconds)
			return
		}
	}
}
