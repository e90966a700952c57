package crm

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
)

const (
	// ahead is how many inputs of each stream wait to be folded.
	ahead = 1024
	// atOnce is how many are folded before the leader looks around.
	atOnce = 256
	// checkpoint is how long what was folded may wait for the CRM before it is
	// stored as waiting.
	checkpoint = 500 * time.Millisecond
	// idlePosition is how often the position is stored when nothing else is.
	idlePosition = time.Second
	// saveAt is how many visitors a save has before the next one begins, and fullAt
	// how many stop the folding.
	saveAt, fullAt = 600, 1800
)

// leader is a time of leading. It belongs to one goroutine.
type leader struct {
	*Target
	program *Program
	memory
	at     Position
	inputs inputs
	writer *writer

	touched []*entry  // what changed since the last save began
	moved   bool      // the position has changed
	saved   time.Time // when the last save began
	saving  saving
	under   []*entry // what it saves
	queue   *queue
	results chan []done
	flying  int // batches
	past    chan Input
	resend  chan place // visitors of a backfill
	heardOf chan told  // what changed in the CRM
	hearing sync.WaitGroup
	// endBackfill ends the backfill under way, if there is one.
	endBackfill context.CancelFunc
}

// inputs are what a leader folds.
type inputs struct {
	flow, events <-chan Input
	asks         <-chan asked
}

// asked is a request and its place in the log.
type asked struct {
	Ask
	sequence uint64
}

// lead serves the target until ctx ends, or something is wrong with what is in
// memory.
func (t *Target) lead(ctx context.Context, term uint64) error {
	program, _, err := t.Program(ctx)
	if err != nil {
		return err
	}
	at, store, err := openPosition(ctx, t.bus, t.o.Name, time.Now().Add(-t.o.Since))
	if err != nil {
		return err
	}
	at.Term = term
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	l := newLeader(t, program, store, at)
	if err := l.waiting(ctx); err != nil {
		return err
	}
	readers, within := errgroup.WithContext(ctx)
	flow, events, asks := make(chan Input, ahead), make(chan Input, ahead), make(chan asked)
	l.inputs = inputs{flow, events, asks}
	readers.Go(func() error {
		return t.read(within, begin(bus.StreamFlow, at.Flow, at.Since, event.TriggerFilter(), event.WorkflowCommandFilter(), event.CRMAskSubject(t.o.Name)), flow, asks)
	})
	readers.Go(func() error {
		return t.read(within, begin(bus.StreamEvents, at.Events, at.Since, "res.>", "evt.>"), events, nil)
	})
	err = l.run(within)
	stop()
	return errors.Join(err, readers.Wait())
}

