package hubspot_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/hubspot"
	"github.com/parley-chat/parley/internal/fault"
	vendor "github.com/parley-chat/parley/internal/standin/hubspot"
)

// TestPrepare: nothing is made unasked; what is missing is made once.
func TestPrepare(t *testing.T) {
	t.Parallel()
	r := bareRig(t, vendor.Options{}, hubspot.Options{})
	what := []string{"the property parley_key of contacts", "the property parley_seq of contacts", "the property parley_activity_key of notes"}
	for _, test := range []struct{ dry, there, made bool }{{dry: true}, {made: true}, {there: true}, {dry: true, there: true}} {
		got, err := r.crm.Prepare(t.Context(), test.dry)
		if err != nil {
			t.Fatal(err)
		}
		var wanted []crm.Preparation
		for _, name := range what {
			wanted = append(wanted, crm.Preparation{What: name, There: test.there, Made: test.made})
		}
		if diff := cmp.Diff(wanted, got); diff != "" {
			t.Errorf("%+v: %s", test, diff)
		}
		if test.dry && r.Count("property") > 3 {
			t.Error("the dry run made something")
		}
	}
	if n := r.Count("property"); n != 3 {
		t.Errorf("%d properties were made", n)
	}
}

// TestPrepareRefuses: a property of that name that is not unique cannot serve.
func TestPrepareRefuses(t *testing.T) {
	t.Parallel()
	r := bareRig(t, vendor.Options{}, hubspot.Options{})
	r.Define("contacts", vendor.Property{Name: "parley_key", Label: "Key", Type: "string", FieldType: "text"})
	_, err := r.crm.Prepare(t.Context(), false)
	want(t, err, fault.VendorConflict)
	if r.Count("property") != 0 {
		t.Error("something was made")
	}
}

// TestSchema: types, options, and what cannot be written; our own properties are
// not for mappings.
func TestSchema(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	s, err := r.crm.Schema(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	field := func(list []crm.FieldSchema, name string) crm.FieldSchema {
		i := slices.IndexFunc(list, func(f crm.FieldSchema) bool { return f.Name == name })
		if i < 0 {
			t.Fatalf("no field %s", name)
		}
		return list[i]
	}
	for name, test := range map[string]struct {
		kind     crm.FieldType
		readOnly bool
	}{
		"email": {crm.Text, false}, "lifecyclestage": {crm.Enum, false}, "date_of_birth": {crm.Date, false}, "createdate": {crm.Time, true},
		"num_notes": {crm.Number, true}, "parley_key": {crm.Text, true}, "parley_seq": {crm.Number, true},
	} {
		if f := field(s.Contact, name); f.Type != test.kind || f.ReadOnly != test.readOnly {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if f := field(s.Contact, "lifecyclestage"); len(f.Options) != 6 || f.Options[1] != "lead" {
		t.Errorf("the options: %v", f.Options)
	}
	if f := field(s.Activity, "hs_note_body"); f.Type != crm.Text || s.Open {
		t.Errorf("%+v", f)
	}
	before := r.Count("properties")
	if _, err := r.crm.Schema(t.Context()); err != nil || r.Count("properties") != before {
		t.Errorf("it was read again: %v", err)
	}
}

// TestChanges: what people change in HubSpot is told once, with who and when, in
// spite of a search that is late; what we write ourselves is not.
func TestChanges(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	watched := []string{"plan", "lifecyclestage"}
	r := newRig(t, vendor.Options{Now: clock, Lag: 5 * time.Second}, hubspot.Options{Now: clock, App: "4711"})
	var contacts []crm.Contact
	for _, name := range names(120) {
		contacts = append(contacts, contact(name, 1, "pro", ""))
	}
	newPump(r.crm, 100).run(t, contacts)
	ids := map[string]string{}
	for _, record := range r.Records("contacts") {
		ids[record.Properties["parley_key"]] = record.ID
	}
	_, cursor, err := r.crm.Changes(t.Context(), "", watched)
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]int{}
	poll := func() {
		t.Helper()
		for range 20 {
			changes, next, err := r.crm.Changes(t.Context(), cursor, watched)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range changes {
				for _, f := range c.Fields {
					value, some := f.Value.(string)
					if !some {
						continue
					}
					told[c.Key+" "+f.Name+" "+value]++
				}
				if c.By != "CRM_UI:userId:42" || c.ID != ids[c.Key] || c.At.IsZero() {
					t.Errorf("the change: %+v", c)
				}
			}
			if next == cursor {
				return
			}
			cursor = next
		}
	}
	// Somebody changes all of them; the search hears of half of them later.
	wanted := map[string]int{}
	for i, name := range names(120) {
		now = now.Add(100 * time.Millisecond)
		r.Edit("contacts", ids[keyOf(name)], map[string]string{"plan": "edited", "jobtitle": "x"})
		wanted[keyOf(name)+" plan edited"] = 1
		if i%40 == 0 {
			poll()
		}
	}
	now = now.Add(10 * time.Second)
	poll()
	// We write, and somebody changes one more.
	own := contact(names(1)[0], 2, "ours", "")
	own.ID = ids[own.Key]
	r.upsert(own)
	r.Edit("contacts", ids[keyOf(names(2)[1])], map[string]string{"lifecyclestage": "lead"})
	r.Edit("contacts", "", map[string]string{"email": "stranger@example.test", "plan": "x"})
	wanted[keyOf(names(2)[1])+" lifecyclestage lead"]++
	wanted[keyOf(names(2)[1])+" plan edited"]++ // All are told that were asked for.
	now = now.Add(10 * time.Second)
	poll()
	poll()
	if diff := cmp.Diff(wanted, told); diff != "" {
		t.Errorf("told: %s", diff)
	}
	if len(cursor) > 20_000 {
		t.Errorf("the cursor has %d bytes", len(cursor))
	}
	if _, _, err := r.crm.Changes(t.Context(), "{", watched); err == nil {
		t.Error("a broken cursor is taken")
	}
}

// TestBudget: the headers say what is left; the search says nothing.
func TestBudget(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	r := newRig(t, vendor.Options{Now: clock, Limit: 110, Daily: 1000}, hubspot.Options{Now: clock})
	r.upsert(contact("ada", 1, "pro", ""))
	used := r.Count("")
	if b := r.crm.Budget(); b.Remaining != 110-used || b.Policy != "TEN_SECONDLY_ROLLING" || !b.Resets.Equal(now.Add(10*time.Second)) {
		t.Errorf("after %d calls: %+v", used, b)
	}
	for range 110 {
		_, _ = r.crm.Read(t.Context(), []crm.Ref{{Key: keyOf("ada")}})
	}
	_, err := r.crm.UpsertContacts(t.Context(), []crm.Contact{contact("bob", 1, "pro", "")})
	want(t, err, fault.RateLimited)
	if fault.From(err).After != 10*time.Second || r.crm.Budget().Remaining != 0 {
		t.Errorf("%v, %+v", fault.From(err).After, r.crm.Budget())
	}
	now = now.Add(11 * time.Second)
	if o := r.upsert(contact("bob", 1, "pro", "")); o[keyOf("bob")].Status != crm.Done {
		t.Errorf("%+v", o)
	}
}

// TestDailyBudget: what is scarcer counts.
func TestDailyBudget(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{Limit: 110, Daily: 20}, hubspot.Options{})
	_, err := r.crm.Read(t.Context(), []crm.Ref{{Key: keyOf("ada")}})
	if b := r.crm.Budget(); err != nil || b.Policy != "DAILY" || b.Remaining >= 12 {
		t.Errorf("%v, %+v", err, b)
	}
	for range 20 {
		_, err = r.crm.Read(t.Context(), []crm.Ref{{Key: keyOf("ada")}})
	}
	want(t, err, fault.RateLimited)
	if fault.From(err).After != time.Hour {
		t.Errorf("the wait is %s", fault.From(err).After)
	}
}

// TestTokens: a 401 asks for another token only when the token has expired, or
// when a person made it.
func TestTokens(t *testing.T) {
	t.Parallel()
	const pat = "pat-na1-11111111-2222-3333-4444-555555555555"
	for what, test := range map[string]struct {
		list    []string
		renewed int32
		reason  fault.Reason
	}{
		"expired":          {[]string{"expired", "good"}, 1, ""},
		"expired for ever": {[]string{"expired", "expired"}, 1, fault.TokenRefused},
		"not valid":        {[]string{"other", "good"}, 0, fault.TokenRefused},
		"made by hand":     {[]string{pat, "good"}, 1, ""},
		"good":             {[]string{"good"}, 0, ""},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := bareRig(t, vendor.Options{Auth: func(token string) vendor.Standing {
				switch token {
				case "good":
					return vendor.Good
				case "expired":
					return vendor.Expired
				}
				return vendor.Unknown
			}}, hubspot.Options{})
			r.tokens.list = test.list
			_, err := r.crm.Schema(t.Context())
			if test.reason == "" && err != nil {
				t.Error(err)
			}
			if test.reason != "" {
				want(t, err, test.reason)
			}
			if got := r.tokens.renewed.Load(); got != test.renewed {
				t.Errorf("%d other tokens were asked for, want %d", got, test.renewed)
			}
		})
	}
}

