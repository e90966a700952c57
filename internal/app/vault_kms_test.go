package app

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin/transit"
	"github.com/parley-chat/parley/schemas"
)

// keyStored gives the account's processes a key store, and a master key file that
// it seals.
func (a *account) keyStored() *transit.Standin {
	a.t.Helper()
	store := transit.New()
	store.Rotate("parley")
	server := httptest.NewServer(store)
	a.t.Cleanup(server.Close)
	a.env["PARLEY_VAULT_KMS_URL"], a.env["PARLEY_VAULT_KMS_KEY"] = server.URL, "parley"
	a.env["PARLEY_VAULT_KMS_TOKEN"] = "file:" + a.file("kms.token", store.Token())
	return store
}

// keyFile is the path of the master key file.
func (a *account) keyFile() string { return strings.TrimPrefix(a.env["PARLEY_VAULT_KEY"], "file:") }

// sealed reports whether the master key file shows no key.
func (a *account) sealed() bool {
	a.t.Helper()
	text, err := os.ReadFile(a.keyFile())
	if err != nil {
		a.t.Fatal(err)
	}
	return strings.Contains(string(text), "encryptedKeyset") && !strings.Contains(string(text), "keyData")
}

// TestKeyStoreByHand is the life of a master key file that a key store seals: from
// the open file, by both rotations, to the loss of the key store.
func TestKeyStoreByHand(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	if code, _, problems := a.publisher(a.vendor.Issue(), "connect", "botstar"); code != 0 {
		t.Fatal(problems)
	}
	a.refuses("no key store is named", "connections", "keys", "wrap")
	store := a.keyStored()
	a.refuses("connections keys wrap", "connections", "list")
	if out := a.must("connections", "keys", "wrap"); !strings.Contains(out, "sealed by the key store") || !a.sealed() {
		t.Errorf("sealed: %s", out)
	}
	a.must("connections", "test", "botstar")
	for _, step := range []string{"add", "promote", "retire"} {
		a.must("connections", "keys", step)
		if a.must("connections", "test", "botstar"); !a.sealed() {
			t.Errorf("after %s the file lies open", step)
		}
	}
	store.Rotate("parley")
	a.must("connections", "keys", "wrap")
	store.Least("parley", 2)
	a.must("connections", "test", "botstar")
	// A token that ended is told of, and the next one serves at once.
	next := store.Renew()
	a.refuses("a policy with update on", "connections", "list")
	a.file("kms.token", next)
	a.must("connections", "list")
	delete(a.env, "PARLEY_VAULT_KMS_URL")
	delete(a.env, "PARLEY_VAULT_KMS_KEY")
	delete(a.env, "PARLEY_VAULT_KMS_TOKEN")
	a.refuses("vault.kms", "connections", "list")
	a.clean(next, store.Token())
}

// TestNewMasterKeyInAKeyStore makes the file sealed, and never in the open.
func TestNewMasterKeyInAKeyStore(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	if code, _, problems := a.publisher(a.vendor.Issue(), "connect", "botstar"); code != 0 {
		t.Fatal(problems)
	}
	store := a.keyStored()
	a.env["PARLEY_VAULT_KEY"] = "file:" + filepath.Join(a.dir, "another.key")
	a.must("connections", "keys", "new")
	if !a.sealed() || len(store.Ledger()) != 2 {
		t.Errorf("the file lies open, or the key store was asked for %v", store.Ledger())
	}
	if code, _, problems := a.publisher(a.vendor.Issue(), "connect", "botstar"); code == 0 || !strings.Contains(problems, "not in the master key") {
		t.Errorf("on a bus of another key: %d %s", code, problems)
	}
}

