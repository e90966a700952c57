package vault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/parley-chat/parley/internal/fault"
)

// TestMargin: how long before its end a token is replaced.
func TestMargin(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		life, least, most time.Duration
	}{
		{time.Hour, 6 * time.Minute, 7 * time.Minute},
		{30 * time.Minute, 3 * time.Minute, 4 * time.Minute},
		{5 * time.Minute, time.Minute, 2 * time.Minute},
		{time.Minute, 30 * time.Second, 30 * time.Second}, // Never more than half of its life.
		{time.Second, 500 * time.Millisecond, 500 * time.Millisecond},
	} {
		seen := map[time.Duration]bool{}
		for number := range uint64(20) {
			p := pair{Number: number, IssuedAt: at, ExpiresAt: at.Add(test.life)}
			margin := p.margin()
			if margin < test.least || margin > test.most {
				t.Errorf("a life of %s, number %d: %s", test.life, number, margin)
			}
			seen[margin] = true
			r := record{Tokens: []pair{{Number: number, Access: "a", IssuedAt: at, ExpiresAt: p.ExpiresAt}}}
			if !r.fresh(p.ExpiresAt.Add(-margin-time.Nanosecond), "") || r.fresh(p.ExpiresAt.Add(-margin), "") {
				t.Errorf("a life of %s: it is replaced at another time", test.life)
			}
			if !r.alive(p.ExpiresAt.Add(-time.Nanosecond), "") || r.alive(p.ExpiresAt, "") || r.alive(at, "a") || r.fresh(at, "a") {
				t.Errorf("a life of %s: it is alive at another time", test.life)
			}
		}
		if test.least != test.most && len(seen) < 5 {
			t.Errorf("a life of %s: %d margins, want a spread", test.life, len(seen))
		}
	}
	if (&record{}).fresh(at, "") || (&record{}).alive(at, "") {
		t.Error("no token is fresh")
	}
	if endless := (&record{Tokens: []pair{{Access: "a"}}}); !endless.fresh(at, "") {
		t.Error("a token without an end is not fresh")
	}
}

// TestVersions: at most two are live, and one refresh token.
func TestVersions(t *testing.T) {
	t.Parallel()
	r := &record{}
	until := time.Now().Add(time.Hour)
	for n := range uint64(5) {
		r.push(pair{Number: n, Access: fmt.Sprint("a", n), Refresh: fmt.Sprint("r", n)}, until)
	}
	if len(r.Tokens) != 2 || r.Tokens[0].Access != "a4" || r.Tokens[1].Access != "a3" || r.Tokens[1].Refresh != "" || r.Tokens[1].Until != until {
		t.Errorf("the versions are %d", len(r.Tokens))
	}
	r.push(pair{Access: "a5"}, time.Time{})
	if len(r.Tokens) != 1 || r.refresher() != "" {
		t.Errorf("without an overlap there are %d", len(r.Tokens))
	}
}

// TestWhereTokensMayGo: to the vendor's own hosts, over TLS.
func TestWhereTokensMayGo(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ yes, no []string }{
		"hubspot": {
			[]string{"https://api.hubapi.com/crm", "https://API.hubapi.com/", "https://api.hubapi.com:443/"},
			[]string{"http://api.hubapi.com/", "https://hubapi.com/", "https://api.hubapi.com.evil.example/", "https://user@api.hubapi.com/", "https://evil.example/api.hubapi.com", "//api.hubapi.com", ""},
		},
		"salesforce": {
			[]string{"https://login.salesforce.com/", "https://demo.my.salesforce.com/", "https://a--b.sandbox.my.salesforce.com/"},
			[]string{"https://my.salesforce.com/", "https://evilmy.salesforce.com/", "https://demo.my.salesforce.com.evil.example/", "https://salesforce.com/"},
		},
		"pipedrive": {
			[]string{"https://demo.pipedrive.com/api/v2", "https://oauth.pipedrive.com/"},
			[]string{"https://pipedrive.com.evil.example/", "https://evilpipedrive.com/", "http://demo.pipedrive.com/"},
		},
		"botstar": {[]string{"https://apis.botstar.com/v1/bots"}, []string{"https://widget.botstar.com/"}},
	} {
		p := providers(t)[name]
		for want, addresses := range map[bool][]string{true: test.yes, false: test.no} {
			for _, address := range addresses {
				u, err := url.Parse(address)
				if err != nil {
					t.Fatal(err)
				}
				if p.Allows(u) != want {
					t.Errorf("%s: %s is allowed: %t", name, address, !want)
				}
			}
		}
		for _, address := range []string{p.Authorize, p.Token, p.Revoke, p.Probe} {
			if address == "" || address == p.Authorize {
				continue // The person's browser goes there, and no token.
			}
			account := map[string]string{"api_domain": "https://demo.pipedrive.com/"}
			if at, err := p.at(address, "", account); err != nil || strings.Contains(at, "{") || strings.Contains(at, ".com//") {
				t.Errorf("%s: %s became %s: %v", name, address, at, err)
			}
		}
	}
	for _, domain := range []string{"evil.example", "evil.example/x.my.salesforce.com", "evil.example#.my.salesforce.com", "a@evil.example", "x.my.salesforce.com@evil.example"} {
		if at, err := providers(t)["salesforce"].at(providers(t)["salesforce"].Token, domain, nil); err == nil {
			t.Errorf("%s leads to %s", domain, at)
		}
	}
}

