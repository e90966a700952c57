package vault_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin/oauth"
	"github.com/parley-chat/parley/internal/vault"
)

// run runs the vault until the test ends.
func run(t testing.TB, v *vault.Vault) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- v.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	})
}

// until waits for a fact that nothing announces.
func until(t testing.TB, fact string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not true in time: %s", fact)
		}
	}
}

// TestRevokeReachesEveryWorker: calls that are under way in other vaults end, in
// less than five seconds, and the vendor takes the token no more.
func TestRevokeReachesEveryWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{})
	name := vault.Name{Provider: oauth.HubSpot}
	other := vault.Name{Provider: oauth.Pipedrive}
	w.connect(name)
	w.connect(other)
	const workers, calls = 3, 5
	begun, ended := make(chan vault.Token, workers*calls), make(chan error, workers*calls)
	var untouched []context.Context
	for range workers {
		v := w.open(vault.Options{})
		run(t, v)
		for range calls {
			go func() {
				ended <- v.Source(name).Do(t.Context(), func(ctx context.Context, got vault.Token) error {
					begun <- got
					<-ctx.Done() // A call that hangs at the vendor.
					return ctx.Err()
				})
			}()
		}
		ctx, _, end, err := v.Source(other).Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer end()
		untouched = append(untouched, ctx)
	}
	var got vault.Token
	for range workers * calls {
		got = <-begun
	}
	at := time.Now()
	if _, err := w.vault.Revoke(t.Context(), name, "stolen"); err != nil {
		t.Fatal(err)
	}
	for range workers * calls {
		if err := <-ended; !is(err, fault.ConnectionRevoked) {
			t.Errorf("a call ended with %v", err)
		}
	}
	if took := time.Since(at); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	if w.vendor.Valid(name.Provider, got.Secret.Reveal()) {
		t.Error("the vendor takes the token yet")
	}
	for _, ctx := range untouched {
		if ctx.Err() != nil {
			t.Error("a call of another connection ended")
		}
	}
}

// TestRevokeWhileTheVendorIsAway: here it ends at once, there as soon as it can.
func TestRevokeWhileTheVendorIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{})
	name := vault.Name{Provider: oauth.HubSpot}
	w.connect(name)
	got := token(t, w.vault, name)
	w.vendor.Set(name.Provider, oauth.Faults{Revoke: oauth.Fault{Status: 503}.Times(3)})
	c, err := w.vault.Revoke(t.Context(), name, "by hand")
	if !is(err, fault.VendorUnavailable) || c.State != vault.Revoked || !c.AtVendor {
		t.Errorf("revoked: %s %t, %v", c.State, c.AtVendor, err)
	}
	if reason := refused(t, w.vault, name); reason != fault.ConnectionRevoked {
		t.Errorf("here: %s", reason)
	}
	run(t, w.open(vault.Options{Every: 20 * time.Millisecond}))
	until(t, "the vendor knows", func() bool { return !w.vendor.Valid(name.Provider, got.Secret.Reveal()) })
	until(t, "nothing is left", func() bool { return !w.show(name).AtVendor })
}

// TestRevokeDuringARefresh: the pair that comes afterwards ends at the vendor,
// and does not bring the connection back.
func TestRevokeDuringARefresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{Life: 30 * time.Minute})
	name := vault.Name{Provider: oauth.HubSpot}
	w.connect(name)
	w.vendor.Set(name.Provider, oauth.Faults{
		Token: oauth.Fault{Slow: 300 * time.Millisecond}, Revoke: oauth.Fault{Status: 503}.Times(1),
	})
	w.clock.push(time.Hour)
	failed := make(chan error, 1)
	go func() {
		_, _, _, err := w.vault.Source(name).Token(t.Context())
		failed <- err
	}()
	until(t, "the refresh is under way", func() bool { return w.show(name).Pending })
	if _, err := w.vault.Revoke(t.Context(), name, "by hand"); !is(err, fault.VendorUnavailable) {
		t.Errorf("revoking: %v", err)
	}
	if err := <-failed; !is(err, fault.ConnectionRevoked) {
		t.Errorf("the one who waited got %v", err)
	}
	until(t, "the late pair has ended", func() bool {
		all, ended := w.vendor.Families(name.Provider)
		return all == 1 && ended == 1 && w.count(name, oauth.Refreshed) == 1
	})
	if c := w.show(name); c.State != vault.Revoked {
		t.Errorf("the state is %s", c.State)
	}
}

// TestUnused: a connection that nobody uses is revoked, at the vendor, too.
func TestUnused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{})
	used, unused := vault.Name{Provider: oauth.HubSpot, Site: "shop"}, vault.Name{Provider: oauth.HubSpot}
	w.connect(used)
	w.connect(unused)
	got := token(t, w.vault, unused)
	w.clock.push(29 * 24 * time.Hour)
	token(t, w.vault, used)
	w.clock.push(2 * 24 * time.Hour)
	run(t, w.open(vault.Options{Every: 20 * time.Millisecond}))
	until(t, "the unused one is revoked", func() bool { return w.show(unused).State == vault.Revoked && !w.show(unused).AtVendor })
	if _, err := w.vault.Rotate(t.Context(), used.Filled()); err != nil {
		t.Errorf("the used one: %v", err)
	}
	if all, ended := w.vendor.Families(oauth.HubSpot); all != 2 || ended != 1 || w.vendor.Valid(oauth.HubSpot, got.Secret.Reveal()) {
		t.Errorf("%d of %d grants have ended", ended, all)
	}
}

// TestLapsing: a refresh token that would lapse unused is replaced in time, and
// the end of a token by hand is told of before, once a day.
func TestLapsing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{})
	lapsing, expiring := vault.Name{Provider: oauth.Pipedrive}, vault.Name{Provider: oauth.BotStar}
	w.connect(lapsing)
	if _, err := w.vault.PutToken(t.Context(), expiring, vault.NewSecret(w.vendor.Issue()), w.clock.Now().Add(40*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	run(t, w.open(vault.Options{Every: 20 * time.Millisecond, Unused: -1}))
	for day := 1; day <= 3; day++ {
		if day == 1 {
			w.clock.push(31 * 24 * time.Hour)
		} else {
			w.clock.push(25 * time.Hour)
		}
		until(t, "the end is told", func() bool { return len(w.facts.states(t)) >= 2+day })
	}
	until(t, "the refresh token is new", func() bool { return w.count(lapsing, oauth.Refreshed) == 1 })
	if diff := cmp.Diff([]string{"active", "active", "expiring", "expiring", "expiring"}, w.facts.states(t)); diff != "" {
		t.Error(diff)
	}
	w.clock.push(10 * 24 * time.Hour)
	if reason := refused(t, w.vault, expiring); reason != fault.ReauthNeeded {
		t.Errorf("after its end: %s", reason)
	}
	if w.count(lapsing, oauth.Reused) != 0 {
		t.Error("a refresh token was used twice")
	}
}
