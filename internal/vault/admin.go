package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// PutToken stores a token that somebody made by hand; lapses is when it ends, or
// zero. An existing connection gets it as its newest version, and is active again.
func (v *Vault) PutToken(ctx context.Context, name Name, token Secret, lapses time.Time) (Connection, error) {
	name = name.Filled()
	p, err := v.provider(name.Provider)
	if err != nil {
		return Connection{}, err
	}
	if !p.ByHand() {
		return Connection{}, fault.New(fault.SchemaViolation, "tokens of %s come from its OAuth server", p.Title).
			WithFix("use `publisher connect %s`", p.Name)
	}
	return v.put(ctx, name, func(r *record, now time.Time) error {
		if err := checkToken(token); err != nil {
			return err
		}
		if r.Client != nil { // It had consent until now, of which nothing is left.
			r.Client, r.Tokens, r.Scopes, r.Extra = nil, nil, nil, nil
		}
		r.Generation = max(r.Generation, v.highest(name)) + 1
		r.push(pair{Number: r.Generation, Access: token.Reveal(), IssuedAt: now.UTC(), ExpiresAt: lapses.UTC()}, time.Time{})
		return nil
	})
}

// checkToken refuses what cannot be a token.
func checkToken(token Secret) error {
	text := token.Reveal()
	if text == "" || len(text) > 16<<10 {
		return fault.New(fault.SchemaViolation, "the token has %d characters", len(text))
	}
	for _, c := range []byte(text) {
		if c <= ' ' || c > '~' {
			return fault.New(fault.SchemaViolation, "the token has a character that no token has").WithFix("give the token alone, without quotes")
		}
	}
	return nil
}

func (v *Vault) highest(name Name) uint64 {
	highest, err := v.seen.generation(name)
	if err != nil {
		return 0
	}
	return highest
}

// put makes the connection, or renews one that there is. Its other fields stay;
// of a damaged record there are none.
func (v *Vault) put(ctx context.Context, name Name, apply func(r *record, now time.Time) error) (Connection, error) {
	if err := name.check(); err != nil {
		return Connection{}, err
	}
	for {
		r, revision, err := v.load(ctx, name)
		now := v.o.Now()
		switch {
		case err == nil:
		case fault.From(err).Reason == fault.UnknownConnection, fault.From(err).Reason == fault.SealBroken:
			r = &record{Name: name, CreatedAt: now.UTC()}
		default:
			return Connection{}, err
		}
		old := r.Tokens
		if err := apply(r, now); err != nil {
			return Connection{}, err
		}
		r.become(Active, "")
		r.Changes++ // New consent is told anew.
		r.Told, r.ConsentAt, r.UsedAt = "", now.UTC(), now.UTC()
		r.Intent, r.Failures, r.Problem, r.RetryAt, r.Recent, r.WarnedAt = nil, 0, "", time.Time{}, nil, time.Time{}
		if _, err = v.save(ctx, r, revision); isStale(err) {
			r.Tokens = old
			continue
		}
		if err != nil {
			return Connection{}, err
		}
		v.tell(ctx, r)
		return r.view(), nil
	}
}

// RotateToken makes the token the newest version of a connection whose tokens
// are made by hand. The one before stays live for the overlap: it is what
// Source.Refused gives while the vendor does not know the new one everywhere.
func (v *Vault) RotateToken(ctx context.Context, name Name, token Secret, overlap time.Duration) (Connection, error) {
	if err := checkToken(token); err != nil {
		return Connection{}, err
	}
	r, _, err := v.change(ctx, name.Filled(), func(r *record) error {
		if r.Client != nil {
			return fault.New(fault.SchemaViolation, "tokens of %s come from its OAuth server", r.Name.Provider).
				WithFix("leave the token out: then a new one is asked for")
		}
		if r.State == Revoked {
			return r.usable()
		}
		if newest := r.current(); newest != nil && newest.Access == token.Reveal() {
			return fault.New(fault.SchemaViolation, "this is the token that the connection has already")
		}
		now := v.o.Now()
		until := time.Time{}
		if overlap > 0 && r.State == Active {
			until = now.Add(overlap).UTC()
		}
		r.Generation++
		r.push(pair{Number: r.Generation, Access: token.Reveal(), IssuedAt: now.UTC()}, until)
		r.become(Active, "")
		return nil
	})
	if err != nil {
		return Connection{}, err
	}
	v.tell(ctx, r)
	return r.view(), nil
}

