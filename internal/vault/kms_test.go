package vault_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin/oauth"
	"github.com/parley-chat/parley/internal/standin/transit"
	"github.com/parley-chat/parley/internal/vault"
)

// keyStore is a key store on loopback, and us who ask it.
type keyStore struct {
	t      *testing.T
	vendor *transit.Standin
	ours   vault.Transit
	token  string
}

func newKeyStore(t *testing.T) *keyStore {
	t.Helper()
	s := &keyStore{t: t, vendor: transit.New()}
	server := httptest.NewServer(s.vendor)
	t.Cleanup(server.Close)
	s.token = s.vendor.Token()
	s.vendor.Rotate("parley")
	s.ours = vault.Transit{
		URL: server.URL + "/", Key: "parley", Client: server.Client(),
		Token: func() (vault.Secret, error) { return vault.NewSecret(s.token), nil },
	}
	return s
}

// file is a master key file that the key store seals.
func (s *keyStore) file() vault.MasterFile {
	return vault.MasterFile{Path: filepath.Join(s.t.TempDir(), "vault.key"), KMS: s.ours}
}

// within bounds the patience with a key store that is away.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// told looks for the words in the error and its fix, and for secrets.
func (s *keyStore) told(err error, reason fault.Reason, words string) {
	s.t.Helper()
	e := fault.From(err)
	if e == nil || e.Reason != reason || !strings.Contains(err.Error()+e.Fix, words) || e.Fix == "" {
		s.t.Errorf("it says %v (fix: %v), want %s with %q", err, e, reason, words)
	}
	if e != nil && strings.Contains(err.Error()+e.Fix, s.vendor.Token()) {
		s.t.Error("the error shows the token")
	}
}

// TestMasterInTransit seals and opens the master key by a key store over HTTP.
func TestMasterInTransit(t *testing.T) {
	t.Parallel()
	s := newKeyStore(t)
	file := s.file()
	made, err := file.Make(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file.Path)
	if err != nil || !strings.Contains(string(text), "encryptedKeyset") || strings.Contains(string(text), "keyData") {
		t.Errorf("the file holds %s, %v", text, err)
	}
	read, err := file.Read(t.Context())
	if err != nil || read.String() != made.String() {
		t.Fatalf("read: %v, %v", read, err)
	}
	sealed, err := made.Seal([]byte("text"), []byte("about"))
	if err != nil {
		t.Fatal(err)
	}
	if opened, err := read.Open(sealed, []byte("about")); err != nil || string(opened) != "text" {
		t.Errorf("opened: %q, %v", opened, err)
	}
	want := []transit.Entry{{What: "encrypt", Key: "parley", Status: 200}, {What: "decrypt", Key: "parley", Status: 200}, {What: "decrypt", Key: "parley", Status: 200}}
	if diff := cmp.Diff(want, s.vendor.Ledger()); diff != "" {
		t.Errorf("the key store was asked (-want +got):\n%s", diff)
	}
	if again, err := file.Make(t.Context()); err != nil || again.String() != made.String() {
		t.Errorf("made again: %v, %v", again, err)
	}
}

