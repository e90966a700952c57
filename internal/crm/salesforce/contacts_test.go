package salesforce_test

import (
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/crmtest"
	"github.com/parley-chat/parley/internal/crm/salesforce"
	"github.com/parley-chat/parley/internal/fault"
	vendor "github.com/parley-chat/parley/internal/standin/salesforce"
)

// TestUpsert: made once, changed later; alone and in a collection; whatever the
// version answers to a change.
func TestUpsert(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		what string
		old  bool
		with int
	}{{"alone", false, 0}, {"alone, old version", true, 0}, {"with others", false, 3}} {
		t.Run(test.what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, vendor.Options{Old: test.old}, salesforce.Options{})
			write := func(seq uint64, plan string) crm.Outcome {
				t.Helper()
				all := []crm.Contact{with(with(contact("ada", seq, plan, "ada@example.test"), "LastName", "Lovelace"), "Last_Chat__c", time.Unix(1_764_000_000, 5e6))}
				for _, name := range crmtest.Names(test.with) {
					all = append(all, contact(name, seq, plan, ""))
				}
				return r.upsert(all...)[crmtest.Key("ada")]
			}
			first := write(1, "free")
			if first.Status != crm.Done || !first.Created || !strings.HasPrefix(first.ID, "003") {
				t.Errorf("the first write: %+v", first)
			}
			second := write(2, "pro")
			if second.Status != crm.Done || second.Created || !test.old && second.ID != first.ID {
				t.Errorf("the second write: %+v", second)
			}
			found := r.Find("Contact", "Parley_Key__c", crmtest.Key("ada"))
			if len(found) != 1 || len(r.Records("Contact")) != 1+test.with {
				t.Fatalf("the contacts: %v", r.Records("Contact"))
			}
			has(t, found[0], map[string]any{
				"Email": "ada@example.test", "LastName": "Lovelace", "Plan__c": "pro", "Parley_Seq__c": 2, "Last_Chat__c": "2025-11-24T16:00:00.005Z",
			})
		})
	}
}

// TestNoName: a person of whom no name is known gets one, and keeps that which
// they get later.
func TestNoName(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, salesforce.Options{})
	if o := r.one(contact("ada", 1, "free", "")); o.Status != crm.Done || !o.Created {
		t.Fatalf("%+v", o)
	}
	has(t, r.only("Contact"), map[string]any{"LastName": "Unknown"})
	id := r.only("Contact").ID()
	r.Put("Contact", id, vendor.Record{"LastName": "Lovelace"})
	if o := r.one(contact("ada", 2, "pro", "")); o.Status != crm.Done {
		t.Fatalf("%+v", o)
	}
	has(t, r.only("Contact"), map[string]any{"LastName": "Lovelace", "Plan__c": "pro"})
	// Without a fallback it is the mapping's fault.
	bare := newRig(t, vendor.Options{}, salesforce.Options{Fallback: map[string]string{}})
	o := bare.one(contact("ada", 1, "free", ""))
	want(t, o.Err, fault.VendorRejects)
	if o.Status != crm.Rejected || o.Err.Field != "/LastName" {
		t.Errorf("%+v", o)
	}
}

// TestMatch: a record that somebody else made of the address is taken; one of
// another key is shared; several are for a person to look at.
func TestMatch(t *testing.T) {
	t.Parallel()
	key := crmtest.Key("other")
	for what, test := range map[string]struct {
		there   []vendor.Record
		former  []string
		noMatch bool
		records int
		reason  fault.Reason
		key     string
	}{
		"nobody":              {nil, nil, false, 1, "", crmtest.Key("ada")},
		"a stranger's":        {[]vendor.Record{{"LastName": "L", "Email": "Ada@Example.test"}}, nil, false, 1, "", crmtest.Key("ada")},
		"another site's":      {[]vendor.Record{{"LastName": "L", "Email": "ada@example.test", "Parley_Key__c": key}}, nil, false, 1, "", key},
		"a former key's":      {[]vendor.Record{{"LastName": "L", "Parley_Key__c": key}}, []string{key}, false, 1, "", crmtest.Key("ada")},
		"several":             {[]vendor.Record{{"LastName": "L", "Email": "ada@example.test"}, {"LastName": "M", "Email": "ada@example.test"}}, nil, false, 2, fault.VendorConflict, ""},
		"ours, and another":   {[]vendor.Record{{"LastName": "L", "Email": "ada@example.test"}, {"LastName": "M", "Parley_Key__c": crmtest.Key("ada")}}, nil, false, 2, "", crmtest.Key("ada")},
		"matching is off":     {[]vendor.Record{{"LastName": "L", "Email": "ada@example.test"}}, nil, true, 2, "", ""},
		"several, and is off": {[]vendor.Record{{"LastName": "L", "Email": "ada@example.test"}, {"LastName": "M", "Email": "ada@example.test"}}, nil, true, 3, "", ""},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, vendor.Options{}, salesforce.Options{NoMatch: test.noMatch})
			for _, there := range test.there {
				r.Add("Contact", there)
			}
			c := contact("ada", 3, "pro", "ada@example.test")
			c.Former = test.former
			for range 2 { // A repetition changes nothing.
				o := r.one(c)
				if test.reason != "" {
					want(t, o.Err, test.reason)
					continue
				}
				if o.Status != crm.Done || o.ID == "" {
					t.Fatalf("%+v", o)
				}
				c.ID = o.ID
			}
			if n := len(r.Records("Contact")); n != test.records {
				t.Errorf("%d contacts: %v", n, r.Records("Contact"))
			}
			if test.reason == "" {
				found := r.Find("Contact", "Id", strings.TrimSuffix(c.ID, "+"))
				has(t, found[0], map[string]any{"Plan__c": "pro"})
				if test.key != "" {
					has(t, found[0], map[string]any{"Parley_Key__c": test.key})
				}
			}
		})
	}
}

