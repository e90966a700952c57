package vault_test

import (
	"slices"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin/oauth"
	"github.com/parley-chat/parley/internal/vault"
)

// inspected stores a private app's token, and returns what is known of it.
func (w *world) inspected(token string) (vault.Connection, error) {
	w.t.Helper()
	name := vault.Name{Provider: oauth.HubSpot}
	if _, err := w.vault.PutToken(w.t.Context(), name, vault.NewSecret(token), time.Time{}); err != nil {
		w.t.Fatal(err)
	}
	return w.vault.Inspect(w.t.Context(), name)
}

// TestInspect notes whose token it is that somebody made by hand, once.
func TestInspect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{})
	name := vault.Name{Provider: oauth.HubSpot}.Filled()
	c, err := w.inspected(w.vendor.IssuePrivate("b", "a"))
	if err != nil || !slices.Equal(c.Scopes, []string{"a", "b"}) || c.Account["hub_id"] != "4711" || c.Account["user_id"] != "42" {
		t.Fatalf("it is %+v, %v", c, err)
	}
	before, _, err := w.store.Get(t.Context(), "conn.main.production.hubspot.-.default")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.vault.Inspect(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	after, _, err := w.store.Get(t.Context(), "conn.main.production.hubspot.-.default")
	if err != nil || after.Revision != before.Revision {
		t.Errorf("the record was written again, though nothing is new: %v", err)
	}
	if _, err := w.vault.Inspect(t.Context(), vault.Name{Provider: oauth.HubSpot, Site: "nowhere"}); !is(err, fault.UnknownConnection) {
		t.Errorf("of nothing: %v", err)
	}
}

// TestInspectAsksNobody where the vendor does not tell.
func TestInspectAsksNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{})
	consented, byHand := vault.Name{Provider: oauth.HubSpot}, vault.Name{Provider: oauth.BotStar}
	w.connect(consented)
	if _, err := w.vault.PutToken(t.Context(), byHand, vault.NewSecret(w.vendor.Issue()), time.Time{}); err != nil {
		t.Fatal(err)
	}
	used := w.count(consented, oauth.Used) + w.count(consented, oauth.Denied) + w.count(byHand, oauth.Used)
	for _, name := range []vault.Name{consented, byHand} {
		if c, err := w.vault.Inspect(t.Context(), name); err != nil || c.Name != name.Filled() {
			t.Errorf("%s: %+v, %v", name.Provider, c, err)
		}
	}
	if n := w.count(consented, oauth.Used) + w.count(consented, oauth.Denied) + w.count(byHand, oauth.Used); n != used {
		t.Errorf("the vendors were asked %d times", n-used)
	}
}

// TestInspectIsNoVerdict: whatever the vendor says there, the token is used on.
func TestInspectIsNoVerdict(t *testing.T) {
	t.Parallel()
	for what, tt := range map[string]struct {
		spoil oauth.Fault
		want  fault.Reason
	}{
		"401": {oauth.Fault{Status: 401}, fault.TokenRefused},
		"403": {oauth.Fault{Status: 403}, fault.VendorForbids},
		"503": {oauth.Fault{Status: 503}, fault.VendorUnavailable},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, oauth.Options{})
			w.vendor.Set(oauth.HubSpot, oauth.Faults{API: tt.spoil.Times(1)})
			if _, err := w.inspected(w.vendor.IssuePrivate("a")); !is(err, tt.want) {
				t.Errorf("it says %v, want %s", err, tt.want)
			}
			if c := w.show(vault.Name{Provider: oauth.HubSpot}); c.State != vault.Active || c.Scopes != nil {
				t.Errorf("it is %+v", c)
			}
			if c, err := w.vault.Inspect(t.Context(), vault.Name{Provider: oauth.HubSpot}); err != nil || len(c.Scopes) != 1 {
				t.Errorf("the next time it is %+v, %v", c, err)
			}
		})
	}
}

// TestProbeOfATokenByHand names what is missing for daily work, and for making
// properties.
func TestProbeOfATokenByHand(t *testing.T) {
	t.Parallel()
	work, setup := []string{"crm.objects.contacts.read", "crm.objects.contacts.write"}, []string{"crm.schemas.contacts.read", "crm.schemas.contacts.write"}
	for what, tt := range map[string]struct {
		scopes, missing, noSetup []string
	}{
		"all":          {slices.Concat(work, setup), nil, nil},
		"daily work":   {work, nil, setup},
		"reading only": {work[:1], work[1:], setup},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, oauth.Options{})
			name := vault.Name{Provider: oauth.HubSpot}
			if _, err := w.vault.PutToken(t.Context(), name, vault.NewSecret(w.vendor.IssuePrivate(tt.scopes...)), time.Time{}); err != nil {
				t.Fatal(err)
			}
			h, err := w.vault.Probe(t.Context(), name)
			if err != nil || !slices.Equal(h.Missing, tt.missing) || !slices.Equal(h.NoSetup, tt.noSetup) || h.OK != (tt.missing == nil) {
				t.Errorf("it is %+v, %v", h, err)
			}
		})
	}
}
