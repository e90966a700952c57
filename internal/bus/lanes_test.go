package bus

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// word is what the server was told about a message.
type word struct {
	sequence uint64
	said     string
	at       time.Duration
}

// words records what the server is told, with the time since the start.
type words struct {
	start time.Time
	mu    sync.Mutex
	all   []word
}

func (w *words) said(sequence uint64, what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, word{sequence, what, time.Since(w.start)})
}

func (w *words) copied() []word {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all)
}

func (w *words) of(what string) []uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []uint64
	for _, one := range w.all {
		if one.said == what {
			all = append(all, one.sequence)
		}
	}
	return all
}

// recorded is one message's way to the record.
type recorded struct {
	*words
	sequence uint64
}

func (r recorded) Ack() error                         { r.said(r.sequence, "ack"); return nil }
func (r recorded) Nak() error                         { r.said(r.sequence, "nak"); return nil }
func (r recorded) InProgress() error                  { r.said(r.sequence, "in progress"); return nil }
func (r recorded) TermWithReason(reason string) error { r.said(r.sequence, reason); return nil }

// bench is an engine without a server.
type bench struct {
	*engine
	*words
	work     context.Context
	stopWork context.CancelCauseFunc
	settled  chan struct{}
}

func newBench(t *testing.T, most int, h Handler) *bench {
	t.Helper()
	b := &bench{
		engine: &engine{
			handler: h, ackWait: 30 * time.Second, pause: 250 * time.Millisecond, attempts: 3,
			finished: make(chan *held, 100),
		},
		words: &words{start: time.Now()}, settled: make(chan struct{}),
	}
	b.work, b.stopWork = context.WithCancelCause(t.Context())
	b.lanes = newLanes(most, b.handle)
	go func() {
		defer close(b.settled)
		for h := range b.finished {
			if h.fails != nil {
				b.said(h.Sequence, string(fault.From(h.fails).Reason))
			}
			b.lanes.release(h)
		}
	}()
	return b
}

func (b *bench) offer(sequence uint64, session string, attempt int) {
	b.lanes.offer(b.work, &held{
		Delivery: Delivery{Sequence: sequence, Attempt: attempt, StoredAt: time.Unix(0, int64(sequence))},
		name:     session, msg: recorded{b.words, sequence},
	})
}

// nth names a session.
func nth(n uint64) string { return strconv.FormatUint(n, 10) }

// end stops as consumer.run does.
func (b *bench) end() []uint64 {
	b.lanes.halt()
	b.lanes.wait()
	close(b.finished)
	<-b.settled
	var left []uint64
	for _, h := range b.lanes.left() {
		left = append(left, h.Sequence)
	}
	return left
}

func TestLanesKeepOrderAndRunInParallel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		seen := map[uint64][]uint64{}
		b := newBench(t, 10, func(_ context.Context, d *Delivery) error {
			<-time.After(time.Second)
			mu.Lock()
			defer mu.Unlock()
			seen[d.Sequence%10] = append(seen[d.Sequence%10], d.Sequence)
			return nil
		})
		for n := range uint64(50) {
			b.offer(n, nth(n%10), 1)
		}
		bubbleUntil(func() bool { return len(b.of("ack")) == 50 })
		// Ten sessions in parallel, five commands each, one second per command.
		if took := b.copied()[49].at; took != 5*time.Second {
			t.Errorf("it took %s, want 5s", took)
		}
		for session, got := range seen {
			if !slices.IsSorted(got) || len(got) != 5 {
				t.Errorf("session %d: %v", session, got)
			}
		}
		if left := b.end(); len(left) != 0 || len(b.lanes.byName) != 0 {
			t.Errorf("left: %v, lanes: %v", left, b.lanes.byName)
		}
	})
}

// bubbleUntil lets the bubble's time run until the fact is true.
func bubbleUntil(is func() bool) {
	for !is() {
		<-time.After(100 * time.Millisecond)
	}
}

func TestLanesBoundWhatRunsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 3, func(context.Context, *Delivery) error {
			<-time.After(time.Second)
			return nil
		})
		for n := range uint64(9) {
			b.offer(n, nth(n), 1)
		}
		bubbleUntil(func() bool { return len(b.of("ack")) == 9 })
		if took := b.copied()[8].at; took != 3*time.Second {
			t.Errorf("nine sessions on three goroutines took %s, want 3s", took)
		}
		b.end()
	})
}