func providers(t *testing.T) map[string]Provider {
	t.Helper()
	all := map[string]Provider{}
	for _, p := range Providers() {
		all[p.Name] = p
	}
	return all
}

// TestGuard: a request to elsewhere does not leave.
func TestGuard(t *testing.T) {
	t.Parallel()
	left := false
	g := guard{providers(t)["hubspot"], round(func(*http.Request) (*http.Response, error) {
		left = true
		return nil, errors.New("it left")
	})}
	for address, want := range map[string]bool{"https://api.hubapi.com/": true, "https://evil.example/": false, "http://api.hubapi.com/": false} {
		left = false
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := g.RoundTrip(r)
		if err == nil {
			_ = response.Body.Close()
		}
		if left != want || !want && fault.From(err).Reason != fault.EgressDenied {
			t.Errorf("%s: left %t, %v", address, left, err)
		}
	}
}

type round func(*http.Request) (*http.Response, error)

func (f round) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestRefuse: what an answer of a token endpoint means, and that nothing of its
// body is passed on.
func TestRefuse(t *testing.T) {
	t.Parallel()
	const canary = "acc-canary"
	answer := func(status int, code, text string, header ...string) error {
		h := http.Header{}
		for i := 0; i+1 < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		return &oauth2.RetrieveError{Response: &http.Response{StatusCode: status, Header: h}, Body: []byte(canary), ErrorCode: code, ErrorDescription: text + canary, ErrorURI: canary}
	}
	for what, test := range map[string]struct {
		provider string
		err      error
		kind     refusal
		reason   fault.Reason
		after    time.Duration
	}{
		"the grant ended":       {"hubspot", answer(400, "invalid_grant", "gone"), refusedGrant, fault.ReauthNeeded, 0},
		"the grant ended, 401":  {"hubspot", answer(401, "invalid_grant", "gone"), refusedGrant, fault.ReauthNeeded, 0},
		"later":                 {"salesforce", answer(400, "invalid_grant", "token request is already being processed"), busy, fault.VendorUnavailable, time.Second},
		"later, of another one": {"hubspot", answer(400, "invalid_grant", "token request is already being processed"), refusedGrant, fault.ReauthNeeded, 0},
		"the client":            {"hubspot", answer(401, "invalid_client", ""), refusedClient, fault.TokenRefused, 0},
		"the client, unnamed":   {"hubspot", answer(401, "", ""), refusedClient, fault.TokenRefused, 0},
		"the client, 400":       {"salesforce", answer(400, "invalid_client", ""), refusedClient, fault.TokenRefused, 0},
		"the request":           {"hubspot", answer(400, "invalid_scope", ""), refusedRequest, fault.VendorRejects, 0},
		"a name that is a text": {"hubspot", answer(400, canary+" <b>", ""), refusedRequest, fault.VendorRejects, 0},
		"too many":              {"hubspot", answer(429, "", "", "Retry-After", "7"), busy, fault.RateLimited, 7 * time.Second},
		"too many, for a year":  {"hubspot", answer(429, "", "", "Retry-After", "31536000"), busy, fault.RateLimited, time.Hour},
		"a firewall":            {"pipedrive", answer(403, "", ""), busy, fault.RateLimited, time.Second},
		"an internal error":     {"hubspot", answer(503, "", "", "Retry-After", "3"), unknownOutcome, fault.VendorUnavailable, 3 * time.Second},
		"an error with 200":     {"hubspot", answer(200, "invalid_grant", ""), refusedGrant, fault.ReauthNeeded, 0},
		"no answer":             {"hubspot", errors.New("reading " + canary), unknownOutcome, fault.VendorUnavailable, 0},
		"too late":              {"hubspot", fmt.Errorf("asking: %w", fault.New(fault.VendorUnavailable, "late")), unknownOutcome, fault.VendorUnavailable, 0},
	} {
		refused, ok := errors.AsType[*vendorError](refuse(providers(t)[test.provider], test.err))
		if !ok {
			t.Fatalf("%s is not classified", what)
		}
		if refused.kind != test.kind || refused.err.Reason != test.reason || refused.err.After != test.after {
			t.Errorf("%s: kind %d, reason %s, after %s", what, refused.kind, refused.err.Reason, refused.err.After)
		}
		if text := fmt.Sprintf("%v %+v %#v", refused, refused.err, refused.err); strings.Contains(text, canary) {
			t.Errorf("%s: something of the answer is passed on: %s", what, text)
		}
	}
}

