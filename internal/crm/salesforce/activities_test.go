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

var opened = time.Date(2026, 11, 25, 23, 30, 0, 0, time.UTC)

// chat is a chat session of the visitor.
func chat(name string, seq uint64, text string) crm.Activity {
	return crm.Activity{
		Key: crmtest.Key("c-" + name), Contact: crm.Ref{Key: crmtest.Key(name)}, Seq: seq, Subject: "Chat on shop", Text: text, At: opened,
		Fields: []crm.Field{{Name: "Status", Value: "In Progress", Rule: crm.Always}}, Record: crm.Record{Site: "shop"}, Attempt: 1,
	}
}

func (r *rig) put(list ...crm.Activity) map[string]crm.Outcome {
	r.t.Helper()
	outcomes, err := r.crm.PutActivities(r.t.Context(), list)
	if err != nil {
		r.t.Fatal(err)
	}
	all := map[string]crm.Outcome{}
	for _, o := range outcomes {
		all[o.Key] = o
	}
	if len(all) != len(outcomes) {
		r.t.Errorf("outcomes twice: %+v", outcomes)
	}
	return all
}

// TestTask: one task for a session, whatever its states; it belongs to the person.
func TestTask(t *testing.T) {
	t.Parallel()
	for _, object := range salesforce.Objects() {
		for _, others := range []int{0, 3} {
			r := newRig(t, vendor.Options{}, salesforce.Options{Object: object})
			person := r.one(contact("ada", 1, "pro", ""))
			key := chat("ada", 1, "").Key
			for seq, text := range []string{"opened", "opened\nclosed", strings.Repeat("é", 33_000)} {
				all := []crm.Activity{chat("ada", uint64(seq), text)}
				if seq > 0 {
					all[0].Contact.ID = person.ID
				}
				for _, name := range crmtest.Names(others) {
					other := chat(name, 1, "x")
					other.Contact = all[0].Contact
					all = append(all, other)
				}
				if o := r.put(all...)[key]; o.Status != crm.Done || o.Created != (seq == 0) || !strings.HasPrefix(o.ID, "00T") {
					t.Errorf("%s, %d others, state %d: %+v", object, others, seq, o)
				}
			}
			if n := len(r.Records("Task")); n != 1+others {
				t.Errorf("%d tasks", n)
			}
			task := r.Find("Task", "Parley_Key__c", key)[0]
			has(t, task, map[string]any{"WhoId": person.ID, "ActivityDate": "2026-11-25", "Subject": "Chat on shop", "Status": "In Progress"})
			if text, _ := task["Description"].(string); !strings.HasSuffix(text, "é…") || len([]rune(text)) != 32_000 {
				t.Errorf("the text has %d characters", len([]rune(text)))
			}
		}
	}
}

// TestTaskWaits: an activity comes after its contact; one whose contact was
// deleted is not for ever.
func TestTaskWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, salesforce.Options{})
	a := chat("ada", 1, "x")
	if o := r.put(a)[a.Key]; o.Status != crm.Retry || o.After == 0 {
		t.Errorf("%+v", o)
	}
	id := r.one(contact("ada", 1, "pro", "")).ID
	if o := r.put(a)[a.Key]; o.Status != crm.Done {
		t.Errorf("%+v", o)
	}
	r.Remove("Contact", id)
	a.Contact.ID = id
	for _, all := range [][]crm.Activity{{a}, {a, chat("ada", 2, "y")}} {
		o := r.put(all...)[a.Key]
		if o.Status != crm.Rejected || o.Err.Reason != fault.VendorNotFound {
			// The newer state has no id, and waits for its contact.
			if len(all) == 1 || o.Status != crm.Retry {
				t.Errorf("%+v", o)
			}
		}
	}
}

