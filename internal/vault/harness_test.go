package vault_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin"
	"github.com/parley-chat/parley/internal/standin/oauth"
	"github.com/parley-chat/parley/internal/vault"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, bustest.Leaks()...)
}

// The registered app of each vendor, and its secret.
const (
	clientID     = "parley-app"
	clientSecret = "canary-client-secret-0001"
	redirect     = "http://127.0.0.1:%d/callback/"
)

// clock is a clock that tests push on.
type clock struct{ ahead atomic.Int64 }

func (c *clock) Now() time.Time        { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) push(by time.Duration) { c.ahead.Add(int64(by)) }
func (c *clock) set(to time.Time)      { c.ahead.Store(int64(time.Until(to))) }

// facts collects what was published.
type facts struct {
	mu  sync.Mutex
	all []event.Envelope
}

func (f *facts) publish(_ context.Context, _ string, e event.Envelope) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, e)
	return nil
}

// states returns the states that were told, in order, each event once.
func (f *facts) states(t testing.TB) []string {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	var states []string
	seen := map[string]bool{}
	for _, e := range f.all {
		if seen[e.ID] {
			continue
		}
		seen[e.ID] = true
		word := strings.TrimSuffix(strings.TrimPrefix(e.Type, "chat.parley.event.vault.connection."), ".v1")
		var changed event.ConnectionChanged
		if err := json.Unmarshal(e.Data, &changed); err != nil {
			t.Fatal(err)
		}
		states = append(states, word)
	}
	return states
}

// world is the vendors, the bus and a vault of a test.
type world struct {
	t      testing.TB
	clock  *clock
	vendor *oauth.Standin
	hosts  *standin.Server
	client *http.Client
	bus    *bus.Bus
	store  *bus.KV
	master *vault.Master
	facts  *facts
	vault  *vault.Vault
	port   int
	asking sync.Mutex
}

func newWorld(t testing.TB, o oauth.Options) *world {
	t.Helper()
	w := &world{t: t, clock: &clock{}, facts: &facts{}, port: freePort(t)}
	w.bus = bustest.Open(t, bus.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	var err error
	if w.store, err = w.bus.KV(t.Context(), bus.BucketVault); err != nil {
		t.Fatal(err)
	}
	if w.master, err = vault.NewMaster(); err != nil {
		t.Fatal(err)
	}
	w.serve(o)
	w.vault = w.open(vault.Options{})
	return w
}

// serve starts the vendors.
func (w *world) serve(o oauth.Options) {
	w.t.Helper()
	o.Now = w.clock.Now
	if o.Clients == nil {
		o.Clients = map[string][]oauth.Client{}
		for _, name := range oauthVendors() {
			o.Clients[name] = []oauth.Client{{ID: clientID, Secrets: []string{clientSecret}, Redirects: []string{w.redirect(name)}}}
		}
	}
	w.vendor = oauth.New(o)
	hosts := w.vendor.Hosts()
	hosts[oauth.BotStarHost] = w.vendor.BotStarAPI()
	var err error
	if w.hosts, err = standin.Start(bustest.Log(w.t), hosts); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = w.hosts.Close() })
	w.client = w.hosts.Client()
	w.t.Cleanup(w.client.CloseIdleConnections)
}

func oauthVendors() []string { return []string{oauth.HubSpot, oauth.Salesforce, oauth.Pipedrive} }

// redirect is the callback of the vendor's app.
func (w *world) redirect(name string) string {
	return strings.Replace(redirect, "%d", itoa(w.port), 1) + name
}

