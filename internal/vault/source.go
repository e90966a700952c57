package vault

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// usedEvery is how often the use of a connection is noted.
const usedEvery = 12 * time.Hour

// Source gives the tokens of one connection. It holds none: each call reads the
// store. Its methods may be called from many goroutines.
type Source struct {
	vault *Vault
	name  Name
}

// Source returns the tokens of the connection, which need not exist yet.
func (v *Vault) Source(name Name) *Source { return &Source{v, name.Filled()} }

// Name returns the name of the connection.
func (s *Source) Name() Name { return s.name }

// Token is one version of a connection's token. It prints its fingerprint.
type Token struct {
	// Secret is what the vendor takes as a bearer token.
	Secret Secret
	// ExpiresAt is zero when nobody said.
	ExpiresAt time.Time
	// Generation counts the connection's tokens.
	Generation uint64
	// Account says whose account it is, and where its API lies: instance_url of
	// Salesforce, api_domain of Pipedrive.
	Account map[string]string
}

// Authorize puts the token into the header of a request.
func (t Token) Authorize(h http.Header) { h.Set("Authorization", "Bearer "+t.Secret.Reveal()) }

// use is one use of a token that is under way.
type use struct{ cancel context.CancelCauseFunc }

// Token returns a token that is good for a while, and a context for the calls
// that use it: it ends as soon as the connection is revoked, here or on another
// machine, as long as Run runs. The last value ends the use; it must be called.
func (s *Source) Token(ctx context.Context) (context.Context, Token, func(), error) {
	ctx, end := s.vault.begin(ctx, s.name)
	// Only now, so that a revocation is seen by the one or by the other.
	r, err := s.vault.good(ctx, s.name, "")
	if err != nil {
		end()
		return nil, Token{}, nil, err
	}
	return ctx, r.token(0), end, nil
}

// Refused says that the vendor did not take the token, and returns another one:
// the version before, when two are live, or a new one. When there is none the
// connection needs new consent.
func (s *Source) Refused(ctx context.Context, t Token) (Token, error) {
	r, _, err := s.vault.load(ctx, s.name)
	if err != nil {
		return Token{}, err
	}
	if err := r.usable(); err != nil {
		return Token{}, err
	}
	if older, ok := r.older(s.vault.o.Now(), t.Secret.Reveal()); ok {
		return r.token(older), nil
	}
	if r.Client == nil {
		if newest := r.current(); newest != nil && newest.Access != t.Secret.Reveal() && newest.Number > t.Generation {
			return r.token(0), nil
		}
		_, err := s.vault.gone(ctx, r, "the vendor refuses the token")
		return Token{}, err
	}
	if r, err = s.vault.refresh(ctx, s.name, t.Secret.Reveal()); err != nil {
		return Token{}, err
	}
	return r.token(0), nil
}

// Do calls the function with a token. When it returns fault.TokenRefused it is
// called once more, with another token. Its context ends when the connection is
// revoked, with fault.ConnectionRevoked as the cause.
func (s *Source) Do(ctx context.Context, call func(ctx context.Context, t Token) error) error {
	ctx, t, end, err := s.Token(ctx)
	if err != nil {
		return err
	}
	defer end()
	err = call(ctx, t)
	if !errors.Is(err, fault.New(fault.TokenRefused, "")) {
		return s.because(ctx, err)
	}
	again, refused := s.Refused(ctx, t)
	if refused != nil {
		return refused
	}
	return s.because(ctx, call(ctx, again))
}

// because returns the revocation as the error of a call that it ended.
func (s *Source) because(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), fault.New(fault.ConnectionRevoked, "")) {
		return context.Cause(ctx)
	}
	return err
}

// good returns the record when its token is good for a while.
func (v *Vault) good(ctx context.Context, name Name, refused string) (*record, error) {
	r, _, err := v.load(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := r.usable(); err != nil {
		return nil, err
	}
	if !r.fresh(v.o.Now(), refused) {
		if r.Client == nil {
			return v.gone(ctx, r, "the token has expired")
		}
		if r, err = v.refresh(ctx, name, refused); err != nil {
			return nil, err
		}
	}
	v.used(ctx, r)
	return r, nil
}

// used notes that the connection is in use, now and then.
func (v *Vault) used(ctx context.Context, r *record) {
	now := v.o.Now()
	if now.Sub(r.UsedAt) < usedEvery {
		return
	}
	_, _, err := v.change(ctx, r.Name, func(r *record) error {
		if r.usable() != nil || now.Sub(r.UsedAt) < usedEvery {
			return errKeep
		}
		r.UsedAt = now.UTC()
		return nil
	})
	if err != nil {
		v.log.LogAttrs(ctx, slog.LevelDebug, "the use of a connection was not noted", slog.Any("error", err))
	}
}

// token returns the version: 0 is the newest one.
func (r *record) token(i int) Token {
	p := r.Tokens[i]
	return Token{Secret: NewSecret(p.Access), ExpiresAt: p.ExpiresAt, Generation: p.Number, Account: maps.Clone(r.Extra)}
}

// older returns the version before the refused one, while it is live. It is for
// tokens made by hand: a new one may reach the vendor's servers late.
func (r *record) older(now time.Time, refused string) (int, bool) {
	if r.Client != nil || len(r.Tokens) < 2 || r.Tokens[0].Access != refused {
		return 0, false
	}
	return 1, now.Before(r.Tokens[1].Until)
}

// begin notes a use. The returned function ends it, as the end of ctx does.
func (v *Vault) begin(ctx context.Context, name Name) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	u := &use{cancel}
	v.mu.Lock()
	if v.uses[name] == nil {
		v.uses[name] = map[*use]struct{}{}
	}
	v.uses[name][u] = struct{}{}
	v.mu.Unlock()
	forget := func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.uses[name], u)
		if len(v.uses[name]) == 0 {
			delete(v.uses, name)
		}
	}
	context.AfterFunc(ctx, forget)
	return ctx, func() { cancel(nil) }
}

// end cancels every use of the connection.
func (v *Vault) end(name Name, cause error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for u := range v.uses[name] {
		u.cancel(cause)
	}
}

// inUse returns the connections whose tokens are in use now.
func (v *Vault) inUse() []Name {
	v.mu.Lock()
	defer v.mu.Unlock()
	names := make([]Name, 0, len(v.uses))
	for name := range v.uses {
		names = append(names, name)
	}
	return names
}
