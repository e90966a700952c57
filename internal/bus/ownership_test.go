package bus_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// sessionOf returns a session that the worker gets when these are there.
func sessionOf(t testing.TB, worker string, among ...string) string {
	t.Helper()
	owners := bus.Assign(among, 64)
	for n := range 10000 {
		session := "s" + strconv.Itoa(n)
		if owners[bus.PartitionOf("shop", session)] == worker {
			return session
		}
	}
	t.Fatalf("%s gets no session", worker)
	return ""
}

// untilShared waits until so many workers share all partitions.
func untilShared(t testing.TB, b *bus.Bus, workers int) {
	t.Helper()
	bustest.Until(t, fmt.Sprintf("%d workers share the partitions", workers), func() bool { return shared(t, b, workers) })
}

// bearable is a time that a busy machine keeps too. It tells a quick way from one
// that waits for the end of a key or of AckWait, which the tests make long. How
// quick the way is, the tests log and the benchmarks measure.
const bearable = 15 * time.Second

func nothing(context.Context, *bus.Delivery) error { return nil }

func TestPartitionsAreTheServers(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	came := make(chan *bus.Delivery, 50)
	work(t, b, bus.CommandOptions{}, func(_ context.Context, d *bus.Delivery) error { came <- d; return nil })
	for n := range cap(came) {
		publish(t, b, "s"+strconv.Itoa(n))
	}
	for range cap(came) {
		d := receive(t, came, "a command")
		address, err := event.ParseCommandSubject(d.Subject)
		if err != nil {
			t.Fatal(err)
		}
		want := bus.PartitionOf(address.Site, address.Session)
		if !strings.HasPrefix(d.Subject, fmt.Sprintf("cq.%d.", want)) || d.Partition != want || d.Fence == 0 {
			t.Errorf("%s: partition %d with fence %d, want partition %d", d.Subject, d.Partition, d.Fence, want)
		}
	}
}

// TestAPlannedMove has a second worker join while a command runs in a session
// that becomes its own: the command ends first, then the first worker hands the
// partition over, and then the second one has the session's next command.
func TestAPlannedMove(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	session := sessionOf(t, "two", "one", "two")
	partition := bus.PartitionOf("shop", session)
	var mu sync.Mutex
	var story []string
	tell := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		story = append(story, fmt.Sprintf(format, args...))
	}
	begun, release := make(chan uint64, 1), make(chan struct{})
	handed := map[int]int{}
	one := bus.CommandOptions{
		Worker: "one", HandOver: func(ctx context.Context, n int) error {
			mu.Lock()
			defer mu.Unlock()
			handed[n]++
			if n == partition {
				story = append(story, "handed over")
			}
			if _, limited := ctx.Deadline(); !limited {
				t.Error("there is no limit")
			}
			return fault.New(fault.PageHung, "what is not kept does not hold up the move")
		},
		Lost: func(n int) { t.Errorf("the partition %d was lost", n) },
	}
	work(t, s.Bus(), one, func(_ context.Context, d *bus.Delivery) error {
		begun <- d.Fence
		<-release
		if err := d.Owned(); err != nil {
			t.Errorf("not owned while the partition waits for us: %v", err)
		}
		tell("one ends")
		return nil
	})
	publish(t, b, session)
	fence := receive(t, begun, "the command")
	came := make(chan *bus.Delivery, 1)
	work(t, s.Bus(), bus.CommandOptions{Worker: "two"}, func(_ context.Context, d *bus.Delivery) error {
		tell("two begins")
		came <- d
		return nil
	})
	next := publish(t, b, session)
	bustest.Until(t, "all others have moved", func() bool {
		for _, m := range members(t, b) {
			if m.Worker == "two" {
				return len(m.Partitions) == 31
			}
		}
		return false
	})
	if len(came) != 0 {
		t.Error("two workers have one session")
	}
	released := time.Now()
	close(release)
	d := receive(t, came, "the next command")
	took := time.Since(released)
	if e, err := d.Envelope(); err != nil || e.ID != next.ID || d.Fence <= fence {
		t.Errorf("came: %s with fence %d, %v; want %s with one above %d", e.ID, d.Fence, err, next.ID, fence)
	}
	t.Logf("handed over after %s", took)
	if took > bearable {
		t.Errorf("the hand-over took %s", took)
	}
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"one ends", "handed over", "two begins"}; !slices.Equal(story, want) {
		t.Errorf("the story is %v, want %v", story, want)
	}
	if len(handed) != 32 || handed[partition] != 1 {
		t.Errorf("handed over: %v", handed)
	}
	bustest.Until(t, "the queue is empty", func() bool { return s.Messages("CMD") == 0 })
}

