package bus

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/fault"
)

// aloneFor is how long a worker is alone before it takes all commands with one
// consumer. At the start it does so at once.
const aloneFor = 5 * time.Second

// mode is how commands come: with a consumer per partition, or with one for all.
// The server asks every consumer of the queue about every acknowledgement, and
// looks for the next command of each by its subject: with 64 of them a command
// costs it twice as much. So a worker that is alone has one. The partitions are
// owned one by one either way.
type mode struct {
	whole bool
	over  chan struct{} // closed when another mode follows
}

// within returns a context that ends with the mode too.
func (m *mode) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancel(ctx)
	go func() {
		select {
		case <-m.over:
			stop()
		case <-ctx.Done():
		}
	}()
	return ctx, stop
}

// follow makes the next mode the present one.
func (m *member) follow(whole bool) {
	before := m.mode.Swap(&mode{whole: whole, over: make(chan struct{})})
	if before != nil {
		close(before.over)
	}
}

// shape chooses the mode, and starts and ends the consumer for all. Only the
// loop calls it.
func (m *member) shape(work context.Context) {
	now, alone := m.mode.Load(), len(m.roster.others(m.o.Worker)) == 0 && !m.leaving.Load()
	switch {
	case !alone:
		m.aloneSince = time.Time{}
	case m.aloneSince.IsZero():
		m.aloneSince = time.Now()
	}
	switch {
	case now == nil:
		m.follow(alone)
	case now.whole && !alone && m.flow == nil:
		m.follow(false)
	case now.whole && m.flow != nil && (!alone || !m.complete()):
		m.flow(errMoving) // The mode follows when its consumer is gone.
	case now.whole && m.flow == nil && m.complete():
		m.flow = m.serveAll(work)
	case !now.whole && alone && m.complete() && time.Since(m.aloneSince) > aloneFor:
		m.follow(true)
	}
}

// complete reports whether all partitions are ours.
func (m *member) complete() bool {
	for n := range partitions {
		l := m.leases[n]
		if l == nil || l.moving || l.gone.Load() || l.epoch.Load() == 0 {
			return false
		}
	}
	return true
}

// serveAll takes the commands of all partitions with one consumer, until the
// returned function is called. Then the mode ends, and the loop is told. If the
// worker leaves, the consumer outlasts what the partitions have to say.
func (m *member) serveAll(work context.Context) context.CancelCauseFunc {
	ctx, stop := context.WithCancelCause(work)
	leases := make([]*lease, partitions)
	for n, l := range m.leases {
		leases[n] = l
	}
	name := wholeName(m.group, m.presence.ID)
	go func() {
		err := m.receiveAll(ctx, name, leases)
		left := 0
		leaving := context.Cause(ctx) == errMoving && m.leaving.Load() //nolint:errorlint // It is that very value.
		for _, l := range leases {
			if leaving {
				<-l.rested
				left += m.lanes.unsettled(l)
			}
		}
		last, cancel := m.last(context.WithoutCancel(ctx))
		defer cancel()
		if leaving {
			m.acknowledged(last, name, left)
		}
		if gone := m.deleteConsumer(last, name); gone != nil {
			m.log.LogAttrs(last, slog.LevelWarn, "consumer not deleted, the next owner does it", slog.Any("err", gone))
		}
		m.follow(false)
		m.flowed <- err
	}()
	return stop
}

// receiveAll takes messages until the context ends, or it cannot.
func (m *member) receiveAll(ctx context.Context, name string, leases []*lease) error {
	filters := m.filters
	if filters[0] == everyCommand {
		filters = nil // The server would match every subject of the queue for every command.
	}
	most := 4 * m.o.Held
	config := m.queueConsumer(name, filters, most)
	fence := func(partition int) uint64 { return leases[partition].fence }
	pause := retryFirst
	for ctx.Err() == nil {
		at, err := m.make(ctx, config, fence, func(last uint64) {
			for _, l := range leases {
				l.before.Store(last)
			}
		})
		if err == nil {
			pause = retryFirst
			m.bus.counters.served.Add(partitions)
			err = m.inStep(ctx, ctx, at, most, func(msg jetstream.Msg) {
				if n := partitionOf(msg.Subject()); n >= 0 {
					m.offer(ctx, leases[n], msg)
				}
			}, func() {})
			m.bus.counters.served.Add(-partitions)
		}
		switch {
		case ctx.Err() != nil, err == nil:
		case fault.CodeOf(err) != fault.Unavailable && fault.From(err).Reason != fault.StaleFence:
			return err
		default:
			m.log.LogAttrs(ctx, slog.LevelWarn, "commands wait for nats", slog.Any("err", err))
			if !m.bus.pause(ctx, pause) && ctx.Err() == nil {
				return nil // The loop knows why.
			}
			pause = min(2*pause, retryMost)
		}
	}
	return nil
}
