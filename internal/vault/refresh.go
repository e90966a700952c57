package vault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/parley-chat/parley/internal/fault"
)

const (
	// breakAfter failures in a row, or breakAfter new pairs within stormWindow,
	// leave the vendor alone for a while: the second one is a loop of somebody
	// who is never content with a token.
	breakAfter  = 5
	stormWindow = time.Minute
	breakFor    = 5 * time.Minute
	// retryFirst is the pause after the first failure; it doubles.
	retryFirst = 2 * time.Second
	// lookFirst and lookMost bound the pauses of somebody who waits for another
	// process's refresh.
	lookFirst = 10 * time.Millisecond
	lookMost  = 250 * time.Millisecond
)

// refresh returns the record with a token that may be used for a while, and is
// not the refused one. Of all that ask at once, in all processes, one asks the
// vendor.
func (v *Vault) refresh(ctx context.Context, name Name, refused string) (*record, error) {
	// The one that works does so for all: it must not end with the first asker.
	results := v.flight.DoChan(name.String()+" "+NewSecret(refused).Fingerprint(), func() (any, error) {
		ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), 2*v.o.LeaseLife,
			fault.New(fault.VendorUnavailable, "no new token for %s within %s", name, 2*v.o.LeaseLife))
		defer cancel()
		return v.refreshAlone(ctx, name, refused)
	})
	select {
	case result := <-results:
		r, ok := result.Val.(*record)
		if result.Err != nil || !ok {
			return nil, result.Err
		}
		return r, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// refreshAlone is refresh for the only one in this process.
func (v *Vault) refreshAlone(ctx context.Context, name Name, refused string) (*record, error) {
	for look := lookFirst; ; look = min(2*look, lookMost) {
		r, _, err := v.load(ctx, name)
		if err != nil {
			return nil, err
		}
		if err := r.usable(); err != nil || r.fresh(v.o.Now(), refused) {
			return r, err
		}
		lease, err := v.take(ctx, name)
		if err == nil {
			defer v.release(ctx, lease)
			return v.refreshLeased(ctx, name, refused)
		}
		if !isStale(err) {
			return nil, err
		}
		if err := pause(ctx, look); err != nil {
			return nil, err
		}
	}
}

// usable returns why the connection gives no token to anybody.
func (r *record) usable() error {
	switch r.State {
	case Active, Degraded:
		return nil
	case ReauthNeeded:
		return fault.New(fault.ReauthNeeded, "the connection %s needs new consent: %s", r.Name, r.Why)
	case Revoked:
		return fault.New(fault.ConnectionRevoked, "the connection %s was revoked: %s", r.Name, r.Why)
	case Unreadable:
	}
	return fault.New(fault.SealBroken, "the connection %s is in no known state", r.Name)
}

// held is a lease of the right to ask the vendor for a new pair.
type held struct {
	key      string
	revision uint64
}

// take gets the lease, or fault.StaleFence when somebody has it. It ends by
// itself when we die.
func (v *Vault) take(ctx context.Context, name Name) (held, error) {
	// The value is new each time, so that our own earlier lease is not mistaken
	// for this one.
	revision, err := v.store.Create(ctx, name.lease(), []byte(v.owner+" "+uuid.NewString()), v.o.LeaseLife)
	return held{name.lease(), revision}, err
}

// release gives the lease back, unless it is somebody else's by now.
func (v *Vault) release(ctx context.Context, lease held) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), v.o.CallTimeout)
	defer cancel()
	if err := v.store.Remove(ctx, lease.key, lease.revision); err != nil && !isStale(err) {
		v.log.LogAttrs(ctx, slog.LevelDebug, "a lease was not given back, and ends by itself", slog.Any("error", err))
	}
}

