package pipedrive_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/crmtest"
	"github.com/parley-chat/parley/internal/crm/pipedrive"
	"github.com/parley-chat/parley/internal/fault"
	vendor "github.com/parley-chat/parley/internal/standin/pipedrive"
)

// listener reads changes as the engine does.
type listener struct {
	*rig
	cursor string
}

// read returns the next changes, as texts.
func (l *listener) read() []string {
	l.t.Helper()
	changes, next, err := l.crm.Changes(l.t.Context(), l.cursor, []string{"name", "Plan"})
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
func (l *listener) rests() { l.clock.push(12 * time.Second) }

// ids returns the persons' numbers by our key.
func (l *listener) ids() map[string]int {
	all := map[string]int{}
	for _, p := range l.Records("persons") {
		key, _ := p.Custom(l.key).(string)
		all[key] = p.ID()
	}
	return all
}

// TestChanges: what people change is told when it rests, each state once, and of
// nobody who has no key.
func TestChanges(t *testing.T) {
	t.Parallel()
	l := &listener{rig: newRig(t, vendor.Options{}, pipedrive.Options{})}
	l.done(with(contact("ada", 1, "pro", ""), "name", "Ada"))
	l.done(with(contact("bob", 2, "free", ""), "name", "Bob"))
	l.rests()
	if got := l.read(); got != nil {
		t.Errorf("at the beginning: %v, want nothing", got)
	}
	ids := l.ids()
	l.clock.push(time.Minute)
	l.Add("persons", vendor.Record{"name": "Stranger"})
	l.Put("persons", ids[crmtest.Key("bob")], vendor.Record{"name": "Robert"})
	if got := l.read(); got != nil {
		t.Errorf("what does not rest yet: %v", got)
	}
	l.rests()
	if diff := cmp.Diff([]string{crmtest.Key("bob") + " 2 Plan=free name=Robert"}, l.read()); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	l.rests()
	if got := l.read(); got != nil {
		t.Errorf("once more: %v", got)
	}
	l.done(contact("ada", 3, "gold", "")) // Nobody can say who changed what: ours is told, too, with its state.
	l.rests()
	if diff := cmp.Diff([]string{crmtest.Key("ada") + " 3 Plan=gold name=Ada"}, l.read()); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if _, _, err := l.crm.Changes(t.Context(), "{", nil); fault.From(err).Reason != fault.Malformed {
		t.Errorf("a cursor that is none: %v", err)
	}
	calls := len(l.Calls())
	l.read()
	if got := len(l.Calls()) - calls; got != 1 {
		t.Errorf("%d requests when nothing has changed, want 1", got)
	}
}

// TestManyChanges: a person changes 700 contacts within a second, among many of
// strangers, and some again while they are read: none is left out, and no state is
// told twice.
func TestManyChanges(t *testing.T) {
	t.Parallel()
	l := &listener{rig: newRig(t, vendor.Options{}, pipedrive.Options{})}
	const people = 700
	names := crmtest.Names(people)
	keys := make([]string, people)
	ids := map[string]int{}
	for i, name := range names {
		keys[i] = crmtest.Key(name)
		ids[keys[i]] = l.Add("persons", vendor.Record{"name": "X", "custom_fields": map[string]any{l.key: keys[i], l.seq: 1.0}})
		l.Add("persons", vendor.Record{"name": "Stranger"})
	}
	l.rests()
	l.read()
	l.clock.push(time.Minute)
	want, got := map[string]int{}, map[string]int{}
	line := func(key, name string) string { return key + " 1 name=" + name }
	edit := func(key, name string) {
		l.Put("persons", ids[key], vendor.Record{"name": name})
		want[line(key, name)]++
	}
	for _, p := range l.Records("persons") { // The strangers change, too.
		if p.Custom(l.key) == nil {
			l.Put("persons", p.ID(), vendor.Record{"name": "Other"})
		}
	}
	for _, key := range keys {
		edit(key, "once")
	}
	l.rests()
	for round := range 12 {
		for _, text := range l.read() {
			got[text]++
		}
		if round < 2 {
			for _, key := range keys[300*round : 300*round+50] {
				if got[line(key, "once")] == 0 {
					delete(want, line(key, "once")) // It is told as it is now.
				}
				edit(key, "again")
			}
		}
		l.rests()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	if len(l.cursor) > 20_000 {
		t.Errorf("the cursor has %d bytes", len(l.cursor))
	}
}

// TestDailyTokens: the budget of the day is told with each answer, in whatever way
// the burst is.
func TestDailyTokens(t *testing.T) {
	t.Parallel()
	for _, burst := range []int{0, 100} {
		r := newRig(t, vendor.Options{Burst: burst, Daily: 1000}, pipedrive.Options{})
		r.done(contact("ada", 1, "x", ""))
		if b := r.crm.Budget(); b.DailyOf != 1000 || b.Daily != 1000-r.Tokens() || b.Daily == 1000 {
			t.Errorf("burst %d: %+v after %d tokens", burst, b, r.Tokens())
		}
	}
}

// TestJoin: a person who is there twice is merged into the one of the key that
// stays: its chats, addresses and what people wrote are there, and so is what they
// wrote in the other one.
func TestJoin(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, pipedrive.Options{IDs: newStore()})
	phone := r.AddField("Shoe size", "varchar")
	guest := r.done(contact("guest", 1, "free", "guest@example.test"))
	ada := contact("ada", 1, "pro", "ada@example.test")
	ada.ID = r.done(ada).ID
	a := chat("guest", 1, "x")
	a.Contact.ID = guest.ID
	if _, err := r.crm.PutActivities(t.Context(), []crm.Activity{a}); err != nil {
		t.Fatal(err)
	}
	number := func(id string) int { n, _ := strconv.Atoi(id); return n }
	r.Put("persons", number(guest.ID), vendor.Record{"name": "Guest of honour", "custom_fields": map[string]any{r.key: crmtest.Key("guest"), r.plan: "free", phone: "38"}})
	r.Set(vendor.Faults{Plan: []vendor.Kind{vendor.None, vendor.Late, vendor.Lost}}) // The name is taken over, and the answer to the merge is lost.
	ada.Seq, ada.Former, ada.Mapped = 2, []string{crmtest.Key("guest"), crmtest.Key("nobody")}, []string{"Plan", "email"}
	p := r.pump()
	p.Contacts(t, []crm.Contact{ada})
	if dead := p.Dead(); len(dead) != 0 {
		t.Fatalf("dead: %v", dead)
	}
	r.Set(vendor.Faults{})
	kept := r.only("persons")
	if kept.ID() != number(ada.ID) || kept.Custom(r.key) != ada.Key || kept["name"] != "Guest of honour" || kept.Custom(r.plan) != "pro" || kept.Custom(phone) != "38" {
		t.Errorf("the person is %v", kept)
	}
	if diff := cmp.Diff([]string{"ada@example.test", "guest@example.test"}, kept.Emails()); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if who := fmt.Sprint(r.only("activities")["participants"]); !strings.Contains(who, ada.ID) {
		t.Errorf("the chat belongs to %s, want %s", who, ada.ID)
	}
	if n := r.Effects("persons", vendor.Merged); n != 1 {
		t.Errorf("%d merges, want 1", n)
	}
	ada.Seq = 3
	r.done(ada) // Nothing is left to be merged.
}

// TestJoinDisputed: where people wrote different things into both, nothing is
// merged and nothing written; when somebody has merged them, it goes on.
func TestJoinDisputed(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(r *rig) vendor.Record{
		"name":     func(*rig) vendor.Record { return vendor.Record{"name": "Countess"} },
		"owner_id": func(*rig) vendor.Record { return vendor.Record{"owner_id": 7.0} },
		"org_id":   func(*rig) vendor.Record { return vendor.Record{"org_id": 7.0} },
		"custom":   nil,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, vendor.Options{}, pipedrive.Options{IDs: newStore()})
			shoe := r.AddField("Shoe size", "varchar")
			guest, ada := r.done(contact("guest", 1, "free", "")), contact("ada", 1, "pro", "")
			ada.ID = r.done(ada).ID
			into, _ := strconv.Atoi(ada.ID)
			from, _ := strconv.Atoi(guest.ID)
			r.Put("persons", into, vendor.Record{"name": "Ada", "owner_id": 1.0, "org_id": 1.0, "custom_fields": map[string]any{r.key: ada.Key, shoe: "37"}})
			theirs := vendor.Record{"custom_fields": map[string]any{r.key: crmtest.Key("guest"), shoe: "38"}}
			if change != nil {
				theirs = change(r)
			}
			r.Put("persons", from, theirs)
			before := fmt.Sprint(r.Records("persons"))
			ada.Seq, ada.Former, ada.Mapped = 2, []string{crmtest.Key("guest")}, []string{"Plan"}
			o := r.one(ada)
			if o.Status != crm.Rejected || o.Err.Reason != fault.VendorConflict || !strings.Contains(o.Err.Message, guest.ID) {
				t.Errorf("the outcome: %+v", o)
			}
			if after := fmt.Sprint(r.Records("persons")); after != before {
				t.Errorf("it was changed: %s\nbefore: %s", after, before)
			}
			r.Remove("persons", from) // Somebody merged it into the other one.
			if o := r.done(ada); o.ID != ada.ID {
				t.Errorf("the outcome: %+v", o)
			}
		})
	}
}

// TestNoMerge: with the setting both stay.
func TestNoMerge(t *testing.T) {
	t.Parallel()
	o, err := pipedrive.Settings(map[string]string{"merge": "false"})
	if err != nil {
		t.Fatal(err)
	}
	o.IDs = newStore()
	r := newRig(t, vendor.Options{}, o)
	r.done(contact("guest", 1, "free", ""))
	ada := contact("ada", 1, "pro", "")
	ada.ID = r.done(ada).ID
	ada.Former = []string{crmtest.Key("guest")}
	r.done(ada)
	if n := len(r.Records("persons")); n != 2 || r.Effects("persons", vendor.Merged) != 0 {
		t.Errorf("%d persons, want 2", n)
	}
	if _, err := pipedrive.Settings(map[string]string{"merge": "perhaps"}); fault.From(err).Reason != fault.BadConfig {
		t.Errorf("a wrong setting: %v", err)
	}
}