// TestACutConnection has a worker lose its connection, as if it had died, and
// come back: another one has its partitions within a second, and it gets its
// share again.
func TestACutConnection(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b, proxy := s.Bus(), s.Proxy()
	session := sessionOf(t, "one", "one", "two")
	begun, release := make(chan *bus.Delivery, 1), make(chan struct{})
	refusals := make(chan error, 1)
	var lost sync.Map
	var isCut atomic.Bool
	cut := bustest.Connect(t, bus.Options{URL: proxy.URL()})
	work(t, cut, bus.CommandOptions{
		Worker: "one", TTL: 10 * time.Second, Lost: func(n int) { lost.Store(n, true) },
		HandOver: func(_ context.Context, n int) error {
			if isCut.Load() {
				t.Errorf("what was lost is handed over: %d", n)
			}
			return nil
		},
	}, func(_ context.Context, d *bus.Delivery) error {
		select {
		case begun <- d:
		default: // It tries again, until it knows.
		}
		<-release
		err := d.Owned()
		select {
		case refusals <- err:
		default: // As above.
		}
		return err
	})
	untilShared(t, b, 1)
	came := make(chan *bus.Delivery, 4)
	work(t, s.Bus(), bus.CommandOptions{Worker: "two"}, func(_ context.Context, d *bus.Delivery) error { came <- d; return nil })
	untilShared(t, b, 2)
	e := publish(t, b, session)
	old := receive(t, begun, "the command")

	start := time.Now()
	isCut.Store(true)
	proxy.Cut()
	d := receive(t, came, "the command, at the other worker")
	took := time.Since(start)
	if got, err := d.Envelope(); err != nil || got.ID != e.ID || !d.Recovered || d.Fence <= old.Fence {
		t.Errorf("came: %s, recovered %t, fence %d after %d, %v", got.ID, d.Recovered, d.Fence, old.Fence, err)
	}
	t.Logf("taken over after %s", took)
	if took > bearable {
		t.Errorf("it was taken over after %s", took)
	}
	close(release)
	wantReason(t, receive(t, refusals, "the refusal"), fault.StaleFence)
	proxy.Mend()
	untilShared(t, b, 2)
	bustest.Until(t, "it is known what was lost", func() bool {
		count := 0
		lost.Range(func(any, any) bool { count++; return true })
		return count == 32
	})
	if stats := cut.Stats(); stats.Evictions != 1 || stats.Lost != 32 || stats.Fences == 0 {
		t.Errorf("the one that was cut: %+v", stats)
	}
	bustest.Until(t, "the queue is empty", func() bool { return s.Messages("CMD") == 0 })
	if len(came) != 0 {
		t.Error("the command came once more")
	}
	isCut.Store(false) // It stops, and hands over what it has.
}

// TestAStaleOwner has a worker that hears and says nothing for a while, and is
// not told: before another one may act, it knows by itself that it may not; and
// what it still writes is refused.
func TestAStaleOwner(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b, proxy := s.Bus(), s.Proxy()
	session := sessionOf(t, "one", "one", "two")
	stale := bustest.Connect(t, bus.Options{URL: proxy.URL()})
	begun, fenced, release := make(chan struct{}, 1), make(chan time.Time, 1), make(chan struct{})
	finished := make(chan error, 1)
	work(t, stale, bus.CommandOptions{Worker: "one"}, func(ctx context.Context, d *bus.Delivery) error {
		e, err := d.Envelope()
		if err != nil {
			return err
		}
		subject := event.EffectSubject("shop", session, event.Key(e.Source, e.ID))
		effect, err := stale.Begin(ctx, subject, []byte("started by one"))
		if err != nil || !effect.New {
			return err // It comes again later, when the other one has done it.
		}
		begun <- struct{}{}
		for d.Owned() == nil {
			if err := waitFor(context.WithoutCancel(ctx), time.Millisecond); err != nil {
				return err
			}
		}
		fenced <- time.Now()
		<-release
		_, err = stale.Finish(context.WithoutCancel(ctx), subject, effect.Revision, []byte("done by one")).Wait(context.WithoutCancel(ctx))
		finished <- err
		return err
	})
	untilShared(t, b, 1)
	other := s.Bus()
	acted := make(chan time.Time, 1)
	work(t, other, bus.CommandOptions{Worker: "two"}, func(ctx context.Context, d *bus.Delivery) error {
		acted <- time.Now()
		e, err := d.Envelope()
		if err != nil {
			return err
		}
		subject := event.EffectSubject("shop", session, event.Key(e.Source, e.ID))
		effect, err := other.Begin(ctx, subject, nil)
		if err == nil && string(effect.Record) != "started by one" {
			t.Errorf("the record is %q", effect.Record)
		}
		d.After(other.Finish(ctx, subject, effect.Revision, []byte("done by two")))
		return err
	})
	untilShared(t, b, 2)
	publish(t, b, session)
	receive(t, begun, "the command")

	blocked := time.Now()
	proxy.Block()
	knows, acts := receive(t, fenced, "the fence"), receive(t, acted, "the other worker")
	t.Logf("fenced after %s, taken over after %s", knows.Sub(blocked), acts.Sub(blocked))
	if !knows.Before(acts) {
		t.Errorf("the other worker acts %s before this one knows", knows.Sub(acts))
	}
	if took := acts.Sub(blocked); took > 2*bearable {
		t.Errorf("it was taken over after %s", took)
	}
	bustest.Until(t, "the other worker has done it", func() bool { return s.Messages("CMD") == 0 })
	proxy.Mend()
	close(release)
	wantReason(t, receive(t, finished, "the stale owner's last word"), fault.StaleFence)
	untilShared(t, b, 2)
	for d, err := range b.DeadLetters(t.Context(), "") {
		t.Errorf("a dead letter of a command that was done: %+v, %v", d, err)
	}
	if stats := stale.Stats(); stats.Fences == 0 || stats.Lost != 32 {
		t.Errorf("the stale owner: %+v", stats)
	}
}

