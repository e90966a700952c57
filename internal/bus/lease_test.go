package bus

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// term begins a lease of the bench, with a heart that has just beaten.
func (b *bench) term(partition int, fence uint64) *lease {
	p := &pulse{breaks: &atomic.Uint64{}, ttl: 2 * time.Second}
	p.last.Store(p.now())
	l := newLease(partition, p, &atomic.Uint64{})
	l.fence = fence
	ctx, kill := context.WithCancelCause(b.work)
	l.stop, l.kill = func(error) {}, kill
	l.handle = func(h *held) step { return b.handle(ctx, h) }
	return l
}

// under offers a message of the lease.
func (b *bench) under(l *lease, sequence uint64, session string) {
	b.lanes.offer(b.work, &held{
		Delivery: Delivery{Sequence: sequence, Attempt: 1, StoredAt: time.Unix(0, int64(sequence))},
		name:     session, msg: recorded{b.words, sequence}, from: l,
	})
}

func newOwner(t *testing.T, most int, h Handler) *bench {
	t.Helper()
	b := newBench(t, most, h)
	b.bus = &Bus{}
	return b
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestAShutLeaseLetsOnlyTheRunningCommandEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b := newOwner(t, 10, func(context.Context, *Delivery) error { <-release; return nil })
		moving, staying := b.term(1, 10), b.term(2, 11)
		for n := range uint64(6) {
			b.under(moving, n+1, nth(n%2))
		}
		b.under(staying, 7, "x")
		b.under(staying, 8, "x")
		synctest.Wait()
		idle := b.lanes.shut(moving)
		if closed(idle) || idle != b.lanes.shut(moving) {
			t.Error("it is idle while commands run")
		}
		b.under(moving, 9, "y") // It was on its way.
		if got := b.lanes.unsettled(moving); got != 5 || !b.lanes.busy(moving) {
			t.Errorf("unsettled: %d, busy: %t", got, b.lanes.busy(moving))
		}
		close(release)
		synctest.Wait()
		if !closed(idle) || b.lanes.busy(moving) {
			t.Error("it is not idle when its commands have ended")
		}
		got := b.of("ack")
		if slices.Sort(got); !slices.Equal(got, []uint64{1, 2, 7, 8}) {
			t.Errorf("done: %v", got)
		}
		if left := b.end(); len(left) != 0 {
			t.Errorf("held: %v", left)
		}
	})
}

// TestAPausedCommandDoesNotHoldUpTheMove has a command wait for its next attempt
// when the partition moves: it is left to the next owner.
func TestAPausedCommandDoesNotHoldUpTheMove(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		b := newOwner(t, 10, func(context.Context, *Delivery) error { calls.Add(1); return fault.New(fault.PageCrashed, "again") })
		l := b.term(1, 10)
		b.under(l, 1, "a")
		b.under(l, 2, "a")
		synctest.Wait()
		if !closed(b.lanes.shut(l)) || b.lanes.unsettled(l) != 2 {
			t.Error("it waits for the next attempt")
		}
		<-time.After(10 * time.Second)
		synctest.Wait()
		if calls.Load() != 1 {
			t.Errorf("%d attempts, and the partition is another worker's after the first", calls.Load())
		}
		b.end()
	})
}

// TestALostCommandIsLeftWhateverBecomesOfIt: what a former owner thinks of a
// message is nobody's business.
func TestALostCommandIsLeftWhateverBecomesOfIt(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"an error for good":  fault.New(fault.SchemaViolation, "no"),
		"an error for now":   fault.New(fault.PageCrashed, "no"),
		"a stale fence":      fault.New(fault.StaleFence, "no"),
		"its context's end":  context.Canceled,
		"an unknown failure": errors.New("no"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var cause error
				b := newOwner(t, 10, func(ctx context.Context, _ *Delivery) error {
					<-ctx.Done()
					cause = context.Cause(ctx)
					return err
				})
				l := b.term(1, 10)
				b.under(l, 1, "a")
				b.under(l, 2, "a")
				synctest.Wait()
				l.lose()
				idle := b.lanes.shut(l)
				synctest.Wait()
				if !closed(idle) || len(b.copied()) != 0 {
					t.Errorf("idle: %t, said: %v", closed(idle), b.copied())
				}
				if cause != errTaken { //nolint:errorlint // It is that very value.
					t.Errorf("the cause is %v", cause)
				}
				if n := b.bus.Stats().StaleRefused; n != 1 {
					t.Errorf("refused: %d", n)
				}
				if left := b.end(); len(left) != 0 {
					t.Errorf("held: %v", left)
				}
			})
		})
	}
}

