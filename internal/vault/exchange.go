package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/parley-chat/parley/internal/fault"
)

// answer is what an OAuth server gave.
type answer struct {
	access, refresh string
	expires         time.Time // zero when it did not say
	scopes          []string
	account         map[string]string
}

// Why a token endpoint gave nothing. They are the reasons of vendorError.
type refusal int

const (
	// unknownOutcome: nobody knows whether the server did it.
	unknownOutcome refusal = iota
	// refusedGrant: the code or the refresh token is good no more.
	refusedGrant
	// refusedClient: the client's id or secret is wrong.
	refusedClient
	// refusedRequest: the server did nothing, and would again not.
	refusedRequest
	// busy: the server did nothing, and another try is worth it.
	busy
)

// vendorError is why. Its text has nothing that the vendor wrote except for the
// name of an error: an answer may hold tokens.
type vendorError struct {
	kind refusal
	err  *fault.Error
}

func (e *vendorError) Error() string { return e.err.Error() }
func (e *vendorError) Unwrap() error { return e.err }

// errorName is the form of the names of errors in RFC 6749.
var errorName = regexp.MustCompile(`^[a-z][a-z_]{1,39}$`)

// ask gets tokens from the vendor. When the server does not take the client's
// newest secret, it is asked with the one before: a secret is rotated there and
// here at two times.
func (v *Vault) ask(ctx context.Context, p Provider, c *client, get func(ctx context.Context, o *oauth2.Config) (*oauth2.Token, error)) (answer, error) {
	secrets := c.Secrets
	if len(secrets) == 0 {
		secrets = []string{""}
	}
	var last error
	for _, secret := range secrets {
		token, err := v.askOnce(ctx, p, c, secret, get)
		if err == nil {
			return v.read(p, token)
		}
		last = err
		var refused *vendorError
		if !errors.As(err, &refused) || refused.kind != refusedClient {
			break
		}
	}
	return answer{}, last
}

func (v *Vault) askOnce(ctx context.Context, p Provider, c *client, secret string, get func(ctx context.Context, o *oauth2.Config) (*oauth2.Token, error)) (*oauth2.Token, error) {
	address, err := p.at(p.Token, c.Domain, nil)
	if err != nil {
		return nil, err
	}
	style := oauth2.AuthStyleInParams
	if p.Basic {
		style = oauth2.AuthStyleInHeader
	}
	ctx, cancel := context.WithTimeoutCause(ctx, v.o.CallTimeout, fault.New(fault.VendorUnavailable, "%s did not answer within %s", p.Title, v.o.CallTimeout))
	defer cancel()
	token, err := get(context.WithValue(ctx, oauth2.HTTPClient, v.guarded(p)), &oauth2.Config{
		ClientID: c.ID, ClientSecret: secret, RedirectURL: c.Redirect,
		Endpoint: oauth2.Endpoint{TokenURL: address, AuthStyle: style},
	})
	if err != nil {
		return nil, refuse(p, err)
	}
	return token, nil
}

// read takes what we keep from the answer.
func (v *Vault) read(p Provider, token *oauth2.Token) (answer, error) {
	const longest = 16 << 10
	if token.AccessToken == "" || len(token.AccessToken) > longest || len(token.RefreshToken) > longest {
		return answer{}, &vendorError{unknownOutcome, fault.New(fault.VendorAnswerInvalid, "the answer of %s holds no token", p.Title)}
	}
	a := answer{access: token.AccessToken, refresh: token.RefreshToken, account: map[string]string{}}
	if token.ExpiresIn > 0 { // Counted by our clock, from now: the server's may differ.
		a.expires = v.o.Now().Add(time.Duration(token.ExpiresIn) * time.Second)
	}
	if text, ok := token.Extra("scope").(string); ok {
		a.scopes = strings.Fields(strings.ReplaceAll(text, ",", " "))
	} else if list, ok := token.Extra("scopes").([]any); ok { // HubSpot's way.
		for _, scope := range list {
			if text, ok := scope.(string); ok {
				a.scopes = append(a.scopes, text)
			}
		}
	}
	slices.Sort(a.scopes)
	for _, name := range p.Account {
		switch value := token.Extra(name).(type) {
		case string:
			a.account[name] = value
		case float64:
			a.account[name] = strconv.FormatFloat(value, 'f', -1, 64)
		}
	}
	for _, address := range []string{a.account["instance_url"], a.account["api_domain"]} {
		if u, err := url.Parse(address); address != "" && (err != nil || !p.Allows(u)) {
			return answer{}, &vendorError{refusedRequest, fault.New(fault.EgressDenied, "%s names an API address that is not its own", p.Title)}
		}
	}
	return a, nil
}

// refuse classifies what the library says, and drops its text.
func refuse(p Provider, err error) error {
	retrieve, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		if cause, ok := errors.AsType[*fault.Error](err); ok { // The egress rule, or our own time.
			return &vendorError{unknownOutcome, cause}
		}
		return &vendorError{unknownOutcome, fault.New(fault.VendorUnavailable, "%s could not be asked for a token", p.Title)}
	}
	code := retrieve.ErrorCode
	if !errorName.MatchString(code) {
		code = "no name"
	}
	status := 0
	var after time.Duration
	if retrieve.Response != nil {
		status = retrieve.Response.StatusCode
		if seconds, err := strconv.Atoi(retrieve.Response.Header.Get("Retry-After")); err == nil && seconds > 0 {
			after = time.Duration(min(seconds, 3600)) * time.Second
		}
	}
	said := func(reason fault.Reason) *fault.Error {
		return fault.New(reason, "%s answered %d with the error %s", p.Title, status, code)
	}
	switch {
	case status >= 500 || status == http.StatusRequestTimeout || status == 0:
		return &vendorError{unknownOutcome, said(fault.VendorUnavailable).WithAfter(after)}
	case status == http.StatusTooManyRequests || status == http.StatusForbidden && retrieve.ErrorCode == "":
		return &vendorError{busy, said(fault.RateLimited).WithAfter(max(after, time.Second))}
	case code == "invalid_grant" && slices.ContainsFunc(p.Busy, func(begin string) bool { return strings.HasPrefix(retrieve.ErrorDescription, begin) }):
		return &vendorError{busy, said(fault.VendorUnavailable).WithAfter(time.Second)}
	case code == "invalid_grant":
		return &vendorError{refusedGrant, said(fault.ReauthNeeded)}
	case code == "invalid_client" || code == "unauthorized_client" || status == http.StatusUnauthorized:
		return &vendorError{refusedClient, said(fault.TokenRefused).
			WithFix("check the client's id and secret at the vendor; `publisher connections rotate` takes a new secret")}
	}
	return &vendorError{refusedRequest, said(fault.VendorRejects)}
}