func TestANameIsOneWorkers(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	proxy := s.Proxy()
	first := bustest.Connect(t, bus.Options{URL: proxy.URL()})
	work(t, first, bus.CommandOptions{Worker: "one", TTL: 10 * time.Second}, nothing)
	b := s.Bus()
	untilShared(t, b, 1)
	wantReason(t, b.Commands(t.Context(), bus.CommandOptions{Worker: "one"}, nothing), fault.BadConfig)
	// When its connection is gone, the name is free at once, and so is its work.
	publish(t, b, "s1")
	bustest.Until(t, "the first worker did it", func() bool { return s.Messages("CMD") == 0 })
	proxy.Cut()
	start := time.Now()
	came := make(chan string, 1)
	work(t, b, bus.CommandOptions{Worker: "one"}, func(_ context.Context, d *bus.Delivery) error {
		got, err := d.Envelope()
		came <- got.ID
		return err
	})
	if e := publish(t, b, "s1"); receive(t, came, "the command") != e.ID {
		t.Error("it is another one")
	}
	if took := time.Since(start); took > bearable {
		t.Errorf("the name was free after %s", took)
	}
}

// TestGroups has workers for different actions side by side.
func TestGroups(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	came := map[string]chan string{}
	for _, object := range []string{"widget", "user", "webview", "page", "shop"} {
		filter, err := event.QueueFilter("botstar." + object + ".*")
		if err != nil {
			t.Fatal(err)
		}
		came[object] = make(chan string, 10)
		for range 2 { // Two, so that each group has a consumer per partition.
			work(t, s.Bus(), bus.CommandOptions{Filters: []string{filter}}, func(_ context.Context, d *bus.Delivery) error {
				address, err := event.ParseCommandSubject(d.Subject)
				came[object] <- address.Action
				return err
			})
		}
	}
	bustest.Until(t, "all groups share their partitions", func() bool {
		owned := 0
		for _, m := range members(t, b) {
			owned += len(m.Partitions)
		}
		return owned == 5*64 && s.Consumers("CMD") == 5*64
	})
	for object := range came {
		e, _ := command(t, "s1")
		if _, err := b.Publish(t.Context(), event.CommandSubject(event.ClassWrite, "botstar."+object+".open", "shop", "s1"), e); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, came[object], "a command of "+object); got != "botstar."+object+".open" {
			t.Errorf("%s: %s", object, got)
		}
	}
}

// TestWhatDeadWorkersLeaveBehind has consumers of former terms, of a group that
// is gone, and of a membership that is gone: none is in the way.
func TestWhatDeadWorkersLeaveBehind(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	group := event.DerivedID("cq.>")[:8]
	for name, filter := range map[string]string{
		"p5-" + group + "-e1": "cq.5.>",
		"p6-0123abcd-e7":      "cq.6.*.botstar.widget.>",
		"all-0123abcd-abc":    "cq.8.*.botstar.user.>",
		"p7-" + group + "-e0": "cq.7.>",
	} {
		config := jetstream.ConsumerConfig{Durable: name, FilterSubject: filter, AckPolicy: jetstream.AckExplicitPolicy}
		if _, err := b.JetStream().CreateConsumer(t.Context(), bus.StreamCommands, config); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // With one consumer for all, and with one each.
		work(t, s.Bus(), bus.CommandOptions{}, nothing)
	}
	for n := range 100 {
		publish(t, b, "s"+strconv.Itoa(n))
	}
	bustest.Until(t, "all is done", func() bool { return s.Messages("CMD") == 0 })
	untilShared(t, b, 2)
	bustest.Until(t, "nothing else is left", func() bool { return s.Consumers("CMD") == 64 })
}