// TestKeyStoreRotation: the key store's own key gets a new version, and the file
// is sealed anew before the old one ends.
func TestKeyStoreRotation(t *testing.T) {
	t.Parallel()
	s := newKeyStore(t)
	file := s.file()
	made, err := file.Make(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(file.Path)
	if err != nil {
		t.Fatal(err)
	}
	for version := 2; version <= 4; version++ {
		s.vendor.Rotate("parley")
		master, err := file.ReadAny(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := file.Write(t.Context(), master); err != nil {
			t.Fatal(err)
		}
		s.vendor.Least("parley", version)
		if again, err := file.Read(t.Context()); err != nil || again.String() != made.String() {
			t.Fatalf("with the version %d only: %v, %v", version, again, err)
		}
	}
	_, err = vault.UnwrapMaster(t.Context(), string(old), s.ours)
	s.told(err, fault.BadConfig, "versions")
}

// TestMasterRotationInTransit: the master key's own three steps, with everything
// that was sealed, while a key store seals the file.
func TestMasterRotationInTransit(t *testing.T) {
	t.Parallel()
	s, w := newKeyStore(t), newWorld(t, oauth.Options{})
	file := s.file()
	if err := file.Write(t.Context(), w.master); err != nil {
		t.Fatal(err)
	}
	const sites = 20
	for site := range sites {
		if _, err := w.vault.PutToken(t.Context(), vault.Name{Provider: oauth.BotStar, Site: "s" + string(rune('a'+site))}, vault.NewSecret(w.vendor.Issue()), time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	open := func() *vault.Vault {
		t.Helper()
		master, err := file.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		v, err := vault.Open(t.Context(), bustest.Log(t), w.store, master, vault.Options{Client: w.client, Now: w.clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, step := range []func(*vault.Master) (*vault.Master, error){(*vault.Master).Added, (*vault.Master).Promoted, nil, (*vault.Master).Retired} {
		if step == nil {
			if n, err := open().Reseal(t.Context()); err != nil || n != sites+1 {
				t.Fatalf("%d records were sealed anew, %v", n, err)
			}
			continue
		}
		master, err := file.Read(t.Context())
		if err == nil {
			master, err = step(master)
		}
		if err == nil {
			err = file.Write(t.Context(), master)
		}
		if err != nil {
			t.Fatal(err)
		}
		all, err := open().List(t.Context(), vault.Name{})
		if err != nil || len(all) != sites {
			t.Fatalf("%d connections, %v", len(all), err)
		}
		for _, c := range all {
			if c.State != vault.Active {
				t.Errorf("%s is %s", c.Name, c.State)
			}
		}
	}
}

// TestKeyStoreIsAway: it is asked again while there is time, and then the error
// says what goes on without it.
func TestKeyStoreIsAway(t *testing.T) {
	t.Parallel()
	for what, fails := range map[string][]int{
		"errors": {500, 502, 503}, "overload": {429, 429}, "a standby": {473, 472}, "connections that break": {0, 0}, "a moment": {503},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newKeyStore(t)
			file := s.file()
			if _, err := file.Make(t.Context()); err != nil {
				t.Fatal(err)
			}
			before := len(s.vendor.Ledger())
			s.vendor.Fail(fails...)
			if _, err := file.Read(within(t, time.Minute)); err != nil {
				t.Errorf("it was not asked again: %v", err)
			}
			if n := len(s.vendor.Ledger()) - before; n != len(fails)+1 {
				t.Errorf("it was asked %d times, want %d", n, len(fails)+1)
			}
		})
	}
}

// TestKeyStoreStaysAway: a process that starts says so, and one that runs goes on.
func TestKeyStoreStaysAway(t *testing.T) {
	t.Parallel()
	s, w := newKeyStore(t), newWorld(t, oauth.Options{})
	file := s.file()
	if err := file.Write(t.Context(), w.master); err != nil {
		t.Fatal(err)
	}
	name := vault.Name{Provider: oauth.HubSpot}
	w.connect(name)
	s.vendor.Seal(true)
	_, err := file.Read(within(t, time.Second))
	s.told(err, fault.KeyStoreUnavailable, "processes that run go on")
	if !fault.Retryable(fault.From(err)) {
		t.Error("it is not worth another try")
	}
	asked := len(s.vendor.Ledger())
	if asked < 3 {
		t.Errorf("it was asked %d times", asked)
	}
	// What is cached is the master key: tokens are given, replaced and stored.
	token(t, w.vault, name)
	if _, err := w.vault.Rotate(t.Context(), name); err != nil {
		t.Errorf("rotating: %v", err)
	}
	if _, err := w.vault.Revoke(t.Context(), name, "by hand"); err != nil {
		t.Errorf("revoking: %v", err)
	}
	if n := len(s.vendor.Ledger()); n != asked {
		t.Errorf("a process that runs asked the key store %d times", n-asked)
	}
	s.vendor.Seal(false)
	if _, err := file.Read(within(t, time.Minute)); err != nil {
		t.Errorf("when it is back: %v", err)
	}
}

// TestKeyStoreRefuses: nothing is asked twice, and each refusal says what to do.
func TestKeyStoreRefuses(t *testing.T) {
	t.Parallel()
	broken := errors.New("the file is gone")
	for what, tt := range map[string]struct {
		spoil func(*keyStore)
		want  string
	}{
		"a token that ended":    {func(s *keyStore) { s.vendor.Renew() }, "a policy with update on transit/encrypt/parley"},
		"a key that is not":     {func(s *keyStore) { s.ours.Key = "nobody" }, "vault.kms.key"},
		"another key":           {func(s *keyStore) { s.vendor.Rotate("other"); s.ours.Key = "other" }, "did not seal this"},
		"another place":         {func(s *keyStore) { s.ours.Mount = "elsewhere" }, "vault.kms.mount"},
		"another server":        {func(s *keyStore) { s.ours.URL = s.page("<html>") }, "is no key store"},
		"an empty answer":       {func(s *keyStore) { s.ours.URL = s.page("{}") }, "is no key store"},
		"no address":            {func(s *keyStore) { s.ours.URL = "http://[" }, "vault.kms.url"},
		"a token that is not":   {func(s *keyStore) { s.ours.Token = func() (vault.Secret, error) { return vault.Secret{}, broken } }, "check that this is the key store"},
		"versions that ended":   {func(s *keyStore) { s.vendor.Rotate("parley"); s.vendor.Least("parley", 2) }, "versions"},
		"a redirect to another": {func(s *keyStore) { s.ours.URL = s.redirect() }, "did not seal this"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newKeyStore(t)
			file := s.file()
			if _, err := file.Make(t.Context()); err != nil {
				t.Fatal(err)
			}
			before := len(s.vendor.Ledger())
			tt.spoil(s)
			file.KMS = s.ours
			_, err := file.Read(within(t, time.Minute))
			s.told(err, fault.BadConfig, tt.want)
			if n := len(s.vendor.Ledger()) - before; n > 1 {
				t.Errorf("it was asked %d times", n)
			}
		})
	}
}

// page is a server that answers everything with the text.
func (s *keyStore) page(text string) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }))
	s.t.Cleanup(server.Close)
	return server.URL
}

