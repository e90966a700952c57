package crm

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// metered is a CRM that allows so many calls in two seconds and in a day, and
// says how many are left. What comes beyond that is refused, and counted.
type metered struct {
	*ledger
	burst, daily int

	inBurst, inDay  int
	burstTo, dayTo  time.Time
	overBurst, over int
	all             int
}

// spend takes one call off the budget. l.mu is not held.
func (m *metered) spend() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.roll(now)
	m.all++
	switch {
	case m.inDay >= m.daily:
		m.over++
		return fault.New(fault.RateLimited, "the day's calls are used up").WithAfter(m.dayTo.Sub(now))
	case m.inBurst >= m.burst:
		m.overBurst++
		return fault.New(fault.RateLimited, "too many calls in two seconds").WithAfter(m.burstTo.Sub(now))
	}
	m.inBurst++
	m.inDay++
	return nil
}

func (m *metered) roll(now time.Time) {
	if !now.Before(m.burstTo) {
		m.inBurst, m.burstTo = 0, now.Add(2*time.Second)
	}
	if !now.Before(m.dayTo) {
		m.inDay, m.dayTo = 0, now.Add(24*time.Hour)
	}
}

// Budget implements Budgeted.
func (m *metered) Budget() Budget {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.roll(time.Now())
	if left := m.daily - m.inDay; left <= 0 {
		return Budget{Resets: m.dayTo, Policy: "daily"}
	}
	return Budget{Remaining: m.burst - m.inBurst, Resets: m.burstTo, Policy: "burst"}
}

// UpsertContacts implements Connector.
func (m *metered) UpsertContacts(ctx context.Context, contacts []Contact) ([]Outcome, error) {
	if err := m.spend(); err != nil {
		return nil, err
	}
	return m.ledger.UpsertContacts(ctx, contacts)
}

// PutActivities implements Connector.
func (m *metered) PutActivities(ctx context.Context, activities []Activity) ([]Outcome, error) {
	if err := m.spend(); err != nil {
		return nil, err
	}
	return m.ledger.PutActivities(ctx, activities)
}

// TestC2Budget has more to write in a day than the CRM allows calls: the target
// waits for the next day instead of asking again and again, and loses nothing.
func TestC2Budget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const visitors, daily = 400, 1200
		crm := &metered{ledger: newLedger(2, Limits{Contacts: 1, Activities: 1, Parallel: 4, Rate: 8, Burst: 10}), burst: 10, daily: daily}
		w := newWorldOf(t, crm.ledger, crm, Options{Window: time.Second})
		began := time.Now()
		for hour := range 24 {
			for n := range visitors {
				if n%5 != hour%5 {
					continue
				}
				w.identify(n, map[string]any{"name": began.String()})
				w.happen(n, event.FactWidgetOpened)
				w.pass(5 * time.Second)
				w.happen(n, event.FactWidgetClosed)
				w.pass(time.Second)
			}
			w.pass(time.Duration(hour+1)*time.Hour - time.Since(began))
		}
		spent, over, burst := crm.all, crm.over, crm.overBurst
		if spent < daily {
			t.Errorf("%d calls within a day, want all %d that are allowed", spent, daily)
		}
		if part := float64(over+burst) / float64(spent); part >= 0.01 {
			t.Errorf("%d calls of %d were over the budget, want less than 1 %%", over+burst, spent)
		}
		w.pass(48 * time.Hour)
		t.Logf("%d calls within 24 h, of which %d were over the day's budget and %d over that of two seconds", spent, over, burst)
		w.want(len(crm.contacts), len(crm.activities))
		if got := len(crm.contacts); got != visitors {
			t.Errorf("%d of %d visitors are there", got, visitors)
		}
		w.end()
	})
}

// timed notes how long it takes until the end of a chat is there.
type timed struct {
	*ledger
	took []time.Duration
}

// PutActivities implements Connector.
func (c *timed) PutActivities(ctx context.Context, activities []Activity) ([]Outcome, error) {
	out, err := c.ledger.PutActivities(ctx, activities)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range activities {
		if err == nil && !a.Record.Open {
			c.took = append(c.took, time.Since(a.Record.LastAt))
		}
	}
	return out, err
}

// TestC5Bulkhead has another target whose calls last 30 seconds each: this one
// does not notice.
func TestC5Bulkhead(t *testing.T) {
	t.Parallel()
	p99 := map[bool]time.Duration{}
	for _, slow := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			visitors := bustest.Count(300, 2000)
			limits := Limits{Contacts: 50, Activities: 50, Parallel: 2, Timeout: time.Minute}
			other := newLedger(5, limits)
			if slow {
				other.late = 30 * time.Second
			}
			c := &timed{ledger: newLedger(6, limits)}
			c.late = 20 * time.Millisecond
			ours, theirs := newWorldOf(t, c.ledger, c, Options{Window: 100 * time.Millisecond}), newWorld(t, other, Options{Window: 100 * time.Millisecond})
			for n := range visitors {
				for _, w := range []*world{theirs, ours} {
					w.identify(n, nil)
					w.happen(n, event.FactWidgetOpened)
				}
				ours.pass(10 * time.Millisecond)
				for _, w := range []*world{theirs, ours} {
					w.happen(n, event.FactWidgetClosed)
				}
			}
			ours.pass(time.Hour)
			ours.want(visitors, visitors)
			theirs.want(visitors, visitors)
			slices.Sort(c.took)
			p99[slow] = c.took[len(c.took)*99/100]
			ours.end()
			theirs.end()
		})
	}
	t.Logf("p99 beside a target that is well %s, beside one with calls of 30 s %s", p99[false], p99[true])
	if p99[true] > p99[false]*12/10 {
		t.Error("a slow target slows another one")
	}
}