// refreshLeased asks the vendor, unless somebody did so before us. It has no more
// time than the lease lives: what comes later would not be alone.
func (v *Vault) refreshLeased(ctx context.Context, name Name, refused string) (*record, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, v.o.LeaseLife*3/4, fault.New(fault.VendorUnavailable, "the new token for %s took too long", name))
	defer cancel()
	attempt := intent{ID: uuid.NewString(), At: v.o.Now().UTC()}
	started := false
	r, revision, err := v.change(ctx, name, func(r *record) error {
		started = false
		if err := r.usable(); err != nil {
			return err
		}
		if r.fresh(v.o.Now(), refused) {
			return errKeep
		}
		if err := v.stale(r); err != nil {
			r.become(ReauthNeeded, err.Error())
			r.Intent = nil
			return nil
		}
		if err := v.mayAsk(r); err != nil {
			return err
		}
		if r.Intent != nil { // Its owner died, or could not tell.
			attempt.Lost = r.Intent.Lost + 1
		}
		r.Intent, started = &attempt, true
		return nil
	})
	switch {
	case fault.From(err) != nil && fault.From(err).Reason == fault.RefreshPaused && r.alive(v.o.Now(), refused):
		return r, nil // It lasts a little yet.
	case err != nil:
		return nil, err
	case !started && r.State == ReauthNeeded:
		v.tell(ctx, r)
		return nil, r.usable()
	case !started:
		return r, nil
	}
	return v.askFor(ctx, r, revision)
}

// stale returns an error when the record is older than what was seen of it.
func (v *Vault) stale(r *record) error {
	highest, err := v.seen.generation(r.Name)
	if err == nil && highest > r.Generation {
		return fault.New(fault.ReauthNeeded, "the stored tokens are number %d, and number %d was given out: the store is an old copy, or a pair was lost",
			r.Generation, highest)
	}
	return nil // What cannot be read is no proof.
}

// mayAsk is the breaker.
func (v *Vault) mayAsk(r *record) error {
	now := v.o.Now()
	if wait := r.RetryAt.Sub(now); wait > 0 {
		return fault.New(fault.RefreshPaused, "the vendor of %s is left alone: %s", r.Name, r.Problem).WithAfter(wait)
	}
	if n := len(r.Recent); n >= breakAfter && now.Sub(r.Recent[n-breakAfter]) < stormWindow {
		wait := breakFor - now.Sub(r.Recent[n-1])
		if wait > 0 {
			return fault.New(fault.RefreshPaused, "%s had %d new tokens within %s", r.Name, breakAfter, stormWindow).WithAfter(wait)
		}
	}
	return nil
}

// askFor asks the vendor for the pair that the record's intent announces, and
// stores it before anybody uses it.
func (v *Vault) askFor(ctx context.Context, r *record, revision uint64) (*record, error) {
	p, err := v.provider(r.Name.Provider)
	if err != nil {
		return nil, err
	}
	if r.Client == nil || r.refresher() == "" {
		return v.gone(ctx, r, "it has no refresh token")
	}
	used := r.refresher()
	for tries := 1; ; tries++ {
		got, err := v.askRefresh(ctx, p, r.Client, used)
		if err == nil {
			return v.keep(ctx, r, revision, got)
		}
		refused, ok := errors.AsType[*vendorError](err)
		if !ok {
			return nil, err
		}
		if refused.kind != refusedGrant {
			return nil, v.failed(ctx, r, refused)
		}
		// Somebody else may have got a new pair: then ours was only late.
		now, _, err := v.load(ctx, r.Name)
		if err == nil && (now.refresher() != used || now.usable() != nil) {
			return now, now.usable()
		}
		if err != nil {
			return nil, err
		}
		if tries == 2 {
			why := "the vendor refuses the refresh token"
			if r.Intent.Lost > 0 {
				why = "a new pair of tokens was lost on its way, and the vendor refuses the old one"
			}
			return v.gone(ctx, r, why)
		}
		if err := pause(ctx, v.o.Confirm); err != nil {
			return nil, err
		}
	}
}