// RotateSecret gives the connection's OAuth client a new secret. The one before
// stays live: the vendor is asked with the new one first.
func (v *Vault) RotateSecret(ctx context.Context, name Name, secret Secret) (Connection, error) {
	if err := checkToken(secret); err != nil {
		return Connection{}, err
	}
	r, _, err := v.change(ctx, name.Filled(), func(r *record) error {
		switch {
		case r.Client == nil:
			return fault.New(fault.SchemaViolation, "the connection %s has no OAuth client", r.Name)
		case len(r.Client.Secrets) > 0 && r.Client.Secrets[0] == secret.Reveal():
			return errKeep
		}
		r.Client.Secrets = append([]string{secret.Reveal()}, r.Client.Secrets[:min(1, len(r.Client.Secrets))]...)
		r.RetryAt, r.Failures = time.Time{}, 0
		return nil
	})
	if err != nil {
		return Connection{}, err
	}
	return r.view(), nil
}

// Rotate gets a new token from the vendor, though the present one is still good.
func (v *Vault) Rotate(ctx context.Context, name Name) (Connection, error) {
	r, _, err := v.load(ctx, name.Filled())
	if err != nil {
		return Connection{}, err
	}
	if r.Client == nil {
		return Connection{}, fault.New(fault.SchemaViolation, "tokens of %s are made by hand", r.Name.Provider).
			WithFix("give the new token: `publisher connections rotate %s --token -`", r.Name)
	}
	present := ""
	if p := r.current(); p != nil {
		present = p.Access
	}
	if r, err = v.refresh(ctx, r.Name, present); err != nil {
		return Connection{}, err
	}
	return r.view(), nil
}

// Revoke ends the connection: here at once, in every process whose Run runs, and
// at the vendor. When the vendor cannot be reached the connection is revoked
// here, the error says so, and Run tries again.
func (v *Vault) Revoke(ctx context.Context, name Name, why string) (Connection, error) {
	r, _, err := v.change(ctx, name.Filled(), func(r *record) error {
		if r.State == Revoked {
			return errKeep
		}
		r.become(Revoked, why)
		r.Intent = nil
		return nil
	})
	if err != nil {
		return Connection{}, err
	}
	v.end(r.Name, r.usable())
	v.tell(ctx, r)
	return v.finishRevoke(ctx, r)
}

// finishRevoke ends the tokens at the vendor, and forgets them.
func (v *Vault) finishRevoke(ctx context.Context, r *record) (Connection, error) {
	p, err := v.provider(r.Name.Provider)
	if err != nil {
		return r.view(), err
	}
	var tokens []string
	if newest := r.current(); newest != nil {
		tokens = append(tokens, newest.Refresh)
	}
	for _, pair := range r.Tokens {
		tokens = append(tokens, pair.Access)
	}
	if err := v.revokeThere(ctx, p, r.Client, tokens); err != nil {
		return r.view(), fmt.Errorf("the connection is revoked here, and not yet at the vendor: %w", err)
	}
	now, _, err := v.change(ctx, r.Name, func(now *record) error {
		if now.State != Revoked || len(now.Tokens) == 0 || now.Generation != r.Generation {
			return errKeep
		}
		now.Tokens = nil
		if now.Client != nil {
			now.Client.Secrets = nil
		}
		return nil
	})
	if err != nil {
		return r.view(), err
	}
	return now.view(), nil
}

