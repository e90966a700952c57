package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin"
	"github.com/parley-chat/parley/internal/standin/oauth"
	"github.com/parley-chat/parley/internal/vault"
)

// account is the vendors, a bus, and a publisher who has a master key.
type account struct {
	t        *testing.T
	vendor   *oauth.Standin
	client   *http.Client
	bus      *bus.Bus
	env      Env
	dir      string
	redirect string          // without the vendor's name at its end
	all      strings.Builder // everything that was printed
}

const appSecret = "canary-app-secret-4711"

func newAccount(t *testing.T) *account {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &account{t: t, dir: t.TempDir(), redirect: "http://" + l.Addr().String() + "/callback/"}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	apps := map[string][]oauth.Client{}
	for _, vendor := range []string{oauth.HubSpot, oauth.Salesforce, oauth.Pipedrive} {
		apps[vendor] = []oauth.Client{{ID: "app-1", Secrets: []string{appSecret}, Redirects: []string{a.redirect + vendor}}}
	}
	a.vendor = oauth.New(oauth.Options{Clients: apps})
	hosts := a.vendor.Hosts()
	hosts[oauth.BotStarHost] = a.vendor.BotStarAPI()
	server, err := standin.Start(bustest.Log(t), hosts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	a.client = server.Client()
	t.Cleanup(a.client.CloseIdleConnections)
	a.bus = bustest.Open(t, bus.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	key := filepath.Join(a.dir, "vault.key")
	a.env = Env{"PARLEY_BUS_URL": a.bus.URL(), "PARLEY_VAULT_KEY": "file:" + key, "PARLEY_VAULT_SEEN": filepath.Join(a.dir, "seen")}
	a.must("connections", "keys", "new", key)
	return a
}

// file writes a private file and returns its path.
func (a *account) file(name, text string) string {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// publisher runs a command.
func (a *account) publisher(stdin string, args ...string) (code int, out, problems string) {
	a.t.Helper()
	var stdout, stderr bytes.Buffer
	code = Publisher(a.t.Context(), Process{
		Args: args, Env: a.env, Stdin: strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr, Vendors: a.client,
	})
	a.all.WriteString(stdout.String() + stderr.String())
	return code, stdout.String(), stderr.String()
}

func (a *account) must(args ...string) string {
	a.t.Helper()
	code, out, problems := a.publisher("", args...)
	if code != 0 {
		a.t.Fatalf("publisher %s ended with %d:\n%s%s", strings.Join(args, " "), code, out, problems)
	}
	return out
}

func (a *account) refuses(want string, args ...string) {
	a.t.Helper()
	code, out, problems := a.publisher("", args...)
	if code == 0 || !strings.Contains(problems, want) {
		a.t.Errorf("publisher %s ended with %d, want %q:\n%s%s", strings.Join(args, " "), code, want, out, problems)
	}
}

// clean fails the test when a secret was printed.
func (a *account) clean(more ...string) {
	a.t.Helper()
	for _, secret := range append(a.vendor.Secrets(), more...) {
		if strings.Contains(a.all.String(), secret) {
			a.t.Errorf("printed: %.10s…", secret)
		}
	}
}

// TestBotStarByHand is the life of a token that somebody made by hand.
func TestBotStarByHand(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	first, second := a.vendor.Issue(), a.vendor.Issue()
	a.refuses("standard input is empty", "connect", "botstar")
	a.refuses("never an argument", "connect", "botstar", "--token", first)
	a.refuses("no date", "connect", "botstar", "--expires", "soon")
	if code, out, problems := a.publisher(first+"\n", "connect", "botstar", "--expires", "2099-01-01"); code != 0 {
		t.Fatalf("%d: %s%s", code, out, problems)
	}
	if out := a.must("connections", "test", "botstar"); !strings.Contains(out, "works: the vendor answered 200") {
		t.Errorf("tested: %s", out)
	}
	a.must("connections", "rotate", "botstar", "--token", "file:"+a.file("token", second))
	if out := a.must("connections", "list"); strings.Count(out, "\n") != 2 || !strings.Contains(out, "main/production/botstar/-/default  active") {
		t.Errorf("listed: %s", out)
	}
	if out := a.must("connections", "show", "botstar"); strings.Count(out, "fingerprint") != 2 {
		t.Errorf("shown: %s", out)
	}
	var shown vault.Connection
	if err := json.Unmarshal([]byte(a.must("connections", "show", "main/production/botstar/-/default", "--json")), &shown); err != nil || len(shown.Versions) != 2 {
		t.Errorf("shown as JSON: %+v, %v", shown, err)
	}
	a.refuses("made by hand", "connections", "rotate", "botstar")
	code, out, problems := a.publisher("", "connections", "revoke", "botstar", "--why", "left")
	if code != 0 || !strings.Contains(out, "revoked") || !strings.Contains(problems, "end it there, too") {
		t.Errorf("revoked: %d %s%s", code, out, problems)
	}
	a.refuses("was revoked: left", "connections", "test", "botstar")
	a.refuses("no connection fits", "connections", "show", "nobody")
	a.refuses("no name of a connection", "connections", "show", "a/b")
	a.clean()
}

// TestHubSpotWithConsent is the life of an OAuth connection.
func TestHubSpotWithConsent(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	a.connect("hubspot", "--site", "shop")
	if shown := a.must("connections", "show", "hubspot", "--site", "shop"); !strings.Contains(shown, "hub_id       4711") || !strings.Contains(shown, "crm.objects.contacts.write") {
		t.Errorf("shown: %s", shown)
	}
	a.must("connections", "test", "hubspot")
	a.must("connections", "rotate", "hubspot")
	a.must("connections", "rotate", "hubspot", "--client-secret", "file:"+a.file("next", "canary-next-app-secret"))
	a.must("connections", "rotate", "hubspot") // The vendor has the old one yet.
	a.must("connections", "revoke", "hubspot")
	if _, ended := a.vendor.Families(oauth.HubSpot); ended != 1 {
		t.Error("the vendor knows the grant yet")
	}
	a.clean("canary-next-app-secret")
}

// connect has a person connect an account at the vendor, and returns what was
// printed.
func (a *account) connect(vendor string, more ...string) string {
	a.t.Helper()
	secret := "file:" + a.file(vendor+".secret", appSecret)
	out := &consoleOut{found: make(chan string, 1)}
	var stdout bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- Publisher(a.t.Context(), Process{
			Args: append([]string{"connect", vendor, "--client-id", "app-1", "--client-secret", secret, "--redirect", a.redirect + vendor}, more...),
			Env:  a.env, Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: out, Vendors: a.client,
		})
	}()
	ctx, cancel := context.WithTimeout(a.t.Context(), 20*time.Second)
	defer cancel()
	select {
	case address := <-out.found:
		if err := a.consent(ctx, address); err != nil {
			a.t.Fatal(err)
		}
	case <-ctx.Done():
		a.t.Fatalf("no address was printed: %s", out.String())
	}
	if code := <-ended; code != 0 {
		a.t.Fatalf("connecting ended with %d: %s", code, out.String())
	}
	a.all.WriteString(out.String() + stdout.String())
	return out.String() + stdout.String()
}

// consent is the person, at the vendor's page and on the way back.
func (a *account) consent(ctx context.Context, address string) error {
	back, err := oauth.Person{Browser: a.client}.Answer(ctx, address, true)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, back, nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the callback answered %d", response.StatusCode)
	}
	return nil
}

// consoleOut finds the address in what is printed.
type consoleOut struct {
	mu    sync.Mutex // guards text
	text  string
	found chan string
}

func (o *consoleOut) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text += string(p)
	if address := regexp.MustCompile(`https://\S+`).FindString(string(p)); address != "" {
		o.found <- address
	}
	return len(p), nil
}