func newLeader(t *Target, program *Program, s store, at Position) *leader {
	return &leader{
		Target: t, program: program, memory: newMemory(t.log, s), at: at, writer: &writer{to: t.o.Connector, gate: t.gate, s: &t.s},
		queue: newQueue(), results: make(chan []done, t.gate.limits.Parallel),
		saved: time.Now(), past: make(chan Input), resend: make(chan place), heardOf: make(chan told),
	}
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

// read reads one stream into the channels until ctx ends.
func (t *Target) read(ctx context.Context, o bus.ReadOptions, into chan<- Input, asks chan<- asked) error {
	for d, err := range t.bus.Read(ctx, o) {
		if err != nil {
			return err //nolint:wrapcheck // It says all.
		}
		if d.Subject == event.CRMAskSubject(t.o.Name) {
			a := asked{sequence: d.Sequence}
			if err := json.Unmarshal(d.Body, &a.Ask); err != nil {
				t.log.LogAttrs(ctx, slog.LevelWarn, "request not understood", slog.Uint64("sequence", d.Sequence), slog.Any("err", err))
				continue
			}
			select {
			case asks <- a:
			case <-ctx.Done():
			}
			continue
		}
		in, ok := ReadInput(d)
		if !ok {
			continue
		}
		select {
		case into <- in:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// waiting puts the visitors into the queue whom the CRM does not have as they
// are.
func (l *leader) waiting(ctx context.Context) error {
	now := time.Now()
	for d, err := range l.bus.LastEach(ctx, event.CRMDueSubject(l.o.Name, "*", "*")) {
		if err != nil {
			return err //nolint:wrapcheck // It says all.
		}
		if site, session, ok := event.CRMPlace(d.Subject); ok && !gone(d.Body) {
			l.queue.put(place{site, session}, now)
		}
	}
	l.s.dirty.Store(int64(l.queue.waiting()))
	return nil
}

// run folds, writes and saves.
func (l *leader) run(ctx context.Context) error {
	work, give := context.WithCancel(context.WithoutCancel(ctx)) // What is saved when the time ends may still be stored.
	defer give()
	writing, cut := context.WithCancel(ctx)
	defer l.drain()
	defer cut()
	if l.at.Backfill != nil {
		l.backfill(writing)
	}
	l.hear(writing)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		err := l.save(work)
		if err == nil {
			err = l.dispatch(writing)
		}
		if err == nil {
			timer.Reset(time.Until(l.wake(time.Now())))
			var over bool
			if over, err = l.turn(ctx, writing, work, timer.C); over {
				return l.last(work)
			}
		}
		if err != nil {
			if ctx.Err() != nil {
				return l.last(work)
			}
			return err
		}
	}
}

// turn waits for one thing and does it. It is true when ctx has ended.
func (l *leader) turn(ctx, writing, work context.Context, alarm <-chan time.Time) (over bool, err error) {
	var saved <-chan struct{}
	if l.saving != nil {
		saved = l.saving.Done()
	}
	in, past, resend, heardOf := l.inputs, (<-chan Input)(l.past), (<-chan place)(l.resend), (<-chan told)(l.heardOf)
	if len(l.touched) >= fullAt {
		in, past, resend, heardOf = inputs{}, nil, nil, nil // Enough for the next save.
	}
	select {
	case <-ctx.Done():
		return true, nil
	case <-saved:
		return false, l.settled(work)
	case all := <-l.results:
		return false, l.landed(writing, all)
	case i := <-in.flow:
		return false, l.fold(writing, i, in.flow)
	case i := <-in.events:
		return false, l.fold(writing, i, in.events)
	case i := <-past:
		return false, l.take(writing, i) // What happened before the target began moves no position.
	case p := <-resend:
		return false, l.again(writing, p)
	case t := <-heardOf:
		return false, l.heard(writing, t)
	case a := <-in.asks:
		return false, l.asked(writing, a)
	case <-alarm:
		return false, nil
	}
}

// drain waits until nobody uses the connector any more.
func (l *leader) drain() {
	for ; l.flying > 0; l.flying-- {
		<-l.results
	}
	l.hearing.Wait()
}

// hear begins to listen to what changes in the CRM, if that goes back.
func (l *leader) hear(ctx context.Context) {
	if from, able := l.o.Connector.(ChangeReader); able && l.goesBack() {
		cursor := l.at.Cursor
		l.hearing.Go(func() { l.listen(ctx, from, cursor) })
	}
}

// wake returns when there is something to do without being told.
func (l *leader) wake(now time.Time) time.Time {
	at := now.Add(idlePosition)
	if len(l.touched) > 0 || l.moved {
		at = now.Add(checkpoint / 4)
	}
	room, until := l.gate.room(now)
	next, some := l.queue.next(l.spare(room))
	switch {
	case !some, room > 0 && l.flying >= room:
	case room == 0:
		if until.Before(at) {
			at = until
		}
	case next.Before(at):
		at = next
	}
	return at
}

// fold folds the input, and what else waits in the channel.
func (l *leader) fold(ctx context.Context, first Input, from <-chan Input) error {
	list := []Input{first}
	for len(list) < atOnce {
		select {
		case in := <-from:
			list = append(list, in)
			continue
		default:
		}
		break
	}
	places := make([]place, len(list))
	for i, in := range list {
		places[i] = place{in.Site, in.Session}
	}
	if err := l.load(ctx, places); err != nil {
		return err
	}
	for _, in := range list {
		if err := l.take(ctx, in); err != nil {
			return err
		}
		if in.Flow {
			l.at.Flow = in.Sequence
		} else {
			l.at.Events = in.Sequence
		}
		l.at.At, l.moved = in.StoredAt, true
	}
	return nil
}

// take folds one input.
func (l *leader) take(ctx context.Context, in Input) error {
	l.s.folded.Add(1)
	e, err := l.entry(ctx, place{in.Site, in.Session})
	if err != nil {
		return err
	}
	former := len(e.v.Former)
	if !e.v.Fold(in) {
		return nil
	}
	l.program.catchUp(e.v)
	l.changed(e, in.StoredAt)
	if len(e.v.Former) == former {
		return nil
	}
	// The visitor's former session is this one from now on.
	old, err := l.entry(ctx, place{in.Site, e.v.Former[former]})
	if err != nil {
		return err
	}
	e.v.Into = "" // Whatever it was, it is the living one now.
	old.v.Into, old.v.Flow = e.v.Session, max(old.v.Flow, in.Sequence)
	l.program.inherit(e.v, old.v)
	l.changed(old, in.StoredAt)
	return nil
}

// changed notes that the CRM does not have the visitor as it is.
func (l *leader) changed(e *entry, since time.Time) {
	e.rev++
	l.touch(e)
	p := place{e.v.Site, e.v.Session}
	if e.v.Dirty {
		l.s.coalesced.Add(1)
		if l.queue.holds(p) || e.flying {
			return
		}
	} else {
		l.s.dirty.Add(1)
		e.v.Dirty, e.since = true, since
	}
	l.queue.collect(p, time.Now().Add(l.o.Window))
}

// touch notes that the visitor must be saved.
func (l *leader) touch(e *entry) {
	if !e.touched {
		e.touched, l.touched = true, append(l.touched, e)
	}
}

// ripe reports whether it is time for a save.
func (l *leader) ripe(now time.Time) bool {
	switch age := now.Sub(l.saved); {
	case l.saving != nil || len(l.touched) == 0 && !l.moved:
		return false
	case len(l.touched) >= saveAt || age >= idlePosition:
		return true
	case len(l.touched) == 0:
		return false
	case age >= checkpoint:
		return true
	}
	for _, e := range l.touched {
		if e.v.Dirty {
			return false // Soon the CRM has it, and it need not be saved twice.
		}
	}
	return true
}

// save begins to save what changed, when it is time.
func (l *leader) save(ctx context.Context) error {
	now := time.Now()
	if !l.ripe(now) {
		return nil
	}
	visitors := make([]*Visitor, len(l.touched))
	for i, e := range l.touched {
		e.v.settle()
		e.touched, e.saving, visitors[i] = false, true, e.v
	}
	l.at.Health = l.gate.health(now)
	saving, err := l.store.save(ctx, visitors, l.at)
	if err != nil {
		return err
	}
	for _, v := range visitors {
		v.updates = nil
	}
	l.saving, l.under, l.touched, l.moved, l.saved = saving, l.touched, nil, false, now
	return nil
}

// settled ends the save under way.
func (l *leader) settled(ctx context.Context) error {
	if l.saving == nil {
		return nil
	}
	if err := l.saving.finish(ctx); err != nil {
		return err
	}
	l.s.commits.Add(1)
	for _, e := range l.under {
		e.saving = false
	}
	l.saving, l.under = nil, nil
	return nil
}

// last saves what was folded and written before the end.
func (l *leader) last(work context.Context) error {
	ctx, cancel := context.WithTimeout(work, 2*time.Second)
	defer cancel()
	for l.flying > 0 { // Their calls were cut off, or end now.
		if err := l.landed(ctx, <-l.results); err != nil {
			return err
		}
	}
	if err := l.settled(ctx); err != nil {
		return err
	}
	l.saved = time.Time{}
	if err := l.save(ctx); err != nil {
		return err
	}
	return l.settled(ctx)
}
