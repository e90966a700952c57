package hubspot_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/hubspot"
	"github.com/parley-chat/parley/internal/fault"
	vendor "github.com/parley-chat/parley/internal/standin/hubspot"
)

func chat(name string, seq uint64, text string) crm.Activity {
	return crm.Activity{
		Key: keyOf("c"+name) + "chat00", Contact: crm.Ref{Key: keyOf(name)}, Seq: seq, Subject: "Chat on shop", Text: text,
		At: time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC), Attempt: 1,
	}
}

func (r *rig) put(activities ...crm.Activity) map[string]crm.Outcome {
	r.t.Helper()
	outcomes, err := r.crm.PutActivities(r.t.Context(), activities)
	if err != nil {
		r.t.Fatal(err)
	}
	return byKey(r.t, outcomes)
}

// TestActivities: a session is one object on the timeline of its contact, however
// often it is told, and it changes with the session.
func TestActivities(t *testing.T) {
	t.Parallel()
	for kind, test := range map[hubspot.Kind]struct{ objects, body string }{
		hubspot.Note:          {"notes", "hs_note_body"},
		hubspot.Communication: {"communications", "hs_communication_body"},
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, vendor.Options{}, hubspot.Options{Activities: kind})
			owner := r.upsert(contact("ada", 1, "pro", ""))[keyOf("ada")].ID
			a := chat("ada", 1, "opened")
			first := r.put(a)[a.Key]
			if first.Status != crm.Done || !first.Created {
				t.Fatalf("the first time: %+v %v", first, first.Err)
			}
			again := r.put(a)[a.Key] // As after a lost answer.
			a.ID, a.Contact.ID, a.Seq, a.Text = first.ID, owner, 2, "opened\nclosed <script>"
			before := r.Count("")
			changed := r.put(a, chat("ada", 1, "older"))[a.Key]
			if again.ID != first.ID || changed.ID != first.ID || again.Created || changed.Created {
				t.Errorf("%+v, then %+v, then %+v", first, again, changed)
			}
			if calls := r.Count("") - before; calls != 1 {
				t.Errorf("a change took %d calls", calls)
			}
			got := r.only(test.objects)
			if !slices.Equal(got.Ties, []string{owner}) {
				t.Errorf("it belongs to %v", got.Ties)
			}
			if body := got.Properties[test.body]; !strings.Contains(body, "<br>closed &lt;script&gt;") || strings.Contains(body, "<script>") {
				t.Errorf("the body: %s", body)
			}
		})
	}
}

// TestTieFails: what was written and not tied is tied by the next attempt.
func TestTieFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	owner := r.upsert(contact("ada", 1, "pro", ""))[keyOf("ada")].ID
	for _, f := range []vendor.Fault{{Status: 500}, {Late: 502}, {Cut: true}, {Empty: true}, {Status: 429, Policy: "SECONDLY"}} {
		r.Set(vendor.Faults{Plan: map[string][]vendor.Fault{"associate": {f}}})
		a := chat("ada", 1, "opened")
		o := r.put(a)[a.Key]
		if o.Status != crm.Retry || o.ID != "" || o.Err == nil {
			t.Errorf("%+v: %+v", f, o)
		}
		if o = r.put(a)[a.Key]; o.Status != crm.Done || o.ID == "" {
			t.Errorf("%+v, the second time: %+v", f, o)
		}
	}
	if got := r.only("notes"); !slices.Equal(got.Ties, []string{owner}) {
		t.Errorf("it belongs to %v", got.Ties)
	}
	// Nobody deleted the note, and its contact is gone.
	r.Delete("contacts", owner)
	a := chat("ada", 2, "opened")
	a.Contact.ID = owner
	if o := r.put(a)[a.Key]; o.Status != crm.Rejected || o.Err.Reason != fault.VendorNotFound {
		t.Errorf("without the contact: %+v", o)
	}
}

// TestActivityWaits: its contact is not there yet.
func TestActivityWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	r.upsert(contact("ada", 1, "pro", ""))
	a, b := chat("ada", 1, "opened"), chat("bob", 1, "opened")
	all := r.put(a, b)
	if all[a.Key].Status != crm.Done || all[b.Key].Status != crm.Retry || all[b.Key].After == 0 {
		t.Errorf("%+v", all)
	}
}

