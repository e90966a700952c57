package salesforce_test

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
	"github.com/parley-chat/parley/internal/crm/salesforce"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin"
	"github.com/parley-chat/parley/internal/standin/oauth"
	vendor "github.com/parley-chat/parley/internal/standin/salesforce"
)

// TestSchema: types, options, and what cannot be written; our own fields are not
// for mappings. The connector's own mapping fits every org.
func TestSchema(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, salesforce.Options{})
	s, err := r.crm.Schema(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]crm.FieldSchema{
		"Email":         {Name: "Email", Label: "Email", Type: crm.Text, Max: 80},
		"Interest__c":   {Name: "Interest__c", Label: "Interest__c", Type: crm.Text, Max: 40},
		"Last_Chat__c":  {Name: "Last_Chat__c", Label: "Last_Chat__c", Type: crm.Time, Seconds: true},
		"Tags__c":       {Name: "Tags__c", Label: "Tags__c", Type: crm.List},
		"LeadSource":    {Name: "LeadSource", Label: "LeadSource", Type: crm.Enum},
		"CreatedDate":   {Name: "CreatedDate", Label: "CreatedDate", Type: crm.Time, Seconds: true, ReadOnly: true},
		"Parley_Key__c": {Name: "Parley_Key__c", Label: "Parley_Key__c", Type: crm.Text, ReadOnly: true, Max: 64},
		"Parley_Seq__c": {Name: "Parley_Seq__c", Label: "Parley_Seq__c", Type: crm.Number, ReadOnly: true},
		"sobject":       {Name: "sobject", Label: "What the person is in Salesforce", Type: crm.Enum, Options: []string{"Contact", "Lead"}},
	} {
		i := slices.IndexFunc(s.Contact, func(f crm.FieldSchema) bool { return f.Name == name })
		if i < 0 {
			t.Fatalf("no field %s", name)
		}
		if diff := cmp.Diff(want, s.Contact[i]); diff != "" {
			t.Error(diff)
		}
	}
	i := slices.IndexFunc(s.Activity, func(f crm.FieldSchema) bool { return f.Name == "Status" })
	if i < 0 || len(s.Activity[i].Options) != 3 {
		t.Errorf("the fields of tasks: %+v", s.Activity)
	}
	if _, err := crm.Compile(r.crm.Mapping(), s); err != nil {
		t.Error(err)
	}
	calls := len(r.Calls())
	if _, err := r.crm.Schema(t.Context()); err != nil || len(r.Calls()) != calls {
		t.Errorf("it was read again: %v", err)
	}
}

// TestPrepare: it looks and makes nothing, since fields of an org come with
// rights.
func TestPrepare(t *testing.T) {
	t.Parallel()
	r := bareRig(t, vendor.Options{}, salesforce.Options{Cases: true})
	for _, there := range []bool{false, true} {
		if there {
			prepare(r.Org)
		}
		got, err := r.crm.Prepare(t.Context(), false)
		want := []crm.Preparation{
			{What: "the field Parley_Key__c of Contact", There: there},
			{What: "the field Parley_Seq__c of Contact", There: there},
			{What: "the field Parley_Key__c of Task", There: there},
			{What: "the field Parley_Key__c of Case", There: there},
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v: %s", err, diff)
		}
	}
	r.AddFields("Contact", vendor.Field{Name: "Parley_Key__c", Type: "string"})
	_, err := r.crm.Prepare(t.Context(), true)
	want(t, err, fault.VendorConflict)
}

