package app

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parley-chat/parley/internal/standin/oauth"
	"github.com/parley-chat/parley/internal/vault"
)

// least are the scopes of HubSpot that daily work needs, and making those that
// making properties needs beside them.
var (
	least  = []string{"crm.objects.contacts.read", "crm.objects.contacts.write"}
	making = []string{"crm.schemas.contacts.read", "crm.schemas.contacts.write"}
)

// shown is the connection as JSON shows it.
func (a *account) shown(name string) vault.Connection {
	a.t.Helper()
	var c vault.Connection
	if err := json.Unmarshal([]byte(a.must("connections", "show", name, "--json")), &c); err != nil {
		a.t.Fatal(err)
	}
	return c
}

// TestHubSpotByToken is the life of a private app's token.
func TestHubSpotByToken(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	first, second := a.vendor.IssuePrivate(slices.Concat(making, least)...), a.vendor.IssuePrivate(least...)
	file := a.file("pat", first+"\n")
	if out := a.must("connect", "hubspot", "--token", "file:"+file); !strings.Contains(out, "hubspot/-/default is active, hub_id 4711, user_id 42") {
		t.Errorf("connected: %s", out)
	}
	if c := a.shown("hubspot"); c.Kind != "token" || !slices.Equal(c.Scopes, slices.Concat(least, making)) {
		t.Errorf("it is %+v", c)
	}
	code, out, notes := a.publisher("", "connections", "test", "hubspot")
	if code != 0 || !strings.Contains(out, "works: the vendor answered 200") || notes != "" {
		t.Errorf("tested: %d %s%s", code, out, notes)
	}
	a.refuses("made by hand", "connections", "rotate", "hubspot")
	if code, out, problems := a.publisher(second, "connections", "rotate", "hubspot", "--token", "-"); code != 0 || !strings.Contains(out, "the one before stays good until ") {
		t.Fatalf("rotating: %s%s", out, problems)
	}
	code, out, notes = a.publisher("", "connections", "test", "hubspot")
	if code != 0 || !strings.Contains(out, "works: the vendor answered 200") || !strings.Contains(notes, "crm.schemas.contacts.write") {
		t.Errorf("tested with fewer scopes: %d %s%s", code, out, notes)
	}
	if c := a.shown("hubspot"); len(c.Versions) != 2 || !slices.Equal(c.Scopes, least) {
		t.Errorf("after the rotation it is %+v", c)
	}
	code, _, notes = a.publisher("", "connections", "revoke", "hubspot")
	if code != 0 || !strings.Contains(notes, "end it there, too") || !a.vendor.Valid(oauth.HubSpot, second) {
		t.Errorf("revoked: %d %s", code, notes)
	}
	a.refuses("was revoked", "connections", "test", "hubspot")
	a.clean()
}

// TestHubSpotTokensThatDoNotServe: each one says what to do.
func TestHubSpotTokensThatDoNotServe(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	good := a.vendor.IssuePrivate(least...)
	file := "file:" + a.file("pat", good)
	a.refuses("never an argument", "connect", "hubspot", "--token", good)
	a.refuses("made with its scopes", "connect", "hubspot", "--token", file, "--setup")
	a.refuses("made with its scopes", "connect", "hubspot", "--token", file, "--scope", "x")
	a.refuses("made with its scopes", "connect", "hubspot", "--token", file, "--client-id", "x")
	a.refuses("no date", "connect", "hubspot", "--token", file, "--expires", "tomorrow")
	a.refuses("standard input is empty", "connect", "hubspot", "--token", "-")
	a.refuses("client id of your app", "connect", "hubspot")
	a.refuses("client id of your app", "connect", "salesforce")
	a.refuses("client id of your app", "connect", "pipedrive", "--client-secret", file)
	a.refuses("unknown flag --token", "connect", "pipedrive", "--token", file)
	if code, out, _ := a.publisher("", "connections", "list"); code != 0 || !strings.Contains(out, "no connections") {
		t.Errorf("listed: %s", out)
	}
	a.vendor.Withdraw(good)
	code, out, notes := a.publisher("", "connect", "hubspot", "--token", file)
	if code != 0 || !strings.Contains(out, "active") || !strings.Contains(notes, "did not say whose it is") {
		t.Errorf("connected: %d %s%s", code, out, notes)
	}
	a.refuses("refuses the token", "connections", "test", "hubspot")
	if c := a.shown("hubspot"); c.State != vault.ReauthNeeded {
		t.Errorf("it is %s", c.State)
	}
	few := a.vendor.IssuePrivate("crm.objects.contacts.read")
	a.must("connect", "hubspot", "--token", "file:"+a.file("few", few))
	a.refuses("missing: crm.objects.contacts.write", "connections", "test", "hubspot")
	a.clean()
}