func (o *consoleOut) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text
}

// TestMasterKeyCommands rotates the master key under stored connections.
func TestMasterKeyCommands(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	if code, _, problems := a.publisher(a.vendor.Issue(), "connect", "botstar"); code != 0 {
		t.Fatal(problems)
	}
	key := strings.TrimPrefix(a.env["PARLEY_VAULT_KEY"], "file:")
	a.refuses("is there already", "connections", "keys", "new", key)
	for _, step := range []string{"add", "promote"} {
		a.must("connections", "keys", step)
		a.must("connections", "test", "botstar")
	}
	if out := a.must("connections", "reseal"); !strings.Contains(out, "sealed 2 records anew") {
		t.Errorf("sealed: %s", out)
	}
	a.must("connections", "keys", "retire")
	a.must("connections", "test", "botstar")
	text, err := os.ReadFile(key)
	if err != nil || bytes.Count(text, []byte(`"keyId"`)) != 1 {
		t.Errorf("the key file holds %d keys: %v", bytes.Count(text, []byte(`"keyId"`)), err)
	}
	if strings.Contains(a.all.String(), "keyData") {
		t.Error("the master key was printed")
	}
	other := filepath.Join(a.dir, "other.key")
	a.must("connections", "keys", "new", other)
	a.env["PARLEY_VAULT_KEY"] = "file:" + other
	a.refuses("not in the master key", "connections", "list")
	delete(a.env, "PARLEY_VAULT_KEY")
	a.refuses("there is no master key", "connections", "list")
	a.env["PARLEY_VAULT_KEY"] = "file:" + filepath.Join(a.dir, "nothing")
	a.refuses("reading the master key", "connections", "list")
	a.env["PARLEY_VAULT_KEY"] = "the key itself"
	a.refuses("a secret never stands in the configuration", "connections", "list")
	a.clean()
}