func TestMembersTellWhoHasWhat(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	if all := members(t, b); len(all) != 0 {
		t.Errorf("before: %+v", all)
	}
	release := make(chan struct{})
	hold := func(context.Context, *bus.Delivery) error { <-release; return nil }
	before := time.Now()
	stop := work(t, s.Bus(), bus.CommandOptions{Worker: "two", Version: "v2"}, hold)
	work(t, s.Bus(), bus.CommandOptions{Worker: "one", Version: "v1"}, hold)
	untilShared(t, b, 2)
	session := sessionOf(t, "two", "one", "two")
	publish(t, b, session)
	publish(t, b, session)
	bustest.Until(t, "the lag is seen", func() bool { return members(t, b)[1].Lag == 2 })
	all := members(t, b)
	for i, want := range []struct{ name, version string }{{"one", "v1"}, {"two", "v2"}} {
		m := all[i]
		if m.Worker != want.name || m.Version != want.version || len(m.Partitions) != 32 || !slices.IsSorted(m.Partitions) ||
			m.Since.Before(before.Add(-time.Second)) || m.Group != all[0].Group || !slices.Equal(m.Filters, []string{"cq.>"}) || m.Leaving {
			t.Errorf("member: %+v", m)
		}
	}
	if n := all[1].Pending[bus.PartitionOf("shop", session)]; n != 2 || all[0].Lag != 0 || len(all[0].Pending) != 0 {
		t.Errorf("lag: %+v", all)
	}
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	bustest.Until(t, "it is seen to leave", func() bool { return members(t, b)[1].Leaving })
	close(release)
	receive(t, stopped, "the stop")
	untilShared(t, b, 1)
	bustest.Until(t, "all is done", func() bool { return s.Messages("CMD") == 0 })
}

// TestTheWayOfCommandsChangesUnderLoad has a second worker come and go, so that
// the first one takes commands with one consumer, with one per partition, and
// with one again.
func TestTheWayOfCommandsChangesUnderLoad(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	l := newLedger(t)
	start := func(name string) (stop func()) {
		at := s.Bus()
		p := newPage(t, l.URL, name, at)
		return work(t, at, bus.CommandOptions{Worker: name}, p.handle)
	}
	start("one")
	bustest.Until(t, "there is one consumer", func() bool { return s.Consumers("CMD") == 1 })
	load := startLoad(t, b, 50, 200)
	for range 3 {
		stop := start("two")
		untilShared(t, b, 2)
		bustest.Until(t, "there is one per partition", func() bool { return s.Consumers("CMD") == 64 })
		stop()
		untilShared(t, b, 1)
	}
	bustest.Until(t, "there is one consumer again", func() bool { return s.Consumers("CMD") == 1 })
	sent, _ := load.stop()
	bustest.Until(t, "the queue is empty", func() bool { return s.Messages("CMD") == 0 })
	l.verdict(t, sent)
}

// TestAStopWithOneConsumerForAll hands over to a worker that comes right then.
func TestAStopWithOneConsumerForAll(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	begun, release := make(chan struct{}, 1), make(chan struct{})
	stop := work(t, s.Bus(), bus.CommandOptions{}, func(context.Context, *bus.Delivery) error {
		begun <- struct{}{}
		<-release
		return nil
	})
	publish(t, b, "s1")
	receive(t, begun, "the command")
	next := publish(t, b, "s1")
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	came := make(chan string, 2)
	work(t, s.Bus(), bus.CommandOptions{}, func(_ context.Context, d *bus.Delivery) error {
		e, err := d.Envelope()
		came <- e.ID
		return err
	})
	bustest.Until(t, "both are there", func() bool { return len(members(t, b)) == 2 })
	close(release)
	receive(t, stopped, "the stop")
	if got := receive(t, came, "the next command"); got != next.ID {
		t.Errorf("came: %s, want %s", got, next.ID)
	}
	bustest.Until(t, "the queue is empty", func() bool { return s.Messages("CMD") == 0 })
	if len(came) != 0 {
		t.Error("the first command was done twice")
	}
}
