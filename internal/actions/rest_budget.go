package actions

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// Rate is how many calls may go out with one token. The zero value sets no limit
// of ours.
type Rate struct {
	// PerSecond is how many calls a second may go out in the long run.
	PerSecond int
	// Burst is how many may go out at once. 0 is a second's worth.
	Burst int
}

// RESTStats are the figures of a client, since it was made.
type RESTStats struct {
	// Calls were sent, and Again are those of them that were sent again.
	Calls, Again int64
	// Limited were answered with 429.
	Limited int64
	// Held waited for the budget, for HeldFor in all. Refused had no time to wait,
	// and were not sent. Waiting wait now.
	Held, Refused, Waiting int64
	HeldFor                time.Duration
}

// counts are the figures as they are kept.
type counts struct{ calls, again, limited, held, refused, waiting, heldFor atomic.Int64 }

// Stats returns the client's figures.
func (c *RESTClient) Stats() RESTStats {
	n := &c.budgets.counts
	return RESTStats{
		Calls: n.calls.Load(), Again: n.again.Load(), Limited: n.limited.Load(),
		Held: n.held.Load(), Refused: n.refused.Load(), Waiting: n.waiting.Load(), HeldFor: time.Duration(n.heldFor.Load()),
	}
}

// mostBudgets is how many budgets are kept before those are dropped that nobody
// needs.
const mostBudgets = 256

// budgets are one budget for each token, whatever sites share it. They are of
// this process: another worker has its own.
type budgets struct {
	rate   Rate
	counts counts

	mu  sync.Mutex // guards all
	all map[[sha256.Size]byte]*budget
}

// of returns the token's budget. It remembers no token.
func (b *budgets) of(token Token) *budget {
	key := sha256.Sum256([]byte(token.value))
	b.mu.Lock()
	defer b.mu.Unlock()
	if one := b.all[key]; one != nil {
		return one
	}
	b.prune()
	one := &budget{counts: &b.counts, rate: b.rate, at: time.Now(), lines: map[string][]chan struct{}{}}
	one.tokens = one.burst()
	b.all[key] = one
	return one
}

// prune drops the budgets that hold nobody back, when there are many. The lock is
// held.
func (b *budgets) prune() {
	if len(b.all) < mostBudgets {
		return
	}
	for key, one := range b.all {
		if one.idle() {
			delete(b.all, key)
		}
	}
}

// budget holds back the calls with one token: to the rate that is set, and while
// the vendor wants nothing. After that one call goes first, and the others when
// the vendor has taken it. Sites that wait take turns, whatever each of them has
// waiting.
type budget struct {
	counts *counts
	rate   Rate

	mu      sync.Mutex // guards the fields below
	tokens  float64    // of the rate; below 1 nothing goes out
	at      time.Time  // when tokens was right
	until   time.Time  // the vendor wants nothing before
	probing bool       // it has refused, and taken no call since
	probe   bool       // the call that goes first is out

	turns []string                   // the sites that wait, the next one first
	lines map[string][]chan struct{} // closed at the turn of each
	timer *time.Timer
}

// burst is how many calls may go out at once.
func (b *budget) burst() float64 {
	if b.rate.Burst > 0 {
		return float64(b.rate.Burst)
	}
	return float64(b.rate.PerSecond)
}

func (b *budget) idle() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.turns) == 0 && !b.probing && b.wait(time.Now()) == 0
}

// wait returns how long until the next call may go out, as far as time decides.
// The lock is held.
func (b *budget) wait(now time.Time) time.Duration {
	paused, rate := max(b.until.Sub(now), 0), float64(b.rate.PerSecond)
	if rate == 0 {
		return paused
	}
	b.tokens = min(b.tokens+now.Sub(b.at).Seconds()*rate, b.burst())
	b.at = now
	if b.tokens >= 1 {
		return paused
	}
	return max(paused, time.Duration((1-b.tokens)/rate*float64(time.Second))+time.Microsecond)
}

// free reports whether a call may go out now. The lock is held.
func (b *budget) free(now time.Time) bool { return (!b.probing || !b.probe) && b.wait(now) == 0 }

// spend counts a call that goes out. The lock is held.
func (b *budget) spend() {
	b.probe = b.probing
	if b.rate.PerSecond > 0 {
		b.tokens--
	}
}