// TestHubSpotChangesItsKind: consent and a token replace each other, and nothing
// of the one before stays.
func TestHubSpotChangesItsKind(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	pat := "file:" + a.file("pat", a.vendor.IssuePrivate(least...))
	printed := a.connect("hubspot", "--setup")
	for _, want := range []string{"crm.schemas.contacts.write", "exactly: " + a.redirect + "hubspot", "hub_id 4711"} {
		if !strings.Contains(printed, want) {
			t.Errorf("connecting prints no %q:\n%s", want, printed)
		}
	}
	if c := a.shown("hubspot"); c.Kind != "oauth" || c.ClientID != "app-1" || len(c.Scopes) != 5 {
		t.Errorf("with consent it is %+v", c)
	}
	a.must("connect", "hubspot", "--token", pat)
	if c := a.shown("hubspot"); c.Kind != "token" || c.ClientID != "" || len(c.Versions) != 1 || !slices.Equal(c.Scopes, least) {
		t.Errorf("with a token it is %+v", c)
	}
	a.connect("hubspot")
	if c := a.shown("hubspot"); c.Kind != "oauth" || len(c.Versions) != 1 || len(c.Scopes) != 3 {
		t.Errorf("with consent again it is %+v", c)
	}
	a.must("connections", "rotate", "hubspot")
	a.clean()
}

// TestEveryVendorByConsent connects, tests, rotates and revokes at each vendor.
func TestEveryVendorByConsent(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	for _, vendor := range []string{oauth.HubSpot, oauth.Salesforce, oauth.Pipedrive} {
		printed := a.connect(vendor)
		if !strings.Contains(printed, "Open this in a browser") || !strings.Contains(printed, "connections test main/production/"+vendor) {
			t.Errorf("%s: %s", vendor, printed)
		}
		a.must("connections", "test", vendor)
		if out := a.must("connections", "rotate", vendor); !strings.Contains(out, "has a new token: number 2, fingerprint ") {
			t.Errorf("%s: %s", vendor, out)
		}
		a.must("connections", "test", vendor)
	}
	if out := a.must("connections", "list"); strings.Count(out, "  active") != 3 {
		t.Errorf("listed:\n%s", out)
	}
	a.vendor.Set(oauth.Pipedrive, oauth.Faults{Revoke: oauth.Fault{Status: 503}.Times(1)})
	a.refuses("workers try again by themselves", "connections", "revoke", oauth.Pipedrive, "--why", "left")
	for _, vendor := range []string{oauth.HubSpot, oauth.Salesforce, oauth.Pipedrive} {
		a.must("connections", "revoke", vendor, "--why", "left")
		if all, ended := a.vendor.Families(vendor); all != 1 || ended != 1 {
			t.Errorf("%s: %d of %d grants have ended", vendor, ended, all)
		}
		a.refuses("was revoked: left", "connections", "test", vendor)
	}
	a.clean()
}

// TestHelpOfConnect holds what a newcomer needs before the first connection.
func TestHelpOfConnect(t *testing.T) {
	t.Parallel()
	a := &account{t: t, env: Env{}}
	for vendor, wants := range map[string][]string{
		"hubspot":    {"/callback/hubspot", "crm.schemas.contacts.write", "--token - < token.txt", "private app", "--setup"},
		"salesforce": {"/callback/salesforce", "consumer key", "refresh_token", "--domain"},
		"pipedrive":  {"/callback/pipedrive", "Developer Hub", "activities:full"},
		"botstar":    {"API Token", "< token.txt", "--principal bot."},
	} {
		code, help, problems := a.publisher("", "connect", vendor, "--help")
		help = strings.Join(strings.Fields(help), " ")
		for _, want := range wants {
			if code != 0 || problems != "" || !strings.Contains(help, want) {
				t.Errorf("the help of %s has no %q: %d %s\n%s", vendor, want, code, problems, help)
			}
		}
	}
}

// TestSecretFilesOfOthers: a token in a file that everybody may read is not taken.
func TestSecretFilesOfOthers(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	path := filepath.Join(a.dir, "open")
	if err := os.WriteFile(path, []byte(a.vendor.Issue()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	a.refuses("chmod 600", "connect", "botstar", "--token", "file:"+path)
	a.clean()
}