// keep stores the pair. Nobody has seen it yet; if it is lost, the connection
// is, so it does not end with ctx.
func (v *Vault) keep(ctx context.Context, r *record, revision uint64, got answer) (*record, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), v.o.LeaseLife)
	defer cancel()
	now, base, attempt := v.o.Now(), r.Generation, r.Intent.ID
	// Written down first: a store that does not have it later is an old one.
	if err := v.seen.add(r.Name, base+1); err != nil {
		v.log.LogAttrs(ctx, slog.LevelWarn, "how far a connection has come was not written down",
			slog.String("connection", r.Name.String()), slog.Any("error", err))
	}
	for wait := lookFirst; ; wait = min(2*wait, time.Second) {
		next := settled(r, got, now)
		_, err := v.save(ctx, next, revision)
		if err == nil {
			v.log.LogAttrs(ctx, slog.LevelInfo, "connection has a new token", slog.String("connection", r.Name.String()),
				slog.Uint64("generation", next.Generation), slog.Any("token", NewSecret(got.access)))
			v.tell(ctx, next)
			return next, nil
		}
		found, at, lost := v.load(ctx, r.Name)
		switch {
		case lost != nil: // The store is away.
		case found.Generation == base+1 && found.current() != nil && found.current().Access == got.access:
			return found, nil // It was stored, and the answer got lost.
		case found.Generation > base || found.Intent == nil || found.Intent.ID != attempt:
			return v.late(ctx, found, got)
		default: // Somebody changed something else.
			r, revision = found, at
		}
		if pause(ctx, wait) != nil {
			return nil, fmt.Errorf("storing a new pair of tokens: %w", err)
		}
	}
}

// settled returns the record with the new pair.
func settled(r *record, got answer, now time.Time) *record {
	next := *r
	next.Extra, next.Recent = maps.Clone(r.Extra), slices.Clone(r.Recent)
	got.onto(&next, now)
	next.become(Active, "")
	next.Intent, next.Failures, next.Problem, next.RetryAt = nil, 0, "", time.Time{}
	next.RefreshedAt = now.UTC()
	next.Recent = append(next.Recent, now.UTC())
	next.Recent = next.Recent[max(0, len(next.Recent)-breakAfter):]
	return &next
}

// late decides what becomes of a pair when the record went on without it: the
// newer one of the store stays. After a revocation the pair ends at the vendor,
// too.
func (v *Vault) late(ctx context.Context, r *record, got answer) (*record, error) {
	v.log.LogAttrs(ctx, slog.LevelWarn, "a new pair of tokens came too late", slog.String("connection", r.Name.String()))
	if r.State != Revoked {
		return r, r.usable()
	}
	p, err := v.provider(r.Name.Provider)
	if err != nil {
		return nil, err
	}
	if err := v.revokeThere(ctx, p, r.Client, []string{got.refresh, got.access}); err != nil {
		v.log.LogAttrs(ctx, slog.LevelError, "a revoked connection's last pair is alive at the vendor",
			slog.String("connection", r.Name.String()), slog.Any("error", err))
	}
	return nil, r.usable()
}

// failed notes an attempt that gave nothing, and returns why. The intent stays
// when nobody knows whether the vendor did it.
func (v *Vault) failed(ctx context.Context, r *record, why *vendorError) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), v.o.CallTimeout)
	defer cancel()
	attempt := r.Intent.ID
	now, _, err := v.change(ctx, r.Name, func(r *record) error {
		if r.Intent == nil || r.Intent.ID != attempt {
			return errKeep
		}
		if why.kind != unknownOutcome {
			r.Intent = nil
		}
		r.Failures++
		wait := max(retryFirst<<min(r.Failures-1, 6), why.err.After)
		if r.Failures >= breakAfter {
			wait = max(wait, breakFor)
		}
		wait += rand.N(wait/10 + 1)
		r.RetryAt, r.Problem = v.o.Now().Add(wait).UTC(), why.Error()
		if r.Failures >= 2 && r.State == Active {
			r.become(Degraded, why.Error())
		}
		return nil
	})
	if err != nil {
		v.log.LogAttrs(ctx, slog.LevelWarn, "a failed refresh was not noted", slog.String("connection", r.Name.String()), slog.Any("error", err))
		return why.err
	}
	v.tell(ctx, now)
	return fmt.Errorf("getting a new token for %s: %w", r.Name, why.err)
}

// gone notes that only a person can help, tells it, and returns why. The record
// stays.
func (v *Vault) gone(ctx context.Context, r *record, why string) (*record, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), v.o.CallTimeout)
	defer cancel()
	used := r.refresher()
	now, _, err := v.change(ctx, r.Name, func(r *record) error {
		if r.usable() != nil || r.refresher() != used {
			return errKeep
		}
		r.become(ReauthNeeded, why)
		r.Intent = nil
		return nil
	})
	if err != nil {
		return nil, err
	}
	v.tell(ctx, now)
	return now, now.usable()
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
