package hubspot_test

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/hubspot"
	"github.com/parley-chat/parley/internal/fault"
	vendor "github.com/parley-chat/parley/internal/standin/hubspot"
)

// TestUpsert: a new contact is made by our key, and then changed by its id, with
// one request each.
func TestUpsert(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	r.upsert(contact("warm", 1, "x", "")) // The schema is read once.
	before := r.Count("")
	first := r.upsert(contact("ada", 1, "pro", ""))[keyOf("ada")]
	if first.Status != crm.Done || !first.Created || first.ID == "" {
		t.Fatalf("the first write: %+v", first)
	}
	next := contact("ada", 2, "team", "")
	next.ID = first.ID
	second := r.upsert(next)[keyOf("ada")]
	if second.Status != crm.Done || second.Created || second.ID != first.ID {
		t.Errorf("the second write: %+v", second)
	}
	if calls := r.Count("") - before; calls != 2 || r.Count("update") != 1 {
		t.Errorf("%d calls, %d of them updates", calls, r.Count("update"))
	}
	got := r.Records("contacts")[1]
	wanted := map[string]string{"parley_key": keyOf("ada"), "parley_seq": "2", "plan": "team"}
	if diff := cmp.Diff(wanted, got.Properties); diff != "" {
		t.Errorf("the record: %s", diff)
	}
}

// TestOwnedFieldsOnly: what others wrote stays, and nil clears.
func TestOwnedFieldsOnly(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	id := r.upsert(contact("ada", 1, "pro", "ada@example.test"))[keyOf("ada")].ID
	r.Edit("contacts", id, map[string]string{"jobtitle": "Countess"})
	next := contact("ada", 2, "", "")
	next.ID, next.Fields[0].Value = id, nil
	r.upsert(next)
	got := r.only("contacts").Properties
	if _, there := got["plan"]; there || got["jobtitle"] != "Countess" || got["email"] != "ada@example.test" {
		t.Errorf("the record: %v", got)
	}
}

// TestAdopt: a contact that others made is found by its address, whatever its
// case, and by an address that it had before; it is never made again.
func TestAdopt(t *testing.T) {
	t.Parallel()
	for what, test := range map[string]struct {
		theirs map[string]string
		email  string
		mapped bool
	}{
		"the address":                      {map[string]string{"email": "ada@example.test"}, "Ada@Example.test", true},
		"a former address":                 {map[string]string{"email": "a@example.test", "hs_additional_emails": "b@example.test;ada@example.test"}, "ada@example.test", true},
		"the address, which is not mapped": {map[string]string{"email": "ada@example.test"}, "ada@example.test", false},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, vendor.Options{}, hubspot.Options{})
			id := r.Edit("contacts", "", test.theirs)
			c := contact("ada", 1, "pro", test.email)
			if !test.mapped {
				c.Fields = c.Fields[1:]
			}
			if o := r.upsert(c)[keyOf("ada")]; o.Status != crm.Done || o.ID != id || o.Created {
				t.Errorf("the outcome: %+v", o)
			}
			if got := r.only("contacts").Properties; got["parley_key"] != keyOf("ada") || got["plan"] != "pro" {
				t.Errorf("the record: %v", got)
			}
			// The id is lost, as after a lost answer: it is found again.
			c.Seq, c.Unsure = 2, true
			if o := r.upsert(c)[keyOf("ada")]; o.ID != id || len(r.Records("contacts")) != 1 {
				t.Errorf("the second time: %+v", o)
			}
		})
	}
}

// TestConflictInMessage: somebody makes the contact between our look and our
// write. Its id is in the message only.
func TestConflictInMessage(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	id := r.Edit("contacts", "", map[string]string{"email": "ada@example.test"})
	c := contact("ada", 1, "pro", "ada@example.test")
	c.Email = "" // So that nobody looks before.
	others := contact("bob", 1, "free", "")
	all := r.upsert(c, others)
	if all[c.Key].Status != crm.Done || all[c.Key].ID != id || all[others.Key].Status != crm.Done {
		t.Errorf("the outcomes: %+v", all)
	}
	if got := r.Records("contacts"); len(got) != 2 || got[0].Properties["parley_key"] != c.Key {
		t.Errorf("the records: %v", got)
	}
}