// TestRead: by key and by id, contacts and leads, in the types of the schema.
func TestRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, salesforce.Options{})
	at := time.Date(2026, 11, 25, 9, 30, 0, 5e6, time.UTC)
	ada := with(with(with(contact("ada", 1, "pro", "ada@example.test"), "Last_Chat__c", at), "Tags__c", []string{"a", "b"}), "LastName", "Lovelace")
	bob := with(contact("bob", 1, "free", ""), salesforce.Choice, "Lead")
	ids := r.upsert(ada, bob)
	for _, byID := range []bool{false, true} {
		refs := []crm.Ref{{Key: ada.Key}, {Key: bob.Key}, {Key: crmtest.Key("nobody")}}
		if byID {
			refs[0].ID, refs[1].ID, refs[2].ID = ids[ada.Key].ID, ids[bob.Key].ID, "003000000000999AAA"
		}
		got, err := r.crm.Read(t.Context(), refs)
		if err != nil || len(got) != 2 {
			t.Fatalf("by id %t: %v, %+v", byID, err, got)
		}
		values := map[string]any{}
		for _, f := range got[0].Fields {
			values[f.Name] = f.Value
		}
		for name, want := range map[string]any{"Last_Chat__c": at, "Tags__c": []string{"a", "b"}, "Plan__c": "pro", "LastName": "Lovelace", "sobject": "Contact"} {
			if diff := cmp.Diff(want, values[name]); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
		if got[0].Key != ada.Key || got[0].ID != ids[ada.Key].ID || got[0].Email != "ada@example.test" || got[0].UpdatedAt.IsZero() || got[1].Key != bob.Key {
			t.Errorf("%+v", got)
		}
		if !slices.IsSortedFunc(got[0].Fields, func(a, b crm.Field) int { return strings.Compare(a.Name, b.Name) }) {
			t.Error("the fields are not sorted")
		}
	}
}

// TestReadMany: a query is part of an address, and has its limits.
func TestReadMany(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, salesforce.Options{})
	var refs []crm.Ref
	for _, name := range crmtest.Names(200) {
		email := strings.Repeat("long+", 30) + name + "@example.test"
		if len(email) > 80 {
			email = email[len(email)-80:]
		}
		refs = append(refs, crm.Ref{Key: crmtest.Key(name)})
		r.Add("Contact", vendor.Record{"LastName": "L", "Email": email, "Parley_Key__c": crmtest.Key(name)})
	}
	got, err := r.crm.Read(t.Context(), refs)
	if err != nil || len(got) != 200 {
		t.Fatalf("%v, %d", err, len(got))
	}
	var all []crm.Contact
	for i, c := range got {
		all = append(all, crm.Contact{Key: crmtest.Key("n" + crmtest.Names(200)[i]), Email: c.Email, Seq: 1, Fields: []crm.Field{{Name: "Plan__c", Value: "x"}}})
	}
	for key, o := range r.upsert(all...) {
		if o.Status != crm.Done || o.Created {
			t.Fatalf("%s: %+v", key, o)
		}
	}
}

// TestForget: the person and the tasks that are ours are gone; what others wrote
// of them is not ours to delete.
func TestForget(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, salesforce.Options{})
	o := r.one(contact("ada", 1, "pro", ""))
	r.one(contact("bob", 1, "pro", ""))
	r.put(chat("ada", 1, "x"), chat("bob", 1, "x"))
	r.Add("Task", vendor.Record{"Subject": "Theirs", "WhoId": o.ID})
	got, err := r.crm.Forget(t.Context(), []crm.Ref{{Key: crmtest.Key("ada")}, {Key: crmtest.Key("nobody")}, {Key: crmtest.Key("gone"), ID: "003000000000999AAA"}})
	if err != nil || len(got) != 3 {
		t.Fatalf("%v, %+v", err, got)
	}
	for _, o := range got {
		if o.Status != crm.Done {
			t.Errorf("%+v", o)
		}
	}
	has(t, r.only("Contact"), map[string]any{"Parley_Key__c": crmtest.Key("bob")})
	if tasks := r.Records("Task"); len(tasks) != 2 {
		t.Errorf("%v", tasks)
	}
}

