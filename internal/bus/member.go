package bus

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/fault"
)

// takeAtOnce bounds the partitions that are being taken at the same time. To
// make a consumer in a cluster takes 60 ms, whether alone or beside others.
const takeAtOnce = 24

// errEvicted says that the others thought us dead.
var errEvicted error = fault.New(fault.StaleFence, "the other workers thought this one dead")

// member is one call of Commands: a worker among those of its group. One loop
// decides what the worker owns; each partition that it owns has a goroutine.
type member struct {
	*engine
	o       CommandOptions
	filters []string
	group   string
	kv      *KV
	pulse   *pulse
	slots   chan struct{} // room for partitions that are being taken
	ended   chan ending
	leaving atomic.Bool
	hurry   chan struct{} // asks for a heartbeat at once
	claimed chan struct{} // tells the loop that a partition is ours now
	target  atomic.Pointer[target]
	way     chan struct{} // room for one that clears the way

	// Of the loop.
	presence presence
	roster   *roster
	leases   map[int]*lease // until they have ended
	workers  []string       // for whom assigned was found
	assigned []string

	// How commands come: see mode.
	mode       atomic.Pointer[mode]
	flow       context.CancelCauseFunc // ends the consumer for all; nil without one
	flowed     chan error              // it has ended
	aloneSince time.Time
}

// ending is how the term of a lease ended.
type ending struct {
	lease *lease
	seen  entry // the partition's record, if its revision is not 0
	err   error // why the worker cannot go on, or nil
}

func newMember(e *engine, o CommandOptions, filters []string) *member {
	return &member{
		engine: e, o: o, filters: filters, group: groupOf(filters),
		slots: make(chan struct{}, takeAtOnce), ended: make(chan ending, partitions),
		hurry: make(chan struct{}, 1), claimed: make(chan struct{}, 1), way: make(chan struct{}, 1),
		leases: map[int]*lease{}, flowed: make(chan error, 1),
	}
}

// run works until the context ends. Handlers run in the other context.
func (m *member) run(ctx, work context.Context) error {
	pause := retryFirst
	for ctx.Err() == nil {
		joined, err := m.stay(ctx, work)
		if joined {
			pause = retryFirst
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errEvicted):
			m.bus.counters.evictions.Add(1)
			m.log.LogAttrs(ctx, slog.LevelWarn, "thought dead by the other workers, joining again")
			continue
		case fault.CodeOf(err) != fault.Unavailable:
			return err
		}
		m.log.LogAttrs(ctx, slog.LevelWarn, "worker waits for nats", slog.Any("err", err))
		if !m.bus.pause(ctx, pause) && ctx.Err() == nil {
			return m.bus.goneErr()
		}
		pause = min(2*pause, retryMost)
	}
	return nil
}

// stay joins the group, and works until the context ends or the others think us
// dead. It reports whether it got in.
func (m *member) stay(ctx, work context.Context) (joined bool, err error) {
	within, stop := context.WithCancel(context.WithoutCancel(ctx)) // It outlasts the stop, to hand over.
	defer stop()
	watch, revision, err := m.join(ctx, within)
	if ctx.Err() != nil {
		err = nil // We were told to stop before we were in.
	}
	if err != nil || watch == nil {
		return false, err
	}
	answering, err := m.answer()
	if err != nil {
		return false, err
	}
	defer answering()

	evicted := make(chan struct{})
	beating := make(chan uint64, 1)
	beats, stopBeats := context.WithCancel(within)
	defer stopBeats()
	go func() { beating <- m.beat(beats, revision, evicted) }()
	watching := make(chan struct{})
	met := m.roster.others(m.o.Worker)
	go func() { defer close(watching); m.scout(within, met) }()

	err = m.loop(ctx, within, work, watch, evicted)
	stopBeats()
	revision = <-beating
	if !errors.Is(err, errEvicted) && m.bus.conn.IsConnected() {
		m.bye(within, revision)
	}
	stop()
	<-watching
	return true, err
}

// urge asks for a heartbeat at once.
func (m *member) urge() { signal(m.hurry) }

// signal wakes whoever waits for the channel, which has room for one.
func signal(to chan<- struct{}) {
	select {
	case to <- struct{}{}:
	default: // It is awake.
	}
}