// open opens a vault on the world's store.
func (w *world) open(o vault.Options) *vault.Vault {
	w.t.Helper()
	v, err := vault.Open(w.t.Context(), slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
		w.store, w.master, w.options(o))
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

func (w *world) options(o vault.Options) vault.Options {
	if o.Client == nil {
		o.Client = w.client
	}
	if o.Publish == nil {
		o.Publish = w.facts.publish
	}
	if o.Confirm == 0 {
		o.Confirm = 10 * time.Millisecond
	}
	o.Now = w.clock.Now
	return o
}

// connect gives consent as a person does, and returns the connection.
func (w *world) connect(name vault.Name) vault.Connection {
	w.t.Helper()
	c, err := w.tryConnect(name)
	if err != nil {
		w.t.Fatalf("connecting %s: %v", name.Provider, err)
	}
	return c
}

// tryConnect is connect for other goroutines. There is one callback at a time,
// and the clock stands still for the others meanwhile: a code is short-lived.
func (w *world) tryConnect(name vault.Name) (vault.Connection, error) {
	w.asking.Lock()
	defer w.asking.Unlock()
	consent := w.ask(name)
	go w.visit(w.consent(consent, true))
	return consent.Wait(w.t.Context())
}

// ask begins a request for consent. The port may be taken for a moment: a process
// that is being started has a copy of the socket before.
func (w *world) ask(name vault.Name) *vault.Consent {
	w.t.Helper()
	var consent *vault.Consent
	until(w.t, "the callback's port is free", func() bool {
		var err error
		consent, err = w.vault.Ask(w.t.Context(), vault.Ask{
			Name: name, ClientID: clientID, ClientSecret: vault.NewSecret(clientSecret), Redirect: w.redirect(name.Provider),
		})
		if err != nil && !strings.Contains(err.Error(), "address already in use") {
			w.t.Fatal(err)
		}
		return err == nil
	})
	return consent
}

// consent is the person at the vendor's page; it returns the way back.
func (w *world) consent(c *vault.Consent, allow bool) string {
	w.t.Helper()
	back, err := oauth.Person{Browser: w.client}.Answer(w.t.Context(), c.Address(), allow)
	if err != nil {
		w.t.Fatal(err)
	}
	return back
}

// visit opens the page in the person's browser, and returns its status; 0 when
// nobody answers.
func (w *world) visit(address string) int {
	return visit(w.t.Context(), address, "")
}

func visit(ctx context.Context, address, host string) int {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0
	}
	if host != "" {
		r.Host = host
	}
	response, err := client.Do(r)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// token returns the connection's token.
func token(t testing.TB, v *vault.Vault, name vault.Name) vault.Token {
	t.Helper()
	_, got, end, err := v.Source(name).Token(t.Context())
	if err != nil {
		t.Fatalf("a token of %s: %v", name.Provider, err)
	}
	end()
	return got
}

// refused returns why there is no token.
func refused(t testing.TB, v *vault.Vault, name vault.Name) fault.Reason {
	t.Helper()
	_, _, end, err := v.Source(name).Token(t.Context())
	if err == nil {
		end()
		t.Fatalf("%s gave a token", name.Provider)
	}
	return fault.From(err).Reason
}

// usable fails the test when the vendor does not take the token.
func (w *world) usable(name vault.Name, got vault.Token) {
	w.t.Helper()
	if !w.vendor.Valid(name.Provider, got.Secret.Reveal()) {
		w.t.Errorf("%s does not take the token", name.Provider)
	}
}

func (w *world) show(name vault.Name) vault.Connection {
	w.t.Helper()
	c, err := w.vault.Show(w.t.Context(), name.Filled())
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) count(name vault.Name, kinds ...oauth.Kind) int {
	return w.vendor.Ledger().Count(name.Provider, kinds...)
}

func is(err error, reason fault.Reason) bool { return errors.Is(err, fault.New(reason, "")) }

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	address, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatal("no address of TCP")
	}
	return address.Port
}

// pinned returns a client that reaches the stand-ins of another process.
func pinned(addr, spki string) *http.Client {
	var dialer net.Dialer
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, addr)
		},
		MaxIdleConns:    4,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, VerifyConnection: pin(spki)},
	}}
}

func pin(spki string) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		der, err := x509.MarshalPKIXPublicKey(state.PeerCertificates[0].PublicKey)
		if err != nil {
			return err
		}
		if sum := sha256.Sum256(der); base64.StdEncoding.EncodeToString(sum[:]) != spki {
			return errors.New("another server")
		}
		return nil
	}
}

// contextT is a shorter name.
type contextT = context.Context

// errUnwrapped returns the innermost cause.
func errUnwrapped(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
