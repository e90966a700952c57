package pipedrive_test

import (
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/crmtest"
	"github.com/parley-chat/parley/internal/crm/pipedrive"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin"
	"github.com/parley-chat/parley/internal/standin/oauth"
	vendor "github.com/parley-chat/parley/internal/standin/pipedrive"
)

// TestPrepare: nothing is made unasked; what is missing is made once.
func TestPrepare(t *testing.T) {
	t.Parallel()
	r := bareRig(t, vendor.Options{}, pipedrive.Options{})
	for _, test := range []struct{ dry, there, made bool }{{dry: true}, {made: true}, {there: true}, {dry: true, there: true}} {
		got, err := r.crm.Prepare(t.Context(), test.dry)
		want := []crm.Preparation{
			{What: "the field Parley key of persons", There: test.there, Made: test.made}, {What: "the field Parley sequence of persons", There: test.there, Made: test.made},
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%+v: %v, %s", test, err, diff)
		}
	}
	r.done(with(crm.Contact{Key: crmtest.Key("ada"), Seq: 3}, "name", "Ada"))
	custom, _ := r.only("persons")["custom_fields"].(map[string]any)
	if p := r.only("persons"); p["name"] != "Ada" || len(custom) != 2 {
		t.Errorf("%v", p)
	}
}

// TestSchema: types, options, both names of custom fields, and what cannot be
// written. The connector's own mapping fits every account.
func TestSchema(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, pipedrive.Options{})
	s, err := r.crm.Schema(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]crm.FieldSchema{
		"email":      {Name: "email", Label: "Email", Type: crm.Text, Max: 255},
		"Plan":       {Name: "Plan", Label: r.plan, Type: crm.Text, Max: 255},
		r.plan:       {Name: r.plan, Label: "Plan", Type: crm.Text, Max: 255},
		"Parley key": {Name: "Parley key", Label: r.key, Type: crm.Text, Max: 255, ReadOnly: true},
		r.seq:        {Name: r.seq, Label: "Parley sequence", Type: crm.Number, ReadOnly: true},
	} {
		i := slices.IndexFunc(s.Contact, func(f crm.FieldSchema) bool { return f.Name == name })
		if i < 0 {
			t.Fatalf("no field %s", name)
		}
		if diff := cmp.Diff(want, s.Contact[i]); diff != "" {
			t.Error(diff)
		}
	}
	for name, kind := range map[string]crm.FieldType{"Level": crm.Enum, "Tags": crm.List, "Since": crm.Date} {
		i := slices.IndexFunc(s.Contact, func(f crm.FieldSchema) bool { return f.Name == name })
		if i < 0 || s.Contact[i].Type != kind {
			t.Errorf("%s: %+v", name, s.Contact)
		}
	}
	if slices.ContainsFunc(s.Contact, func(f crm.FieldSchema) bool { return f.Name == "Twice" }) {
		t.Error("a name of two fields names none")
	}
	if _, err := crm.Compile(r.crm.Mapping(), s); err != nil {
		t.Error(err)
	}
	calls := len(r.Calls())
	if _, err := r.crm.Schema(t.Context()); err != nil || len(r.Calls()) != calls {
		t.Errorf("it was read again: %v", err)
	}
}

// TestBudget: the headers say what is left, of two seconds and of the day.
func TestBudget(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{Burst: 20, Daily: 400, Patience: 3}, pipedrive.Options{})
	r.done(contact("ada", 1, "x", ""))
	used := len(r.Calls())
	if b := r.crm.Budget(); b.Remaining != 20-used || b.Policy != "burst" || !b.Resets.Equal(r.clock.Now().Add(2*time.Second)) {
		t.Errorf("after %d: %+v", used, b)
	}
	read := func() error { _, err := r.crm.Read(t.Context(), []crm.Ref{{Key: crmtest.Key("ada")}}); return err }
	for range 20 {
		_ = read()
	}
	want(t, read(), fault.RateLimited)
	if got := fault.From(read()).After; got != time.Minute { // It went on in spite of it, and met the guard.
		t.Errorf("%s", got)
	}
	r.clock.push(3 * time.Second)
	if err := read(); err != nil {
		t.Error(err)
	}
	for i := range 60 {
		r.clock.push(3 * time.Second)
		_, _ = r.crm.UpsertContacts(t.Context(), []crm.Contact{contact("ada", uint64(i), "y", "")})
	}
	if b := r.crm.Budget(); b.Remaining != 0 || b.Policy != "daily tokens" || b.Resets.Sub(r.clock.Now()) != 30*time.Minute {
		t.Errorf("%+v", b)
	}
	var err error
	for i := 0; err == nil && i < 20; i++ {
		r.clock.push(3 * time.Second)
		_, err = r.crm.UpsertContacts(t.Context(), []crm.Contact{contact("ada", 100, "z", "")})
	}
	want(t, err, fault.RateLimited)
	if fault.From(err).After != 30*time.Minute {
		t.Errorf("%v", fault.From(err).After)
	}
}