// TestSharedAddress: two sites know one person. The record keeps the first key,
// and both write to it.
func TestSharedAddress(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	all := r.upsert(contact("shop-ada", 1, "pro", "ada@example.test"), contact("blog-ada", 1, "free", "ada@example.test"))
	if a, b := all[keyOf("shop-ada")], all[keyOf("blog-ada")]; a.Status != crm.Done || b.Status != crm.Done || strings.TrimSuffix(a.ID, "+") != strings.TrimSuffix(b.ID, "+") {
		t.Fatalf("the outcomes: %+v", all)
	}
	owner := r.only("contacts").Properties["parley_key"]
	// Both with the id, in one call: HubSpot refuses a batch that names it twice.
	a, b := contact("shop-ada", 2, "team", ""), contact("blog-ada", 2, "big", "")
	a.ID, b.ID = all[a.Key].ID, all[b.Key].ID
	for key, o := range r.upsert(a, b) {
		if o.Status != crm.Done || o.ID != all[key].ID {
			t.Errorf("%s: %+v, want %s", key, o, all[key].ID)
		}
	}
	if now := r.only("contacts").Properties["parley_key"]; now != owner {
		t.Errorf("the key was %s, and is %q", owner, now)
	}
	// Both without, as after a restart.
	a, b = contact("shop-ada", 3, "team", "ada@example.test"), contact("blog-ada", 3, "big", "ada@example.test")
	for key, o := range r.upsert(a, b) {
		if o.Status != crm.Done {
			t.Errorf("%s: %+v", key, o)
		}
	}
	if now := r.only("contacts").Properties["parley_key"]; now != owner {
		t.Errorf("the key was %s, and is %q", owner, now)
	}
}

// TestMergeOurs: an anonymous visitor, whose record we made, tells an address
// that HubSpot knows. Ours goes into theirs. With two addresses a human decides.
func TestMergeOurs(t *testing.T) {
	t.Parallel()
	for what, test := range map[string]struct {
		first   string
		options hubspot.Options
		status  crm.Status
		records int
	}{
		"anonymous before": {"", hubspot.Options{}, crm.Done, 1},
		"another address":  {"old@example.test", hubspot.Options{}, crm.Rejected, 2},
		"without merging":  {"", hubspot.Options{NoMerge: true}, crm.Rejected, 2},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, vendor.Options{}, test.options)
			ours := r.upsert(contact("ada", 1, "pro", test.first))[keyOf("ada")].ID
			theirs := r.Edit("contacts", "", map[string]string{"email": "ada@example.test", "jobtitle": "Countess"})
			next := contact("ada", 2, "team", "ada@example.test")
			next.ID = ours
			o := r.upsert(next)[keyOf("ada")]
			if o.Status != test.status || len(r.Records("contacts")) != test.records {
				t.Fatalf("the outcome: %+v; the records: %v", o, r.Records("contacts"))
			}
			if test.status == crm.Rejected {
				want(t, o.Err, fault.VendorConflict)
				if !strings.Contains(o.Err.Message, ours) || !strings.Contains(o.Err.Message, theirs) {
					t.Errorf("it does not name both: %s", o.Err.Message)
				}
				return
			}
			got := r.only("contacts")
			if o.ID != theirs || got.Properties["plan"] != "team" || got.Properties["jobtitle"] != "Countess" || got.Properties["parley_key"] != next.Key {
				t.Errorf("the outcome: %+v; the record: %v", o, got)
			}
		})
	}
}

// TestFormer: two keys become one person. The record goes over to the new key; if
// there are two they become one.
func TestFormer(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	old := r.upsert(contact("anonymous", 3, "pro", ""))[keyOf("anonymous")].ID
	next := contact("ada", 1, "team", "ada@example.test")
	next.Former = []string{keyOf("anonymous")}
	if o := r.upsert(next)[next.Key]; o.ID != old || o.Created {
		t.Errorf("the outcome: %+v", o)
	}
	if got := r.only("contacts").Properties; got["parley_key"] != next.Key || got["plan"] != "team" {
		t.Errorf("the record: %v", got)
	}
	other := contact("other", 1, "x", "")
	r.upsert(other)
	next.Seq, next.ID, next.Former = 2, old, append(next.Former, other.Key)
	if o := r.upsert(next)[next.Key]; o.Status != crm.Done {
		t.Errorf("the outcome: %+v", o)
	}
	if got := r.only("contacts").Properties; got["parley_key"] != next.Key {
		t.Errorf("the record: %v", got)
	}
}

