package crm

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

const (
	// tripAt is how many calls fail one after another until the target is left
	// alone.
	tripAt = 5
	// pauseFirst and pauseMost are how long it is left alone.
	pauseFirst, pauseMost = time.Second, time.Minute
	// itemFirst and itemMost are the pauses of one item.
	itemFirst, itemMost = 500 * time.Millisecond, 10 * time.Minute
)

// verdict is what an error of a whole call means.
type verdict int

const (
	later  verdict = iota // The target is away, or asks for patience.
	unsure                // It may have been done.
	halt                  // A person must act.
	blame                 // One of the items is wrong.
)

// judge reads the error of a call.
func judge(err error) verdict {
	e := fault.From(err)
	switch e.Reason { //nolint:exhaustive // The others are judged by class.
	case fault.EffectUnknown, fault.DeadlineExceeded:
		return unsure
	case fault.TokenRefused, fault.ConnectionRevoked, fault.ReauthNeeded, fault.VendorForbids, fault.TokenMissing,
		fault.UnknownConnection, fault.EgressDenied, fault.BadConfig:
		return halt
	}
	if fault.Retryable(err) {
		return later
	}
	return blame
}

// gate decides when a target may be called: the vendor's rate, what it asked
// for, and whether it is well. It may be used by many goroutines.
type gate struct {
	limits Limits

	mu       sync.Mutex // guards the fields below
	free     time.Time  // when the next call may begin, by the rate
	hold     time.Time  // until then nobody calls
	failures int        // one after another
	until    time.Time  // until then the target is left alone
	open     bool       // it is left alone, or on trial
	halted   *fault.Error
	ramp     int // calls at once while it recovers
	trips    uint64
	daily    [2]int // what is left of the day's budget, and all of it
}

func newGate(l Limits) *gate {
	l.Parallel = max(l.Parallel, 1)
	l.Contacts, l.Activities, l.Burst = max(l.Contacts, 1), max(l.Activities, 1), max(l.Burst, 1)
	if l.Timeout == 0 {
		l.Timeout = 30 * time.Second
	}
	return &gate{limits: l, ramp: l.Parallel}
}

// room returns how many batches may be under way now, and when to ask again if
// none.
func (g *gate) room(now time.Time) (int, time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	until := g.until
	if g.hold.After(until) {
		until = g.hold
	}
	if until.After(now) {
		return 0, until
	}
	if g.open {
		return 1, time.Time{}
	}
	return g.ramp, time.Time{}
}

// wait waits for the turn of one call.
func (g *gate) wait(ctx context.Context) error {
	for {
		d := g.turn(time.Now())
		if d <= 0 {
			return nil
		}
		timer := time.NewTimer(d)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx) //nolint:wrapcheck // It only ends the batch.
		}
	}
}

// turn takes a place in the rate, or says how long to wait before asking again.
func (g *gate) turn(now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if d := g.hold.Sub(now); d > 0 {
		return d
	}
	if g.limits.Rate <= 0 {
		return 0
	}
	each := time.Duration(float64(time.Second) / g.limits.Rate)
	earliest := now.Add(-each * time.Duration(g.limits.Burst-1))
	if g.free.Before(earliest) {
		g.free = earliest
	}
	if d := g.free.Sub(now); d > 0 {
		return d
	}
	g.free = g.free.Add(each)
	return 0
}

// answered notes how a call went.
func (g *gate) answered(now time.Time, err error, budget Budget) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if budget.DailyOf > 0 {
		g.daily = [2]int{budget.Daily, budget.DailyOf}
	}
	if budget.Remaining <= 0 && budget.Resets.After(now) && budget.Resets.After(g.hold) {
		g.hold = budget.Resets
	}
	if err == nil || judge(err) == blame {
		g.failures, g.open, g.halted = 0, false, nil
		g.ramp = min(g.ramp+1, g.limits.Parallel)
		return
	}
	e := fault.From(err)
	if after := now.Add(e.After); e.After > 0 && after.After(g.hold) {
		g.hold = after
	}
	if e.Code == fault.Stopping || e.Code == fault.Exhausted && e.After > 0 {
		return // It is well, and asks for patience.
	}
	if g.failures++; judge(err) == halt {
		g.halted, g.failures = e, max(g.failures, tripAt)
	}
	if g.failures >= tripAt {
		if !g.open {
			g.trips++
		}
		g.open, g.ramp = true, 1
		g.until = now.Add(pause(pauseFirst, pauseMost, g.failures-tripAt))
	}
}

// pause doubles from first to most, and spreads by a fifth.
func pause(first, most time.Duration, times int) time.Duration {
	d := most
	if times < 20 {
		d = min(most, first<<times)
	}
	return d - time.Duration(rand.Int64N(int64(d)/5+1))
}

// health is what is said of the target.
func (g *gate) health(now time.Time) Health {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := Health{Open: g.open, Trips: g.trips, Daily: g.daily[0], DailyOf: g.daily[1]}
	if g.open {
		h.Until = g.until
	}
	if g.hold.After(now) {
		h.Held = g.hold
	}
	if g.halted != nil {
		h.Reason, h.Message, h.Fix = g.halted.Reason, g.halted.Error(), g.halted.Fix
	}
	return h
}

// Health is how a target is.
type Health struct {
	// Open says that it failed too often and is left alone until Until.
	Open  bool      `json:"open,omitempty"`
	Until time.Time `json:"until,omitzero"`
	// Held is until when the vendor asked for patience.
	Held time.Time `json:"held,omitzero"`
	// Trips counts how often it was left alone.
	Trips uint64 `json:"trips,omitempty"`
	// Daily is what is left of the vendor's budget of the day, in its unit, and DailyOf
	// all of it, as far as the vendor says so.
	Daily   int `json:"daily,omitempty"`
	DailyOf int `json:"daily_of,omitempty"`
	// Reason says why a person must act, or is "".
	Reason  fault.Reason `json:"reason,omitempty"`
	Message string       `json:"message,omitempty"`
	Fix     string       `json:"fix,omitempty"`
}
