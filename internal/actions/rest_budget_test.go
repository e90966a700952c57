package actions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/fault"
)

func newBudgets(rate Rate) *budgets {
	return &budgets{rate: rate, all: map[[32]byte]*budget{}}
}

// passage records who was let go, and when.
type passage struct {
	began time.Time
	mu    sync.Mutex // guards the fields below
	sites []string
	at    []time.Duration
	errs  []error
}

// queue has the site send calls, each of them when the one before waits.
func (p *passage) queue(ctx context.Context, b *budget, site string, calls int) {
	for range calls {
		go func() {
			err := b.take(ctx, site)
			p.mu.Lock()
			defer p.mu.Unlock()
			if err != nil {
				p.errs = append(p.errs, err)
				return
			}
			p.sites, p.at = append(p.sites, site), append(p.at, time.Since(p.began))
		}()
		synctest.Wait()
	}
}

// passed is how many were let go.
func (p *passage) passed() int {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.sites)
}

// TestBudgetHoldsTheRate: what may go out goes out, and not one call more.
func TestBudgetHoldsTheRate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rate        Rate
		atOnce, per int
	}{{Rate{PerSecond: 10, Burst: 5}, 5, 10}, {Rate{PerSecond: 10}, 10, 10}, {Rate{PerSecond: 1, Burst: 1}, 1, 1}, {Rate{PerSecond: 100, Burst: 1}, 1, 100}} {
		t.Run(fmt.Sprint(tt.rate), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				all := newBudgets(tt.rate)
				b, p := all.of(NewToken("t")), &passage{began: time.Now()}
				calls := tt.atOnce + 5*tt.per
				p.queue(t.Context(), b, "shop", calls)
				if n := p.passed(); n != tt.atOnce {
					t.Errorf("%d go at once, want %d", n, tt.atOnce)
				}
				for second := 1; second <= 5; second++ {
					<-time.After(time.Second + time.Millisecond)
					if n, want := p.passed(), tt.atOnce+second*tt.per; n != want {
						t.Errorf("after %d s %d have gone, want %d", second, n, want)
					}
				}
				if n := all.counts.held.Load(); n != int64(calls-tt.atOnce) || all.counts.waiting.Load() != 0 || all.counts.refused.Load() != 0 {
					t.Errorf("%d were held, want %d", n, calls-tt.atOnce)
				}
			})
		})
	}
}

// TestBudgetIsFair: a site with a hundred calls does not hold up one with one.
func TestBudgetIsFair(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, p := newBudgets(Rate{PerSecond: 10, Burst: 1}).of(NewToken("t")), &passage{began: time.Now()}
		p.queue(t.Context(), b, "loud", 100)
		p.queue(t.Context(), b, "calm", 3)
		p.queue(t.Context(), b, "rare", 1)
		<-time.After(20 * time.Second)
		if n := p.passed(); n != 104 {
			t.Fatalf("%d have gone", n)
		}
		want := []string{"loud", "loud", "calm", "rare", "loud", "calm", "loud", "calm", "loud", "loud"}
		if diff := cmp.Diff(want, p.sites[:10]); diff != "" {
			t.Errorf("the turns (-want +got):\n%s", diff)
		}
		if last := p.at[103]; last < 10*time.Second || last > 11*time.Second {
			t.Errorf("the last one went after %s", last)
		}
	})
}

// TestBudgetPauses: while the vendor wants nothing nothing goes; then one call,
// and the others when the vendor has taken it.
func TestBudgetPauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, p := newBudgets(Rate{}).of(NewToken("t")), &passage{began: time.Now()}
		p.queue(t.Context(), b, "shop", 3)
		if n := p.passed(); n != 3 {
			t.Fatalf("without a limit %d go", n)
		}
		for range 3 { // All three are refused, and the longest pause counts.
			b.refused(2 * time.Second)
		}
		b.refused(time.Second)
		p.queue(t.Context(), b, "shop", 20)
		p.queue(t.Context(), b, "docs", 20)
		for _, tt := range []struct {
			after  time.Duration
			answer func()
			want   int
		}{
			{1900 * time.Millisecond, nil, 3},
			{200 * time.Millisecond, nil, 4},
			{time.Hour, func() { b.refused(time.Second) }, 4},
			{1100 * time.Millisecond, nil, 5},
			{time.Hour, b.taken, 43},
		} {
			<-time.After(tt.after)
			if tt.answer != nil {
				tt.answer()
			}
			if n := p.passed(); n != tt.want {
				t.Errorf("after %s %d have gone, want %d", time.Since(p.began), n, tt.want)
			}
		}
		if n := b.counts.limited.Load(); n != 5 {
			t.Errorf("%d refusals are counted", n)
		}
	})
}