// TestDuplicatesInOneCall: HubSpot refuses a batch that names a key twice.
func TestDuplicatesInOneCall(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	newer, older := contact("ada", 2, "team", ""), contact("ada", 1, "pro", "ada@example.test")
	all := r.upsert(newer, older, contact("bob", 1, "free", ""))
	if len(all) != 2 || all[newer.Key].Status != crm.Done {
		t.Fatalf("the outcomes: %+v", all)
	}
	got := r.Records("contacts")[0].Properties
	if len(r.Records("contacts")) != 2 || got["plan"] != "team" || got["email"] != "ada@example.test" || got["parley_seq"] != "2" {
		t.Errorf("the record: %v", got)
	}
}

// TestPartial: of a batch only the named ones fail, whatever the order, with or
// without the traces.
func TestPartial(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	bad := contact("bad", 1, "x", "not an address")
	all := r.upsert(contact("a", 1, "a", ""), bad, contact("c", 1, "c", ""))
	if all[keyOf("a")].Status != crm.Done || all[keyOf("c")].Status != crm.Done || len(r.Records("contacts")) != 2 {
		t.Errorf("the good ones: %+v", all)
	}
	o := all[bad.Key]
	want(t, o.Err, fault.VendorRejects)
	if o.Status != crm.Rejected || o.Err.Field != "/email" || !strings.Contains(o.Err.Message, "INVALID_EMAIL") || strings.Contains(o.Err.Error(), "not an address") {
		t.Errorf("the bad one: %+v, %v", o, o.Err)
	}
	// An answer without traces is joined by the keys, and the one that is left by
	// what is left.
	r.Set(vendor.Faults{Plan: map[string][]vendor.Fault{"upsert": {{Mute: true}}}})
	all = r.upsert(contact("d", 1, "d", ""), bad, contact("e", 1, "e", ""))
	if all[keyOf("d")].Status != crm.Done || all[bad.Key].Status != crm.Rejected {
		t.Errorf("without traces: %+v", all)
	}
}

// TestSilentFailure: success with neither results nor errors is none.
func TestSilentFailure(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	r.Set(vendor.Faults{Plan: map[string][]vendor.Fault{"upsert": {{Empty: true}}}})
	_, err := r.crm.UpsertContacts(t.Context(), []crm.Contact{contact("ada", 1, "pro", "")})
	want(t, err, fault.EffectUnknown)
}

// TestUnanswered: whatever happens to the answer of a write, nobody says that it
// failed; and what arrived is not written again.
func TestUnanswered(t *testing.T) {
	t.Parallel()
	for what, f := range map[string]vendor.Fault{
		"lost":      {Lost: true},
		"late 500":  {Late: 500},
		"late 502":  {Late: 502},
		"late 504":  {Late: 504},
		"late 524":  {Late: 524},
		"cut":       {Cut: true},
		"web page":  {Garbage: "<html></html>"},
		"truncated": {Garbage: `{"results":[{"id":`},
		"wrong":     {Garbage: `{"results":"none"}`},
		"long":      {Garbage: `{"status":"` + strings.Repeat("x", 11<<20) + `"}`},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, vendor.Options{}, hubspot.Options{})
			c := contact("ada", 1, "pro", "")
			r.upsert(contact("warm", 1, "x", ""))
			r.Set(vendor.Faults{Plan: map[string][]vendor.Fault{"upsert": {f}}})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := r.crm.UpsertContacts(ctx, []crm.Contact{c})
			want(t, err, fault.EffectUnknown)
			c.Unsure, c.Attempt = true, 2
			writes := len(r.Writes("contacts"))
			if o := r.upsert(c)[c.Key]; o.Status != crm.Done || o.ID == "" {
				t.Errorf("the second time: %+v", o)
			}
			if again := len(r.Writes("contacts")) - writes; again != 0 || len(r.Records("contacts")) != 2 {
				t.Errorf("written %d times more", again)
			}
		})
	}
}

// TestStale: what is stored is newer, and stays.
func TestStale(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	r.upsert(contact("ada", 5, "team", ""))
	old := contact("ada", 4, "pro", "")
	old.Unsure = true
	if o := r.upsert(old)[old.Key]; o.Status != crm.Done || !o.Stale {
		t.Errorf("the outcome: %+v", o)
	}
	if got := r.only("contacts").Properties["plan"]; got != "team" {
		t.Errorf("the plan is %s", got)
	}
}

