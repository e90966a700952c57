package hubspot_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/hubspot"
	"github.com/parley-chat/parley/internal/fault"
	vendor "github.com/parley-chat/parley/internal/standin/hubspot"
)

// TestSharedStays: a contact of another site is written to for long, and its key
// and sequence stay those of the first one, for notes and reads too.
func TestSharedStays(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	first := r.upsert(contact("shop-ada", 7, "pro", "ada@example.test"))[keyOf("shop-ada")]
	second := contact("blog-ada", 1, "free", "ada@example.test")
	for seq := uint64(1); seq < 5; seq++ {
		second.Seq = seq
		o := r.upsert(second)[second.Key]
		if o.Status != crm.Done || o.ID != first.ID+"+" {
			t.Fatalf("the outcome: %+v, want the id %s+", o, first.ID)
		}
		second.ID, second.Unsure = o.ID, seq == 2 // And once after a lost answer.
		if got := r.only("contacts").Properties; got["parley_key"] != keyOf("shop-ada") || got["parley_seq"] != "7" {
			t.Errorf("the record: %v", got)
		}
	}
	note := chat("blog-ada", 1, "x")
	note.Contact.ID = second.ID
	if _, err := r.crm.PutActivities(t.Context(), []crm.Activity{note}); err != nil {
		t.Fatal(err)
	}
	if got := r.only("notes"); len(got.Ties) != 1 || got.Ties[0] != first.ID {
		t.Errorf("the note belongs to %v, want %s", got.Ties, first.ID)
	}
	found, err := r.crm.Read(t.Context(), []crm.Ref{{Key: keyOf("shop-ada"), ID: first.ID}, {Key: second.Key, ID: second.ID}})
	if err != nil || len(found) != 2 || found[0].ID != found[1].ID || found[0].Key == found[1].Key {
		t.Errorf("read: %+v, %v", found, err)
	}
	if _, err := r.crm.Forget(t.Context(), []crm.Ref{{Key: second.Key, ID: second.ID}}); err != nil || len(r.Records("contacts")) != 0 {
		t.Errorf("it is still there: %v", err)
	}
}

// TestManyFormer: all sessions that turned out to be one person become one record:
// that of the address, with the notes of all and what people wrote in any of them.
func TestManyFormer(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	var former []string
	var notes []crm.Activity
	for _, name := range []string{"phone", "tablet", "work"} {
		o := r.upsert(contact(name, 1, "free", ""))[keyOf(name)]
		former = append(former, keyOf(name))
		n := chat(name, 1, "x")
		n.Contact.ID = o.ID
		notes = append(notes, n)
		if name == "tablet" {
			r.Edit("contacts", o.ID, map[string]string{"jobtitle": "Countess"})
		}
	}
	if _, err := r.crm.PutActivities(t.Context(), notes); err != nil {
		t.Fatal(err)
	}
	ada := contact("ada", 1, "pro", "ada@example.test")
	ada.ID = r.upsert(ada)[ada.Key].ID
	r.Edit("contacts", ada.ID, map[string]string{"phone": "123"})
	ada.Seq, ada.Former, ada.Mapped = 2, append(former, keyOf("nobody")), []string{"plan", "email"}
	for range 2 { // Doing it again changes nothing.
		if o := r.upsert(ada)[ada.Key]; o.Status != crm.Done || o.ID != ada.ID {
			t.Fatalf("the outcome: %+v", o)
		}
		got := r.only("contacts")
		want := map[string]string{"parley_key": ada.Key, "parley_seq": "2", "plan": "pro", "phone": "123", "jobtitle": "Countess", "email": "ada@example.test"}
		for name, value := range want {
			if got.Properties[name] != value {
				t.Errorf("%s is %q, want %q", name, got.Properties[name], value)
			}
		}
		for _, n := range r.Records("notes") {
			if diff := cmp.Diff([]string{ada.ID}, n.Ties); diff != "" {
				t.Errorf("the note belongs to (-want +got):\n%s", diff)
			}
		}
	}
}

// TestContested: where people wrote different things into both records nothing is
// merged, and nothing is written; when somebody has merged them, it goes on. What
// the mapping writes is no reason.
func TestContested(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	guest := r.upsert(contact("guest", 1, "free", ""))[keyOf("guest")].ID
	ada := contact("ada", 1, "pro", "ada@example.test")
	ada.ID = r.upsert(ada)[ada.Key].ID
	r.Edit("contacts", guest, map[string]string{"jobtitle": "Countess"})
	r.Edit("contacts", ada.ID, map[string]string{"jobtitle": "Analyst"})
	ada.Seq, ada.Former, ada.Mapped = 2, []string{keyOf("guest")}, []string{"plan"}
	before := r.Records("contacts")
	o := r.upsert(ada)[ada.Key]
	if o.Status != crm.Rejected || o.Err.Reason != fault.VendorConflict || !strings.Contains(o.Err.Message, "jobtitle") || !strings.Contains(o.Err.Message, guest) {
		t.Errorf("the outcome: %+v", o)
	}
	if diff := cmp.Diff(before, r.Records("contacts")); diff != "" {
		t.Errorf("it was changed (-before +after):\n%s", diff)
	}
	r.Merge(ada.ID, guest)
	if o := r.upsert(ada)[ada.Key]; o.Status != crm.Done || o.ID != ada.ID {
		t.Errorf("the outcome: %+v", o)
	}
	if got := r.only("contacts").Properties; got["jobtitle"] != "Analyst" || got["parley_seq"] != "2" {
		t.Errorf("the record: %v", got)
	}
}
