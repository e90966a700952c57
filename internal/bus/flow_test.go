package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// flowEnvelope returns a trigger of the source with the id.
func flowEnvelope(source, id string) event.Envelope {
	return event.Envelope{ID: id, Source: source, Type: event.TriggerType(event.KindTrack), Time: time.Unix(1, 0), Data: []byte(`{"n":1}`)}
}

// trigger returns the subject of a trigger of the session.
func trigger(session string) string {
	return event.TriggerSubject("segment", event.KindTrack, "shop", session)
}

// flowed returns the subjects and sequences that FLOW has of the filters.
func flowed(t testing.TB, b *bus.Bus, filters ...string) []*bus.Delivery {
	t.Helper()
	var all []*bus.Delivery
	for d, err := range b.Read(t.Context(), bus.ReadOptions{Stream: bus.StreamFlow, Filters: filters}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

func TestAnEventIsAcceptedOnce(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	e := flowEnvelope("segment/a", "m1")
	got, err := b.Accept(t.Context(), trigger("s1"), e, []byte("sum"))
	if err != nil || got != (bus.AcceptResult{Sequence: 2}) {
		t.Fatalf("first: %+v, %v", got, err)
	}
	got, err = b.Accept(t.Context(), trigger("s1"), e, []byte("sum"))
	if err != nil || got != (bus.AcceptResult{Duplicate: true, Sequence: 2}) {
		t.Fatalf("again: %+v, %v", got, err)
	}
	// Also when it has found out meanwhile who the visitor is.
	got, err = b.Accept(t.Context(), trigger("s2"), e, []byte("other"))
	if err != nil || got != (bus.AcceptResult{Duplicate: true, Conflict: true, Sequence: 2}) {
		t.Fatalf("with other data: %+v, %v", got, err)
	}
	// One customer's id suppresses nobody else's event.
	got, err = b.Accept(t.Context(), trigger("s1"), flowEnvelope("segment/b", "m1"), []byte("sum"))
	if err != nil || got.Duplicate {
		t.Fatalf("of another source: %+v, %v", got, err)
	}
	if all := flowed(t, b, event.TriggerFilter()); len(all) != 2 || all[0].Sequence != 2 || all[0].Subject != trigger("s1") {
		t.Fatalf("stored: %d triggers", len(all))
	}
}

func TestManyAcceptAtOnce(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	const callers, each = 20, 50
	var group sync.WaitGroup
	var mu sync.Mutex
	stored := map[string]int{}
	for c := range callers {
		group.Go(func() {
			for i := range each {
				// Every id comes from two callers.
				id := fmt.Sprintf("m%d-%d", c/2, i)
				got, err := b.Accept(t.Context(), trigger(fmt.Sprintf("s%d", c)), flowEnvelope("x", id), []byte(id))
				if err != nil || got.Conflict {
					t.Errorf("%s: %+v, %v", id, got, err)
				}
				if !got.Duplicate {
					mu.Lock()
					stored[id]++
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	all := flowed(t, b, event.TriggerFilter())
	if len(all) != callers*each/2 || len(stored) != len(all) {
		t.Errorf("%d triggers, %d ids, want %d", len(all), len(stored), callers*each/2)
	}
	for id, n := range stored {
		if n != 1 {
			t.Errorf("%s was new %d times", id, n)
		}
	}
}

func TestACommitIsAllOrNothing(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	runs := event.RunsSubject("shop", "s1")
	zero := uint64(0)
	first, err := b.Commit(t.Context(), []bus.FlowMsg{
		{Subject: runs, Data: []byte("1"), At: &zero},
		{Subject: event.PositionSubject, Data: []byte("1"), At: &zero},
	})
	if err != nil || len(first) != 2 || first[1] != first[0]+1 {
		t.Fatalf("first: %v, %v", first, err)
	}
	_, err = b.Commit(t.Context(), []bus.FlowMsg{
		{Subject: runs, Data: []byte("2"), At: &first[0]},
		{Subject: event.PositionSubject, Data: []byte("2"), At: &zero},
	})
	wantReason(t, err, fault.StaleFence)
	last, ok, err := b.Last(t.Context(), runs)
	if err != nil || !ok || string(last.Body) != "1" || last.Sequence != first[0] {
		t.Fatalf("last: %+v, %t, %v", last, ok, err)
	}
	_, err = b.Commit(t.Context(), []bus.FlowMsg{{Subject: runs, Create: true}})
	wantReason(t, err, fault.AlreadyStored)
	if _, ok, err := b.Last(t.Context(), event.RunsSubject("shop", "nobody")); ok || err != nil {
		t.Fatalf("of nobody: %t, %v", ok, err)
	}
}

// Of many commits that share a batch, only those fail that the server does not
// take, each with its own reason.
func TestARefusedCommitDoesNotHarmTheOthers(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	stale := uint64(77)
	commit := func(msgs ...bus.FlowMsg) *bus.Commitment { return b.CommitAsync(t.Context(), msgs) }
	if _, err := b.Commit(t.Context(), []bus.FlowMsg{{Subject: "run.shop.taken", Data: []byte("1")}}); err != nil {
		t.Fatal(err)
	}
	type item struct {
		under *bus.Commitment
		want  fault.Reason
	}
	var all []item
	for i := range 60 {
		subject := fmt.Sprintf("run.shop.s%d", i)
		timer, target := wake(fmt.Sprintf("s%d", i), "x")
		switch i % 6 {
		case 0:
			all = append(all, item{commit(bus.FlowMsg{Subject: subject}, bus.FlowMsg{Subject: "run.shop.taken", Create: true}), fault.AlreadyStored})
		case 1:
			all = append(all, item{commit(bus.FlowMsg{Subject: subject, At: &stale}), fault.StaleFence})
		case 2:
			// The server alone knows what is wrong with the time zone of a timer.
			all = append(all, item{commit(bus.FlowMsg{Subject: subject}, bus.FlowMsg{
				Subject: timer, Due: time.Now(), Target: target, Header: map[string]string{"Nats-Schedule-Rollup": "wrong"},
			}), fault.BusMisconfigured})
		default:
			all = append(all, item{commit(bus.FlowMsg{Subject: subject, Create: true}, bus.FlowMsg{Subject: "run.shop.all"}), ""})
		}
	}
	for i, item := range all {
		_, err := item.under.Wait(t.Context())
		if item.want == "" && err != nil {
			t.Errorf("%d failed: %v", i, err)
		}
		if item.want != "" {
			wantReason(t, err, item.want)
		}
	}
	if got := flowed(t, b, "run.shop.all"); len(got) != 30 {
		t.Errorf("%d of 30 are stored", len(got))
	}
	if got := flowed(t, b, "run.shop.*"); len(got) != 61 {
		t.Errorf("%d messages are stored, want 61", len(got))
	}
}

// The commits of one goroutine keep their order, also when they concern one
// subject, so that a batch cannot hold them together.
func TestCommitsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	var under []*bus.Commitment
	for i := range 300 {
		msg := bus.FlowMsg{Subject: "run.shop.one", Data: []byte(strconv.Itoa(i))}
		if i%7 == 3 { // Refused, because the one before comes first.
			zero := uint64(0)
			msg.At = &zero
		}
		under = append(under, b.CommitAsync(t.Context(), []bus.FlowMsg{msg}))
	}
	last := uint64(0)
	for i, c := range under {
		sequences, err := c.Wait(t.Context())
		if i%7 == 3 {
			wantReason(t, err, fault.StaleFence)
			continue
		}
		if err != nil || sequences[0] <= last {
			t.Fatalf("%d is at %v after %d: %v", i, sequences, last, err)
		}
		last = sequences[0]
	}
}

// A confirmation that gets lost is found out about: nothing is stored twice, and
// what was stored is not called a repetition.
func TestACommitWhoseConfirmationIsLost(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	s.Bus()
	var lose atomic.Int64
	b := bustest.Connect(t, bus.Options{URL: s.URL(), Unheard: func(string) bool { return lose.Add(-1) >= 0 }})
	zero := uint64(0)
	timer, target := wake("s1", "x")
	for name, msgs := range map[string][]bus.FlowMsg{
		"one free message": {{Subject: "run.shop.a"}},
		"free messages":    {{Subject: "run.shop.b"}, {Subject: "run.shop.b"}},
		"one that is new":  {{Subject: "run.shop.c", Create: true}},
		"bound ones":       {{Subject: "run.shop.d"}, {Subject: "run.shop.e", At: &zero}},
		"a timer":          {{Subject: timer, Due: time.Now().Add(time.Hour), Target: target}, {Subject: "run.shop.f"}},
	} {
		lose.Store(1)
		sequences, err := b.Commit(t.Context(), msgs)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i, msg := range msgs {
			if got := flowed(t, b, msg.Subject); got[len(got)-1].Sequence < sequences[i] || got[0].Sequence > sequences[i] {
				t.Errorf("%s: %d is said, and %d is there", name, sequences[i], got[0].Sequence)
			}
		}
	}
	lose.Store(1)
	got, err := b.Accept(t.Context(), trigger("s1"), flowEnvelope("x", "1"), nil)
	if err != nil || got.Duplicate {
		t.Errorf("accepted: %+v, %v", got, err)
	}
	if all := flowed(t, b); len(all) != 10 {
		t.Errorf("%d messages are there, want 10", len(all))
	}
}

func TestACommitThatIsDeniedIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	root := bustest.User{Name: "root", Password: "secret"}
	edge := bustest.User{
		Name: "edge", Password: "secret",
		Publish: []string{"in.>", "$JS.API.STREAM.INFO.>", "$JS.API.STREAM.MSG.GET.>"}, Listen: []string{"_INBOX.>"},
	}
	s := bustest.Serve(t, root, edge)
	bustest.Open(t, bus.Options{URL: s.URL(root)})
	b := bustest.Connect(t, bus.Options{URL: s.URL(edge)})
	if _, err := b.Accept(t.Context(), trigger("s1"), flowEnvelope("x", "1"), nil); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	denied := b.CommitAsync(t.Context(), []bus.FlowMsg{{Subject: "run.shop.s1"}, {Subject: trigger("s1")}})
	allowed := b.CommitAsync(t.Context(), []bus.FlowMsg{{Subject: trigger("s2")}, {Subject: trigger("s2")}})
	_, err := denied.Wait(t.Context())
	wantReason(t, err, fault.BusDenied)
	if _, err := allowed.Wait(t.Context()); err != nil {
		t.Errorf("beside a denied one: %v", err)
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestACommitIsGivenUpWithItsContext(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := b.Commit(ctx, []bus.FlowMsg{{Subject: "run.shop.s1"}})
	wantReason(t, err, fault.BusUnavailable)
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("it took %s", took)
	}
	s.Start()
	// Whoever comes later is not held up by it.
	if _, err := b.Commit(t.Context(), []bus.FlowMsg{{Subject: "run.shop.s2"}}); err != nil {
		t.Fatal(err)
	}
	bustest.Close(t, b)
	_, err = b.Commit(t.Context(), []bus.FlowMsg{{Subject: "run.shop.s3"}})
	wantReason(t, err, fault.BusUnavailable)
}

func TestWhatNoCommitMayHave(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	for name, test := range map[string]struct {
		msgs []bus.FlowMsg
		want fault.Reason
	}{
		"nothing":           {nil, fault.Malformed},
		"too many messages": {make([]bus.FlowMsg, 1001), fault.TooLarge},
		"a big message":     {[]bus.FlowMsg{{Subject: "in.a.b.c.d", Data: make([]byte, 300<<10)}}, fault.TooLarge},
		"another stream":    {[]bus.FlowMsg{{Subject: "cmd.w.a.b.c.d.e"}}, fault.Malformed},
	} {
		_, err := b.Commit(t.Context(), test.msgs)
		if !errors.Is(err, fault.New(test.want, "")) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

// The marker ends by itself, and with it what the inbox knows.
func TestAMarkerEnds(t *testing.T) {
	t.Parallel()
	b := bustest.Open(t, bus.Options{Dir: t.TempDir(), InboxTTL: time.Second})
	e := flowEnvelope("x", "1")
	for range 2 {
		if got, err := b.Accept(t.Context(), trigger("s1"), e, nil); err != nil || got.Duplicate {
			t.Fatalf("accepted: %+v, %v", got, err)
		}
		marker := event.InboxSubject(event.Key(e.Source, e.ID))
		bustest.Until(t, "the marker has ended", func() bool { _, ok, err := b.Last(t.Context(), marker); return err == nil && !ok })
	}
	if got := flowed(t, b, event.TriggerFilter()); len(got) != 2 {
		t.Errorf("%d triggers, want 2", len(got))
	}
}

func TestABatchIsAccepted(t *testing.T) {
	t.Parallel()
	for _, durability := range []string{bus.DurabilityInterval, bus.DurabilityAlways} {
		t.Run(durability, func(t *testing.T) {
			t.Parallel()
			acceptBatch(t, bustest.Open(t, bus.Options{Dir: t.TempDir(), Durability: durability}))
		})
	}
}

func acceptBatch(t *testing.T, b *bus.Bus) {
	t.Helper()
	var all []bus.Accepted
	for i := range 700 { // More than one batch holds.
		e := flowEnvelope("x", strconv.Itoa(i%600))
		all = append(all, bus.Accepted{Subject: trigger("s1"), Envelope: e, Sum: []byte{byte(i)}})
	}
	all[650].Subject = "nowhere"
	last := uint64(0)
	for i, got := range b.AcceptBatch(t.Context(), all) {
		switch {
		case i == 650:
			wantReason(t, got.Err, fault.Malformed)
		case got.Err != nil:
			t.Fatalf("%d: %v", i, got.Err)
		case i < 600 && (got.Duplicate || got.Sequence <= last):
			t.Fatalf("%d: %+v after %d", i, got, last)
		case i >= 600 && (!got.Duplicate || !got.Conflict):
			t.Fatalf("%d: %+v", i, got)
		}
		last = got.Sequence
	}
}

// Whoever made the marker may have died before the event was stored: then the
// next call stores it, and of many such calls one.
func TestWhatWasHalfAcceptedIsCompleted(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	s.Bus()
	for round, together := range []bool{false, true} {
		o := bus.Options{URL: s.URL()}
		var lose atomic.Bool
		if together {
			o.Durability = bus.DurabilityAlways // So that many share a batch.
		}
		o.Unheard = func(subject string) bool { return lose.Load() && strings.Count(subject, ".") == 1 }
		b := bustest.Connect(t, o)
		e := flowEnvelope("x", strconv.Itoa(round))
		lose.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := b.Accept(ctx, trigger("s1"), e, []byte("sum"))
		cancel()
		wantReason(t, err, fault.BusUnavailable)
		if half := flowed(t, b, event.InboxSubject(event.Key(e.Source, e.ID))); len(half) != 1 {
			t.Fatalf("%d markers", len(half))
		}
		if whole := flowed(t, b, event.TriggerFilter()); len(whole) != round {
			t.Fatalf("%d events, want %d", len(whole), round)
		}
		lose.Store(false)
		var group sync.WaitGroup
		var fresh atomic.Int64
		for range 40 {
			group.Go(func() {
				got, err := b.Accept(t.Context(), trigger("s1"), e, []byte("sum"))
				if err != nil || got.Conflict {
					t.Errorf("completing: %+v, %v", got, err)
				} else if !got.Duplicate {
					fresh.Add(1)
				}
			})
		}
		group.Wait()
		if whole := flowed(t, b, event.TriggerFilter()); len(whole) != round+1 || fresh.Load() != 1 {
			t.Errorf("%d events, want %d; %d were said to be new", len(whole), round+1, fresh.Load())
		}
	}
}
