package crmtest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin/oauth"
	"github.com/parley-chat/parley/internal/vault"
)

// Canary is a token that must turn up nowhere.
const Canary = "canary-token-0123456789abcdef"

// Static lends tokens of a list, the next one when one is refused.
type Static struct {
	// List are the tokens, and Accounts what they tell of the account.
	List     []string
	Accounts map[string]string
	// Renewed counts how often another token was asked for.
	Renewed atomic.Int32

	at atomic.Int32
}

// Do implements crm.Tokens.
func (s *Static) Do(ctx context.Context, call func(ctx context.Context, t crm.Token) error) error {
	at := s.at.Load()
	err := call(ctx, static{s.List[at], s.Accounts})
	if !errors.Is(err, fault.New(fault.TokenRefused, "")) {
		return err
	}
	s.Renewed.Add(1)
	if int(at)+1 >= len(s.List) {
		return fault.New(fault.ReauthNeeded, "there is no other token")
	}
	s.at.CompareAndSwap(at, at+1)
	return call(ctx, static{s.List[at+1], s.Accounts})
}

type static struct {
	token    string
	accounts map[string]string
}

// Authorize implements crm.Token.
func (t static) Authorize(h http.Header) { h.Set("Authorization", "Bearer "+t.token) }

// Reveal implements crm.Token.
func (t static) Reveal() string { return t.token }

// Account implements crm.Token.
func (t static) Account(name string) string { return t.accounts[name] }

// FromVault lends the tokens of a connection.
type FromVault struct{ Source *vault.Source }

// Do implements crm.Tokens.
func (f FromVault) Do(ctx context.Context, call func(ctx context.Context, t crm.Token) error) error {
	return f.Source.Do(ctx, func(ctx context.Context, t vault.Token) error { return call(ctx, lent{t}) })
}

type lent struct{ token vault.Token }

// Authorize implements crm.Token.
func (l lent) Authorize(h http.Header) { l.token.Authorize(h) }

// Reveal implements crm.Token.
func (l lent) Reveal() string { return l.token.Secret.Reveal() }

// Account implements crm.Token.
func (l lent) Account(name string) string { return l.token.Account[name] }

// The app that is registered with the vendors.
const (
	clientID     = "parley-app"
	clientSecret = "canary-client-secret-0002"
)

// App returns the registered app, for oauth.Options, and the address that people
// are sent back to.
func App(t testing.TB) (oauth.Client, string) {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address, ok := l.Addr().(*net.TCPAddr)
	_ = l.Close()
	if !ok {
		t.Fatal("no address of TCP")
	}
	redirect := "http://127.0.0.1:" + strconv.Itoa(address.Port) + "/callback/"
	return oauth.Client{ID: clientID, Secrets: []string{clientSecret}, Redirects: []string{redirect}}, redirect
}

// Connect gives consent at the vendor as a person does, and returns the
// connection's tokens. The client reaches the vendor's hosts.
func Connect(t testing.TB, provider, redirect string, client *http.Client) FromVault {
	t.Helper()
	b := bustest.Open(t, bus.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	store, err := b.KV(t.Context(), bus.BucketVault)
	if err != nil {
		t.Fatal(err)
	}
	master, err := vault.NewMaster()
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(t.Context(), bustest.Log(t), store, master, vault.Options{
		Client: client, Publish: func(context.Context, string, event.Envelope) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	name := vault.Name{Provider: provider}
	consent, err := v.Ask(t.Context(), vault.Ask{Name: name, ClientID: clientID, ClientSecret: vault.NewSecret(clientSecret), Redirect: redirect})
	if err != nil {
		t.Fatal(err)
	}
	back, err := oauth.Person{Browser: client}.Answer(t.Context(), consent.Address(), true)
	if err != nil {
		t.Fatal(err)
	}
	visited := make(chan error, 1)
	go func() { visited <- visit(t.Context(), back) }()
	if _, err := consent.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-visited; err != nil {
		t.Fatal(err)
	}
	return FromVault{v.Source(name)}
}

func visit(ctx context.Context, address string) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	return response.Body.Close()
}
