package vault_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin/oauth"
	"github.com/parley-chat/parley/internal/vault"
)

func itoa(n int) string { return strconv.Itoa(n) }

// TestConnectAndUse is the whole way with each vendor: consent, token, refresh,
// probe, revocation.
func TestConnectAndUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{Life: 30 * time.Minute})
	for _, vendor := range oauthVendors() {
		t.Run(vendor, func(t *testing.T) {
			name := vault.Name{Provider: vendor}
			c := w.connect(name)
			if c.State != vault.Active || c.Kind != "oauth" || c.Name != name.Filled() || len(c.Versions) != 1 || !c.Versions[0].Refreshes {
				t.Errorf("connected: %+v", c)
			}
			first := token(t, w.vault, name)
			w.usable(name, first)
			if again := token(t, w.vault, name); again.Secret != first.Secret {
				t.Error("a token that is good was replaced")
			}
			if health, err := w.vault.Probe(t.Context(), name); err != nil || !health.OK || health.Status != 200 {
				t.Errorf("probed: %+v, %v", health, err)
			}
			if _, err := w.vault.Rotate(t.Context(), name.Filled()); err != nil {
				t.Fatal(err)
			}
			second := token(t, w.vault, name)
			w.usable(name, second)
			if second.Secret == first.Secret || w.count(name, oauth.Refreshed) != 1 {
				t.Error("rotating gave no new token")
			}
			if c, err := w.vault.Revoke(t.Context(), name, "by hand"); err != nil || c.State != vault.Revoked || c.AtVendor || len(c.Versions) != 0 {
				t.Errorf("revoked: %+v, %v", c, err)
			}
			for _, old := range []vault.Token{first, second} {
				if w.vendor.Valid(vendor, old.Secret.Reveal()) {
					t.Error("a token lives on at the vendor")
				}
			}
			if reason := refused(t, w.vault, name); reason != fault.ConnectionRevoked {
				t.Errorf("after the revocation: %s", reason)
			}
			// New consent makes it live again.
			w.connect(name)
			w.usable(name, token(t, w.vault, name))
		})
	}
	if n := w.vendor.Ledger().Count(oauth.HubSpot, oauth.Reused, oauth.FamilyRevoked); n != 0 {
		t.Errorf("%d reuses", n)
	}
}

// TestRefreshBeforeExpiry: a token is replaced within a margin before its end,
// and not before.
func TestRefreshBeforeExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{})
	name := vault.Name{Provider: oauth.HubSpot}
	w.connect(name)
	first := token(t, w.vault, name)
	w.clock.push(25 * time.Minute)
	if token(t, w.vault, name).Secret != first.Secret {
		t.Error("it was replaced 5 minutes before its end")
	}
	w.clock.push(150 * time.Second) // 2½ minutes before its end
	second := token(t, w.vault, name)
	if second.Secret == first.Secret {
		t.Error("it was not replaced before its end")
	}
	w.usable(name, second)
	if c := w.show(name); len(c.Versions) != 2 || c.Versions[1].Until.IsZero() {
		t.Errorf("the version before is not live: %+v", c.Versions)
	}
}

// TestTheAnswersOfServers: what vendors leave out, or write otherwise.
func TestTheAnswersOfServers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{Life: 30 * time.Minute})
	name := vault.Name{Provider: oauth.HubSpot}
	w.connect(name)
	for what, f := range map[string]oauth.Fault{
		"no refresh token": {NoRefresh: true}, "a text as the expiry": {TextExpiry: true},
	} {
		w.vendor.Set(name.Provider, oauth.Faults{Token: f})
		before := token(t, w.vault, name)
		w.clock.push(30 * time.Minute)
		for range 2 { // The second one needs the refresh token of the first one.
			got := token(t, w.vault, name)
			w.usable(name, got)
			if got.Secret == before.Secret || time.Until(got.ExpiresAt)+25*time.Minute < 0 || got.ExpiresAt.IsZero() {
				t.Errorf("%s: the token ends at %s", what, got.ExpiresAt)
			}
			w.clock.push(30 * time.Minute)
		}
	}
	w.vendor.Set(name.Provider, oauth.Faults{Token: oauth.Fault{NoExpiry: true}})
	if got := token(t, w.vault, name); !got.ExpiresAt.IsZero() {
		t.Errorf("the server did not say when it ends, and we say %s", got.ExpiresAt)
	}
	if n := w.count(name, oauth.Reused, oauth.FamilyRevoked, oauth.Refused); n != 0 {
		t.Errorf("the vendor refused %d times", n)
	}
}