// TestBudget: the header says what is left, without what is others'.
func TestBudget(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)
	r := newRig(t, vendor.Options{Limit: 100}, salesforce.Options{Reserve: 0.2, Now: func() time.Time { return now }})
	r.one(contact("ada", 1, "pro", ""))
	used := len(r.Calls())
	if b := r.crm.Budget(); b.Remaining != 80-used || b.Policy != "DailyApiRequests" {
		t.Errorf("after %d: %+v", used, b)
	}
	for range 80 {
		_, _ = r.crm.Read(t.Context(), []crm.Ref{{Key: crmtest.Key("ada")}})
	}
	if b := r.crm.Budget(); b.Remaining != 0 || !b.Resets.Equal(now.Add(15*time.Minute)) {
		t.Errorf("%+v", b)
	}
	for range 20 {
		_, _ = r.crm.Read(t.Context(), []crm.Ref{{Key: crmtest.Key("ada")}})
	}
	_, err := r.crm.UpsertContacts(t.Context(), []crm.Contact{contact("ada", 2, "x", "")})
	want(t, err, fault.RateLimited)
	if fault.From(err).After != 15*time.Minute {
		t.Errorf("%s", fault.From(err).After)
	}
}

// TestVault: consent, tokens and the org's address come from the vault; a session
// that ends is replaced in the middle of the work, and nothing is lost.
func TestVault(t *testing.T) {
	t.Parallel()
	app, redirect := crmtest.App(t)
	app.Redirects[0] += "salesforce"
	auth := oauth.New(oauth.Options{Clients: map[string][]oauth.Client{oauth.Salesforce: {app}}})
	org := vendor.New(vendor.Options{Valid: func(token string) bool { return auth.Valid(oauth.Salesforce, token) }})
	prepare(org)
	hosts := maps.Clone(auth.Hosts())
	probe := hosts[host]
	hosts[host] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/services/data/") {
			org.ServeHTTP(w, r)
			return
		}
		probe.ServeHTTP(w, r)
	})
	server, err := standin.Start(slog.New(slog.DiscardHandler), hosts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	client := server.Client()
	t.Cleanup(client.CloseIdleConnections)
	tokens := crmtest.Connect(t, "salesforce", redirect+"salesforce", client)
	c := salesforce.New(tokens, salesforce.Options{Transport: client.Transport})
	p := &crmtest.Pump{To: c, Size: 10}
	var all []crm.Contact
	for _, name := range crmtest.Names(100) {
		all = append(all, contact(name, 1, "pro", ""))
	}
	org.Set(vendor.Faults{Seed: 7, Shares: map[vendor.Kind]float64{vendor.Expired: 0.1}})
	p.Contacts(t, all)
	org.Set(vendor.Faults{})
	if n := org.Effects("Contact", vendor.Created); n != 100 || len(p.Dead()) != 0 {
		t.Errorf("%d made, %v", n, p.Dead())
	}
	refreshed, ended := auth.Ledger().Count(oauth.Salesforce, oauth.Refreshed), org.Spoiled(vendor.Expired)
	if ended == 0 || refreshed == 0 {
		t.Errorf("%d sessions ended, %d were refreshed", ended, refreshed)
	}
}

// TestSessions: a session that has ended is replaced once; one that stays refused
// stops the target.
func TestSessions(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{Valid: func(token string) bool { return token == "good" }}, salesforce.Options{})
	r.tokens.List = []string{"old", "good"}
	if o := r.one(contact("ada", 1, "pro", "")); o.Status != crm.Done || r.tokens.Renewed.Load() != 1 {
		t.Errorf("%+v, %d", o, r.tokens.Renewed.Load())
	}
	bad := newRig(t, vendor.Options{Valid: func(string) bool { return false }}, salesforce.Options{})
	bad.tokens.List = []string{"old", "other"}
	_, err := bad.crm.UpsertContacts(t.Context(), []crm.Contact{contact("ada", 1, "pro", "")})
	want(t, err, fault.TokenRefused)
}

// TestEgress: the token goes to Salesforce's hosts only, over TLS.
func TestEgress(t *testing.T) {
	t.Parallel()
	for address, reason := range map[string]fault.Reason{
		"":                              fault.BadConfig,
		"http://demo.my.salesforce.com": fault.EgressDenied,
		"https://demo.my.salesforce.com.evil.example": fault.EgressDenied,
		"https://user@demo.my.salesforce.com":         fault.EgressDenied,
		"https://127.0.0.1":                           fault.EgressDenied,
		"https://notsalesforce.com":                   fault.EgressDenied,
	} {
		r := newRig(t, vendor.Options{}, salesforce.Options{})
		r.tokens.Accounts = map[string]string{"instance_url": address}
		_, err := r.crm.Schema(t.Context())
		want(t, err, reason)
		if len(r.Calls()) != 0 {
			t.Errorf("%s was called", address)
		}
	}
}