// TestCase: a request for a human makes a case, once; it is the org's then.
func TestCase(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, salesforce.Options{Cases: true})
	who := r.one(contact("ada", 1, "pro", "")).ID
	a := chat("ada", 1, "x")
	r.put(a)
	if len(r.Records("Case")) != 0 {
		t.Error("nobody asked for a human")
	}
	a.Record.Handoff = &crm.Handoff{At: opened, Reason: "asked"}
	for seq := range uint64(3) {
		a.Seq = 2 + seq
		if o := r.put(a, chat("ada", 1, "old"))[a.Key]; o.Status != crm.Done {
			t.Errorf("%+v", o)
		}
		has(t, r.only("Case"), map[string]any{"ContactId": who, "Origin": "Chat", "Parley_Key__c": a.Key})
		if seq == 0 {
			has(t, r.only("Case"), map[string]any{"Description": "A human was asked for: asked\nx"})
			r.Put("Case", r.only("Case").ID(), vendor.Record{"Subject": "Mine", "Status": "Working"})
		}
	}
	has(t, r.only("Case"), map[string]any{"Subject": "Mine", "Status": "Working"})
	// The answer to the case is lost: the activity comes again, and there is one case.
	b := chat("bob", 1, "x")
	r.one(contact("bob", 1, "pro", ""))
	b.Record.Handoff = a.Record.Handoff
	r.Set(vendor.Faults{Plan: []vendor.Kind{vendor.None, vendor.Lost}})
	if o := r.put(b)[b.Key]; o.Status != crm.Retry || o.Err.Reason != fault.EffectUnknown {
		t.Errorf("%+v", o)
	}
	if o := r.put(b)[b.Key]; o.Status != crm.Done || len(r.Records("Case")) != 2 {
		t.Errorf("%+v, %d cases", o, len(r.Records("Case")))
	}
}

// TestEvent: a session that has ended is published as a platform event, once.
func TestEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, salesforce.Options{Activities: salesforce.Event})
	a := chat("ada", 1, "x")
	a.Fields = nil
	a.Subject = strings.Repeat("s", 30)
	for _, ended := range []bool{false, true, true} {
		a.Record.Ended = ended
		a.Seq++
		o := r.put(a)[a.Key]
		if o.Status != crm.Done {
			t.Errorf("%+v", o)
		}
		a.ID = o.ID
	}
	events := r.Events()
	if len(events) != 1 {
		t.Fatalf("%d events", len(events))
	}
	has(t, events[0], map[string]any{"Key__c": a.Key, "Seq__c": 3, "Subject__c": strings.Repeat("s", 19) + "…", "At__c": "2026-11-25T23:30:00.000Z"})
	s, err := r.crm.Schema(t.Context())
	if err != nil || len(s.Activity) == 0 {
		t.Errorf("%v, %v", s.Activity, err)
	}
	// An answer that is lost: it is told again, with the same key.
	b := chat("bob", 1, "x")
	b.Fields, b.Record.Ended = nil, true
	r.Set(vendor.Faults{Plan: []vendor.Kind{vendor.Lost}})
	_, err = r.crm.PutActivities(t.Context(), []crm.Activity{b})
	want(t, err, fault.EffectUnknown)
	r.put(b)
	if events := r.Events(); len(events) != 3 || events[1]["Key__c"] != events[2]["Key__c"] {
		t.Errorf("%v", events)
	}
}

// TestNone: nothing is written.
func TestNone(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, salesforce.Options{Activities: salesforce.None})
	a := chat("ada", 1, "x")
	if o := r.put(a)[a.Key]; o.Status != crm.Done || len(r.Calls()) != 0 {
		t.Errorf("%+v, %v", o, r.Calls())
	}
}

// TestTaskFields: a field that the org does not have, and a value that it does
// not take, are told of the one activity.
func TestTaskFields(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, salesforce.Options{})
	r.one(contact("ada", 1, "pro", ""))
	good, wrong, unknown := chat("ada", 1, "x"), chat("ada", 1, "x"), chat("ada", 1, "x")
	wrong.Key, unknown.Key = crmtest.Key("wrong"), crmtest.Key("unknown")
	wrong.Fields = []crm.Field{{Name: "Status", Value: "Nonsense"}}
	unknown.Fields = []crm.Field{{Name: "Nonsense__c", Value: "x"}}
	told := r.put(good, wrong, unknown)
	if told[good.Key].Status != crm.Done || told[wrong.Key].Err == nil || told[wrong.Key].Err.Field != "/Status" ||
		told[unknown.Key].Err == nil || told[unknown.Key].Err.Reason != fault.SchemaViolation {
		t.Errorf("%+v", told)
	}
}