// loop decides what the worker owns, until the context ends and all is handed
// over, or the others think us dead.
func (m *member) loop(ctx, within, work context.Context, watch jetstream.KeyWatcher, evicted <-chan struct{}) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	defer func() { _ = watch.Stop() }() // It fails when the connection is gone, and so is the watch.
	back, done := m.bus.reconnected(), ctx.Done()
	var failed error
	leave := func() {
		done = nil
		m.leaving.Store(true)
		m.urge()
	}
	fail := func(err error) {
		if err != nil && failed == nil {
			failed = err
			leave()
		}
	}
	for {
		m.decide(work)
		if m.leaving.Load() && len(m.leases) == 0 && m.flow == nil {
			return failed
		}
		again := false
		select {
		case e, ok := <-watch.Updates():
			again = !ok
			m.note(ctx, e)
		case end := <-m.ended:
			m.over(end)
			fail(end.err)
		case err := <-m.flowed:
			m.flow = nil
			fail(err)
		case <-m.claimed:
		case <-evicted:
			m.loseAll(ctx)
			if failed != nil {
				return failed
			}
			return errEvicted
		case <-back:
			again = true // The ends of keys may have passed us by.
			back = m.bus.reconnected()
		case <-done:
			leave()
		case <-m.bus.closed:
			m.loseAll(ctx)
			return m.bus.goneErr()
		case now := <-tick.C:
			if m.pulse.fresh() {
				m.roster.forget(now)
			}
		}
		if !again {
			continue
		}
		_ = watch.Stop() // As above.
		next, err := m.look(within)
		if err != nil {
			m.loseAll(ctx)
			return err
		}
		watch = next
	}
}

// note keeps what the watch told, and the rest of what it has to tell now.
func (m *member) note(ctx context.Context, e jetstream.KeyValueEntry) {
	if e == nil {
		return
	}
	value := e.Value()
	if e.Operation() != jetstream.KeyValuePut {
		value = nil
	}
	if err := m.roster.apply(e.Key(), value, e.Revision(), time.Now()); err != nil {
		m.log.LogAttrs(ctx, slog.LevelError, "key not understood", slog.String("key", e.Key()), slog.Any("err", err))
	}
}

// decide begins and ends terms of ownership, as the members are now.
func (m *member) decide(work context.Context) {
	if own := m.roster.seats[place{m.group, m.o.Worker}]; own.ID != m.presence.ID {
		m.urge() // We were declared dead: the heartbeat finds out, and ends it all.
		return
	}
	if live := m.roster.live(); !slices.Equal(live, m.workers) || m.assigned == nil {
		m.workers, m.assigned = live, Assign(live, partitions)
	}
	m.shape(work)
	for n := range partitions {
		l, at := m.leases[n], m.roster.owned[n]
		mine := m.assigned[n] == m.o.Worker && !m.leaving.Load()
		switch {
		case l == nil:
			switch seen, free := m.roster.free(n); {
			case mine && (free || seen.ID == m.presence.ID):
				m.begin(work, n, seen)
			case !mine && seen.ID == m.presence.ID && !m.leaving.Load(): // Who leaves, frees all.
				m.disown(work, n, seen)
			}
		case l.gone.Load(): // It ends by itself.
		case l.epoch.Load() > 0 && at.revision > l.epoch.Load():
			l.lose()
		case !mine && !l.moving:
			l.moving = true
			l.stop(errMoving)
		}
	}
	m.aim()
}

// begin starts a term of ownership, from the record as it was seen.
func (m *member) begin(work context.Context, partition int, seen entry) {
	l := newLease(partition, m.pulse, &m.bus.counters.fences)
	taking, stop := context.WithCancelCause(work)
	term, kill := context.WithCancelCause(work)
	l.stop, l.kill = stop, kill
	l.handle = func(h *held) step { return m.handle(term, h) }
	m.leases[partition] = l
	own := m.presence.ID
	go func() {
		end := m.hold(taking, l, own, seen)
		stop(nil)
		kill(errMoving)
		m.ended <- end
	}()
}

// disown frees a partition that is ours by its record only: it was given up
// while its claim was on the way. Nobody else may take it as long as we live.
func (m *member) disown(work context.Context, partition int, seen entry) {
	l := newLease(partition, m.pulse, &m.bus.counters.fences)
	ctx, stop := context.WithCancelCause(work)
	l.stop, l.kill, l.moving = stop, stop, true
	l.epoch.Store(seen.revision)
	m.leases[partition] = l
	go func() {
		end := ending{lease: l, seen: m.free(ctx, l, seen)}
		stop(nil)
		m.ended <- end
	}()
}

// over notes the end of a term.
func (m *member) over(end ending) {
	delete(m.leases, end.lease.partition)
	if at := m.roster.owned[end.lease.partition]; end.seen.revision > at.revision {
		m.roster.owned[end.lease.partition] = end.seen
	}
}

// loseAll ends all terms, and returns when they have ended.
func (m *member) loseAll(ctx context.Context) {
	for _, l := range m.leases {
		l.lose()
	}
	switch now := m.mode.Load(); {
	case m.flow != nil:
		m.flow(errTaken)
	case now != nil:
		m.follow(false) // Nobody waits for a consumer for all that does not come.
	}
	for len(m.leases) > 0 || m.flow != nil {
		select {
		case end := <-m.ended:
			m.over(end)
		case err := <-m.flowed:
			m.flow = nil
			if err != nil {
				m.log.LogAttrs(ctx, slog.LevelWarn, "commands could not be taken", slog.Any("err", err))
			}
		}
	}
	m.mode.Store(nil)
}

