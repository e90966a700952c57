package vault_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin/oauth"
	"github.com/parley-chat/parley/internal/vault"
)

func master(t testing.TB) *vault.Master {
	t.Helper()
	m, err := vault.NewMaster()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// changed returns the master key after a step of a rotation.
func changed(t testing.TB, step func() (*vault.Master, error)) *vault.Master {
	t.Helper()
	m, err := step()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestMasterRotation follows a rotation step by step: at none is there something
// that a process of the step before or after cannot open.
func TestMasterRotation(t *testing.T) {
	t.Parallel()
	about := []byte("x")
	first := master(t)
	added := changed(t, first.Added)
	promoted := changed(t, added.Promoted)
	retired := changed(t, promoted.Retired)
	for _, step := range []struct {
		name          string
		seals, opens  *vault.Master
		reason        fault.Reason
		currentOfOpen bool
	}{
		{"added opens the first", first, added, "", true},
		{"the first opens what added seals", added, first, "", true},
		{"added opens what promoted seals", promoted, added, "", false},
		{"promoted opens the first", first, promoted, "", false},
		{"the first does not open promoted", promoted, first, fault.KeyMissing, false},
		{"retired opens promoted", promoted, retired, "", true},
		{"retired does not open the first", first, retired, fault.KeyMissing, false},
	} {
		sealed, err := step.seals.Seal([]byte("text"), about)
		if err != nil {
			t.Fatal(err)
		}
		text, err := step.opens.Open(sealed, about)
		if step.reason != "" {
			if !is(err, step.reason) || text != nil {
				t.Errorf("%s: %q, %v", step.name, text, err)
			}
			continue
		}
		if err != nil || string(text) != "text" || step.opens.Current(sealed) != step.currentOfOpen {
			t.Errorf("%s: %q, %v, current %t", step.name, text, err, step.opens.Current(sealed))
		}
	}
}

// TestReseal: a rotation of the master key under a running vault.
func TestReseal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, oauth.Options{})
	name := vault.Name{Provider: oauth.HubSpot}
	w.connect(name)
	reopen := func(m *vault.Master) *vault.Vault {
		t.Helper()
		w.master = m
		return w.open(vault.Options{})
	}
	promoted := changed(t, changed(t, w.master.Added).Promoted)
	v := reopen(promoted)
	for _, want := range []int{2, 0} { // The mark and the record.
		if n, err := v.Reseal(t.Context()); err != nil || n != want {
			t.Errorf("sealed %d anew, want %d: %v", n, want, err)
		}
	}
	v = reopen(changed(t, promoted.Retired))
	w.usable(name, token(t, v, name))
	ring, err := vault.Parse(vault.Generate())
	if err != nil {
		t.Fatal(err)
	}
	other := newWorld(t, oauth.Options{})
	other.forgetMark()
	v, err = vault.Open(t.Context(), slog.New(slog.DiscardHandler), other.store, ring, other.options(vault.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Reseal(t.Context()); !is(err, fault.BadConfig) {
		t.Errorf("a ring has no rotation here: %v", err)
	}
	// A ring of keys is a sealer all the same.
	if _, err := v.PutToken(t.Context(), vault.Name{Provider: oauth.BotStar}, vault.NewSecret(other.vendor.Issue()), time.Time{}); err != nil {
		t.Error(err)
	}
}

func (w *world) forgetMark() {
	w.t.Helper()
	entry, found, err := w.store.Get(w.t.Context(), "check.master")
	if err != nil || !found {
		w.t.Fatal(err)
	}
	if err := w.store.Remove(w.t.Context(), entry.Key, entry.Revision); err != nil {
		w.t.Fatal(err)
	}
}

// kms is a key store with one key.
type kms struct{ key *vault.Master }

func (k kms) EncryptWithContext(_ context.Context, text, about []byte) ([]byte, error) {
	return k.key.Seal(text, about)
}

func (k kms) DecryptWithContext(_ context.Context, sealed, about []byte) ([]byte, error) {
	return k.key.Open(sealed, about)
}

func TestMasterInAKeyStore(t *testing.T) {
	t.Parallel()
	store, m := kms{master(t)}, master(t)
	wrapped, err := m.Wrap(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	text, err := m.Text()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(wrapped, "keyData") || strings.Contains(wrapped, text.Reveal()) {
		t.Errorf("the wrapped key shows something: %s", wrapped)
	}
	again, err := vault.UnwrapMaster(t.Context(), wrapped, store)
	if err != nil || again.String() != m.String() {
		t.Errorf("unwrapped: %v, %v", again, err)
	}
	if _, err := vault.UnwrapMaster(t.Context(), wrapped, kms{master(t)}); !is(err, fault.BadConfig) {
		t.Errorf("another key store: %v", err)
	}
	if _, err := vault.ParseMaster(wrapped); !is(err, fault.BadConfig) {
		t.Errorf("a wrapped key without its store: %v", err)
	}
}

func TestMasterFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "below", "vault.key")
	if _, err := vault.ReadMaster(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	made, err := vault.EnsureMaster(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := vault.EnsureMaster(path)
	if err != nil || again.String() != made.String() {
		t.Errorf("again: %v, %v", again, err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := vault.ReadMaster(path); !is(err, fault.BadConfig) || !strings.Contains(fault.From(err).Fix, "chmod") {
		t.Errorf("everybody may read it: %v", err)
	}
	for name, text := range map[string]string{"nothing": "", "no JSON": "key", "no keys": "{}", "torn": `{"primaryKeyId": 1, "key": [{"keyD`} {
		if m, err := vault.ParseMaster(text); m != nil || !is(err, fault.BadConfig) || fault.From(err).Fix == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadSecret(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	for text, want := range map[string]string{"abc\n": "abc", " abc ": "abc", "\n": ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := vault.ReadSecret(path)
		if got.Reveal() != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v", text, got.Reveal(), err)
		}
	}
}