// TestUnsureWithOtherFields: the sequence is the one that is stored, and the
// values are not, as after a change of the mapping. They are written.
func TestUnsureWithOtherFields(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	c := contact("ada", 5, "team", "")
	born := time.Date(1815, 12, 10, 0, 0, 0, 0, time.UTC)
	c.Fields = append(c.Fields, crm.Field{Name: "date_of_birth", Value: born})
	id := r.upsert(c)[c.Key].ID
	// HubSpot stores the day as milliseconds: it is the same one.
	r.Edit("contacts", id, map[string]string{"date_of_birth": strconv.FormatInt(born.UnixMilli(), 10)})
	c.Unsure = true
	writes := len(r.Writes("contacts"))
	if r.upsert(c); len(r.Writes("contacts")) != writes {
		t.Error("the same was written again")
	}
	c.Fields[0].Value = "big"
	if r.upsert(c); r.only("contacts").Properties["plan"] != "big" {
		t.Error("the new value was not written")
	}
}

// TestGoneAndMerged: a deleted record is told, and a merged one is followed.
func TestGoneAndMerged(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	id := r.upsert(contact("ada", 1, "pro", ""))[keyOf("ada")].ID
	r.Delete("contacts", id)
	next := contact("ada", 2, "team", "")
	next.ID = id
	o := r.upsert(next)[next.Key]
	want(t, o.Err, fault.VendorNotFound)
	if o.Status != crm.Rejected {
		t.Errorf("the outcome: %+v", o)
	}
	next.ID = ""
	o = r.upsert(next)[next.Key]
	if o.Status != crm.Done || !o.Created {
		t.Errorf("without the id: %+v", o)
	}
	into := r.Edit("contacts", "", map[string]string{"email": "ada@example.test"})
	r.Merge(into, o.ID)
	next.Seq, next.ID = 3, o.ID
	if o = r.upsert(next)[next.Key]; o.Status != crm.Done || o.ID != into {
		t.Errorf("after the merge: %+v", o)
	}
	r.only("contacts")
}

// TestPoison: one bad record among a hundred fails them all, when HubSpot does
// not tell which; halving finds it.
func TestPoison(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	r.Set(vendor.Faults{Shares: []vendor.Share{{Share: 1, Operation: "upsert", Fault: vendor.Fault{Whole: true}}}})
	var batch []crm.Contact
	for _, name := range names(100) {
		batch = append(batch, contact(name, 1, "pro", ""))
	}
	batch[57].Fields[0].Value = "x"
	batch[57].Fields = append(batch[57].Fields, crm.Field{Name: "email", Value: "poison", Rule: crm.Always})
	p := newPump(r.crm, 100)
	p.run(t, batch)
	if len(p.dead) != 1 || p.dead[batch[57].Key] == nil || len(r.Records("contacts")) != 99 {
		t.Errorf("%d dead letters, %d records", len(p.dead), len(r.Records("contacts")))
	}
	if calls := r.Count("upsert"); calls > 15 {
		t.Errorf("%d calls to find it", calls)
	}
}

// TestUnknownProperty: it is found before anything is sent, per contact; one that
// somebody makes meanwhile is seen.
func TestUnknownProperty(t *testing.T) {
	t.Parallel()
	now := time.Now()
	r := newRig(t, vendor.Options{}, hubspot.Options{Now: func() time.Time { return now }})
	c := contact("ada", 1, "pro", "")
	c.Fields = append(c.Fields, crm.Field{Name: "shoe_size", Value: 38.0})
	o := r.upsert(c, contact("bob", 1, "free", ""))
	want(t, o[c.Key].Err, fault.SchemaViolation)
	if o[c.Key].Err.Field != "/shoe_size" || o[keyOf("bob")].Status != crm.Done {
		t.Errorf("the outcomes: %+v", o)
	}
	r.Define("contacts", vendor.Property{Name: "shoe_size", Label: "Shoe size", Type: "number", FieldType: "number"})
	now = now.Add(2 * time.Minute)
	if o := r.upsert(c)[c.Key]; o.Status != crm.Done {
		t.Errorf("after it was made: %+v", o)
	}
}