// Health is what a probe saw.
type Health struct {
	OK     bool          `json:"ok"`
	Status int           `json:"status,omitempty"`
	Took   time.Duration `json:"took"`
	// Detail is why it is not well.
	Detail string `json:"detail,omitempty"`
	// Missing are the scopes that we need and the account does not grant.
	Missing []string `json:"missing,omitempty"`
	// NoSetup are the scopes without which we cannot make our own fields there.
	// Whoever has made them needs those no more.
	NoSetup []string `json:"no_setup,omitempty"`
}

// Probe asks the vendor for something harmless with the connection's token.
func (v *Vault) Probe(ctx context.Context, name Name) (Health, error) {
	s := v.Source(name)
	p, err := v.provider(s.name.Provider)
	if err != nil {
		return Health{}, err
	}
	r, _, err := v.load(ctx, s.name)
	if err != nil {
		return Health{}, err
	}
	if known, err := v.Inspect(ctx, s.name); err == nil && len(known.Scopes) > 0 {
		r.Scopes = known.Scopes
	}
	h := Health{Missing: missing(p.Scopes, r), NoSetup: missing(p.Setup, r)}
	domain := ""
	if r.Client != nil {
		domain = r.Client.Domain
	}
	began := time.Now()
	err = s.Do(ctx, func(ctx context.Context, t Token) error {
		status, err := v.probe(ctx, p, domain, t)
		h.Status = status
		return err
	})
	h.Took = time.Since(began)
	if err != nil {
		h.Detail = err.Error()
		return h, err
	}
	h.OK = len(h.Missing) == 0
	if !h.OK {
		h.Detail = "the account does not grant all scopes: connect it again"
	}
	return h, nil
}

// missing returns the scopes that the vendor said that it does not give.
func missing(wanted []string, r *record) []string {
	if len(r.Scopes) == 0 {
		return nil // It did not say.
	}
	given := map[string]bool{}
	for _, scope := range r.Scopes {
		given[scope] = true
	}
	var none []string
	for _, scope := range wanted {
		if !given[scope] && !implied(scope, r, given) {
			none = append(none, scope)
		}
	}
	return none
}

// implied reports whether the scope is there under another name, or is of OAuth
// only while the token was made by hand.
func implied(scope string, r *record, given map[string]bool) bool {
	return scope == "refresh_token" && given["offline_access"] || scope == "oauth" && r.Client == nil
}

func (v *Vault) probe(ctx context.Context, p Provider, domain string, t Token) (int, error) {
	address, err := p.at(p.Probe, domain, t.Account)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, v.o.CallTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, fault.New(fault.InternalError, "making the request")
	}
	t.Authorize(request.Header)
	response, err := v.guarded(p).Do(request)
	if err != nil {
		return 0, fault.New(fault.VendorUnavailable, "%s could not be reached", p.Title)
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, judge(p, response.StatusCode)
}

// putOAuth stores what the vendor's OAuth server gave for the consent.
func (v *Vault) putOAuth(ctx context.Context, name Name, c *client, got answer) (Connection, error) {
	var before *record
	connection, err := v.put(ctx, name, func(r *record, now time.Time) error {
		copied := *r
		before = &copied
		r.Generation = max(r.Generation, v.highest(name))
		r.Tokens, r.Extra, r.Scopes = nil, nil, nil
		r.Client = c
		got.onto(r, now)
		if r.refresher() == "" {
			return fault.New(fault.ConsentFailed, "the vendor gave no refresh token").WithFix("allow offline access in the vendor's settings of the app")
		}
		return nil
	})
	if err != nil {
		// Nobody will ever use it.
		p, unknown := v.provider(name.Provider)
		if unknown == nil {
			err = errors.Join(err, v.revokeThere(ctx, p, c, []string{got.refresh, got.access}))
		}
		return Connection{}, err
	}
	if old := before.refresher(); old != "" && before.State != Revoked && !maps.Equal(before.Extra, got.account) {
		v.log.LogAttrs(ctx, slog.LevelInfo, "the connection leads to another account now", slog.String("connection", name.String()))
	}
	return connection, nil
}
