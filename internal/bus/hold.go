package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/fault"
)

// hold is the life of a lease: it takes the partition, if the record is still as
// it was seen, does its commands until the context ends, and gives it up. own
// is the id of our membership.
func (m *member) hold(taking context.Context, l *lease, own string, seen entry) ending {
	select {
	case m.slots <- struct{}{}:
	case <-taking.Done():
		return ending{lease: l}
	}
	taken, err := m.claim(taking, l, own, seen)
	if err != nil || l.fence == 0 {
		<-m.slots
		return ending{lease: l, seen: taken, err: err}
	}
	if seen.Worker != "" {
		m.bus.counters.takeovers.Add(1)
	} else {
		m.bus.counters.claims.Add(1)
	}
	signal(m.claimed)
	m.bus.counters.owned.Add(1)
	defer m.bus.counters.owned.Add(-1)
	err = m.serve(taking, l, seen)
	return m.giveUp(context.WithoutCancel(taking), l, taken, err)
}

// claim writes the record, and so begins our term: its revision is the fence. If
// somebody else wrote first, the lease has no fence, and the record is returned.
func (m *member) claim(ctx context.Context, l *lease, own string, seen entry) (entry, error) {
	want := record{Worker: m.o.Worker, ID: own}
	revision, err := m.write(ctx, l.partition, want, seen.revision)
	switch {
	case err == nil:
		l.fence = revision
		l.epoch.Store(revision)
		return entry{record: want, revision: revision}, nil
	case ctx.Err() != nil:
		return entry{}, nil //nolint:nilerr // The partition is not wanted any more.
	case fault.CodeOf(err) != fault.Unavailable && fault.From(err).Reason != fault.StaleFence:
		return entry{}, err
	}
	// Somebody else was first, or we did not hear of our own write.
	at, err := m.read(ctx, l.partition)
	switch {
	case err == nil && at.record == want && at.revision > seen.revision:
		l.fence = at.revision
		l.epoch.Store(at.revision)
	case err != nil || at.revision <= seen.revision:
		m.bus.pause(ctx, retryFirst) // Then the loop tries again.
	}
	return at, nil
}

// write changes the record, if it has the revision.
func (m *member) write(ctx context.Context, partition int, r record, revision uint64) (uint64, error) {
	value, err := json.Marshal(r)
	if err != nil {
		return 0, err
	}
	return m.kv.Update(ctx, partitionKey(m.group, partition), value, revision)
}

// read returns the record, through the leader.
func (m *member) read(ctx context.Context, partition int) (entry, error) {
	got, found, err := m.kv.Get(ctx, partitionKey(m.group, partition))
	if err != nil || !found {
		return entry{}, err
	}
	at := entry{revision: got.Revision}
	if err := json.Unmarshal(got.Value, &at.record); err != nil {
		return entry{}, fmt.Errorf("reading the record of the partition %d: %w", partition, err)
	}
	return at, nil
}

// serve does the partition's commands until the context ends. It gives back the
// slot as soon as the partition is served. seen is what we took over.
func (m *member) serve(ctx context.Context, l *lease, seen entry) error {
	free := sync.OnceFunc(func() { <-m.slots })
	defer free()
	cleared, fresh, pause := false, true, retryFirst
	for ctx.Err() == nil {
		mode := m.mode.Load()
		var err error
		if !cleared {
			err = m.endTerm(ctx, l.partition, seen)
			cleared = err == nil
		}
		switch {
		case err != nil:
		case mode.whole:
			free()
			select {
			case <-mode.over:
			case <-ctx.Done():
				l.withWhole = mode
			}
		default:
			err = m.alone(ctx, l, mode, fresh, free)
			fresh = false
		}
		switch {
		case ctx.Err() != nil:
		case err == nil:
			pause = retryFirst
		case errors.Is(err, errTaken):
			l.lose()
		case fault.CodeOf(err) != fault.Unavailable:
			return fmt.Errorf("taking from the partition %d: %w", l.partition, err)
		default:
			m.log.LogAttrs(ctx, slog.LevelWarn, "partition waits for nats", slog.Int("partition", l.partition), slog.Any("err", err))
			if !m.bus.pause(ctx, pause) && ctx.Err() == nil {
				return nil // The loop knows why.
			}
			pause = min(2*pause, retryMost)
		}
	}
	return nil
}

// alone takes the partition's commands with a consumer of its own, until the
// context or the mode ends, or the consumer is lost.
func (m *member) alone(ctx context.Context, l *lease, mode *mode, fresh bool, served func()) error {
	at, err := m.consumer(ctx, l, fresh)
	if err != nil {
		return err
	}
	served()
	m.bus.counters.served.Add(1)
	defer m.bus.counters.served.Add(-1)
	within, stop := mode.within(ctx)
	defer stop()
	err = m.inStep(ctx, within, at, m.o.Held, func(msg jetstream.Msg) { m.offer(ctx, l, msg) }, func() {
		if ctx.Err() != nil {
			m.lanes.shut(l)
		}
	})
	if err != nil || ctx.Err() != nil || within.Err() == nil {
		return err
	}
	return m.deleteConsumer(ctx, at.CachedInfo().Name)
}