// redirect is a server that sends everybody to the key store.
func (s *keyStore) redirect() string {
	to := s.ours.URL
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, strings.TrimSuffix(to, "/")+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	s.t.Cleanup(server.Close)
	return server.URL
}

// TestMasterFilesOfBothKinds: what is sealed and what lies open are not taken for
// each other.
func TestMasterFilesOfBothKinds(t *testing.T) {
	t.Parallel()
	s := newKeyStore(t)
	sealed := s.file()
	open := vault.MasterFile{Path: filepath.Join(t.TempDir(), "open.key")}
	made, err := open.Make(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sealed.Make(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = vault.MasterFile{Path: sealed.Path}.Read(t.Context())
	s.told(err, fault.BadConfig, "vault.kms")
	_, err = vault.MasterFile{Path: open.Path, KMS: s.ours}.Read(t.Context())
	s.told(err, fault.BadConfig, "publisher connections keys wrap")
	both := vault.MasterFile{Path: open.Path, KMS: s.ours}
	master, err := both.ReadAny(t.Context())
	if err != nil || master.String() != made.String() {
		t.Fatalf("read: %v, %v", master, err)
	}
	if err := both.Write(t.Context(), master); err != nil {
		t.Fatal(err)
	}
	if again, err := both.Read(t.Context()); err != nil || again.String() != made.String() {
		t.Errorf("after it was sealed: %v, %v", again, err)
	}
	if _, err := open.Read(t.Context()); !is(err, fault.BadConfig) {
		t.Errorf("the open file is there yet: %v", err)
	}
}

// remote is a key store as Tink's own clients are: without a context.
type remote struct{ key *vault.Master }

func (r remote) Encrypt(text, about []byte) ([]byte, error)   { return r.key.Seal(text, about) }
func (r remote) Decrypt(sealed, about []byte) ([]byte, error) { return r.key.Open(sealed, about) }

// TestTinksOwnClients serve as key stores.
func TestTinksOwnClients(t *testing.T) {
	t.Parallel()
	kms := vault.OfTink(remote{master(t)})
	file := vault.MasterFile{Path: filepath.Join(t.TempDir(), "vault.key"), KMS: kms}
	made, err := file.Make(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if read, err := file.Read(t.Context()); err != nil || read.String() != made.String() {
		t.Errorf("read: %v, %v", read, err)
	}
	file.KMS = vault.OfTink(remote{master(t)})
	if _, err := file.Read(t.Context()); !is(err, fault.BadConfig) {
		t.Errorf("another one: %v", err)
	}
	for what, spoil := range map[string]string{"no JSON": "nothing", "a list": "[]", "half": `{"encryptedKeyset":"AAAA"`} {
		if _, err := vault.UnwrapMaster(t.Context(), spoil, kms); !is(err, fault.BadConfig) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