// TestTheVendorRefusesTheToken: a call that ends with token_refused is done once
// more with a new token.
func TestTheVendorRefusesTheToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{})
	name := vault.Name{Provider: oauth.Salesforce} // It says no expiry.
	w.connect(name)
	w.clock.push(3 * time.Hour)
	var seen []vault.Token
	err := w.vault.Source(name).Do(t.Context(), func(_ context.Context, got vault.Token) error {
		seen = append(seen, got)
		if !w.vendor.Valid(name.Provider, got.Secret.Reveal()) {
			return fault.New(fault.TokenRefused, "401")
		}
		return nil
	})
	if err != nil || len(seen) != 2 || seen[0].Secret == seen[1].Secret || w.count(name, oauth.Refreshed) != 1 {
		t.Errorf("%d calls, %d refreshes: %v", len(seen), w.count(name, oauth.Refreshed), err)
	}
	if seen[1].Account["instance_url"] != "https://demo.my.salesforce.com" {
		t.Errorf("the account: %v", seen[1].Account)
	}
	// Somebody who is late with the old one gets what there is.
	late, err := w.vault.Source(name).Refused(t.Context(), seen[0])
	if err != nil || late.Secret != seen[1].Secret || w.count(name, oauth.Refreshed) != 1 {
		t.Errorf("somebody late: %v, %d refreshes", err, w.count(name, oauth.Refreshed))
	}
}

// TestTheGrantEnds: a refresh token that the vendor refuses for good needs a
// person, and that is told.
func TestTheGrantEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{Life: 30 * time.Minute})
	name := vault.Name{Provider: oauth.Pipedrive, Site: "shop"}
	w.connect(name)
	w.vendor.Withdraw(token(t, w.vault, name).Secret.Reveal())
	w.clock.push(time.Hour)
	for range 3 {
		if reason := refused(t, w.vault, name); reason != fault.ReauthNeeded {
			t.Errorf("the reason is %s", reason)
		}
	}
	if n := w.count(name, oauth.Refused); n != 2 {
		t.Errorf("the vendor was asked %d times, want the first time and the confirmation", n)
	}
	if c := w.show(name); c.State != vault.ReauthNeeded || c.Why == "" || len(c.Versions) == 0 {
		t.Errorf("the record: %+v", c)
	}
	if diff := cmp.Diff([]string{"active", "reauth_needed"}, w.facts.states(t)); diff != "" {
		t.Error(diff)
	}
	w.connect(name)
	w.usable(name, token(t, w.vault, name))
	if diff := cmp.Diff([]string{"active", "reauth_needed", "active"}, w.facts.states(t)); diff != "" {
		t.Error(diff)
	}
}

// TestTheFactIsToldLater: when the bus is away, Run tells.
func TestTheFactIsToldLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{})
	name := vault.Name{Provider: oauth.BotStar}
	away := func(context.Context, string, event.Envelope) error { return errors.New("away") }
	if _, err := w.open(vault.Options{Publish: away}).PutToken(t.Context(), name, vault.NewSecret(w.vendor.Issue()), time.Time{}); err != nil {
		t.Fatal(err)
	}
	run(t, w.open(vault.Options{Every: 20 * time.Millisecond}))
	until(t, "the fact was told", func() bool { return len(w.facts.states(t)) > 0 })
	if diff := cmp.Diff([]string{"active"}, w.facts.states(t)); diff != "" {
		t.Error(diff)
	}
}