// look watches the bucket from its beginning, and returns when all that is there
// has been noted.
func (m *member) look(ctx context.Context) (jetstream.KeyWatcher, error) {
	m.roster = newRoster(m.group)
	var watch jetstream.KeyWatcher
	err := m.bus.guard(ctx, "$JS.API.", func(limited context.Context) (err error) {
		if watch != nil { // Of an attempt before.
			_ = watch.Stop() // It fails when the connection is gone, and so is the watch.
		}
		// The watch lives on, and its beginning ends when the server denies it.
		living, end := context.WithCancel(ctx)
		limit := context.AfterFunc(limited, end)
		watch, err = m.kv.kv.WatchFiltered(living, []string{"w.>", "p." + m.group + ".*"})
		if !limit() || err != nil {
			end()
			return err
		}
		for {
			select {
			case e := <-watch.Updates():
				if e == nil { // The mark after the last one, or the end of the watch.
					return nil
				}
				m.note(ctx, e)
			case <-limited.Done():
				return context.Cause(limited)
			}
		}
	})
	return watch, err
}

// join gets us into the group: nobody else has our name, and nobody outside the
// group wants our commands. It returns the watch, and the revision of our key.
func (m *member) join(ctx, within context.Context) (jetstream.KeyWatcher, uint64, error) {
	kv, err := m.bus.KV(ctx, BucketGroup)
	if err != nil {
		if fault.From(err).Reason == fault.BusMisconfigured {
			err = fault.New(fault.BusUnavailable, "the bucket %s is not there", BucketGroup).Because(err)
		}
		return nil, 0, err
	}
	m.kv = kv
	m.pulse = &pulse{breaks: &m.bus.breaks, ttl: m.o.TTL}
	m.presence = presence{ID: nonce(), Filters: m.filters, Since: time.Now().UTC(), Version: m.o.Version, TTL: m.o.TTL}
	watch, err := m.look(within)
	if err == nil {
		err = m.noRivals(ctx)
	}
	if err != nil {
		return nil, 0, err
	}
	revision, err := m.enter(ctx)
	if err != nil {
		_ = watch.Stop() // It fails when the connection is gone, and so is the watch.
		return nil, 0, err
	}
	m.roster.seats[place{m.group, m.o.Worker}] = seat{presence: m.presence, revision: revision, seen: time.Now()}
	return watch, revision, nil
}

// noRivals returns an error when workers of another group want our commands.
// One that is dead is forgotten.
func (m *member) noRivals(ctx context.Context) error {
	for at, s := range m.roster.rivals(m.filters) {
		if m.bus.silent(ctx, aliveSubject(at.group, at.name)) {
			m.declare(ctx, at, s.revision)
			continue
		}
		return m.rivalry(at.name, s.Filters)
	}
	return nil
}

// rivalry is the error of two groups that want the same commands.
func (m *member) rivalry(worker string, filters []string) error {
	return fault.New(fault.BusMisconfigured, "the worker %s already takes %s, and this one asks for %s: a command can go to one group of workers only",
		worker, strings.Join(filters, ", "), strings.Join(m.filters, ", ")).
		WithFix("start all workers with the same `--actions`, or with ones that share no action")
}

// enter makes our key.
func (m *member) enter(ctx context.Context) (uint64, error) {
	key := workerKey(m.group, m.o.Worker)
	value, err := json.Marshal(m.presence)
	if err != nil {
		return 0, err
	}
	var before uint64
	for ctx.Err() == nil {
		other, found, err := m.kv.Get(ctx, key)
		if err != nil {
			return 0, err
		}
		if !found {
			beat := m.pulse.now()
			revision, err := m.kv.Create(ctx, key, value, m.o.TTL)
			if err == nil {
				m.pulse.last.Store(beat)
				return revision, nil
			}
			if fault.From(err).Reason != fault.StaleFence {
				return 0, err
			}
			continue
		}
		var p presence
		if err := json.Unmarshal(other.Value, &p); err == nil && p.ID == m.presence.ID {
			m.urge() // Stored, and we did not hear of it.
			return other.Revision, nil
		}
		if before != 0 && before != other.Revision && !p.Leaving {
			return 0, fault.New(fault.BadConfig, "another worker has the name %s", m.o.Worker).WithFix("give each worker a name of its own")
		}
		before = other.Revision
		if m.bus.silent(ctx, aliveSubject(m.group, m.o.Worker)) {
			m.declare(ctx, place{m.group, m.o.Worker}, other.Revision)
			continue
		}
		m.bus.pause(ctx, m.o.TTL/8)
	}
	return 0, context.Cause(ctx)
}