// TestBudgetWithoutTime: a call that cannot go out in its time is not sent, and
// told when there is room.
func TestBudgetWithoutTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		all := newBudgets(Rate{})
		b := all.of(NewToken("t"))
		b.refused(10 * time.Second)
		began := time.Now()
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, fault.New(fault.DeadlineExceeded, "too late"))
		defer cancel()
		err := b.take(ctx, "shop")
		f := fault.From(err)
		if f == nil || f.Reason != fault.RateLimited || f.After != 10*time.Second || f.Fix != "send it again after 10s" || time.Since(began) != 0 {
			t.Errorf("it says %v after %s", err, time.Since(began))
		}
		if all.counts.refused.Load() != 1 || all.counts.held.Load() != 0 {
			t.Error("it is not counted as refused")
		}
		if !fault.Retryable(f) {
			t.Error("it is not worth another try")
		}
	})
}

// TestBudgetLineIsTooLong: at a rate, the calls in front count.
func TestBudgetLineIsTooLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, p := newBudgets(Rate{PerSecond: 10, Burst: 1}).of(NewToken("t")), &passage{began: time.Now()}
		p.queue(t.Context(), b, "loud", 101)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if f := fault.From(b.take(ctx, "loud")); f.Reason != fault.RateLimited || f.After < 10*time.Second || f.After > 11*time.Second {
			t.Errorf("behind a hundred of its own: %v", f)
		}
		if err := b.take(ctx, "calm"); err != nil { // It waits for two turns only.
			t.Errorf("another site: %v", err)
		}
		<-time.After(time.Minute)
		if n := p.passed(); n != 101 {
			t.Errorf("%d have gone", n)
		}
	})
}

// TestBudgetWhoLeaves: who gives up loses no turn for the others, and is told why
// it ended.
func TestBudgetWhoLeaves(t *testing.T) {
	t.Parallel()
	revoked := fault.New(fault.ConnectionRevoked, "the connection was revoked")
	for what, tt := range map[string]struct {
		cause error
		want  fault.Reason
	}{
		"a token that was revoked": {revoked, fault.ConnectionRevoked},
		"a caller that gives up":   {errors.New("enough"), fault.RateLimited},
		"a deadline":               {fault.New(fault.DeadlineExceeded, "too late"), fault.RateLimited},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				all := newBudgets(Rate{PerSecond: 1, Burst: 1})
				b, stays, leaves := all.of(NewToken("t")), &passage{began: time.Now()}, &passage{began: time.Now()}
				ctx, cancel := context.WithCancelCause(t.Context())
				stays.queue(t.Context(), b, "a", 1)
				leaves.queue(ctx, b, "a", 5)
				leaves.queue(ctx, b, "b", 5)
				stays.queue(t.Context(), b, "a", 2)
				cancel(tt.cause)
				synctest.Wait()
				if len(leaves.errs) != 10 || slices.ContainsFunc(leaves.errs, func(err error) bool { return fault.From(err).Reason != tt.want }) {
					t.Errorf("they are told %v", leaves.errs)
				}
				<-time.After(2100 * time.Millisecond)
				if n := stays.passed(); n != 3 || len(b.turns) != 0 || len(b.lines) != 0 || all.counts.waiting.Load() != 0 {
					t.Errorf("%d of 3 have gone; %v %v wait", n, b.turns, b.lines)
				}
			})
		})
	}
}

// TestBudgetOfAToken: two tokens have two budgets, and what nobody needs is
// dropped.
func TestBudgetOfAToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		all := newBudgets(Rate{PerSecond: 1, Burst: 1})
		paused := all.of(NewToken("paused"))
		paused.refused(time.Hour)
		if all.of(NewToken("paused")) != paused {
			t.Error("one token has two budgets")
		}
		if err := all.of(NewToken("other")).take(t.Context(), "shop"); err != nil {
			t.Errorf("another token is held back: %v", err)
		}
		<-time.After(time.Minute)
		for i := range 3 * mostBudgets {
			all.of(NewToken(strconv.Itoa(i)))
		}
		if n := len(all.all); n > mostBudgets+1 || all.of(NewToken("paused")) != paused {
			t.Errorf("%d budgets are kept, and the one that is in need is not", n)
		}
	})
}

// TestRateOfAClient: what the options say holds for each token.
func TestRateOfAClient(t *testing.T) {
	t.Parallel()
	want := Rate{PerSecond: 7, Burst: 3}
	c := NewREST(slog.New(slog.DiscardHandler), RESTOptions{Rate: want})
	defer c.Close()
	if got := c.budgets.of(NewToken("t")); got.rate != want || got.burst() != 3 || c.Stats() != (RESTStats{}) {
		t.Errorf("the budget is %+v, and the figures are %+v", got.rate, c.Stats())
	}
}