// TestVendorFailures: what is no verdict on the grant leaves it alive.
func TestVendorFailures(t *testing.T) {
	t.Parallel()
	for what, test := range map[string]struct {
		fault  oauth.Fault
		vendor string
		reason fault.Reason
	}{
		"an internal error":   {oauth.Fault{Status: 503}, oauth.HubSpot, fault.VendorUnavailable},
		"too many requests":   {oauth.Fault{Status: 429}, oauth.HubSpot, fault.RateLimited},
		"a firewall's page":   {oauth.Fault{Page: true}, oauth.Pipedrive, fault.RateLimited},
		"another one is busy": {oauth.Fault{Busy: true}, oauth.Salesforce, fault.VendorUnavailable},
		"slow":                {oauth.Fault{Slow: time.Minute}, oauth.HubSpot, fault.VendorUnavailable},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, oauth.Options{Life: 30 * time.Minute})
			w.vault = w.open(vault.Options{CallTimeout: 300 * time.Millisecond})
			name := vault.Name{Provider: test.vendor}
			w.connect(name)
			old := token(t, w.vault, name)
			w.vendor.Set(test.vendor, oauth.Faults{Token: test.fault})
			w.clock.push(31 * time.Minute)
			get := func() error {
				if test.vendor == oauth.Salesforce { // It says no expiry.
					_, err := w.vault.Source(name).Refused(t.Context(), old)
					return err
				}
				_, _, _, err := w.vault.Source(name).Token(t.Context())
				return err
			}
			if err := get(); !is(err, test.reason) {
				t.Errorf("the error is %v", err)
			}
			if err := get(); !is(err, fault.RefreshPaused) || fault.From(err).After <= 0 {
				t.Errorf("at once again: %v", err)
			}
			if c := w.show(name); c.State == vault.ReauthNeeded || c.Failures != 1 {
				t.Errorf("the state is %s after %d failures", c.State, c.Failures)
			}
			w.vendor.Set(test.vendor, oauth.Faults{})
			w.clock.push(time.Minute)
			if err := get(); err != nil {
				t.Errorf("the vendor is well again: %v", err)
			}
			w.usable(name, token(t, w.vault, name))
			if w.count(name, oauth.Reused, oauth.FamilyRevoked) != 0 {
				t.Error("a refresh token was used twice")
			}
		})
	}
}

// TestTheBreakerOpens after failures in a row, and after too many new tokens.
func TestTheBreakerOpens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{Life: 30 * time.Minute})
	name := vault.Name{Provider: oauth.HubSpot}
	w.connect(name)
	for i := range 5 {
		if _, err := w.vault.Rotate(t.Context(), name.Filled()); err != nil {
			t.Fatalf("new token %d: %v", i+1, err)
		}
	}
	present := token(t, w.vault, name)
	_, err := w.vault.Source(name).Refused(t.Context(), present)
	if !is(err, fault.RefreshPaused) || w.count(name, oauth.Refreshed) != 5 {
		t.Errorf("the sixth new token within a minute: %v, %d refreshes", err, w.count(name, oauth.Refreshed))
	}
	if token(t, w.vault, name).Secret != present.Secret {
		t.Error("the token that is good is held back, too")
	}
	w.clock.push(6 * time.Minute)
	if _, err := w.vault.Source(name).Refused(t.Context(), present); err != nil {
		t.Errorf("after the pause: %v", err)
	}
	w.vendor.Set(name.Provider, oauth.Faults{Token: oauth.Fault{Status: 500}})
	w.clock.push(time.Hour)
	for range 5 {
		_ = refused(t, w.vault, name)
		w.clock.push(70 * time.Second)
	}
	spoiled := w.count(name, oauth.Spoiled)
	if reason := refused(t, w.vault, name); reason != fault.RefreshPaused || w.count(name, oauth.Spoiled) != spoiled || spoiled != 5 {
		t.Errorf("after %d failures: %s", spoiled, reason)
	}
	if c := w.show(name); c.State != vault.Degraded || c.Problem == "" {
		t.Errorf("the state is %s", c.State)
	}
}

// TestClientSecretRotates: the vendor is asked with the new one, then with the
// one before, so that the order of the two changes does not matter.
func TestClientSecretRotates(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{Life: 30 * time.Minute})
	name := vault.Name{Provider: oauth.HubSpot}
	w.connect(name)
	refresh := func(what string) {
		t.Helper()
		w.clock.push(30 * time.Minute)
		w.usable(name, token(t, w.vault, name))
		if c := w.show(name); c.State != vault.Active {
			t.Errorf("%s: %s", what, c.State)
		}
	}
	if _, err := w.vault.RotateSecret(t.Context(), name, vault.NewSecret("secret-two")); err != nil {
		t.Fatal(err)
	}
	refresh("new here, old there")
	w.vendor.Register(oauth.HubSpot, oauth.Client{ID: clientID, Secrets: []string{"secret-two"}})
	refresh("new here and there")
	w.vendor.Register(oauth.HubSpot, oauth.Client{ID: clientID, Secrets: []string{"secret-three"}})
	w.clock.push(30 * time.Minute)
	if reason := refused(t, w.vault, name); reason != fault.TokenRefused {
		t.Errorf("another secret there: %s", reason)
	}
	if c := w.show(name); c.State == vault.ReauthNeeded {
		t.Error("a wrong client secret was taken for the end of the grant")
	}
	if _, err := w.vault.RotateSecret(t.Context(), name, vault.NewSecret("secret-three")); err != nil {
		t.Fatal(err)
	}
	refresh("mended")
}

