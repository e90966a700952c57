package vault

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/parley-chat/parley/internal/event"
)

// source is the CloudEvents source of the vault's facts.
const source = "/parley/vault"

// factOf returns the fact that a state is told with.
func factOf(state State) string {
	switch state {
	case Active:
		return event.FactConnectionActive
	case Degraded, Unreadable:
		return event.FactConnectionDegraded
	case ReauthNeeded:
		return event.FactConnectionReauth
	case Revoked:
		return event.FactConnectionRevoked
	}
	return event.FactConnectionDegraded
}

// tell publishes the state of the record if nobody has, and notes that. When it
// fails, or the process dies, Run tells later: the fact's id stays the same.
func (v *Vault) tell(ctx context.Context, r *record) {
	if v.o.Publish == nil || r.Told == r.State {
		return
	}
	state, stamp := r.State, r.stamp()
	if err := v.publish(ctx, r, factOf(state)); err != nil {
		v.log.LogAttrs(ctx, slog.LevelWarn, "a connection's state was not published",
			slog.String("connection", r.Name.String()), slog.String("state", string(state)), slog.Any("error", err))
		return
	}
	_, _, err := v.change(ctx, r.Name, func(now *record) error {
		if now.State != state || now.stamp() != stamp || now.Told == state {
			return errKeep
		}
		now.Told = state
		return nil
	})
	if err != nil {
		v.log.LogAttrs(ctx, slog.LevelDebug, "that a state was published was not noted",
			slog.String("connection", r.Name.String()), slog.Any("error", err))
	}
}

// stamp names the term of the state: the same state later is another one.
func (r *record) stamp() string {
	return fmt.Sprintf("%d-%d-%d", r.Generation, r.Changes, r.ConsentAt.UnixMilli())
}

func (v *Vault) publish(ctx context.Context, r *record, fact string) error {
	changed := event.ConnectionChanged{
		Tenant: r.Name.Tenant, Environment: r.Name.Environment, Provider: r.Name.Provider, Site: r.Name.Site,
		Principal: r.Name.Principal, State: string(r.State), Why: r.Why, Generation: r.Generation, At: v.o.Now().UTC(),
	}
	if lapse := v.lapse(r); !lapse.IsZero() {
		changed.ExpiresAt = &lapse
	}
	e, err := event.New(source, event.FactType(event.ProviderVault, fact), r.Name.String(), changed)
	if err != nil {
		return fmt.Errorf("making a fact: %w", err)
	}
	e.ID = r.Name.String() + "-" + r.stamp() + "-" + fact
	if fact == event.FactConnectionExpiring {
		e.ID += "-" + r.WarnedAt.UTC().Format("20060102")
	}
	return v.o.Publish(ctx, event.ConnectionSubject(fact, r.Name.Site), e)
}

// become changes the state of the record, which the caller stores.
func (r *record) become(state State, why string) {
	if r.State != state {
		r.Changes++
	}
	r.State, r.Why = state, why
}