// TestDeletedNote: somebody deleted the note. It is made again, and tied.
func TestDeletedNote(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	r.upsert(contact("ada", 1, "pro", ""))
	a := chat("ada", 1, "opened")
	a.ID = r.put(a)[a.Key].ID
	r.Delete("notes", a.ID)
	a.Seq = 2
	if o := r.put(a)[a.Key]; o.Status != crm.Done || o.ID == a.ID {
		t.Errorf("%+v", o)
	}
	if got := r.only("notes"); len(got.Ties) != 1 {
		t.Errorf("it belongs to %v", got.Ties)
	}
}

// TestEvents: an event is written when the session is over, and once: the second
// one is a conflict, which is success.
func TestEvents(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{Events: map[string][]string{"chat": {"subject", "text", "ended_at"}}}, hubspot.Options{Activities: hubspot.Event, EventType: "chat"})
	if r.crm.Limits().Activities != 1 {
		t.Error("there is no batch of events")
	}
	owner := r.upsert(contact("ada", 1, "pro", ""))[keyOf("ada")].ID
	a := chat("ada", 1, "opened")
	a.Contact.ID = owner
	if o := r.put(a)[a.Key]; o.Status != crm.Done || len(r.Events()) != 0 || r.Count("event") != 0 {
		t.Errorf("while it is open: %+v", o)
	}
	a.Record.Ended, a.End = true, a.At.Add(time.Minute)
	r.Set(vendor.Faults{Plan: map[string][]vendor.Fault{"event": {{Late: 502}}}})
	_, err := r.crm.PutActivities(t.Context(), []crm.Activity{a})
	want(t, err, fault.EffectUnknown)
	for range 2 {
		if o := r.put(a)[a.Key]; o.Status != crm.Done || o.Created {
			t.Errorf("again: %+v", o)
		}
	}
	events := r.Events()
	if len(events) != 1 || events["chat/"+a.Key]["contact"] != owner || events["chat/"+a.Key]["ended_at"] != "2026-11-25T10:01:00Z" {
		t.Errorf("the events: %v", events)
	}
	r.crm = hubspot.New(r.tokens, hubspot.Options{Transport: r.client.Transport, Activities: hubspot.Event, EventType: "unknown"})
	b := a
	b.Key += "2"
	if o := r.put(b)[b.Key]; o.Status != crm.Rejected {
		t.Errorf("an unknown type: %+v", o)
	}
}

// TestNoActivities: none are wanted.
func TestNoActivities(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{Activities: hubspot.None})
	before := r.Count("")
	a := chat("ada", 1, "opened")
	if o := r.put(a)[a.Key]; o.Status != crm.Done || r.Count("") != before {
		t.Errorf("%+v", o)
	}
}

// TestActivityChaos: a third of the calls fail in every way; each session is one
// note of its own contact.
func TestActivityChaos(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	var contacts []crm.Contact
	for _, name := range names(300) {
		contacts = append(contacts, contact(name, 1, "pro", ""))
	}
	newPump(r.crm, 100).run(t, contacts)
	owners := map[string]string{}
	for _, record := range r.Records("contacts") {
		owners[record.Properties["parley_key"]] = record.ID
	}
	r.Set(vendor.Faults{Seed: 5, Shares: []vendor.Share{
		{Share: 0.1, Fault: vendor.Fault{Status: 503}},
		{Share: 0.1, Fault: vendor.Fault{Late: 502}},
		{Share: 0.05, Fault: vendor.Fault{Cut: true}},
		{Share: 0.05, Fault: vendor.Fault{Empty: true}},
		{Share: 0.1, Fault: vendor.Fault{Partial: 0.3}},
	}})
	var left []crm.Activity
	for _, name := range names(300) {
		a := chat(name, 1, "opened")
		a.Key = keyOf(name)
		left = append(left, a)
	}
	for round := 0; len(left) > 0; round++ {
		if round > 500 {
			t.Fatalf("%d are left", len(left))
		}
		batch := left[:min(20, len(left))]
		outcomes, err := r.crm.PutActivities(t.Context(), batch)
		if err != nil && !fault.Retryable(err) && fault.From(err).Reason != fault.EffectUnknown {
			t.Fatal(err)
		}
		told := byKey(t, outcomes)
		left = slices.DeleteFunc(left, func(a crm.Activity) bool { return told[a.Key].Status == crm.Done && err == nil })
	}
	notes := r.Records("notes")
	if len(notes) != 300 {
		t.Errorf("%d notes", len(notes))
	}
	for _, n := range notes {
		if !slices.Equal(n.Ties, []string{owners[n.Properties["parley_activity_key"]]}) {
			t.Errorf("the note %s belongs to %v", n.ID, n.Ties)
		}
	}
}
