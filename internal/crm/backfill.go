package crm

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
)

// usualRate is the visitors per second of a backfill that names no rate.
const usualRate = 50

// backfill begins the backfill of the position: it folds what happened before the
// target began, when it is asked to, and then writes every visitor again. What
// happens meanwhile goes first.
func (l *leader) backfill(ctx context.Context) {
	if l.endBackfill != nil {
		l.endBackfill()
	}
	a := *l.at.Backfill
	if a.Rate <= 0 {
		a.Rate = usualRate
	}
	ctx, l.endBackfill = context.WithCancel(ctx)
	go func() {
		err := l.history(ctx, a)
		if err == nil {
			err = l.everybody(ctx, a)
		}
		if err != nil && ctx.Err() == nil {
			l.log.LogAttrs(ctx, slog.LevelWarn, "backfill ended early, and goes on with the next leader", slog.Any("err", err))
			return
		}
		select {
		case l.resend <- place{}: // It is over.
		case <-ctx.Done():
		}
	}()
}

// pace waits between two visitors of a backfill.
func pace(ctx context.Context, a Ask) { rest(ctx, time.Duration(float64(time.Second)/a.Rate)) }

// history gives the leader what happened before the target began.
func (l *leader) history(ctx context.Context, a Ask) error {
	since, err := time.Parse(time.RFC3339, a.Since)
	if err != nil {
		return nil //nolint:nilerr // It asks for none.
	}
	until := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for _, o := range []bus.ReadOptions{
		{Stream: bus.StreamFlow, Filters: []string{event.TriggerFilter(), event.WorkflowCommandFilter()}, Since: since, Until: until},
		{Stream: bus.StreamEvents, Filters: []string{"res.>", "evt.>"}, Since: since, Until: until},
	} {
		group.Go(func() error { return l.read(ctx, o, l.past, nil) })
	}
	return group.Wait() //nolint:wrapcheck // It says all.
}

// everybody gives the leader every visitor, at the rate.
func (l *leader) everybody(ctx context.Context, a Ask) error {
	for d, err := range l.bus.LastEach(ctx, event.CRMSubject(l.o.Name, "*", "*")) {
		if err != nil {
			return err //nolint:wrapcheck // It says all.
		}
		site, session, ok := event.CRMPlace(d.Subject)
		if !ok || a.Site != "" && a.Site != site {
			continue
		}
		select {
		case l.resend <- place{site, session}:
		case <-ctx.Done():
			return nil
		}
		pace(ctx, a)
	}
	return nil
}

// afterwards notes that the visitor is to be written behind what happens now.
func (l *leader) afterwards(e *entry, p place) {
	e.rev++
	l.touch(e)
	if !e.v.Dirty {
		l.s.dirty.Add(1)
		e.v.Dirty, e.since = true, time.Now()
	}
	if !e.flying {
		l.queue.later(p, time.Now())
	}
}

// again has the visitor written with everything.
func (l *leader) again(ctx context.Context, p place) error {
	if p == (place{}) {
		l.at.Backfill, l.moved = nil, true
		return nil
	}
	e, err := l.entry(ctx, p)
	if err != nil {
		return err
	}
	e.v.Sent = nil
	for _, c := range e.v.Chats {
		c.Digest = ""
	}
	l.afterwards(e, p)
	return nil
}