// TestNotPrepared: without the unique property nothing is written, since each
// write would make another record.
func TestNotPrepared(t *testing.T) {
	t.Parallel()
	for what, there := range map[string]bool{"no property": false, "one that is not unique": true} {
		r := bareRig(t, vendor.Options{}, hubspot.Options{})
		if there {
			r.Define("contacts", vendor.Property{Name: "parley_key", Label: "Key", Type: "string", FieldType: "text"})
		}
		_, err := r.crm.UpsertContacts(t.Context(), []crm.Contact{contact("ada", 1, "pro", "")})
		want(t, err, fault.VendorForbids)
		if !strings.Contains(fault.From(err).Fix, "crm setup") || len(r.Records("contacts")) != 0 {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestNoSeqProperty: an account without a place for the sequence works.
func TestNoSeqProperty(t *testing.T) {
	t.Parallel()
	r := bareRig(t, vendor.Options{}, hubspot.Options{})
	r.Define("contacts", vendor.Property{Name: "parley_key", Label: "Key", Type: "string", FieldType: "text", Unique: true})
	c := crm.Contact{Key: keyOf("ada"), Seq: 1, Fields: []crm.Field{{Name: "firstname", Value: "Ada"}}}
	r.upsert(c)
	c.Unsure, c.Attempt = true, 2
	if o := r.upsert(c)[c.Key]; o.Status != crm.Done || len(r.Records("contacts")) != 1 {
		t.Errorf("the outcome: %+v", o)
	}
}

// TestRead: fields come back in the types of the schema.
func TestRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	r.Define("contacts", vendor.Property{Name: "tags", Label: "Tags", Type: "enumeration", FieldType: "checkbox", Options: []vendor.Option{{Label: "A", Value: "a"}, {Label: "B", Value: "b"}}})
	r.Define("contacts", vendor.Property{Name: "vip", Label: "VIP", Type: "bool", FieldType: "booleancheckbox"})
	r.Define("contacts", vendor.Property{Name: "score", Label: "Score", Type: "number", FieldType: "number"})
	r.Define("contacts", vendor.Property{Name: "last_chat", Label: "Last chat", Type: "datetime", FieldType: "date"})
	fields := []crm.Field{
		{Name: "date_of_birth", Value: time.Date(1815, 12, 10, 0, 0, 0, 0, time.UTC)},
		{Name: "last_chat", Value: time.Date(2026, 11, 25, 10, 0, 0, 5e6, time.UTC)},
		{Name: "lifecyclestage", Value: "Lead"}, // By its label.
		{Name: "score", Value: 4.5},
		{Name: "tags", Value: []string{"a", "b"}},
		{Name: "vip", Value: true},
	}
	r.crm = hubspot.New(r.tokens, hubspot.Options{Transport: r.client.Transport})
	all := r.upsert(crm.Contact{Key: keyOf("ada"), Seq: 1, Fields: fields}, contact("bob", 1, "free", "bob@example.test"))
	for key, o := range all {
		if o.Status != crm.Done {
			t.Fatalf("%s: %+v %v", key, o, o.Err)
		}
	}
	got, err := r.crm.Read(t.Context(), []crm.Ref{{Key: keyOf("ada")}, {Key: keyOf("bob"), ID: all[keyOf("bob")].ID}, {Key: keyOf("nobody")}, {Key: keyOf("x"), ID: "1"}})
	if err != nil || len(got) != 2 {
		t.Fatalf("%v, %v", got, err)
	}
	i := slices.IndexFunc(got, func(c crm.Contact) bool { return c.Key == keyOf("ada") })
	ada, bob := got[i], got[1-i]
	fields[2].Value = "lead"
	for _, f := range fields {
		f.Rule = crm.Always
		if !slices.ContainsFunc(ada.Fields, func(other crm.Field) bool { return cmp.Equal(f, other) }) {
			t.Errorf("%s is not %v in %v", f.Name, f.Value, ada.Fields)
		}
	}
	if bob.Key != keyOf("bob") || bob.Email != "bob@example.test" || bob.UpdatedAt.IsZero() {
		t.Errorf("by the id: %+v", bob)
	}
}

// TestForget: the person is erased, by id or by key, and is done when gone.
func TestForget(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	all := r.upsert(contact("ada", 1, "pro", "ada@example.test"), contact("bob", 1, "free", ""), contact("eve", 1, "x", ""))
	refs := []crm.Ref{{Key: keyOf("ada"), ID: all[keyOf("ada")].ID}, {Key: keyOf("bob")}, {Key: keyOf("nobody")}, {Key: keyOf("gone"), ID: "12"}}
	outcomes, err := r.crm.Forget(t.Context(), refs)
	if err != nil || len(outcomes) != 4 {
		t.Fatalf("%v, %v", outcomes, err)
	}
	for _, o := range outcomes {
		if o.Status != crm.Done {
			t.Errorf("%+v", o)
		}
	}
	if got := r.only("contacts"); got.Properties["parley_key"] != keyOf("eve") {
		t.Errorf("left: %v", got)
	}
}
