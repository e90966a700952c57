package session

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// The pauses between attempts to publish while the bus is away.
const (
	firstPause = 50 * time.Millisecond
	longPause  = 2 * time.Second
)

// outbox publishes the facts of one session in order, one after another, and
// keeps them while the bus is away. A goroutine runs only while something waits.
type outbox struct {
	m     *Manager
	key   string
	limit int

	mu      sync.Mutex // guards the fields below
	waiting []parcel
	running bool
	idle    chan struct{} // closed when nothing waits; nil when nobody asks
}

// parcel is a fact on its way.
type parcel struct {
	subject  string
	envelope event.Envelope
}

func newOutbox(m *Manager, key string) *outbox {
	return &outbox{m: m, key: key, limit: m.o.Queue}
}

// put queues the fact. It is false when too many wait, unless always is set.
func (o *outbox) put(p parcel, always bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.m.life.Err() != nil || len(o.waiting) >= o.limit && !always {
		return false
	}
	o.waiting = append(o.waiting, p)
	if !o.running {
		o.running = true
		o.m.work.Go(o.run)
	}
	return true
}

func (o *outbox) empty() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.waiting) == 0
}

// flush waits until nothing waits.
func (o *outbox) flush(ctx context.Context) error {
	o.mu.Lock()
	if len(o.waiting) == 0 {
		o.mu.Unlock()
		return nil
	}
	if o.idle == nil {
		o.idle = make(chan struct{})
	}
	idle, count := o.idle, len(o.waiting)
	o.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fault.New(fault.BusUnavailable, "%d facts of session %s are not published", count, o.key).
			Because(context.Cause(ctx))
	}
}

// run publishes until nothing waits, or until the manager stops.
func (o *outbox) run() {
	for {
		o.mu.Lock()
		if len(o.waiting) == 0 {
			o.running = false
			if o.idle != nil {
				close(o.idle)
				o.idle = nil
			}
			o.mu.Unlock()
			return
		}
		next := o.waiting[0]
		o.mu.Unlock()
		if !o.deliver(o.m.life, next) {
			return
		}
		o.mu.Lock()
		o.waiting[0] = parcel{}
		o.waiting = o.waiting[1:]
		o.mu.Unlock()
	}
}

// deliver publishes the fact, however long the bus is away. It is false when
// the manager stops.
func (o *outbox) deliver(ctx context.Context, p parcel) bool {
	pause := firstPause
	for {
		err := o.m.o.Publish(ctx, p.subject, p.envelope)
		if err == nil {
			o.m.seen.facts.Add(1)
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if pause == firstPause {
			o.m.log.LogAttrs(ctx, slog.LevelWarn, "publishing a fact",
				slog.String("session", o.key), slog.String("subject", p.subject), slog.Any("err", err))
		}
		if !fault.Retryable(err) && fault.CodeOf(err) != fault.Expired {
			o.m.seen.dropped.Add(1)
			return true // It will never be taken: do not hold up the others.
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false
		}
		pause = min(2*pause, longPause)
	}
}
