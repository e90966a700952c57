package salesforce_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/crmtest"
	"github.com/parley-chat/parley/internal/crm/salesforce"
	"github.com/parley-chat/parley/internal/fault"
	vendor "github.com/parley-chat/parley/internal/standin/salesforce"
)

// listener reads changes as the engine does, with a clock of its own.
type listener struct {
	*rig
	now    time.Time
	cursor string
}

// newListener has an org whose clock is the test's.
func newListener(t *testing.T, o salesforce.Options) *listener {
	t.Helper()
	l := &listener{now: time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)}
	clock := func() time.Time { return l.now }
	o.Now = clock
	l.rig = newRig(t, vendor.Options{Now: clock}, o)
	return l
}

func fields() []string { return []string{"LastName", "Plan__c", salesforce.Choice} }

// read returns the next changes, as texts.
func (l *listener) read() []string {
	l.t.Helper()
	changes, next, err := l.crm.Changes(l.t.Context(), l.cursor, fields())
	if err != nil {
		l.t.Fatal(err)
	}
	l.cursor = next
	var all []string
	for _, c := range changes {
		parts := []string{c.Key, strconv.FormatUint(c.Seq, 10)}
		for _, f := range c.Fields {
			parts = append(parts, fmt.Sprintf("%s=%v", f.Name, f.Value))
		}
		all = append(all, strings.Join(parts, " "))
	}
	return all
}

// rests lets the clock pass what a change needs to be told.
func (l *listener) rests() { l.now = l.now.Add(11 * time.Second) }

// TestChanges: what people change is told when it rests, each state once, with the
// fields that are asked for; contacts and leads, and nobody who has no key.
func TestChanges(t *testing.T) {
	t.Parallel()
	l := newListener(t, salesforce.Options{})
	l.upsert(with(contact("ada", 1, "pro", ""), "LastName", "Lovelace"), contact("bob", 1, "free", ""))
	lead := with(contact("cy", 3, "free", ""), salesforce.Choice, "Lead")
	l.one(lead)
	l.Add("Contact", vendor.Record{"LastName": "Stranger"})
	l.rests()
	if got := l.read(); got != nil {
		t.Errorf("at the beginning: %v, want nothing", got)
	}
	l.now = l.now.Add(time.Minute)
	if got := l.read(); got != nil {
		t.Errorf("what was before: %v, want nothing", got)
	}
	id := func(object, name string) string { return l.Find(object, "Parley_Key__c", crmtest.Key(name))[0].ID() }
	l.Put("Contact", id("Contact", "ada"), vendor.Record{"Plan__c": "gold"})
	l.now = l.now.Add(time.Second)
	l.Put("Lead", id("Lead", "cy"), vendor.Record{"Plan__c": "gold"})
	if got := l.read(); got != nil {
		t.Errorf("what does not rest yet: %v", got)
	}
	l.rests()
	want := []string{
		crmtest.Key("ada") + " 1 LastName=Lovelace Plan__c=gold sobject=Contact",
		crmtest.Key("cy") + " 3 LastName=Unknown Plan__c=gold sobject=Lead",
	}
	if diff := cmp.Diff(want, l.read()); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if got := l.read(); got != nil {
		t.Errorf("once more: %v", got)
	}
	l.one(contact("ada", 2, "silver", "")) // Nobody can say who changed what: ours is told, too, with its state.
	l.rests()
	if diff := cmp.Diff([]string{crmtest.Key("ada") + " 2 LastName=Lovelace Plan__c=silver sobject=Contact"}, l.read()); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if _, _, err := l.crm.Changes(t.Context(), "{", fields()); fault.From(err).Reason != fault.Malformed {
		t.Errorf("a cursor that is none: %v", err)
	}
}

