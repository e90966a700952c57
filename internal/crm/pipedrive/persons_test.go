package pipedrive_test

import (
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/crmtest"
	"github.com/parley-chat/parley/internal/crm/pipedrive"
	"github.com/parley-chat/parley/internal/fault"
	vendor "github.com/parley-chat/parley/internal/standin/pipedrive"
)

// TestUpsert: made once, changed later, with all types of fields.
func TestUpsert(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, pipedrive.Options{})
	c := contact("ada", 1, "free", "ada@example.test")
	for name, value := range map[string]any{
		"name": "Ada", "phone": "+1 2", "Level": "high", "Tags": []string{"a", "C"}, "Since": time.Date(2026, 11, 25, 23, 0, 0, 0, time.UTC), "org_id": 7.0,
	} {
		c = with(c, name, value)
	}
	o := r.done(c)
	if !o.Created {
		t.Errorf("%+v", o)
	}
	next := contact("ada", 2, "pro", "")
	next.ID = o.ID
	if o := r.done(next); o.Created || o.ID != next.ID {
		t.Errorf("%+v", o)
	}
	p := r.only("persons")
	if p["name"] != "Ada" || !slices.Equal(p.Emails(), []string{"ada@example.test"}) || p.Custom(r.key) != c.Key || p.Custom(r.plan) != "pro" || p.Custom(r.seq) != 2.0 {
		t.Errorf("%v", p)
	}
	got, err := r.crm.Read(t.Context(), []crm.Ref{{Key: c.Key}, {Key: "nobody"}, {Key: "gone", ID: "999"}})
	if err != nil || len(got) != 1 {
		t.Fatalf("%v, %v", err, got)
	}
	values := map[string]any{}
	for _, f := range got[0].Fields {
		values[f.Name] = f.Value
	}
	for name, want := range map[string]any{
		"name": "Ada", "email": "ada@example.test", "phone": "+1 2", "Level": "High", "Tags": []string{"a", "c"}, "Plan": "pro", r.plan: "pro",
		"Since": time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC), "org_id": 7.0, "Parley key": nil, r.key: nil,
	} {
		if diff := cmp.Diff(want, values[name]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if got[0].ID != o.ID || got[0].Email != "ada@example.test" || got[0].UpdatedAt.IsZero() {
		t.Errorf("%+v", got[0])
	}
	cleared := with(contact("ada", 3, "", ""), "Level", nil)
	r.done(cleared)
	if p := r.only("persons"); p.Custom(r.plan) != nil || p["name"] != "Ada" {
		t.Errorf("%v", p)
	}
}

// TestNoName: a person of whom no name is known gets one, and keeps that which
// they get later.
func TestNoName(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, pipedrive.Options{})
	r.done(contact("ada", 1, "free", ""))
	id := r.only("persons").ID()
	r.Put("persons", id, vendor.Record{"name": "Lovelace"})
	r.done(contact("ada", 2, "pro", ""))
	if p := r.only("persons"); p["name"] != "Lovelace" || p.Custom(r.plan) != "pro" {
		t.Errorf("%v", p)
	}
}

// TestEmails: addresses that others wrote stay, and the first one stays the first.
func TestEmails(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, pipedrive.Options{})
	r.done(contact("ada", 1, "free", "ada@example.test"))
	id := r.only("persons").ID()
	r.Put("persons", id, vendor.Record{"emails": []any{map[string]any{"value": "boss@example.test", "primary": true}, map[string]any{"value": "Ada@example.test"}}})
	r.done(contact("ada", 2, "pro", "ada@example.test"))
	r.done(contact("ada", 3, "pro", "new@example.test"))
	if got := r.only("persons").Emails(); !slices.Equal(got, []string{"boss@example.test", "Ada@example.test", "new@example.test"}) {
		t.Errorf("%v", got)
	}
}

// TestMatch: a person that somebody else made of the address is taken; one of
// another key is shared; several are for a human to look at.
func TestMatch(t *testing.T) {
	t.Parallel()
	other := crmtest.Key("other")
	for what, test := range map[string]struct {
		there   []string // keys of persons of the address
		former  []string
		noMatch bool
		records int
		reason  fault.Reason
		key     string
	}{
		"nobody":          {nil, nil, false, 1, "", crmtest.Key("ada")},
		"a stranger's":    {[]string{""}, nil, false, 1, "", crmtest.Key("ada")},
		"another site's":  {[]string{other}, nil, false, 1, "", other},
		"a former key's":  {[]string{other}, []string{other}, false, 1, "", crmtest.Key("ada")},
		"several":         {[]string{"", ""}, nil, false, 2, fault.VendorConflict, ""},
		"matching is off": {[]string{"", ""}, nil, true, 3, "", ""},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, vendor.Options{}, pipedrive.Options{NoMatch: test.noMatch})
			for _, key := range test.there {
				custom := map[string]any{}
				if key != "" {
					custom[r.key] = key
				}
				r.Add("persons", vendor.Record{"name": "L", "emails": []any{map[string]any{"value": "Ada@example.test", "primary": true}}, "custom_fields": custom})
			}
			c := contact("ada", 3, "pro", "ada@example.test")
			c.Former = test.former
			for range 2 { // A repetition changes nothing.
				o := r.one(c)
				if test.reason != "" {
					want(t, o.Err, test.reason)
					continue
				}
				if o.Status != crm.Done {
					t.Fatalf("%+v", o)
				}
				c.ID = o.ID
			}
			if n := len(r.Records("persons")); n != test.records {
				t.Errorf("%d persons", n)
			}
			if test.reason == "" && !test.noMatch {
				p := r.only("persons")
				if p.Custom(r.key) != test.key || p.Custom(r.plan) != "pro" {
					t.Errorf("%v", p)
				}
				if test.key == other && p.Custom(r.seq) != nil {
					t.Error("the sequence is that of the other key")
				}
			}
		})
	}
}