// take waits for the turn of a call of the site. When the caller has no time for
// that, the error says when there is.
func (b *budget) take(ctx context.Context, site string) error {
	b.mu.Lock()
	now := time.Now()
	if len(b.turns) == 0 && b.free(now) {
		b.spend()
		b.mu.Unlock()
		return nil
	}
	wait := b.wait(now) + b.ahead(site)
	if !affords(ctx, wait) {
		b.mu.Unlock()
		b.counts.refused.Add(1)
		return held(ctx, wait)
	}
	turn := b.line(site, now)
	b.mu.Unlock()
	return b.await(ctx, site, turn, now)
}

// ahead is the time that the calls of the same site take that wait already. The
// lock is held.
func (b *budget) ahead(site string) time.Duration {
	if b.rate.PerSecond == 0 {
		return 0
	}
	return time.Duration(len(b.lines[site])) * time.Second / time.Duration(b.rate.PerSecond)
}

// line puts a call of the site at the end of the site's line. The lock is held.
func (b *budget) line(site string, now time.Time) chan struct{} {
	turn := make(chan struct{})
	if len(b.lines[site]) == 0 {
		b.turns = append(b.turns, site)
	}
	b.lines[site] = append(b.lines[site], turn)
	b.arm(now)
	return turn
}

// await waits for the turn.
func (b *budget) await(ctx context.Context, site string, turn chan struct{}, since time.Time) error {
	b.counts.held.Add(1)
	b.counts.waiting.Add(1)
	defer func() {
		b.counts.waiting.Add(-1)
		b.counts.heldFor.Add(int64(time.Since(since)))
	}()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	b.counts.refused.Add(1)
	return held(ctx, b.leave(site, turn))
}

// leave takes the call out of its line, and returns how long it would have to
// wait yet.
func (b *budget) leave(site string, turn chan struct{}) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	at := slices.Index(b.lines[site], turn)
	if at < 0 { // Its turn came at the same moment, and is the next one's now.
		b.tokens++
		b.probe = false
	} else {
		b.lines[site] = slices.Delete(b.lines[site], at, at+1)
		b.forget(site)
	}
	b.serve(now)
	return b.wait(now) + b.ahead(site)
}

// forget drops the line of a site in which nobody waits. The lock is held.
func (b *budget) forget(site string) {
	if len(b.lines[site]) == 0 {
		delete(b.lines, site)
		b.turns = slices.DeleteFunc(b.turns, func(one string) bool { return one == site })
	}
}

// arm has those who wait served as soon as one may go. The lock is held.
func (b *budget) arm(now time.Time) {
	if len(b.turns) == 0 || b.probing && b.probe {
		return
	}
	wait := b.wait(now)
	if b.timer == nil {
		b.timer = time.AfterFunc(wait, b.tick)
		return
	}
	b.timer.Reset(wait)
}

func (b *budget) tick() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.serve(time.Now())
}

// serve lets those go who may, each site in its turn. The lock is held.
func (b *budget) serve(now time.Time) {
	for len(b.turns) > 0 && b.free(now) {
		site := b.turns[0]
		b.turns = append(b.turns[1:], site)
		close(b.lines[site][0])
		b.lines[site] = b.lines[site][1:]
		b.forget(site)
		b.spend()
	}
	b.arm(now)
}

// refused says that the vendor wants no call for a while.
func (b *budget) refused(pause time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.counts.limited.Add(1)
	b.probing, b.probe = true, false
	if until := now.Add(pause); until.After(b.until) {
		b.until = until
	}
	b.arm(now)
}

// taken says that the vendor has not refused a call for its number.
func (b *budget) taken() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.probing {
		b.probing, b.probe = false, false
		b.serve(time.Now())
	}
}

// held is the error of a call that was not sent. A use that was ended says why.
func held(ctx context.Context, wait time.Duration) error {
	if own, ok := errors.AsType[*fault.Error](context.Cause(ctx)); ok && own.Reason != fault.DeadlineExceeded {
		return own
	}
	wait = max(wait.Round(time.Millisecond), time.Millisecond)
	return fault.New(fault.RateLimited, "the vendor's limit leaves no room for this call in its time, and it was not sent").
		WithAfter(wait).WithFix("send it again after %s", wait)
}