// askRefresh gets a new pair for the refresh token.
func (v *Vault) askRefresh(ctx context.Context, p Provider, c *client, refresh string) (answer, error) {
	return v.ask(ctx, p, c, func(ctx context.Context, o *oauth2.Config) (*oauth2.Token, error) {
		return o.TokenSource(ctx, &oauth2.Token{RefreshToken: refresh}).Token()
	})
}

// askCode gets the first pair for the code.
func (v *Vault) askCode(ctx context.Context, p Provider, c *client, code, verifier string) (answer, error) {
	return v.ask(ctx, p, c, func(ctx context.Context, o *oauth2.Config) (*oauth2.Token, error) {
		if !p.PKCE {
			return o.Exchange(ctx, code)
		}
		return o.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	})
}

// pair returns the answer as a pair of the generation. A server that sends no
// refresh token means that the one before is still good.
func (a answer) pair(number uint64, now time.Time, before string) pair {
	p := pair{Number: number, Access: a.access, Refresh: a.refresh, IssuedAt: now.UTC(), ExpiresAt: a.expires.UTC()}
	if a.expires.IsZero() {
		p.ExpiresAt = time.Time{}
	}
	if p.Refresh == "" {
		p.Refresh = before
	}
	return p
}

// onto puts the answer into the record as its next generation.
func (a answer) onto(r *record, now time.Time) {
	before, refresh := time.Time{}, ""
	if old := r.current(); old != nil {
		refresh = old.Refresh
		if old.ExpiresAt.After(now) {
			before = old.ExpiresAt
		}
	}
	r.Generation++
	r.push(a.pair(r.Generation, now, refresh), before)
	if len(a.scopes) > 0 {
		r.Scopes = a.scopes
	}
	if r.Extra == nil {
		r.Extra = map[string]string{}
	}
	maps.Copy(r.Extra, a.account)
}

// vendorClient returns the client without redirects.
func vendorClient(o Options) *http.Client {
	c := *o.Client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

// guarded returns a client that asks the provider's hosts only.
func (v *Vault) guarded(p Provider) *http.Client {
	c := *v.client
	next := c.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	c.Transport = guard{p, next}
	return &c
}

// guard is a door to the hosts of one provider.
type guard struct {
	provider Provider
	next     http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (g guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if !g.provider.Allows(r.URL) {
		return nil, fault.New(fault.EgressDenied, "%s is no host of %s", r.URL.Host, g.provider.Title)
	}
	response, err := g.next.RoundTrip(r)
	if err != nil && r.Context().Err() != nil {
		return nil, context.Cause(r.Context())
	}
	return response, err
}

// revokeThere ends the pair at the vendor. A vendor that does not know the token
// any more has ended it.
func (v *Vault) revokeThere(ctx context.Context, p Provider, c *client, tokens []string) error {
	if p.Revoke == "" || c == nil {
		return nil
	}
	address, err := p.at(p.Revoke, c.Domain, nil)
	if err != nil {
		return err
	}
	for _, token := range tokens {
		if token == "" {
			continue
		}
		if err := v.revokeOne(ctx, p, c, address, token); err != nil {
			return fmt.Errorf("revoking at %s: %w", p.Title, err)
		}
	}
	return nil
}

func (v *Vault) revokeOne(ctx context.Context, p Provider, c *client, address, token string) error {
	ctx, cancel := context.WithTimeout(ctx, v.o.CallTimeout)
	defer cancel()
	secrets := c.Secrets
	if len(secrets) == 0 {
		secrets = []string{""}
	}
	status, problem := 0, ""
	for _, secret := range secrets {
		form := url.Values{"token": {token}}
		if !p.Basic {
			form.Set("client_id", c.ID)
			form.Set("client_secret", secret)
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
		if err != nil {
			return fault.New(fault.InternalError, "making the request")
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if p.Basic {
			r.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(secret))
		}
		response, err := v.guarded(p).Do(r)
		if err != nil {
			return fault.New(fault.VendorUnavailable, "%s could not be reached", p.Title)
		}
		var body struct {
			Error string `json:"error"`
		}
		_ = json.NewDecoder(io.LimitReader(response.Body, 64<<10)).Decode(&body)
		_ = response.Body.Close()
		if status, problem = response.StatusCode, body.Error; status != http.StatusUnauthorized && problem != "invalid_client" {
			break
		}
	}
	switch {
	case status/100 == 2, status == http.StatusBadRequest && (problem == "invalid_token" || problem == "invalid_grant"):
		return nil // RFC 7009: an unknown token is 200; Salesforce says 400.
	case status < http.StatusInternalServerError:
		return fault.New(fault.VendorRejects, "%s answered %d", p.Title, status)
	}
	return fault.New(fault.VendorUnavailable, "%s answered %d", p.Title, status)
}