// TestNamesAreApart: no two names have the same key, or are sealed as the same.
func TestNamesAreApart(t *testing.T) {
	t.Parallel()
	words := []string{"a", "b", "ab", "a-b", "-", "main", "a-", "1"}
	word := func() string { return words[rand.N(len(words))] }
	keys, abouts := map[string]Name{}, map[string]Name{}
	for range 5000 {
		n := Name{word(), word(), word(), word(), word()}
		if other, ok := keys[n.key()]; ok && other != n {
			t.Fatalf("%s and %s have the key %s", n, other, n.key())
		}
		if other, ok := abouts[string(n.about())]; ok && other != n {
			t.Fatalf("%s and %s are sealed as the same", n, other)
		}
		keys[n.key()], abouts[string(n.about())] = n, n
		if got, err := nameOf(n.key()); n.check() == nil && (err != nil || got != n) {
			t.Fatalf("%s was read as %s: %v", n, got, err)
		}
		if n.lease() == n.key() || !n.Fits(Name{}) || !n.Fits(n) || n.Fits(Name{Tenant: n.Tenant + "x"}) {
			t.Fatalf("%s does not fit itself", n)
		}
	}
	for _, bad := range []string{"", "a", "a/b/c/d", "a/b/c/d/e/f", "A/b/c/d/e", "a/b/../d/e", "a/b/c d/d/e", "a/b/c.d/d/e", "a/b/*/d/e", "a/b/>/d/e"} {
		if n, err := ParseName(bad); err == nil {
			t.Errorf("%q was read as %s", bad, n)
		}
	}
}