// TestQuotes: an address with a quote is a text, and no part of the query.
func TestQuotes(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, salesforce.Options{})
	r.Add("Contact", vendor.Record{"LastName": "O", "Email": `o'nil\@example.test`})
	r.Add("Contact", vendor.Record{"LastName": "L", "Email": "x@example.test"})
	for _, email := range []string{`o'nil\@example.test`, `x') OR Email IN ('x@example.test`} {
		c := contact(email, 1, "pro", email)
		if o := r.one(c); o.Status != crm.Done && o.Err.Reason != fault.VendorRejects {
			t.Errorf("%s: %+v", email, o)
		}
	}
	if n := len(r.Find("Contact", "Plan__c", "pro")); n != 2 || len(r.Find("Contact", "LastName", "O")) != 1 {
		t.Errorf("%v", r.Records("Contact"))
	}
	has(t, r.Find("Contact", "LastName", "L")[0], map[string]any{"Plan__c": nil})
}

// TestChoice: the mapping says who is a lead; who is a contact stays one.
func TestChoice(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, salesforce.Options{})
	if _, err := r.crm.Schema(t.Context()); err != nil {
		t.Fatal(err)
	}
	lead := with(with(contact("ada", 1, "free", "ada@example.test"), salesforce.Choice, "Lead"), "Interest__c", "chess")
	o := r.one(lead)
	if o.Status != crm.Done || !strings.HasPrefix(o.ID, "00Q") {
		t.Fatalf("%+v", o)
	}
	has(t, r.only("Lead"), map[string]any{"Interest__c": "chess", "Company": "Unknown", "LastName": "Unknown"})
	// Now the mapping calls them a contact: another record, and the lead stays.
	next := with(with(contact("ada", 2, "pro", "ada@example.test"), salesforce.Choice, "Contact"), "Interest__c", "chess")
	next.ID = o.ID
	o = r.one(next)
	if o.Status != crm.Done || !strings.HasPrefix(o.ID, "003") {
		t.Fatalf("%+v", o)
	}
	has(t, r.only("Contact"), map[string]any{"Plan__c": "pro", "Interest__c": nil})
	lead.ID, lead.Seq = o.ID, 3
	if o = r.one(lead); !strings.HasPrefix(o.ID, "003") || len(r.Records("Contact")) != 1 || len(r.Records("Lead")) != 1 {
		t.Errorf("a contact became a lead: %+v", o)
	}
	unknown := with(contact("bob", 1, "pro", ""), "Nonsense__c", 1)
	if o := r.one(unknown); o.Status != crm.Rejected || o.Err.Reason != fault.SchemaViolation || o.Err.Field != "/Nonsense__c" {
		t.Errorf("%+v", o)
	}
}

// TestLeadOfContact: who is a contact already does not become a lead, too.
func TestLeadOfContact(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, salesforce.Options{Object: salesforce.Lead})
	r.Add("Contact", vendor.Record{"LastName": "L", "Email": "ada@example.test"})
	o := r.one(contact("ada", 1, "pro", "ada@example.test"))
	if o.Status != crm.Done || len(r.Records("Lead")) != 0 {
		t.Errorf("%+v, %v", o, r.Records("Lead"))
	}
	has(t, r.only("Contact"), map[string]any{"Parley_Key__c": crmtest.Key("ada"), "Plan__c": "pro"})
}

