package hubspot_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/hubspot"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin"
	vendor "github.com/parley-chat/parley/internal/standin/hubspot"
	"github.com/parley-chat/parley/internal/standin/oauth"
	"github.com/parley-chat/parley/internal/vault"
)

// lent are the vault's tokens as connectors know them.
type lent struct{ *vault.Source }

func (l lent) Do(ctx context.Context, call func(context.Context, crm.Token) error) error {
	return l.Source.Do(ctx, func(ctx context.Context, t vault.Token) error { return call(ctx, lentToken{t}) })
}

type lentToken struct{ vault.Token }

func (t lentToken) Reveal() string             { return t.Secret.Reveal() }
func (t lentToken) Account(name string) string { return t.Token.Account[name] }

// consented opens a vault with one connection to HubSpot, to which a person has
// consented.
func consented(t testing.TB, log *slog.Logger, client *http.Client, servers *oauth.Standin) (*vault.Vault, vault.Name) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	back := "http://" + listener.Addr().String() + "/callback/hubspot"
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	servers.Register(oauth.HubSpot, oauth.Client{ID: "app", Secrets: []string{"canary-app-secret"}, Redirects: []string{back}})
	b := bustest.Open(t, bus.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	store, err := b.KV(t.Context(), bus.BucketVault)
	if err != nil {
		t.Fatal(err)
	}
	master, err := vault.NewMaster()
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(t.Context(), log, store, master, vault.Options{
		Client: client, Confirm: 10 * time.Millisecond, Publish: func(context.Context, string, event.Envelope) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	name := vault.Name{Provider: oauth.HubSpot}.Filled()
	consent, err := v.Ask(t.Context(), vault.Ask{Name: name, ClientID: "app", ClientSecret: vault.NewSecret("canary-app-secret"), Redirect: back})
	if err != nil {
		t.Fatal(err)
	}
	to, err := oauth.Person{Browser: client}.Answer(t.Context(), consent.Address(), true)
	if err != nil {
		t.Fatal(err)
	}
	visited := make(chan struct{})
	go func() {
		defer close(visited)
		person := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, to, nil)
		if err != nil {
			t.Error(err)
			return
		}
		if response, err := person.Do(r); err == nil {
			_ = response.Body.Close()
		}
	}()
	if _, err := consent.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-visited
	return v, name
}

// TestExpiredInMidRun is row C10: HubSpot's clock is ahead, so the token has
// expired there and not here. Of forty writers one asks for a new token, and all
// go on; and no token is in a log or an error.
func TestExpiredInMidRun(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	servers := oauth.New(oauth.Options{Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	account := vendor.New(vendor.Options{Auth: func(token string) vendor.Standing {
		switch {
		case servers.Valid(oauth.HubSpot, token):
			return vendor.Good
		case servers.Expired(oauth.HubSpot, token):
			return vendor.Expired
		}
		return vendor.Unknown
	}})
	var logged safeBuffer
	log := slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	hosts, err := standin.Start(log, account.Hosts(servers.Hosts()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hosts.Close() })
	client := hosts.Client()
	t.Cleanup(client.CloseIdleConnections)
	v, name := consented(t, log, client, servers)
	c := hubspot.New(lent{v.Source(name)}, hubspot.Options{Transport: client.Transport})
	if _, err := c.Prepare(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	account.Define("contacts", vendor.Property{Name: "plan", Label: "Plan", Type: "string", FieldType: "text"})
	for round := 1; round <= 3; round++ {
		ahead.Add(int64(31 * time.Minute))
		var running sync.WaitGroup
		for i := range 40 {
			running.Go(func() {
				o, err := c.UpsertContacts(t.Context(), []crm.Contact{contact(fmt.Sprintf("v-%d", i), uint64(round), "pro", "")})
				if err != nil || len(o) != 1 || o[0].Status != crm.Done {
					t.Errorf("%+v, %v", o, err)
				}
			})
		}
		running.Wait()
		if got := servers.Ledger().Count(oauth.HubSpot, oauth.Refreshed); got != round {
			t.Errorf("after %d times: %d new tokens", round, got)
		}
	}
	if got := len(account.Records("contacts")); got != 40 {
		t.Errorf("%d contacts", got)
	}
	// The person withdraws the consent: not valid, and no reason to ask for more.
	servers.Withdraw(tokenOf(t, v, name))
	_, err = c.UpsertContacts(t.Context(), []crm.Contact{contact("late", 1, "pro", "")})
	want(t, err, fault.TokenRefused)
	if got := servers.Ledger().Count(oauth.HubSpot, oauth.Refreshed); got != 3 {
		t.Errorf("%d new tokens in the end", got)
	}
	for _, secret := range servers.Secrets() {
		if strings.Contains(logged.String(), secret) || strings.Contains(err.Error(), secret) {
			t.Error("a secret was found")
		}
	}
}

func tokenOf(t testing.TB, v *vault.Vault, name vault.Name) string {
	t.Helper()
	_, token, end, err := v.Source(name).Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	return token.Secret.Reveal()
}

// safeBuffer is a buffer for logs of many goroutines.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