// TestAPausedLaneHoldsNoGoroutine has the only goroutine work for another
// session while the first one waits for its next attempt.
func TestAPausedLaneHoldsNoGoroutine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b *bench
		b = newBench(t, 1, func(_ context.Context, d *Delivery) error {
			b.said(d.Sequence, fmt.Sprintf("attempt %d", d.Attempt))
			if d.Sequence == 1 {
				return fault.New(fault.PageCrashed, "again")
			}
			return nil
		})
		b.offer(1, "a", 1)
		b.offer(2, "a", 1)
		b.offer(3, "b", 1)
		bubbleUntil(func() bool { return len(b.of("ack")) == 2 })
		want := []word{
			{1, "attempt 1", 0},
			{3, "attempt 1", 0},
			{3, "ack", 0},
			{1, "attempt 2", 250 * time.Millisecond},
			{1, "attempt 3", 750 * time.Millisecond},
			{2, "attempt 1", 750 * time.Millisecond},
			{1, "too_many_attempts", 750 * time.Millisecond},
			{2, "ack", 750 * time.Millisecond},
		}
		got := b.copied()
		slices.SortStableFunc(got[5:], func(x, y word) int { return rank(want, x) - rank(want, y) }) // Two goroutines.
		if !slices.Equal(got, want) {
			t.Errorf("said: %v\nwant: %v", got, want)
		}
		b.end()
	})
}

func rank(in []word, w word) int { return slices.Index(in, w) }

func TestStopEndsExactlyWithTheGrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var causes []error
		b := newBench(t, 4, func(ctx context.Context, d *Delivery) error {
			if d.Sequence == 2 {
				<-time.After(3 * time.Second) // It ends within the grace.
				return nil
			}
			<-ctx.Done()
			causes = append(causes, context.Cause(ctx))
			return ctx.Err()
		})
		for n := range uint64(6) {
			b.offer(n+1, nth(n%2), 1)
		}
		<-time.After(time.Second)
		start := time.Now()
		time.AfterFunc(10*time.Second, func() { b.stopWork(ErrStopping) })
		left := b.end()
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("the stop took %s, want 10s", took)
		}
		if !slices.Equal(left, []uint64{1, 3, 4, 5, 6}) || !slices.Equal(b.of("ack"), []uint64{2}) {
			t.Errorf("left: %v, done: %v", left, b.of("ack"))
		}
		if len(causes) != 1 || causes[0] != ErrStopping { //nolint:errorlint // It is that very value.
			t.Errorf("causes: %v", causes)
		}
	})
}

// TestWhatComesAgainIsNotDoneAgain: the server delivers again what it did not
// hear of.
func TestWhatComesAgainIsNotDoneAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		release := make(chan struct{})
		b := newBench(t, 1, func(context.Context, *Delivery) error { calls++; <-release; return nil })
		b.offer(1, "a", 1)
		synctest.Wait()
		b.offer(1, "a", 2) // While it runs.
		synctest.Wait()
		if got := b.of("in progress"); !slices.Equal(got, []uint64{1}) {
			t.Errorf("kept alive: %v", got)
		}
		close(release)
		synctest.Wait()
		b.offer(1, "a", 3) // After it was acknowledged.
		synctest.Wait()
		if got := b.of("ack"); calls != 1 || !slices.Equal(got, []uint64{1, 1}) {
			t.Errorf("calls: %d, acks: %v", calls, got)
		}
		// The same sequence at another time is another message: a new stream.
		b.lanes.offer(b.work, &held{
			Delivery: Delivery{Sequence: 1, Attempt: 2, StoredAt: time.Unix(0, 99)},
			name:     "a", msg: recorded{b.words, 1},
		})
		synctest.Wait()
		if calls != 2 {
			t.Errorf("the new stream's message was not handled")
		}
		b.end()
	})
}

func TestHeldMessagesAreKeptAliveWellBeforeTheWaitEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1, func(context.Context, *Delivery) error { <-time.After(100 * time.Second); return nil })
		ctx, cancel := context.WithCancel(t.Context())
		beating := make(chan struct{})
		go func() { defer close(beating); b.keepAlive(ctx) }()
		b.offer(1, "a", 1)
		b.offer(2, "a", 1) // It waits, and is kept alive as well.
		<-time.After(95 * time.Second)
		last := map[uint64]time.Duration{}
		for _, one := range b.copied() {
			if gap := one.at - last[one.sequence]; gap > b.ackWait/2+time.Millisecond {
				t.Errorf("message %d was silent for %s, and the server waits %s", one.sequence, gap, b.ackWait)
			}
			last[one.sequence] = one.at
		}
		if len(last) != 2 || last[1] < 80*time.Second {
			t.Errorf("last words: %v", last)
		}
		cancel()
		<-beating
		<-time.After(10 * time.Second)
		b.lanes.halt()
		b.end()
	})
}

func TestAMessageThatTakesWorkersDownIsBuried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1, func(context.Context, *Delivery) error { t.Error("it was handled again"); return nil })
		b.offer(1, "a", maxDeliveries+1)
		synctest.Wait()
		if got := b.of("too_many_attempts"); !slices.Equal(got, []uint64{1}) {
			t.Errorf("buried: %v", got)
		}
		b.end()
	})
}