// TestCanary: Salesforce repeats the token and what people wrote in its errors;
// none of ours holds it.
func TestCanary(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{DuplicateRule: true}, salesforce.Options{NoMatch: true})
	r.one(contact("warm", 1, "x", "private@example.test"))
	found := 0
	look := func(what string, err error) {
		t.Helper()
		if err == nil {
			return
		}
		found++
		e := fault.From(err)
		for _, text := range []string{err.Error(), e.Error(), e.Fix, e.Field, e.Message} {
			if strings.Contains(text, crmtest.Canary) || strings.Contains(text, "private") {
				t.Errorf("%s: %s", what, text)
			}
		}
	}
	shares := []map[vendor.Kind]float64{nil}
	for _, kind := range []vendor.Kind{vendor.Lost, vendor.Late, vendor.Down, vendor.Expired, vendor.Quota, vendor.Crowded, vendor.Locked, vendor.RowLock} {
		shares = append(shares, map[vendor.Kind]float64{kind: 1})
	}
	for _, share := range shares {
		r.Set(vendor.Faults{Echo: true, Shares: share})
		for _, list := range [][]crm.Contact{
			{contact("ada", 1, "private-plan", "private@example.test")},
			{contact("ada", 1, "private-plan", "private at nowhere"), contact("bob", 1, strings.Repeat("private", 10), "private@example.test")},
		} {
			outcomes, err := r.crm.UpsertContacts(t.Context(), list)
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
		_, err = r.crm.Forget(t.Context(), []crm.Ref{{Key: "x", ID: "003000000000999AAA"}})
		look("forget", err)
	}
	if found < 25 {
		t.Errorf("only %d errors were looked at", found)
	}
	r.Set(vendor.Faults{})
	_ = r.hosts.Close()
	_, err := r.crm.UpsertContacts(t.Context(), []crm.Contact{contact("ada", 1, "private", "private@example.test")})
	look("with nobody there", err)
	want(t, err, fault.VendorUnavailable)
}

// TestSettings: what the configuration may say.
func TestSettings(t *testing.T) {
	t.Parallel()
	got, err := salesforce.Settings(map[string]string{
		"object": "Lead", "activities": "event", "event_type": "Our_Chat__e", "version": "60.0", "key": "Our__c", "seq": "Seq__c",
		"activity_key": "A__c", "case_key": "C__c", "case_origin": "Web", "cases": "true", "match": "false", "allow_duplicates": "true", "reserve": "0.3", "rate": "2",
	})
	want1 := salesforce.Options{
		Object: salesforce.Lead, Activities: salesforce.Event, EventType: "Our_Chat__e", Version: "60.0", Key: "Our__c", Seq: "Seq__c", ActivityKey: "A__c",
		CaseKey: "C__c", Origin: "Web", Cases: true, NoMatch: true, AllowDuplicates: true, Reserve: 0.3, Rate: 2, Burst: 4,
	}
	if diff := cmp.Diff(want1, got, cmp.Comparer(func(a, b func() time.Time) bool { return a == nil && b == nil })); err != nil || diff != "" {
		t.Errorf("%v: %s", err, diff)
	}
	for name, value := range map[string]string{
		"object": "Account", "activities": "note", "event_type": "Chat", "version": "62", "key": "a b", "cases": "perhaps", "match": "", "reserve": "1", "rate": "0", "unknown": "x", "case_origin": "",
	} {
		_, err := salesforce.Settings(map[string]string{name: value})
		want(t, err, fault.BadConfig)
		if err != nil && !strings.Contains(err.Error(), name) {
			t.Errorf("it does not name %s: %v", name, err)
		}
	}
	_, err = salesforce.Settings(map[string]string{"activities": "event"})
	want(t, err, fault.BadConfig)
}
