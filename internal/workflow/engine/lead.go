package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/telemetry"
	"github.com/parley-chat/parley/internal/workflow/machine"
)

const (
	// atOnce is how many messages of each stream are folded before the leader
	// looks whether the last commit is stored.
	atOnce = 512
	// idlePosition is how often the position is stored when nothing else is.
	idlePosition = time.Second
	// retryPause is the pause before a read is tried again.
	retryPause = 250 * time.Millisecond
)

// Run folds what happens, as long as this engine leads, until ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	err := e.bus.Lead(ctx, leadership, func(ctx context.Context, term uint64) error {
		e.stats.leads.Store(true)
		defer e.stats.leads.Store(false)
		for ctx.Err() == nil {
			err := e.lead(ctx, term)
			switch {
			case err == nil, ctx.Err() != nil:
			case fault.From(err).Reason == fault.StaleFence:
				e.stats.refused.Add(1)
				e.log.LogAttrs(ctx, slog.LevelWarn, "workflows are folded by another one", slog.Any("err", err))
			case !fault.Retryable(err):
				e.log.LogAttrs(ctx, slog.LevelError, "workflows cannot go on, and begin anew", slog.Any("err", err))
			default:
				e.log.LogAttrs(ctx, slog.LevelWarn, "workflows begin anew", slog.Any("err", err))
			}
			rest(ctx)
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("running the workflows: %w", err)
	}
	return nil
}