// TestSeenIsShared: several processes write one file, and none takes back what
// another one wrote.
func TestSeenIsShared(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "below", "seen")
	const writers, each = 4, 25
	var all sync.WaitGroup
	for w := range writers {
		s, err := openSeen(file)
		if err != nil {
			t.Fatal(err)
		}
		s.of("store")
		all.Go(func() {
			for n := range uint64(each) {
				for _, name := range []Name{{Provider: "shared"}, {Provider: fmt.Sprint("own", w)}} {
					if err := s.add(name, n+1); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	s, err := openSeen(file)
	if err != nil {
		t.Fatal(err)
	}
	s.of("store")
	for _, provider := range []string{"shared", "own0", "own1", "own2", "own3"} {
		if n, err := s.generation(Name{Provider: provider}); err != nil || n != each {
			t.Errorf("%s has come to %d: %v", provider, n, err)
		}
	}
	if err := s.add(Name{Provider: "shared"}, 3); err != nil {
		t.Fatal(err)
	}
	if n, _ := s.generation(Name{Provider: "shared"}); n != each {
		t.Errorf("it was taken back to %d", n)
	}
	s.of("another store")
	if n, _ := s.generation(Name{Provider: "shared"}); n != 0 {
		t.Errorf("another store has come to %d", n)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(file, []byte("{torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openSeen(file); fault.From(err).Reason != fault.BadConfig {
		t.Errorf("a damaged file: %v", err)
	}
}

// TestBreakerRules: when the vendor may be asked, and how long not.
func TestBreakerRules(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	v := &Vault{log: slog.New(slog.DiscardHandler), o: Options{Now: func() time.Time { return now }}.filled()}
	ago := func(times ...time.Duration) []time.Time {
		var all []time.Time
		for _, d := range times {
			all = append(all, now.Add(-d))
		}
		return all
	}
	const s, m = time.Second, time.Minute
	for what, test := range map[string]struct {
		r    record
		wait time.Duration
	}{
		"nothing happened":           {record{}, 0},
		"four within a minute":       {record{Recent: ago(40*s, 30*s, 20*s, 10*s)}, 0},
		"five within a minute":       {record{Recent: ago(50*s, 40*s, 30*s, 20*s, 10*s)}, 290 * s},
		"five within two minutes":    {record{Recent: ago(110*s, 40*s, 30*s, 20*s, 10*s)}, 0},
		"a storm that is over":       {record{Recent: ago(5*m+50*s, 5*m+40*s, 5*m+30*s, 5*m+20*s, 5*m+10*s)}, 0},
		"the pause has not ended":    {record{RetryAt: now.Add(7 * s)}, 7 * s},
		"the pause has ended":        {record{RetryAt: now}, 0},
		"older ones do not count on": {record{Recent: ago(9*m, 8*m, 7*m, 6*m, 5*m, 50*s)}, 0},
	} {
		err := v.mayAsk(&test.r)
		if test.wait == 0 && err != nil || test.wait > 0 && (fault.From(err) == nil || fault.From(err).After != test.wait) {
			t.Errorf("%s: %v, want a wait of %s", what, err, test.wait)
		}
	}
}

// TestMissingScopes: what was asked for and not given; silence means yes.
func TestMissingScopes(t *testing.T) {
	t.Parallel()
	oauth := &client{ID: "x"}
	for what, test := range map[string]struct {
		r    record
		want []string
	}{
		"all":             {record{Client: oauth, Scopes: []string{"a", "refresh_token"}}, nil},
		"another word":    {record{Client: oauth, Scopes: []string{"a", "offline_access"}}, nil},
		"one is missing":  {record{Client: oauth, Scopes: []string{"refresh_token"}}, []string{"a"}},
		"all are missing": {record{Client: oauth, Scopes: []string{"b"}}, []string{"a", "refresh_token"}},
		"it did not say":  {record{Client: oauth}, nil},
		"made by hand":    {record{}, nil},
		"by hand, told":   {record{Scopes: []string{"b"}}, []string{"a", "refresh_token"}},
	} {
		if got := missing([]string{"a", "refresh_token"}, &test.r); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", what, got, test.want)
		}
	}
}

// TestScopesOfTokensByHand: the scope of OAuth itself is none of theirs.
func TestScopesOfTokensByHand(t *testing.T) {
	t.Parallel()
	wanted := []string{"a", "oauth"}
	if got := missing(wanted, &record{Scopes: []string{"a"}}); got != nil {
		t.Errorf("of a token by hand %v are missing", got)
	}
	if got := missing(wanted, &record{Client: &client{ID: "x"}, Scopes: []string{"a"}}); !slices.Equal(got, []string{"oauth"}) {
		t.Errorf("of consent %v are missing", got)
	}
}

// TestUsesEnd: a use ends once, by itself, by its context, or by a revocation,
// and nothing of it stays.
func TestUsesEnd(t *testing.T) {
	t.Parallel()
	v := &Vault{uses: map[Name]map[*use]struct{}{}}
	name, cause := Name{Provider: "x"}, fault.New(fault.ConnectionRevoked, "gone")
	parent, cancel := context.WithCancel(t.Context())
	byItself, end := v.begin(t.Context(), name)
	byParent, _ := v.begin(parent, name)
	byRevoke, _ := v.begin(t.Context(), name)
	other, endOther := v.begin(t.Context(), Name{Provider: "y"})
	end()
	end()
	cancel()
	<-byItself.Done()
	<-byParent.Done()
	if byRevoke.Err() != nil {
		t.Error("another use ended, too")
	}
	v.end(name, cause)
	<-byRevoke.Done()
	if !errors.Is(context.Cause(byRevoke), cause) || errors.Is(context.Cause(byItself), cause) {
		t.Errorf("the causes are %v and %v", context.Cause(byRevoke), context.Cause(byItself))
	}
	if other.Err() != nil {
		t.Error("a use of another connection ended")
	}
	endOther()
	for deadline := time.Now().Add(10 * time.Second); len(v.inUse()) > 0; {
		if time.Now().After(deadline) {
			t.Fatalf("in use yet: %v", v.inUse())
		}
	}
}