// TestLeadStays: a change that does not say again what somebody is goes to the lead
// that they are. When the setting changes, it decides.
func TestLeadStays(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, salesforce.Options{})
	c := with(contact("ada", 1, "pro", ""), salesforce.Choice, "Lead")
	c.Mapped = []string{"Plan__c", salesforce.Choice}
	id := r.one(c).ID
	next := contact("ada", 2, "gold", "")
	next.ID, next.Mapped = id, c.Mapped
	if o := r.one(next); o.Status != crm.Done || o.ID != id || len(r.Records("Contact")) != 0 {
		t.Errorf("the outcome: %+v; contacts: %v", o, r.Records("Contact"))
	}
	has(t, r.only("Lead"), map[string]any{"Plan__c": "gold", "Parley_Seq__c": 2})
	next.Seq, next.Mapped = 3, []string{"Plan__c"}
	if o := r.one(next); o.Status != crm.Done || o.ID == id || len(r.Records("Contact")) != 1 {
		t.Errorf("the outcome: %+v; contacts: %v", o, r.Records("Contact"))
	}
}

// TestConverted: a lead that people converted is followed to its contact.
func TestConverted(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{true, false} {
		r := newRig(t, vendor.Options{}, salesforce.Options{Object: salesforce.Lead, NoMatch: true})
		c := contact("ada", 1, "free", "")
		o := r.one(c)
		to := r.Add("Contact", vendor.Record{"LastName": "Lovelace"})
		r.Put("Lead", o.ID, vendor.Record{"IsConverted": true, "ConvertedContactId": to})
		c = contact("ada", 2, "pro", "")
		if known {
			c.ID = o.ID
		}
		if o = r.one(c); o.Status != crm.Done || o.ID != to {
			t.Errorf("known %t: %+v, want %s", known, o, to)
		}
		has(t, r.only("Contact"), map[string]any{"Plan__c": "pro", "Parley_Key__c": crmtest.Key("ada"), "LastName": "Lovelace"})
		// It became no contact: a person decides.
		lost := r.one(contact("bob", 1, "free", ""))
		r.Put("Lead", lost.ID, vendor.Record{"IsConverted": true})
		if o := r.one(contact("bob", 2, "pro", "")); o.Status != crm.Rejected || o.Err.Reason != fault.VendorConflict {
			t.Errorf("%+v", o)
		}
	}
}

// TestStale: what is stored is newer, and stays: by a look after an unsure
// answer, and by the org's own rule.
func TestStale(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{Fence: "Parley_Seq__c"}, salesforce.Options{})
	r.one(contact("ada", 5, "new", ""))
	for _, unsure := range []bool{false, true} {
		for _, others := range []int{0, 2} {
			old := contact("ada", 4, "old", "")
			old.Unsure = unsure
			all := []crm.Contact{old}
			for _, name := range crmtest.Names(others) {
				all = append(all, contact(name, 1, "x", ""))
			}
			if o := r.upsert(all...)[old.Key]; o.Status != crm.Done || !o.Stale {
				t.Errorf("unsure %t, %d others: %+v", unsure, others, o)
			}
		}
	}
	same := contact("ada", 5, "other", "")
	same.Unsure = true
	if o := r.one(same); o.Status != crm.Done || o.Stale || o.ID == "" {
		t.Errorf("what has arrived: %+v", o)
	}
	has(t, r.Find("Contact", "Parley_Key__c", crmtest.Key("ada"))[0], map[string]any{"Plan__c": "new", "Parley_Seq__c": 5})
}

// TestAmbiguous: two records of one key, which a unique field does not allow,
// are refused, alone with 300 and in a collection.
func TestAmbiguous(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, salesforce.Options{})
	for range 2 {
		r.Add("Contact", vendor.Record{"LastName": "L", "Parley_Key__c": crmtest.Key("ada")})
	}
	for _, others := range []int{0, 1} {
		all := []crm.Contact{contact("ada", 1, "pro", "")}
		for _, name := range crmtest.Names(others) {
			all = append(all, contact(name, 1, "x", ""))
		}
		o := r.upsert(all...)[crmtest.Key("ada")]
		if o.Status != crm.Rejected || o.Err.Reason != fault.VendorConflict {
			t.Errorf("%d others: %+v", others, o)
		}
	}
}