// offer hands a message to its lane.
func (m *member) offer(ctx context.Context, l *lease, msg jetstream.Msg) {
	if h, ok := m.heldOf(ctx, msg); ok {
		h.from, h.Recovered = l, h.Sequence <= l.before.Load()
		m.lanes.offer(ctx, h)
	}
}

// endTerm deletes the consumers of the term before ours. Then nobody else can
// settle anything of the partition, and ours gets all that is left, in the order
// of the stream.
func (m *member) endTerm(ctx context.Context, partition int, seen entry) error {
	if seen.Worker == "" {
		return nil
	}
	return errors.Join(
		m.deleteConsumer(ctx, consumerName(partition, m.group, seen.revision)),
		m.deleteConsumer(ctx, wholeName(m.group, seen.ID)))
}

// deleteConsumer deletes a consumer of the queue, if it is there.
func (m *member) deleteConsumer(ctx context.Context, name string) error {
	err := m.bus.repeat(ctx, "$JS.API.", nil, func(ctx context.Context) error {
		err := m.bus.js.DeleteConsumer(ctx, StreamCommands, name)
		if gone(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("deleting the consumer %s: %w", name, absent(err, StreamCommands))
	}
	return nil
}

// queueConsumer is the configuration of a consumer of commands.
func (m *member) queueConsumer(name string, filters []string, most int) jetstream.ConsumerConfig {
	config := jetstream.ConsumerConfig{
		Durable: name, FilterSubjects: filters,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: m.ackWait, MaxAckPending: most,
		MaxDeliver: -1, // A message above the limit would stay for ever.
		// What a consumer of a work queue knows need not last: the next one gets all
		// that is not settled.
		MemoryStorage: true, InactiveThreshold: abandoned,
	}
	if len(filters) == 1 {
		config.FilterSubject, config.FilterSubjects = filters[0], nil
	}
	return config
}

// consumer makes the consumer of our term. When it is not the first time, the
// server may have lost it because the partition is not ours any more.
func (m *member) consumer(ctx context.Context, l *lease, first bool) (jetstream.Consumer, error) {
	config := m.queueConsumer(consumerName(l.partition, m.group, l.fence), filtersOn(l.partition, m.filters), m.o.Held)
	if !first {
		at, err := m.read(ctx, l.partition)
		if err != nil {
			return nil, err
		}
		if at.revision != l.fence {
			return nil, errTaken
		}
	}
	fence := func(partition int) uint64 {
		if partition != l.partition {
			return 0 // It cannot overlap.
		}
		return l.fence
	}
	return m.make(ctx, config, fence, func(last uint64) { l.before.Store(last) })
}

// make makes a consumer of commands. Before that it tells the last command that
// is there already.
func (m *member) make(ctx context.Context, config jetstream.ConsumerConfig, fence func(int) uint64, before func(uint64)) (jetstream.Consumer, error) {
	var at jetstream.Consumer
	err := m.bus.repeat(ctx, "$JS.API.", nil, func(ctx context.Context) error {
		last, err := m.lastQueued(ctx)
		if err != nil {
			return err
		}
		before(last)
		at, err = m.bus.js.CreateOrUpdateConsumer(ctx, StreamCommands, config)
		return err
	})
	if inTheWay(err) {
		err = m.bus.guard(ctx, "$JS.API.", func(ctx context.Context) (err error) {
			at, err = m.clear(ctx, fence, config)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("making the consumer %s: %w", config.Durable, absent(err, StreamCommands))
	}
	return at, nil
}

// lastQueued returns the sequence of the last command in the queue.
func (m *member) lastQueued(ctx context.Context) (uint64, error) {
	stream, err := m.bus.stream(ctx, StreamCommands)
	if err != nil {
		return 0, err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return 0, err
	}
	return info.State.LastSeq, nil
}

// giveUp ends our term: to plan, or because the partition was taken from us. The
// error ends the worker.
func (m *member) giveUp(ctx context.Context, l *lease, ours entry, failed error) ending {
	end := ending{lease: l, err: failed}
	idle := m.lanes.shut(l)
	rest := sync.OnceFunc(func() { close(l.rested) })
	defer rest()
	finish := m.ownWords(ctx, l, rest)
	m.settled(ctx, l, idle)
	finish()
	if m.o.HandOver != nil && !l.gone.Load() {
		m.handOver(ctx, l)
	}
	if !l.gone.CompareAndSwap(false, true) {
		m.bus.counters.lost.Add(1)
		m.log.LogAttrs(ctx, slog.LevelInfo, "partition taken by another worker", slog.Int("partition", l.partition), slog.Uint64("fence", l.fence))
		if m.o.Lost != nil {
			m.o.Lost(l.partition)
		}
		return end
	}
	rest()
	m.bus.counters.handovers.Add(1)
	ctx, cancel := m.last(ctx)
	defer cancel()
	switch {
	case ctx.Err() != nil: // The others find out by the end of our key.
		return end
	case l.withWhole != nil:
		<-l.withWhole.over // Its consumer is deleted when all partitions are at this point.
	default:
		m.acknowledged(ctx, consumerName(l.partition, m.group, l.fence), m.lanes.unsettled(l))
		if err := m.deleteConsumer(ctx, consumerName(l.partition, m.group, l.fence)); err != nil {
			m.log.LogAttrs(ctx, slog.LevelWarn, "consumer not deleted, the next owner does it", slog.Int("partition", l.partition), slog.Any("err", err))
		}
	}
	end.seen = m.free(ctx, l, ours)
	return end
}

// last bounds what is said to the server when the worker leaves: if it cannot be
// reached, nothing.
func (m *member) last(ctx context.Context) (context.Context, context.CancelFunc) {
	if !m.leaving.Load() {
		return context.WithCancel(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	if !m.bus.conn.IsConnected() {
		cancel()
	}
	return ctx, cancel
}

// ownWords gives the lease a consumer of its own when it shared one that ends
// before the lease's commands: without it, their acknowledgements would be lost.
// The function ends it; the consumer itself stays.
func (m *member) ownWords(ctx context.Context, l *lease, rest func()) (finish func()) {
	if l.withWhole == nil || m.leaving.Load() || !m.lanes.busy(l) {
		return func() {}
	}
	rest()
	select {
	case <-l.withWhole.over:
		l.withWhole = nil
	case <-l.taken:
		return func() {}
	}
	at, err := m.consumer(ctx, l, false)
	if err != nil {
		return func() {} // What cannot be acknowledged comes again, and is known by its effect record.
	}
	within, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = m.receive(within, at, m.o.Held, func(msg jetstream.Msg) { m.offer(ctx, l, msg) }, func() {}) // As above.
	}()
	return func() { stop(); <-done }
}

// settled waits until the commands of the lease that had begun are settled. When
// the grace is over, their context ends; a while later we wait no more.
func (m *member) settled(ctx context.Context, l *lease, idle <-chan struct{}) {
	grace := time.AfterFunc(m.grace, func() { l.kill(ErrStopping) })
	defer grace.Stop()
	limit := time.NewTimer(m.grace + lastWords)
	defer limit.Stop()
	select {
	case <-idle:
	case <-l.taken:
	case <-m.bus.closed:
	case <-limit.C:
		m.log.LogAttrs(ctx, slog.LevelError, "partition given up with a command that does not end", slog.Int("partition", l.partition))
	}
}

// handOver lets the caller keep what it has of the sessions.
func (m *member) handOver(ctx context.Context, l *lease) {
	ctx, cancel := context.WithTimeoutCause(ctx, m.grace, ErrStopping)
	defer cancel()
	limited, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	done := make(chan struct{})
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case <-l.taken:
			stop(errTaken)
		case <-done:
		}
	}()
	if err := m.o.HandOver(limited, l.partition); err != nil {
		m.log.LogAttrs(ctx, slog.LevelError, "partition handed over, and not all of it was kept", slog.Int("partition", l.partition), slog.Any("err", err))
	}
	close(done)
	<-watching
}

// acknowledged waits a moment until the server has dealt with our last
// acknowledgements: it hears them on another way than the end of the consumer.
// What it misses comes again, and is known by its effect record.
func (m *member) acknowledged(ctx context.Context, name string, left int) {
	for pause := time.Millisecond; pause < 32*time.Millisecond; pause *= 2 {
		at, err := m.bus.js.Consumer(ctx, StreamCommands, name)
		if err != nil || at.CachedInfo().NumAckPending <= left || !m.bus.pause(ctx, pause) {
			return
		}
	}
}

// free writes that the partition is nobody's. It tries until the server has
// heard it, or somebody else owns the partition.
func (m *member) free(ctx context.Context, l *lease, ours entry) entry {
	revision := ours.revision
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		next, err := m.write(ctx, l.partition, record{}, revision)
		if err == nil {
			return entry{revision: next}
		}
		at, readErr := m.read(ctx, l.partition)
		if readErr == nil && at.record != ours.record {
			return at
		}
		if !m.bus.pause(ctx, pause) {
			m.log.LogAttrs(ctx, slog.LevelInfo, "partition not freed, it is with our key", slog.Int("partition", l.partition), slog.Any("err", err))
			return entry{}
		}
	}
}
