package bus

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestShutWhileAMessageWaitsForItsNextAttempt drops a message that has begun and
// is not being handled. The lease is idle then, once.
func TestShutWhileAMessageWaitsForItsNextAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLanes(1, nil)
		lease := newLease(7, &pulse{ttl: time.Hour}, new(atomic.Uint64))
		lease.handle = func(*held) step { return step{again: true, after: time.Minute} }
		for sequence := range uint64(3) {
			h := &held{Delivery: Delivery{Sequence: sequence + 1, StoredAt: time.Now()}, name: "shop.a", from: lease}
			h.msg = recorded{&words{start: time.Now()}, h.Sequence}
			l.offer(t.Context(), h)
		}
		synctest.Wait()
		for range 2 {
			select {
			case <-l.shut(lease):
			default:
				t.Error("the lease is not idle")
			}
		}
		if n := l.unsettled(lease); n != 3 {
			t.Errorf("%d messages are left for the next owner, want 3", n)
		}
		l.halt()
		l.wait()
	})
}