// TestGone: a record that people deleted is told as gone, and made anew without
// its id.
func TestGone(t *testing.T) {
	t.Parallel()
	for _, others := range []int{0, 2} {
		r := newRig(t, vendor.Options{}, salesforce.Options{})
		c := contact("ada", 1, "pro", "")
		c.ID = r.one(c).ID
		r.Remove("Contact", c.ID)
		all := []crm.Contact{c}
		for _, name := range crmtest.Names(others) {
			known := contact(name, 1, "x", "")
			known.ID = r.one(known).ID
			all = append(all, known)
		}
		o := r.upsert(all...)[c.Key]
		if o.Status != crm.Rejected || o.Err.Reason != fault.VendorNotFound {
			t.Errorf("%d others: %+v", others, o)
		}
		c.ID = ""
		if o := r.one(c); o.Status != crm.Done || !o.Created {
			t.Errorf("%+v", o)
		}
	}
}

// TestDuplicateRule: the org's rule stops a record, unless the target allows it.
func TestDuplicateRule(t *testing.T) {
	t.Parallel()
	for _, allow := range []bool{false, true} {
		r := newRig(t, vendor.Options{DuplicateRule: true}, salesforce.Options{NoMatch: true, AllowDuplicates: allow})
		r.Add("Contact", vendor.Record{"LastName": "L", "Email": "ada@example.test"})
		o := r.one(contact("ada", 1, "pro", "ada@example.test"))
		if allow != (o.Status == crm.Done) || !allow && (o.Err.Reason != fault.VendorConflict || !strings.Contains(o.Err.Fix, "allow_duplicates")) {
			t.Errorf("allowed %t: %+v", allow, o)
		}
	}
}

// TestPartial: each record of a collection has its own outcome.
func TestPartial(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, salesforce.Options{})
	all := []crm.Contact{
		contact("good", 1, "pro", ""), contact("long", 1, strings.Repeat("x", 41), ""), contact("mail", 1, "pro", "no address"), contact("fine", 1, "pro", ""),
	}
	told := r.upsert(all...)
	for name, field := range map[string]string{"good": "", "long": "/Plan__c", "mail": "/Email", "fine": ""} {
		o := told[crmtest.Key(name)]
		if (o.Status == crm.Done) != (field == "") || field != "" && (o.Err.Field != field || o.Err.Reason != fault.VendorRejects) {
			t.Errorf("%s: %+v", name, o)
		}
	}
	if n := r.Effects("Contact", vendor.Created); n != 2 {
		t.Errorf("%d were made", n)
	}
}

// TestRepeatedKey: two states of a contact in one call are one.
func TestRepeatedKey(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, salesforce.Options{})
	told := r.upsert(contact("ada", 2, "new", ""), with(contact("ada", 1, "old", ""), "FirstName", "Ada"), contact("bob", 1, "x", ""))
	if len(told) != 2 || told[crmtest.Key("ada")].Status != crm.Done {
		t.Errorf("%+v", told)
	}
	has(t, r.Find("Contact", "Parley_Key__c", crmtest.Key("ada"))[0], map[string]any{"Plan__c": "new", "FirstName": "Ada", "Parley_Seq__c": 2})
}

// TestSharedRecord: two people of one record are written in turns, not in one
// collection, which Salesforce would refuse.
func TestSharedRecord(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, salesforce.Options{})
	r.Add("Contact", vendor.Record{"LastName": "L", "Email": "ada@example.test", "Parley_Key__c": crmtest.Key("third")})
	told := r.upsert(contact("ada", 1, "one", "ada@example.test"), contact("bob", 1, "two", "ada@example.test"), contact("eve", 1, "x", ""))
	for key, o := range told {
		if o.Status != crm.Done {
			t.Errorf("%s: %+v", key, o)
		}
	}
	if len(r.Records("Contact")) != 2 || len(told) != 3 {
		t.Errorf("%v", r.Records("Contact"))
	}
}

// TestWithoutKey: without a unique external id nothing is written at all.
func TestWithoutKey(t *testing.T) {
	t.Parallel()
	for _, f := range []vendor.Field{{}, {Name: "Parley_Key__c", Type: "string", ExternalID: true}, {Name: "Parley_Key__c", Type: "string", Unique: true}} {
		r := bareRig(t, vendor.Options{}, salesforce.Options{})
		if f.Name != "" {
			r.AddFields("Contact", f)
		}
		_, err := r.crm.UpsertContacts(t.Context(), []crm.Contact{contact("ada", 1, "x", "")})
		want(t, err, fault.VendorForbids)
		if len(r.Records("Contact")) != 0 {
			t.Error("something was written")
		}
	}
}