// TestManyChanges: a person changes 1,000 contacts in the same moment, and others
// one by one, while they are read: none is left out, and none is told twice.
func TestManyChanges(t *testing.T) {
	t.Parallel()
	l := newListener(t, salesforce.Options{})
	const people = 1000
	var contacts []crm.Contact
	names := crmtest.Names(people)
	for _, name := range names {
		contacts = append(contacts, contact(name, 1, "start", ""))
	}
	(&crmtest.Pump{To: l.crm, Size: 200}).Contacts(t, contacts)
	l.rests()
	l.read()
	l.now = l.now.Add(time.Minute)
	ids := map[string]string{}
	for _, r := range l.Records("Contact") {
		ids[fmt.Sprint(r["Parley_Key__c"])] = r.ID()
	}
	want, got := map[string]int{}, map[string]int{}
	edit := func(name, plan string) {
		key := crmtest.Key(name)
		l.Put("Contact", ids[key], vendor.Record{"Plan__c": plan})
		want[fmt.Sprintf("%s 1 LastName=Unknown Plan__c=%s sobject=Contact", key, plan)]++
	}
	take := func() int {
		all := l.read()
		for _, line := range all {
			got[line]++
		}
		return len(all)
	}
	for _, name := range names {
		edit(name, "at once")
	}
	l.rests()
	for round := 0; take() > 0; round++ {
		if round < 3 {
			for i := range 100 {
				l.now = l.now.Add(time.Millisecond)
				edit(names[round*100+i], fmt.Sprintf("round %d", round))
			}
			// Those who were not told yet are told as they are now.
			for i := range 100 {
				line := fmt.Sprintf("%s 1 LastName=Unknown Plan__c=at once sobject=Contact", crmtest.Key(names[round*100+i]))
				if got[line] == 0 {
					delete(want, line)
				}
			}
		}
		l.rests()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// TestChangesWithoutLeads: an org whose leads have no key tells of contacts; one
// whose contacts have none cannot be listened to.
func TestChangesWithoutLeads(t *testing.T) {
	t.Parallel()
	r := bareRig(t, vendor.Options{}, salesforce.Options{})
	_, cursor, err := r.crm.Changes(t.Context(), "", fields())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.crm.Changes(t.Context(), cursor, fields()); fault.From(err).Reason != fault.VendorForbids {
		t.Errorf("without any key: %v", err)
	}
	r.AddFields("Contact", vendor.Field{Name: "Parley_Key__c", Type: "string", Length: 64, ExternalID: true, Unique: true})
	other := salesforce.New(r.tokens, salesforce.Options{Transport: r.client.Transport})
	if _, _, err := other.Changes(t.Context(), cursor, fields()); err != nil {
		t.Errorf("without the key of leads: %v", err)
	}
}

// TestJoin: a person who has two records gets the activities of both, and nothing
// that people wrote in either of them is lost.
func TestJoin(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, salesforce.Options{Cases: true})
	r.upsert(contact("guest", 1, "free", ""), contact("phone", 1, "free", ""), contact("ada", 1, "pro", "ada@example.test"))
	id := func(name string) string { return r.Find("Contact", "Parley_Key__c", crmtest.Key(name))[0].ID() }
	var activities []crm.Activity
	for i, name := range []string{"guest", "guest", "phone", "ada"} {
		a := chat(fmt.Sprintf("chat-%d", i), 1, "x")
		a.Contact = crm.Ref{Key: crmtest.Key(name), ID: id(name)}
		a.Record.Handoff = &crm.Handoff{At: a.At, Reason: "price"}
		activities = append(activities, a)
	}
	if _, err := r.crm.PutActivities(t.Context(), activities); err != nil {
		t.Fatal(err)
	}
	stranger := r.Add("Task", vendor.Record{"Subject": "Call back", "WhoId": id("guest")})
	r.Put("Contact", id("guest"), vendor.Record{"Title": "Countess", "Phone": "123"})
	r.Put("Contact", id("ada"), vendor.Record{"Title": "Analyst"})
	before := r.Find("Contact", "Parley_Key__c", crmtest.Key("guest"))[0]
	ada := contact("ada", 2, "gold", "ada@example.test")
	ada.ID, ada.Former = id("ada"), []string{crmtest.Key("guest"), crmtest.Key("phone"), crmtest.Key("nobody")}
	for range 2 { // Doing it again changes nothing.
		if o := r.one(ada); o.Status != crm.Done || o.ID != id("ada") {
			t.Fatalf("the outcome: %+v", o)
		}
		for _, object := range []struct{ name, field string }{{"Task", "WhoId"}, {"Case", "ContactId"}} {
			for _, a := range r.Records(object.name) {
				if want := id("ada"); a.ID() != stranger && a[object.field] != want {
					t.Errorf("the %s of %v belongs to %v, want %s", object.name, a["Parley_Key__c"], a[object.field], want)
				}
			}
		}
		has(t, r.Find("Contact", "Parley_Key__c", crmtest.Key("ada"))[0], map[string]any{"Title": "Analyst", "Plan__c": "gold", "Parley_Seq__c": 2})
		if diff := cmp.Diff(before, r.Find("Contact", "Parley_Key__c", crmtest.Key("guest"))[0]); diff != "" {
			t.Errorf("the former record (-before +after):\n%s", diff)
		}
	}
	if got := r.Records("Task"); len(got) != 5 {
		t.Errorf("%d tasks, want 5", len(got))
	}
}

// TestJoinLater: when the records of a former session are locked, the person comes
// again, and nothing is lost.
func TestJoinLater(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, salesforce.Options{})
	r.upsert(contact("guest", 1, "free", ""), contact("ada", 1, "pro", ""))
	guest := r.Find("Contact", "Parley_Key__c", crmtest.Key("guest"))[0].ID()
	for i := range 3 {
		a := chat(fmt.Sprintf("chat-%d", i), 1, "x")
		a.Contact = crm.Ref{Key: crmtest.Key("guest"), ID: guest}
		if _, err := r.crm.PutActivities(t.Context(), []crm.Activity{a}); err != nil {
			t.Fatal(err)
		}
	}
	ada := contact("ada", 2, "gold", "")
	ada.ID, ada.Former = r.Find("Contact", "Parley_Key__c", crmtest.Key("ada"))[0].ID(), []string{crmtest.Key("guest")}
	r.Set(vendor.Faults{Seed: 3, Shares: map[vendor.Kind]float64{vendor.RowLock: 0.4, vendor.Down: 0.1, vendor.Late: 0.1, vendor.Lost: 0.1}})
	pump := &crmtest.Pump{To: r.crm, Size: 1}
	pump.Contacts(t, []crm.Contact{ada})
	r.Set(vendor.Faults{})
	if dead := pump.Dead(); len(dead) != 0 {
		t.Fatalf("dead: %v", dead)
	}
	for _, a := range r.Records("Task") {
		if a["WhoId"] != ada.ID {
			t.Errorf("the task %v belongs to %v, want %s", a["Parley_Key__c"], a["WhoId"], ada.ID)
		}
	}
}