// TestFormer: who was known under another key stays one person.
func TestFormer(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, pipedrive.Options{})
	old := r.done(contact("anonymous", 1, "free", ""))
	c := contact("ada", 1, "pro", "")
	c.Former = []string{crmtest.Key("anonymous")}
	if o := r.done(c); o.ID != old.ID {
		t.Errorf("%+v, want %s", o, old.ID)
	}
	if p := r.only("persons"); p.Custom(r.key) != c.Key || p.Custom(r.plan) != "pro" {
		t.Errorf("%v", p)
	}
}

// TestGone: a person that people deleted is told as gone, and made anew.
func TestGone(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, pipedrive.Options{IDs: newStore()})
	c := contact("ada", 1, "pro", "")
	c.ID = r.done(c).ID
	id, _ := strconv.Atoi(c.ID)
	r.Remove("persons", id)
	o := r.one(c)
	if o.Status != crm.Rejected || o.Err.Reason != fault.VendorNotFound {
		t.Errorf("%+v", o)
	}
	c.ID = ""
	if o := r.done(c); !o.Created || o.ID == strconv.Itoa(id) {
		t.Errorf("%+v", o)
	}
}

// TestStale: after an unsure answer, what is stored and newer stays.
func TestStale(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, pipedrive.Options{})
	r.done(contact("ada", 5, "new", ""))
	old := contact("ada", 4, "old", "")
	old.Unsure = true
	if o := r.done(old); !o.Stale {
		t.Errorf("%+v", o)
	}
	if p := r.only("persons"); p.Custom(r.plan) != "new" {
		t.Errorf("%v", p)
	}
}

// TestRefused: what is about the contact is its outcome; what is about the
// account stops the call.
func TestRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, pipedrive.Options{})
	for what, test := range map[string]struct {
		c      crm.Contact
		reason fault.Reason
		field  string
	}{
		"unknown field":   {with(contact("a", 1, "x", ""), "Nonsense", "x"), fault.SchemaViolation, "/Nonsense"},
		"ambiguous name":  {with(contact("b", 1, "x", ""), "Twice", "x"), fault.SchemaViolation, "/Twice"},
		"unknown option":  {with(contact("c", 1, "x", ""), "Level", "Middle"), fault.SchemaViolation, "/Level"},
		"no address":      {contact("d", 1, "x", "nobody"), fault.VendorRejects, "/emails"},
		"one set too far": {with(contact("e", 1, "x", ""), "Tags", []string{"a", "z"}), fault.SchemaViolation, "/Tags"},
	} {
		o := r.one(test.c)
		if o.Status != crm.Rejected || o.Err.Reason != test.reason || o.Err.Field != test.field {
			t.Errorf("%s: %+v", what, o)
		}
	}
	if len(r.Records("persons")) != 0 {
		t.Errorf("%v", r.Records("persons"))
	}
	// What was refused is not looked for.
	before := len(r.Calls())
	r.one(contact("d", 2, "x", "nobody"))
	for _, c := range r.Calls()[before:] {
		if c.Path == "/api/v2/persons" && c.Method == http.MethodGet {
			t.Error("a creation that was refused is looked for")
		}
	}
	for kind, reason := range map[vendor.Kind]fault.Reason{vendor.Capped: fault.VendorForbids, vendor.Throttled: fault.RateLimited, vendor.Guard: fault.RateLimited} {
		r.Set(vendor.Faults{Plan: []vendor.Kind{kind}})
		_, err := r.crm.UpsertContacts(t.Context(), []crm.Contact{contact("f", 1, "x", "")})
		want(t, err, reason)
	}
	r.done(contact("f", 1, "x", ""))
}

// TestPlan: the plan has no more persons: a human must act, and nothing is lost.
func TestPlan(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{MaxPersons: 1}, pipedrive.Options{})
	r.done(contact("ada", 1, "x", ""))
	_, err := r.crm.UpsertContacts(t.Context(), []crm.Contact{contact("bob", 1, "x", "")})
	want(t, err, fault.VendorForbids)
	r.done(contact("ada", 2, "y", ""))
}

// TestWithoutKey: without a field for our key nothing is written at all.
func TestWithoutKey(t *testing.T) {
	t.Parallel()
	r := bareRig(t, vendor.Options{}, pipedrive.Options{})
	r.AddField("Parley key", "double")
	_, err := r.crm.UpsertContacts(t.Context(), []crm.Contact{contact("ada", 1, "x", "")})
	want(t, err, fault.VendorForbids)
	if len(r.Records("persons")) != 0 {
		t.Error("something was written")
	}
	r.AddField("Plan", "varchar")
	r.AddField("Parley key", "varchar")
	_, err = r.crm.UpsertContacts(t.Context(), []crm.Contact{contact("ada", 1, "x", "")})
	want(t, err, fault.VendorForbids) // It is asked again after a minute.
	r.clock.push(2 * time.Minute)
	r.done(contact("ada", 1, "x", ""))
}