// TestAWorkerWithAnotherMasterKey: it does not start, 20 times of 20.
func TestAWorkerWithAnotherMasterKey(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	served := 0
	start := func(want fault.Reason) {
		t.Helper()
		cfg, err := LoadConfig("", a.env, catalogue(t))
		if err != nil {
			t.Fatal(err)
		}
		s, err := Start(t.Context(), bustest.Log(t), cfg, Parts{Catalog: catalogue(t), Env: a.env, Pageless: true})
		if fault.From(err) == nil || fault.From(err).Reason != want {
			served++
			t.Errorf("it started: %v", err)
		}
		if err == nil {
			_ = s.Close(t.Context())
		}
	}
	if code, _, problems := a.publisher(a.vendor.Issue(), "connect", "botstar"); code != 0 {
		t.Fatal(problems)
	}
	for i := range 10 {
		other := filepath.Join(a.dir, fmt.Sprintf("other-%d.key", i))
		a.must("connections", "keys", "new", other)
		a.env["PARLEY_VAULT_KEY"] = "file:" + other
		start(fault.KeyMissing)
		a.env["PARLEY_VAULT_KEY"] = "file:" + other + ".gone"
		start(fault.BadConfig)
	}
	t.Logf("20 starts, %d served", served)
}

// TestConnectionsView holds what an operator sees of connections.
func TestConnectionsView(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	name := vault.Name{Provider: "hubspot", Site: "shop"}.Filled()
	all := []vault.Connection{
		{
			Name: name, State: vault.Active, Kind: "oauth", ClientID: "app-1", RefreshedAt: now.Add(-5 * time.Minute), UsedAt: now.Add(-time.Minute),
			Versions: []vault.Version{{Number: 7, Fingerprint: "0a1b2c3d", Refreshes: true, IssuedAt: now, ExpiresAt: now.Add(25 * time.Minute)}},
			Scopes:   []string{"oauth"}, Account: map[string]string{"hub_id": "4711"},
		},
		{Name: vault.Name{Provider: "pipedrive"}.Filled(), State: vault.ReauthNeeded, Why: "the vendor\x1b[2J refuses", Failures: 2, Problem: "503", RetryAt: now},
		{Name: vault.Name{Provider: "botstar"}.Filled(), State: vault.Revoked, AtVendor: true, Versions: []vault.Version{{ExpiresAt: now.Add(-time.Hour)}}},
	}
	table := connectionsTable(all, now)
	for _, want := range []string{"main/production/hubspot/shop/default", "in 25m0s", "reauth_needed", "ended", "WHY"} {
		if !strings.Contains(table, want) {
			t.Errorf("the table has no %q:\n%s", want, table)
		}
	}
	if got := connectionsTable(nil, now); !strings.Contains(got, "publisher connect") {
		t.Errorf("without any: %s", got)
	}
	var text strings.Builder
	for _, one := range all {
		text.WriteString(connectionText(one))
	}
	for _, want := range []string{"number 7, fingerprint 0a1b2c3d", "hub_id       4711", "2 in a row: 503", "the vendor may know it yet"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text has no %q:\n%s", want, text.String())
		}
	}
	if strings.Contains(table+text.String(), "\x1b") {
		t.Error("what a vendor says reaches the terminal as it is")
	}
}

// TestSecretsComeFromFiles: never from an argument, and never from a file that
// everybody reads.
func TestSecretsComeFromFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	private, public := filepath.Join(dir, "private"), filepath.Join(dir, "public")
	for path, mode := range map[string]os.FileMode{private: 0o600, public: 0o644} {
		if err := os.WriteFile(path, []byte("the-secret\n"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	c := &cli{Process: Process{Env: Env{"WHERE": private}, Stdin: strings.NewReader(" the-secret \n")}}
	for _, good := range []string{"file:" + private, "env:WHERE", "-"} {
		if got, err := c.secret(good); err != nil || got.Reveal() != "the-secret" {
			t.Errorf("%s: %v, %v", good, got, err)
		}
	}
	for _, bad := range []string{"the-secret", "", "file:" + public, "file:relative", "env:NOWHERE", "file:" + private + ".gone", "-"} {
		got, err := c.secret(bad) // Standard input is empty by now.
		if err == nil || !got.IsZero() || strings.Contains(err.Error(), "the-secret") || fault.From(err).Fix == "" {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
	}
}