// TestAWorkerWithoutItsKeyStore: one that runs goes on, and one that starts says
// what is missing, until the key store is back.
func TestAWorkerWithoutItsKeyStore(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	store := a.keyStored()
	a.must("connections", "keys", "wrap")
	if code, _, problems := a.publisher(a.vendor.Issue(), "connect", "botstar"); code != 0 {
		t.Fatal(problems)
	}
	validators, err := event.NewSchemas(schemas.FS)
	if err != nil {
		t.Fatal(err)
	}
	start := func(ctx context.Context) (*System, error) {
		cfg, err := LoadConfig("", a.env, catalogue(t))
		if err != nil {
			return nil, err
		}
		return Start(ctx, bustest.Log(t), cfg, Parts{Catalog: catalogue(t), Schemas: validators, Env: a.env, Pageless: true})
	}
	running, err := start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := running.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	store.Seal(true)
	asked := len(store.Ledger())
	ctx, giveUp := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := start(ctx)
		failed <- err
	}()
	for tick := time.NewTicker(5 * time.Millisecond); len(store.Ledger()) < asked+2; <-tick.C { // It asks again and again.
		if t.Context().Err() != nil {
			t.Fatal("the key store is not asked again")
		}
	}
	giveUp()
	if err := <-failed; fault.From(err) == nil || fault.From(err).Reason != fault.KeyStoreUnavailable {
		t.Errorf("the start without a key store ended with %v", err)
	}
	asked = len(store.Ledger())
	found, err := running.vault.Find(t.Context(), named{}.name("botstar"))
	if err != nil {
		t.Fatal(err)
	}
	_, _, end, err := running.vault.Source(found.Name).Token(t.Context())
	if err != nil {
		t.Fatalf("the worker that runs gets no token: %v", err)
	}
	end()
	if n := len(store.Ledger()) - asked; n != 0 {
		t.Errorf("the worker that runs asked the key store %d times", n)
	}
	store.Seal(false)
	again, err := start(t.Context())
	if err != nil {
		t.Fatalf("with the key store back it does not start: %v", err)
	}
	if err := again.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestKeyStoreConfig holds what is refused before anything starts.
func TestKeyStoreConfig(t *testing.T) {
	t.Parallel()
	const whole = "vault: {key: file:/k, kms: {url: https://vault.example.com:8200, key: parley, token: file:/t"
	for what, tt := range map[string]struct{ vault, at string }{
		"all of it":          {whole + "}}", ""},
		"on this machine":    {"vault: {key: file:/k, kms: {url: http://127.0.0.1:8200, key: parley, token: env:T, mount: kv/transit}}", ""},
		"in the open":        {"vault: {key: file:/k, kms: {url: http://vault.example.com, key: parley, token: file:/t}}", "vault.kms.url"},
		"no address at all":  {"vault: {key: file:/k, kms: {url: vault, key: parley, token: file:/t}}", "vault.kms.url"},
		"with a password":    {"vault: {key: file:/k, kms: {url: https://a:b@vault.example.com, key: parley, token: file:/t}}", "vault.kms.url"},
		"no key":             {"vault: {key: file:/k, kms: {url: https://vault.example.com, token: file:/t}}", "vault.kms.key"},
		"no token":           {"vault: {key: file:/k, kms: {url: https://vault.example.com, key: parley}}", "vault.kms.token"},
		"a token as it is":   {"vault: {key: file:/k, kms: {url: https://vault.example.com, key: parley, token: hvs.secret}}", "vault.kms.token"},
		"no master key file": {"vault: {kms: {url: https://vault.example.com, key: parley, token: file:/t}}", "vault.key"},
		"a key, no address":  {"vault: {key: file:/k, kms: {key: parley}}", "vault.kms.url"},
	} {
		_, err := parseConfig("parley.yaml", []byte(oneSite+tt.vault+"\n"), Env{}, catalogue(t))
		said := ""
		if err != nil {
			said = err.Error()
		}
		if tt.at == "" && err != nil || !strings.Contains(said, tt.at) || strings.Contains(said, "hvs.secret") {
			t.Errorf("%s: %s, want a problem at %q", what, said, tt.at)
		}
	}
}

// TestKeyStoreAuthority: a file that is no certificate is refused.
func TestKeyStoreAuthority(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	a.keyStored()
	a.env["PARLEY_VAULT_KMS_CA"] = a.file("ca.pem", "no certificate")
	a.refuses("holds no certificate", "connections", "keys", "wrap")
	a.env["PARLEY_VAULT_KMS_CA"] = filepath.Join(a.dir, "nothing")
	a.refuses("reading vault.kms.ca", "connections", "keys", "wrap")
}
