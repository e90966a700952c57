package pipedrive

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// making is the creation of one record, so that there is one.
type making struct {
	// key names it in the store.
	key string
	// lately returns the ids of the records of the key that were made since then.
	lately func(ctx context.Context, since time.Time) ([]string, error)
	// ever returns the ids of the records of the key, as far as the index of the
	// search is.
	ever func(ctx context.Context) ([]string, error)
	// create makes it.
	create func(ctx context.Context) (string, error)
	// unite, if set, merges a record that is there once more into the other one.
	unite func(ctx context.Context, from, into string) error
}

// waits is why one item has to wait, while the account is well.
type waits struct{ err *fault.Error }

// Error implements error.
func (w *waits) Error() string { return w.err.Error() }

// Unwrap returns what it is in the words of fault.
func (w *waits) Unwrap() error { return w.err }

// wait returns an error that lets one item wait.
func wait(what string, d time.Duration) error {
	return &waits{fault.New(fault.VendorUnavailable, "%s", what).WithFix("nothing to do: it comes again").WithAfter(d)}
}

// looking says that a creation may still turn up.
const looking = "an earlier attempt was not answered, and is looked for until nobody can expect it any more"

// make makes the record, unless it is there. Before it begins it stores that it
// does, so that whoever comes after a crash knows. A record that was perhaps made
// is looked for: at once, and again when it cannot turn up any more; only then it
// is made again. The second value says that it was made now.
func (c *Connector) make(ctx context.Context, m making, e Entry, unsure bool) (Entry, bool, error) {
	now := c.o.Now()
	if e.Making.IsZero() && unsure {
		// Somebody tried, and what was stored of it is lost.
		e.Making = now.Add(-time.Hour)
		if found, err := c.seek(ctx, m, &e, true); err != nil || found {
			return e, false, err
		}
		e.Making = now
		if _, err := c.put(ctx, m.key, e); err != nil {
			return e, false, err
		}
		return e, false, wait(looking, c.o.Settle)
	}
	if !e.Making.IsZero() {
		last := e.Making.Add(c.o.Settle)
		if found, err := c.seek(ctx, m, &e, !now.Before(last)); err != nil || found {
			return e, false, err
		}
		if now.Before(last) {
			return e, false, wait(looking, last.Sub(now))
		}
		e.Suspect = true
		c.count.again.Add(1)
	}
	e.Making = now
	e, err := c.put(ctx, m.key, e)
	if err != nil {
		return e, false, err
	}
	id, err := m.create(ctx)
	if err != nil {
		if !isReason(err, fault.EffectUnknown) {
			// It was not made, and nobody has to look for it.
			e.Making = time.Time{}
			if _, cleared := c.put(ctx, m.key, e); cleared != nil {
				return e, false, errors.Join(err, cleared)
			}
		}
		return e, false, err
	}
	c.count.made.Add(1)
	e.ID, e.Making = id, time.Time{}
	return c.kept(ctx, m.key, e), true, nil
}

// seek looks for the record, and takes the oldest one that it finds.
func (c *Connector) seek(ctx context.Context, m making, e *Entry, thoroughly bool) (bool, error) {
	ids, err := m.lately(ctx, e.Making.Add(-time.Minute))
	if err == nil && len(ids) == 0 && thoroughly {
		ids, err = m.ever(ctx)
	}
	if err != nil || len(ids) == 0 {
		return false, err
	}
	c.count.found.Add(1)
	if err := c.again(ctx, m, ids); err != nil {
		return false, err
	}
	e.ID, e.Making = ids[0], time.Time{}
	*e = c.kept(ctx, m.key, *e)
	return true, nil
}

// suspect looks once whether a record that was made again is there twice.
func (c *Connector) suspect(ctx context.Context, m making, e Entry) (Entry, error) {
	ids, err := m.ever(ctx)
	if err != nil {
		return e, err
	}
	if at := slices.Index(ids, e.ID); at > 0 {
		ids[0], ids[at] = ids[at], ids[0] // The engine knows this one.
	}
	if err := c.again(ctx, m, ids); err != nil {
		return e, err
	}
	e.Suspect = false
	return c.kept(ctx, m.key, e), nil
}

// put stores the entry. Two who make one record at the same time stop here.
func (c *Connector) put(ctx context.Context, key string, e Entry) (Entry, error) {
	next, err := c.ids.Put(ctx, key, e)
	if isReason(err, fault.StaleFence) {
		return e, wait("another one is making the record", afterBurst)
	}
	return next, err //nolint:wrapcheck // It says all.
}

// kept stores an id that is known. When it cannot be, it is found again: the
// engine has it, and so has the record.
func (c *Connector) kept(ctx context.Context, key string, e Entry) Entry {
	if next, err := c.put(ctx, key, e); err == nil {
		return next
	}
	return e
}

// twice counts the records that are there beside the first one.
func (c *Connector) twice(ids []string) {
	for range ids[min(1, len(ids)):] {
		c.count.twice.Add(1)
	}
}