// TestCanary: HubSpot repeats the token in every field of its errors; none of
// ours holds it, or what people wrote.
func TestCanary(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	r.upsert(contact("warm", 1, "x", ""))
	secret := "very-private@example.test"
	calls := map[string]func() error{
		"upsert": func() error {
			_, err := r.crm.UpsertContacts(t.Context(), []crm.Contact{contact("ada", 1, "private-plan", secret)})
			return err
		},
		"read": func() error { _, err := r.crm.Read(t.Context(), []crm.Ref{{Key: keyOf("ada")}}); return err },
		"put": func() error {
			_, err := r.crm.PutActivities(t.Context(), []crm.Activity{chat("warm", 1, "private")})
			return err
		},
		"forget": func() error { _, err := r.crm.Forget(t.Context(), []crm.Ref{{Key: "x", ID: "1"}}); return err },
		"changes": func() error {
			_, _, err := r.crm.Changes(t.Context(), `{"at":1}`, []string{"plan"})
			return err
		},
	}
	found := 0
	for _, status := range []int{400, 401, 403, 404, 409, 418, 423, 429, 477, 500, 502, 503} {
		for what, do := range calls {
			r.Set(vendor.Faults{Shares: []vendor.Share{{Share: 1, Fault: vendor.Fault{Status: status, Echo: true}}}})
			err := do()
			if err == nil {
				continue // It is done when it is gone.
			}
			found++
			e := fault.From(err)
			for _, text := range []string{err.Error(), e.Error(), e.Fix, e.Field, e.Message} {
				if strings.Contains(text, canary) || strings.Contains(text, secret) || strings.Contains(text, "private") {
					t.Errorf("%s, %d: %s", what, status, text)
				}
			}
		}
	}
	if found < 50 {
		t.Errorf("only %d errors were looked at", found)
	}
	r.Set(vendor.Faults{})
	_ = r.hosts.Close()
	_, err := r.crm.UpsertContacts(t.Context(), []crm.Contact{contact("ada", 1, "private-plan", secret)})
	if err == nil || strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), secret) {
		t.Errorf("with nobody there: %v", err)
	}
	want(t, err, fault.VendorUnavailable)
}