// rest waits before another try, or until ctx ends.
func rest(ctx context.Context) {
	timer := time.NewTimer(retryPause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// leader is a time of leading. It belongs to one goroutine.
type leader struct {
	*Engine
	term    uint64
	world   *world
	seen    machine.World // the world as the machine sees it
	inbox   inbox
	shelf   *shelf
	machine *machine.Machine
	at      position
	fence   uint64 // the sequence of the position's message
	// ahead is how far the server's clock was ahead of ours at the last message.
	ahead  time.Duration
	open   *group // what was folded
	under  *group // what is being committed
	commit *bus.Commitment
}

// lead folds until ctx ends, or something is wrong with what is in memory.
func (e *Engine) lead(ctx context.Context, term uint64) error {
	at, fence, err := readPosition(ctx, e.bus, e.clock.now())
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	readers, ctx := errgroup.WithContext(ctx)
	flow, events := make(chan *message, ahead), make(chan *message, ahead)
	readers.Go(func() error {
		return e.stream(ctx, begin(bus.StreamFlow, at.Flow, at.Since, event.TriggerFilter(), event.WakeFilter()), flow)
	})
	readers.Go(func() error {
		return e.stream(ctx, begin(bus.StreamEvents, at.Events, at.Since, "res.>", "evt.>"), events)
	})
	l := &leader{
		Engine: e, term: term, world: newWorld(e.bus), inbox: inbox{flow: flow, events: events},
		at: at, fence: fence, open: newGroup(),
	}
	// What is being committed when the time ends may still be stored.
	work, give := context.WithCancel(context.WithoutCancel(ctx))
	if l.world.recorded, err = readRecorded(ctx, e.bus); err == nil {
		err = l.use(ctx)
	}
	if err == nil {
		err = l.run(ctx, work)
	}
	give()
	stop()
	return errors.Join(err, readers.Wait())
}

// begin returns how a stream is read from the position on.
func begin(stream string, position uint64, since time.Time, filters ...string) bus.ReadOptions {
	o := bus.ReadOptions{Stream: stream, Filters: filters, Follow: true}
	if position > 0 {
		o.FromSequence = position + 1
	} else {
		o.Since = since
	}
	return o
}

// use takes the current programs, and sets their clocks.
func (l *leader) use(ctx context.Context) error {
	set, err := l.o.Programs(ctx)
	if err != nil {
		return fmt.Errorf("finding the current workflows: %w", err)
	}
	l.shelf = newShelf(set, l.o.Older)
	l.machine = machine.New(l.shelf, l.o.Sites, l.o.Schemas)
	l.seen = l.shelf.serve(ctx, l.world.machine(ctx))
	now := l.clock.now()
	change, err := l.machine.Step(l.seen, machine.Clocks(now), now)
	if err != nil {
		return fmt.Errorf("setting the clocks of schedules: %w", err)
	}
	l.world.apply(change)
	l.open.add(change)
	return nil
}

// run folds and commits.
func (l *leader) run(ctx, work context.Context) error {
	idle := time.NewTicker(idlePosition)
	defer idle.Stop()
	for {
		if err := l.submit(work, false); err != nil {
			return err
		}
		flow, events := l.inbox.flow, l.inbox.events
		if l.commit != nil && l.open.messages() >= fullAt {
			flow, events = nil, nil // Enough for the next commit.
		}
		var committed <-chan struct{}
		if l.commit != nil {
			committed = l.commit.Done()
		}
		select {
		case <-ctx.Done():
			return l.last(work)
		case <-committed:
			if err := l.settle(ctx); err != nil {
				return err
			}
			continue
		case m := <-flow:
			l.inbox.flowed = append(l.inbox.flowed, m)
		case m := <-events:
			l.inbox.happened = append(l.inbox.happened, m)
		case <-l.changed:
			if err := l.use(ctx); err != nil {
				return err
			}
			continue
		case <-idle.C:
			if err := l.submit(work, true); err != nil {
				return err
			}
			continue
		}
		if err := l.fold(ctx, work); err != nil {
			return err
		}
	}
}

// last commits what was folded before the end, so that the next leader need not
// do it again.
func (l *leader) last(work context.Context) error {
	ctx, cancel := context.WithTimeout(work, time.Second)
	defer cancel()
	if err := l.settle(ctx); err != nil {
		return err
	}
	if err := l.submit(ctx, true); err != nil {
		return err
	}
	return l.settle(ctx)
}

// fold folds what waits in the inbox.
func (l *leader) fold(ctx, work context.Context) error {
	l.inbox.take(atOnce)
	if l.inbox.wakes() {
		if err := l.catchUp(ctx); err != nil {
			return err
		}
	}
	for _, list := range [][]*message{l.inbox.flowed, l.inbox.happened} {
		for err := l.world.prefetch(ctx, list); err != nil; err = l.world.prefetch(ctx, list) {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // It ends, and nothing was folded.
			}
			l.log.LogAttrs(ctx, slog.LevelWarn, "workflows wait for their records", slog.Any("err", err))
			rest(ctx)
		}
	}
	for ctx.Err() == nil {
		m, ok := l.inbox.next()
		if !ok {
			break
		}
		l.ahead = max(0, m.d.StoredAt.Sub(l.clock.now()))
		if err := l.step(ctx, work, m); err != nil {
			return err
		}
		l.at.At = m.in.At
		if m.d.Stream == bus.StreamFlow {
			l.at.Flow = m.d.Sequence
		} else {
			l.at.Events = m.d.Sequence
		}
		l.open.inputs++
		l.stats.folded.Add(1)
	}
	l.stats.waiting.Store(int64(len(l.inbox.flow) + len(l.inbox.events)))
	return nil
}

// catchUp reads all facts and results that are stored now: a timer's message
// that was read was stored before, and must not overtake them.
func (l *leader) catchUp(ctx context.Context) error {
	last := uint64(0)
	for _, filter := range []string{"evt.>", "res.>"} {
		for {
			d, ok, err := l.bus.Last(ctx, filter)
			if err == nil {
				// What is older than the first leader is not read.
				if ok && !d.StoredAt.Before(l.at.Since) {
					last = max(last, d.Sequence)
				}
				break
			}
			if ctx.Err() != nil {
				return context.Cause(ctx) //nolint:wrapcheck // It only ends the loop.
			}
			rest(ctx)
		}
	}
	read := l.at.Events
	if n := len(l.inbox.happened); n > 0 {
		read = l.inbox.happened[n-1].d.Sequence
	}
	for read < last {
		select {
		case m := <-l.inbox.events:
			l.inbox.happened = append(l.inbox.happened, m)
			read = m.d.Sequence
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// step folds one message. What cannot be handled is buried, and the rest goes
// on.
func (l *leader) step(ctx, work context.Context, m *message) error {
	if m.none {
		return nil
	}
	if m.err != nil {
		l.open.buried = append(l.open.buried, letter{m.d, m.err})
		return nil //nolint:nilerr // It is buried, and the others go on.
	}
	for {
		change, err := l.safely(ctx, m)
		switch {
		case err == nil:
			return l.took(work, m, change)
		case ctx.Err() != nil:
			return context.Cause(ctx) //nolint:wrapcheck // It only ends the loop.
		case fault.Retryable(err):
			l.log.LogAttrs(ctx, slog.LevelWarn, "workflows wait for their records", slog.Any("err", err))
			rest(ctx)
		default:
			l.open.buried = append(l.open.buried, letter{m.d, err})
			l.open.change.Marks = append(l.open.change.Marks, machine.Mark{What: machine.MarkRefused})
			return nil
		}
	}
}

// took adds what a step did to the open group, or to a new one when that is full.
func (l *leader) took(work context.Context, m *message, change machine.Change) error {
	messages, bytes := weight(change)
	if messages > mostAt-1 || bytes > mostBytes {
		l.open.buried = append(l.open.buried, letter{m.d, fault.New(fault.TooLarge, "it leads to %d messages of %d bytes at once", messages, bytes)})
		return nil
	}
	if l.open.full(messages, bytes) {
		if err := l.settle(work); err != nil {
			return err
		}
		if err := l.submit(work, true); err != nil {
			return err
		}
	}
	l.world.apply(change)
	l.open.add(change)
	if len(change.Refused) > 0 {
		l.open.buried = append(l.open.buried, letter{m.d, errors.Join(change.Refused...)})
	}
	return nil
}

// safely is one Step. A bug in it stops only this message.
func (l *leader) safely(ctx context.Context, m *message) (change machine.Change, err error) {
	defer func() {
		if p := recover(); p != nil {
			l.log.LogAttrs(ctx, slog.LevelError, "workflow step crashed", slog.Any("err", p), slog.String("stack", string(debug.Stack())))
			err = fault.New(fault.InternalError, "handling it crashed: %v", p)
		}
	}()
	return l.machine.Step(l.seen, m.in, l.clock.now())
}

// submit commits the open group, unless one is under way or it has nothing to
// store. With always set, a position that moved is enough.
func (l *leader) submit(ctx context.Context, always bool) error {
	if l.commit != nil || !l.open.moved() || !always && l.waits() {
		return nil
	}
	group := l.open
	for _, letter := range group.buried { // First: the position is behind them then.
		if err := l.bus.Bury(ctx, letter.d, letter.why); err != nil {
			return err
		}
		problem := fault.From(letter.why)
		l.log.LogAttrs(ctx, slog.LevelWarn, "message buried", slog.String("subject", letter.d.Subject),
			slog.Uint64("sequence", letter.d.Sequence), slog.String("reason", string(problem.Reason)), slog.String("text", problem.Error()))
	}
	l.at.Term = l.term
	group.at = l.at
	msgs, err := group.encode(l.fence, func(due time.Time) time.Time { return l.clock.onServer(due, l.ahead) })
	if err != nil {
		return err
	}
	l.under, l.open = group, newGroup()
	l.commit = l.bus.CommitAsync(ctx, msgs)
	l.stats.messages.Add(uint64(len(msgs)))
	l.stats.largest.Store(max(l.stats.largest.Load(), int64(len(msgs))))
	l.stats.timers.Add(uint64(len(group.timers)))
	return nil
}

// waits reports whether the open group may wait: for its first effect, or for
// those of what lies there already.
func (l *leader) waits() bool {
	g := l.open
	if g.empty() && len(g.buried) == 0 {
		return g.inputs < quietAt
	}
	return l.inbox.more() && g.messages() < fullAt && time.Since(g.begun) < gather
}

// settle waits for the commit that is under way.
func (l *leader) settle(ctx context.Context) error {
	if l.commit == nil {
		return nil
	}
	sequences, err := l.commit.Wait(ctx)
	l.commit = nil
	if err != nil {
		return fmt.Errorf("storing what workflows did: %w", err)
	}
	l.fence = sequences[l.under.place]
	for _, s := range l.under.sessions {
		l.world.stored(s)
	}
	l.stats.committed.Add(1)
	if !l.at.At.IsZero() {
		l.stats.behind.Store(int64(l.clock.now().Sub(l.under.at.At)))
	}
	for _, mark := range l.under.change.Marks {
		l.tell(ctx, mark)
	}
	return nil
}

// tell counts and logs what happened.
func (l *leader) tell(ctx context.Context, mark machine.Mark) {
	level := slog.LevelDebug
	switch mark.What {
	case machine.MarkHeld:
		l.stats.jumped.Add(1)
		level = slog.LevelWarn
	case machine.MarkEnded:
		if mark.Detail == string(machine.Failed) {
			level = slog.LevelWarn
		}
	}
	l.log.LogAttrs(ctx, level, "workflow step", slog.String("what", mark.What),
		slog.String(telemetry.AttrRule, mark.Workflow), slog.String("detail", mark.Detail))
	if l.o.Told != nil {
		l.o.Told(mark)
	}
}