// TestVault: consent, tokens and the account's address come from the vault; a
// token that ends is replaced in the middle of the work, and nothing is lost.
func TestVault(t *testing.T) {
	t.Parallel()
	app, redirect := crmtest.App(t)
	app.Redirects[0] += "pipedrive"
	auth := oauth.New(oauth.Options{Clients: map[string][]oauth.Client{oauth.Pipedrive: {app}}})
	account := vendor.New(vendor.Options{Valid: func(token string) bool { return auth.Valid(oauth.Pipedrive, token) }})
	hosts := maps.Clone(auth.Hosts())
	probe := hosts[host]
	hosts[host] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/users/me" {
			probe.ServeHTTP(w, r)
			return
		}
		account.ServeHTTP(w, r)
	})
	server, err := standin.Start(slog.New(slog.DiscardHandler), hosts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	client := server.Client()
	t.Cleanup(client.CloseIdleConnections)
	c := pipedrive.New(crmtest.Connect(t, "pipedrive", redirect+"pipedrive", client), pipedrive.Options{Transport: client.Transport})
	if _, err := c.Prepare(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	p := &crmtest.Pump{To: c, Size: 1}
	var all []crm.Contact
	for _, name := range crmtest.Names(40) {
		all = append(all, with(crm.Contact{Key: crmtest.Key(name), Seq: 1}, "name", name))
	}
	account.Set(vendor.Faults{Seed: 7, Shares: map[vendor.Kind]float64{vendor.Expired: 0.05}})
	p.Contacts(t, all)
	if n := account.Effects("persons", vendor.Created); n != 40 || len(p.Dead()) != 0 {
		t.Errorf("%d made, %v", n, p.Dead())
	}
	if refreshed, ended := auth.Ledger().Count(oauth.Pipedrive, oauth.Refreshed), account.Spoiled(vendor.Expired); ended == 0 || refreshed == 0 {
		t.Errorf("%d tokens ended, %d were refreshed", ended, refreshed)
	}
}

// TestEgress: the token goes to Pipedrive's hosts only, over TLS.
func TestEgress(t *testing.T) {
	t.Parallel()
	for address, reason := range map[string]fault.Reason{
		"":                          fault.BadConfig,
		"http://demo.pipedrive.com": fault.EgressDenied,
		"https://demo.pipedrive.com.evil.example": fault.EgressDenied,
		"https://user@demo.pipedrive.com":         fault.EgressDenied,
		"https://127.0.0.1":                       fault.EgressDenied,
		"https://notpipedrive.com":                fault.EgressDenied,
	} {
		r := newRig(t, vendor.Options{}, pipedrive.Options{})
		r.tokens.Accounts = map[string]string{"api_domain": address}
		_, err := r.crm.Schema(t.Context())
		want(t, err, reason)
		if len(r.Calls()) != 0 {
			t.Errorf("%s was called", address)
		}
	}
}

// TestCanary: Pipedrive repeats the token and what people wrote in its errors;
// none of ours holds it.
func TestCanary(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, pipedrive.Options{})
	r.done(contact("warm", 1, "x", ""))
	found := 0
	look := func(what string, err error) {
		t.Helper()
		if err == nil {
			return
		}
		found++
		e := fault.From(err)
		for _, text := range []string{err.Error(), e.Error(), e.Fix, e.Field, e.Message} {
			if strings.Contains(text, crmtest.Canary) || strings.Contains(text, "canary") || strings.Contains(text, "private") {
				t.Errorf("%s: %s", what, text)
			}
		}
	}
	shares := []map[vendor.Kind]float64{nil}
	for _, kind := range []vendor.Kind{vendor.Lost, vendor.Late, vendor.Down, vendor.Expired, vendor.Throttled, vendor.Guard, vendor.Capped} {
		shares = append(shares, map[vendor.Kind]float64{kind: 1})
	}
	for i, share := range shares {
		r.Set(vendor.Faults{Echo: true, Shares: share})
		name := crmtest.Names(10)[i]
		for _, c := range []crm.Contact{contact(name, 1, "private-plan", "private@example.test"), contact(name+"x", 1, "private", "private at nowhere"), contact("warm", 2, "private", "")} {
			outcomes, err := r.crm.UpsertContacts(t.Context(), []crm.Contact{c})
			look("upsert", err)
			for _, o := range outcomes {
				if o.Err != nil {
					look("upsert", o.Err)
				}
			}
		}
		_, err := r.crm.Read(t.Context(), []crm.Ref{{Key: crmtest.Key("ada")}})
		look("read", err)
		_, err = r.crm.PutActivities(t.Context(), []crm.Activity{chat("warm", 1, "private")})
		look("put", err)
		_, err = r.crm.Forget(t.Context(), []crm.Ref{{Key: "x", ID: "999"}})
		look("forget", err)
	}
	if found < 25 {
		t.Errorf("only %d errors were looked at", found)
	}
	r.Set(vendor.Faults{})
	_ = r.hosts.Close()
	_, err := r.crm.UpsertContacts(t.Context(), []crm.Contact{contact("eve", 1, "private", "private@example.test")})
	look("with nobody there", err)
	want(t, err, fault.VendorUnavailable)
}

// TestSettings: what the configuration may say.
func TestSettings(t *testing.T) {
	t.Parallel()
	got, err := pipedrive.Settings(map[string]string{
		"activities": "note", "type": "call", "key": "Our key", "seq": "Our seq", "unnamed": "Guest", "match": "false", "rate": "2",
	})
	wanted := pipedrive.Options{Activities: pipedrive.Note, Type: "call", Key: "Our key", Seq: "Our seq", Unnamed: "Guest", NoMatch: true, Rate: 2, Burst: 4}
	if diff := cmp.Diff(wanted, got, cmp.Comparer(func(a, b func() time.Time) bool { return a == nil && b == nil })); err != nil || diff != "" {
		t.Errorf("%v: %s", err, diff)
	}
	for name, value := range map[string]string{"activities": "task", "type": "", "key": " ", "match": "perhaps", "rate": "0", "unknown": "x"} {
		_, err := pipedrive.Settings(map[string]string{name: value})
		want(t, err, fault.BadConfig)
		if err != nil && !strings.Contains(err.Error(), name) {
			t.Errorf("it does not name %s: %v", name, err)
		}
	}
}
