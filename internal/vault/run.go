package vault

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

const (
	// lookEvery is how often connections that are in use are read again, in case
	// the watch is behind. With it, a revocation is seen within five seconds.
	lookEvery = 2 * time.Second
	// watchAgain is the pause before a watch that ended begins again.
	watchAgain = 200 * time.Millisecond
	// warnAhead is how long before its end a connection is warned of, once a day.
	warnAhead = 14 * 24 * time.Hour
	day       = 24 * time.Hour
	// tendAtOnce is how many connections are looked after at once.
	tendAtOnce = 8
)

// Run ends the uses of connections that are revoked anywhere, keeps those alive
// that are in use, revokes those that are not, and tells of what nobody told. It
// blocks until ctx ends. Several processes may run it on one store.
func (v *Vault) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return v.watch(ctx) })
	group.Go(func() error { return v.repeat(ctx, lookEvery, v.look) })
	group.Go(func() error { return v.repeat(ctx, v.o.Every, v.tend) })
	return group.Wait()
}

func (v *Vault) repeat(ctx context.Context, every time.Duration, do func(ctx context.Context)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		do(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// watch follows the store.
func (v *Vault) watch(ctx context.Context) error {
	for {
		err := v.store.Watch(ctx, []string{connectionPrefix + ">"}, func(c bus.Change) error {
			v.changed(ctx, c)
			return nil
		})
		if ctx.Err() != nil {
			return nil //nolint:nilerr // It was told to end.
		}
		v.log.LogAttrs(ctx, slog.LevelWarn, "the watch of the connections begins again", slog.Any("error", err))
		if pause(ctx, watchAgain) != nil {
			return nil //nolint:nilerr // It was told to end.
		}
	}
}

// changed is one change of the store.
func (v *Vault) changed(ctx context.Context, c bus.Change) {
	name, err := nameOf(c.Key)
	if c.Key == "" || err != nil {
		return
	}
	if c.Gone {
		v.end(name, fault.New(fault.ConnectionRevoked, "the connection %s was removed", name))
		return
	}
	r, err := open(v.seal, name, c.Value)
	if err != nil {
		v.log.LogAttrs(ctx, slog.LevelError, "a connection cannot be read", slog.String("connection", name.String()), slog.Any("error", err))
		return
	}
	v.note(ctx, r)
	if r.State == Revoked {
		v.end(name, r.usable())
	}
}

// look reads those that are in use.
func (v *Vault) look(ctx context.Context) {
	for _, name := range v.inUse() {
		r, _, err := v.load(ctx, name)
		switch {
		case err != nil && fault.From(err).Reason == fault.UnknownConnection:
			v.end(name, fault.New(fault.ConnectionRevoked, "the connection %s was removed", name))
		case err == nil && r.State == Revoked:
			v.end(name, r.usable())
		}
	}
}

// tend looks after every connection, some at once: a slow vendor does not hold
// the others up.
func (v *Vault) tend(ctx context.Context) {
	var group errgroup.Group
	group.SetLimit(tendAtOnce)
	err := v.each(ctx, func(name Name, r *record, err error) error {
		if err != nil {
			v.log.LogAttrs(ctx, slog.LevelError, "a connection cannot be read", slog.String("connection", name.String()), slog.Any("error", err))
			return nil
		}
		group.Go(func() error {
			if err := v.tendOne(ctx, r); err != nil && ctx.Err() == nil {
				v.log.LogAttrs(ctx, slog.LevelWarn, "a connection needs care", slog.String("connection", r.Name.String()), slog.Any("error", err))
			}
			return nil
		})
		return ctx.Err()
	})
	_ = group.Wait() // What went wrong was logged.
	if err != nil && ctx.Err() == nil {
		v.log.LogAttrs(ctx, slog.LevelWarn, "looking after the connections", slog.Any("error", err))
	}
}

func (v *Vault) tendOne(ctx context.Context, r *record) error {
	now := v.o.Now()
	v.tell(ctx, r)
	if r.State == Revoked {
		if len(r.Tokens) == 0 {
			return nil
		}
		_, err := v.finishRevoke(ctx, r)
		return err
	}
	if r.State == ReauthNeeded {
		return nil // It waits for a person.
	}
	if v.o.Unused > 0 && now.Sub(r.UsedAt) > v.o.Unused {
		_, err := v.Revoke(ctx, r.Name, "it was not used for "+v.o.Unused.String())
		return err
	}
	v.warn(ctx, r)
	if v.wants(r, now) {
		present := ""
		if p := r.current(); p != nil {
			present = p.Access
		}
		_, err := v.refresh(ctx, r.Name, present)
		return err
	}
	return nil
}

// wants reports whether the connection needs a new pair, though nobody asks: an
// attempt before was left without an end, or the refresh token lapses unused.
func (v *Vault) wants(r *record, now time.Time) bool {
	if r.Client == nil {
		return false
	}
	if r.Intent != nil && now.Sub(r.Intent.At) > v.o.LeaseLife && !now.Before(r.RetryAt) {
		return true
	}
	lapse := v.lapse(r)
	return !lapse.IsZero() && lapse.Sub(now) < lapse.Sub(r.current().IssuedAt)/2
}

// lapse returns when the credentials end for good unless somebody acts, or zero.
func (v *Vault) lapse(r *record) time.Time {
	newest := r.current()
	p, err := v.provider(r.Name.Provider)
	switch {
	case newest == nil || err != nil:
		return time.Time{}
	case r.Client == nil:
		return newest.ExpiresAt
	case p.Lapse > 0:
		return newest.IssuedAt.Add(p.Lapse)
	}
	return time.Time{}
}

// warn tells of credentials that end soon, once a day.
func (v *Vault) warn(ctx context.Context, r *record) {
	now, lapse := v.o.Now(), v.lapse(r)
	if lapse.IsZero() || lapse.Sub(now) > warnAhead || now.Sub(r.WarnedAt) < day {
		return
	}
	warned := false
	r, _, err := v.change(ctx, r.Name, func(r *record) error {
		if warned = now.Sub(r.WarnedAt) >= day; !warned {
			return errKeep
		}
		r.WarnedAt = now.UTC()
		return nil
	})
	if err != nil || !warned {
		return // Another process does it, or the next round.
	}
	v.log.LogAttrs(ctx, slog.LevelWarn, "a connection's credentials end soon", slog.String("connection", r.Name.String()), slog.Time("at", lapse))
	if v.o.Publish == nil {
		return
	}
	if err := v.publish(ctx, r, event.FactConnectionExpiring); err != nil {
		v.log.LogAttrs(ctx, slog.LevelWarn, "a warning was not published", slog.String("connection", r.Name.String()), slog.Any("error", err))
	}
}
