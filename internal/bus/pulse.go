package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// probeEvery is how often a worker asks its neighbour whether it lives.
	probeEvery = 150 * time.Millisecond
	// probePause is the time between two questions to a worker that we meet when
	// we join.
	probePause = 25 * time.Millisecond
	// markerLife is how long the mark of a deleted key stays, for those who watch.
	markerLife = 10 * time.Second
)

func aliveSubject(group, worker string) string { return "alive." + group + "." + worker }

// beat says that we live, until the context ends, or another worker thought us
// dead: then it closes the channel. It returns the last revision of our key.
func (m *member) beat(ctx context.Context, revision uint64, evicted chan<- struct{}) uint64 {
	wait := time.NewTimer(m.o.TTL / 4)
	defer wait.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return revision
		case <-wait.C:
		case <-m.hurry:
		case <-m.bus.reconnected(): // The others may not have noticed yet.
		}
		next, err := m.sayAlive(ctx, revision)
		pause := m.o.TTL / 4
		switch {
		case err == nil:
			revision, failing = next, false
		case ctx.Err() != nil:
			return revision
		case isConflict(err):
			// An earlier heartbeat may have been stored without our hearing of it.
			at, mine, err := m.ownKey(ctx)
			if err == nil && !mine {
				close(evicted)
				return revision
			}
			if err == nil {
				revision = at
			}
			pause = time.Millisecond
		default:
			if !failing {
				m.log.LogAttrs(ctx, slog.LevelWarn, "heartbeat not stored", slog.Any("err", err))
			}
			failing = true
			pause = m.o.TTL / 8
		}
		wait.Reset(pause)
	}
}

// sayAlive writes our key again. The library's own update knows no life.
func (m *member) sayAlive(ctx context.Context, revision uint64) (uint64, error) {
	p := m.presence
	p.Leaving = m.leaving.Load()
	value, err := json.Marshal(p)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, m.o.TTL/2)
	defer cancel()
	beat := m.pulse.now()
	ack, err := m.bus.js.PublishMsg(ctx, &nats.Msg{
		Subject: "$KV." + BucketGroup + "." + workerKey(m.group, m.o.Worker), Data: value,
		Header: nats.Header{
			jetstream.MsgTTLHeader:              {m.o.TTL.String()},
			jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(revision, 10)},
		},
	}, jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, err
	}
	m.pulse.last.Store(beat)
	return ack.Sequence, nil
}

// ownKey returns the revision of our key, and whether it is ours.
func (m *member) ownKey(ctx context.Context) (uint64, bool, error) {
	at, found, err := m.kv.Get(ctx, workerKey(m.group, m.o.Worker))
	if err != nil || !found {
		return 0, false, err
	}
	var p presence
	err = json.Unmarshal(at.Value, &p)
	return at.Revision, err == nil && p.ID == m.presence.ID, nil
}

// bye removes our key, so that the others need not wait for its end.
func (m *member) bye(ctx context.Context, revision uint64) {
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	if _, err := m.remove(ctx, place{m.group, m.o.Worker}, revision); err != nil {
		m.log.LogAttrs(ctx, slog.LevelWarn, "key of this worker not removed, it ends by itself", slog.Any("err", err))
	}
}

// remove deletes a worker's key, if it still has the revision, and reports
// whether it had.
func (m *member) remove(ctx context.Context, at place, revision uint64) (bool, error) {
	err := m.kv.kv.Purge(ctx, workerKey(at.group, at.name), jetstream.LastRevision(revision), jetstream.PurgeTTL(markerLife))
	if err != nil && !isConflict(err) {
		return false, fmt.Errorf("removing the key of the worker %s: %w", at.name, classify(err))
	}
	return err == nil, nil
}

// answer answers whoever asks whether we live, until the function is called. It
// returns when all can ask.
func (m *member) answer() (stop func(), err error) {
	sub, err := m.bus.conn.Subscribe(aliveSubject(m.group, m.o.Worker), func(msg *nats.Msg) {
		_ = msg.Respond(nil) // Whoever asked asks again.
	})
	if err == nil {
		err = m.bus.conn.FlushTimeout(m.bus.opts.Timeout)
	}
	if err != nil {
		return nil, fmt.Errorf("listening for questions whether %s lives: %w", m.o.Worker, classify(err))
	}
	return func() { _ = sub.Unsubscribe() }, nil
}

// target is the worker that we watch.
type target struct {
	at       place
	id       string
	revision uint64
	dueAt    time.Time // when its key has surely ended
}

// aim chooses whom the scout watches.
func (m *member) aim() {
	name, s, ok := m.roster.neighbour(m.o.Worker)
	if !ok {
		m.target.Store(nil)
		return
	}
	if was := m.target.Load(); was != nil && was.id == s.ID && was.revision == s.revision {
		return
	}
	m.target.Store(&target{at: place{m.group, name}, id: s.ID, revision: s.revision, dueAt: s.seen.Add(s.TTL)})
}

// scout asks our neighbour again and again whether it lives. The server says at
// once that nobody answers when the connection is gone; two such answers in a
// row, and the neighbour is declared dead, unless it gave a sign of life
// meanwhile. One that hangs is still connected: its key ends. Those whom we met
// when we joined are asked first.
func (m *member) scout(ctx context.Context, met map[place]seat) {
	for at, s := range met {
		if m.bus.silent(ctx, aliveSubject(at.group, at.name)) {
			m.declare(ctx, at, s.revision)
		}
	}
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	silent, about := 0, ""
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		t := m.target.Load()
		if t == nil || !m.pulse.fresh() {
			silent = 0
			continue
		}
		if t.id != about {
			silent, about = 0, t.id
		}
		if m.bus.nobody(ctx, aliveSubject(t.at.group, t.at.name)) {
			silent++
		} else {
			silent = 0
		}
		if silent >= 2 || time.Now().After(t.dueAt) {
			m.declare(ctx, t.at, t.revision)
			silent = 0
		}
	}
}

// declare removes the key of a worker that is dead, unless it gave a sign of
// life since the revision.
func (m *member) declare(ctx context.Context, at place, revision uint64) {
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	removed, err := m.remove(ctx, at, revision)
	if err != nil {
		m.log.LogAttrs(ctx, slog.LevelWarn, "worker not declared dead", slog.Any("err", err))
	}
	if !removed {
		return
	}
	m.bus.counters.declared.Add(1)
	m.log.LogAttrs(ctx, slog.LevelInfo, "worker declared dead", slog.String("dead", at.name))
}

// nobody reports whether the server says that nobody listens.
func (b *Bus) nobody(ctx context.Context, subject string) bool {
	ctx, cancel := context.WithTimeout(ctx, probeEvery)
	defer cancel()
	_, err := b.conn.RequestWithContext(ctx, subject, nil)
	return errors.Is(err, nats.ErrNoResponders)
}

// silent reports whether the server says so twice.
func (b *Bus) silent(ctx context.Context, subject string) bool {
	return b.nobody(ctx, subject) && b.pause(ctx, probePause) && b.nobody(ctx, subject)
}