// TestACommandIsDoneAgainUnderALaterLease has the partition come back while the
// command runs: the handler's no is not the last word.
func TestACommandIsDoneAgainUnderALaterLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var fences []uint64
		b := newOwner(t, 10, func(_ context.Context, d *Delivery) error {
			fences = append(fences, d.Fence)
			if d.Fence == 10 {
				<-release
			}
			return d.Owned()
		})
		first, second := b.term(1, 10), b.term(1, 20)
		b.under(first, 1, "a")
		b.under(first, 2, "a")
		synctest.Wait()
		first.lose()
		b.lanes.shut(first)
		b.under(second, 1, "a")
		b.under(second, 2, "a")
		close(release)
		<-time.After(time.Second)
		synctest.Wait()
		if want := []uint64{10, 20, 20}; !slices.Equal(fences, want) {
			t.Errorf("fences: %v, want %v", fences, want)
		}
		if got := b.of("ack"); !slices.Equal(got, []uint64{1, 2}) {
			t.Errorf("done: %v", got)
		}
		if !closed(first.idle) || !closed(b.lanes.shut(second)) {
			t.Error("a lease is not idle")
		}
		b.end()
	})
}

// TestARunningCommandSettlesUnderALaterLease: it was done, so the later lease's
// delivery is acknowledged, and not done.
func TestARunningCommandSettlesUnderALaterLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release, calls := make(chan struct{}), 0
		b := newOwner(t, 10, func(context.Context, *Delivery) error { calls++; <-release; return nil })
		first, second := b.term(1, 10), b.term(1, 20)
		b.under(first, 1, "a")
		synctest.Wait()
		b.lanes.shut(first)
		b.under(second, 1, "a")
		close(release)
		synctest.Wait()
		b.under(second, 1, "a") // Once more, after it was settled.
		if got := b.of("ack"); calls != 1 || !slices.Equal(got, []uint64{1, 1}) {
			t.Errorf("calls: %d, done: %v", calls, got)
		}
		b.end()
	})
}

// TestADoubtedCommandIsTriedAgain: an owner that is not sure waits until it is.
func TestADoubtedCommandIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		b := newOwner(t, 10, func(_ context.Context, d *Delivery) error { calls.Add(1); return d.Owned() })
		l := b.term(1, 10)
		<-time.After(2 * time.Second) // No heartbeat.
		b.under(l, 1, "a")
		<-time.After(5 * time.Second)
		synctest.Wait()
		if calls.Load() < 10 || len(b.of("ack")) != 0 {
			t.Errorf("calls: %d, done: %v", calls.Load(), b.of("ack"))
		}
		l.pulse.last.Store(l.pulse.now())
		<-time.After(time.Second)
		synctest.Wait()
		if got := b.of("ack"); !slices.Equal(got, []uint64{1}) {
			t.Errorf("done: %v", got)
		}
		b.end()
	})
}

// TestARefusalWithoutDoubtCounts: when the partition is ours, a stale fence has
// another cause, and is not tried for ever.
func TestARefusalWithoutDoubtCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		var l *lease
		b := newOwner(t, 10, func(context.Context, *Delivery) error {
			calls.Add(1)
			l.pulse.last.Store(l.pulse.now())
			return fault.New(fault.StaleFence, "somebody wrote first")
		})
		l = b.term(1, 10)
		b.under(l, 1, "a")
		<-time.After(10 * time.Second)
		synctest.Wait()
		if got := b.of("stale_fence"); calls.Load() != 3 || !slices.Equal(got, []uint64{1}) {
			t.Errorf("calls: %d, buried: %v", calls.Load(), got)
		}
		b.end()
	})
}

func TestOwnedEndsBeforeTheKeyDoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newOwner(t, 1, func(context.Context, *Delivery) error { return nil })
		l := b.term(1, 10)
		for _, test := range []struct {
			after time.Duration
			owned bool
		}{{0, true}, {1749 * time.Millisecond, true}, {time.Millisecond, false}, {time.Hour, false}} {
			<-time.After(test.after)
			if err := l.owned(); (err == nil) != test.owned {
				t.Errorf("after %s: %v", test.after, err)
			}
		}
		l.pulse.last.Store(l.pulse.now())
		if err := l.owned(); err != nil {
			t.Errorf("after a heartbeat: %v", err)
		}
		l.pulse.breaks.Add(1)
		if fault.From(l.owned()) == nil {
			t.Error("it is owned although the connection was lost since the heartbeat")
		}
		l.pulse.last.Store(l.pulse.now())
		l.lose()
		l.lose()
		if err := l.owned(); fault.From(err).Reason != fault.StaleFence {
			t.Errorf("after the loss: %v", err)
		}
		if n := l.fences.Load(); n != 4 {
			t.Errorf("counted: %d", n)
		}
		var none *lease
		if err := none.owned(); err != nil || none.isGone() || none.isShut() {
			t.Errorf("without a lease: %v", err)
		}
		b.end()
	})
}