// TestTokenByHand: BotStar's tokens, two of which are live in a rotation.
func TestTokenByHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{})
	name := vault.Name{Provider: oauth.BotStar}
	first, second := w.vendor.Issue(), w.vendor.Issue()
	if _, err := w.vault.PutToken(t.Context(), name, vault.NewSecret(first), time.Time{}); err != nil {
		t.Fatal(err)
	}
	if health, err := w.vault.Probe(t.Context(), name); err != nil || !health.OK {
		t.Errorf("probed: %+v, %v", health, err)
	}
	c, err := w.vault.RotateToken(t.Context(), name, vault.NewSecret(second), time.Hour)
	if err != nil || len(c.Versions) != 2 {
		t.Fatalf("rotated: %+v, %v", c, err)
	}
	if got := token(t, w.vault, name); got.Secret.Reveal() != second {
		t.Error("the newest one is not the first choice")
	}
	w.vendor.Withdraw(second) // It is not known everywhere yet, so to speak.
	used := ""
	call := func(_ context.Context, got vault.Token) error {
		used = got.Secret.Reveal()
		if !w.vendor.Valid(oauth.BotStar, used) {
			return fault.New(fault.TokenRefused, "401")
		}
		return nil
	}
	if err := w.vault.Source(name).Do(t.Context(), call); err != nil || used != first {
		t.Errorf("the version before was not used: %v", err)
	}
	w.clock.push(2 * time.Hour)
	if err := w.vault.Source(name).Do(t.Context(), call); !is(err, fault.ReauthNeeded) {
		t.Errorf("after the overlap: %v", err)
	}
	if c := w.show(name); c.State != vault.ReauthNeeded {
		t.Errorf("the state is %s", c.State)
	}
}

func TestBadTokensByHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{})
	for _, bad := range []string{"", "two words", "a\nb", "\"quoted", "ümlaut"} {
		if bad == "\"quoted" {
			continue // A quote is a legal character.
		}
		if _, err := w.vault.PutToken(t.Context(), vault.Name{Provider: oauth.BotStar}, vault.NewSecret(bad), time.Time{}); !is(err, fault.SchemaViolation) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := w.vault.PutToken(t.Context(), vault.Name{Provider: oauth.Pipedrive}, vault.NewSecret("x"), time.Time{}); !is(err, fault.SchemaViolation) {
		t.Errorf("a token by hand for an OAuth server: %v", err)
	}
	if _, err := w.vault.PutToken(t.Context(), vault.Name{Provider: oauth.BotStar, Site: "A B"}, vault.NewSecret("x"), time.Time{}); !is(err, fault.SchemaViolation) {
		t.Errorf("a bad name: %v", err)
	}
	if _, err := w.vault.Show(t.Context(), vault.Name{Provider: oauth.BotStar}.Filled()); !is(err, fault.UnknownConnection) {
		t.Errorf("something was stored: %v", err)
	}
}

func TestFindAndList(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{})
	for _, site := range []string{"shop", "docs"} {
		if _, err := w.vault.PutToken(t.Context(), vault.Name{Provider: oauth.BotStar, Site: site}, vault.NewSecret(w.vendor.Issue()), time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.vault.Find(t.Context(), vault.Name{Provider: oauth.BotStar}); !is(err, fault.UnknownConnection) {
		t.Errorf("two fit: %v", err)
	}
	if c, err := w.vault.Find(t.Context(), vault.Name{Site: "docs"}); err != nil || c.Name.Site != "docs" {
		t.Errorf("one fits: %+v, %v", c.Name, err)
	}
	if all, err := w.vault.List(t.Context(), vault.Name{}); err != nil || len(all) != 2 {
		t.Errorf("%d connections: %v", len(all), err)
	}
}
