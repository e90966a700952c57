package pipedrive_test

import (
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/crmtest"
	"github.com/parley-chat/parley/internal/crm/pipedrive"
	"github.com/parley-chat/parley/internal/fault"
	vendor "github.com/parley-chat/parley/internal/standin/pipedrive"
)

var opened = time.Date(2026, 11, 25, 23, 30, 0, 0, time.UTC)

// chat is a chat session of the visitor.
func chat(name string, seq uint64, text string) crm.Activity {
	return crm.Activity{
		Key: crmtest.Key("c-" + name), Contact: crm.Ref{Key: crmtest.Key(name)}, Seq: seq, Subject: "Chat on shop", Text: text, At: opened,
		Record: crm.Record{Site: "shop"}, Attempt: 1,
	}
}

func (r *rig) put(a crm.Activity) crm.Outcome {
	r.t.Helper()
	all, err := r.crm.PutActivities(r.t.Context(), []crm.Activity{a})
	if err != nil {
		r.t.Fatal(err)
	}
	if len(all) != 1 || all[0].Key != a.Key {
		r.t.Fatalf("%+v", all)
	}
	return all[0]
}

// TestActivity: one activity for a session, whatever its states; what a visitor
// wrote is text.
func TestActivity(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, pipedrive.Options{})
	a := chat("ada", 1, "opened")
	if o := r.put(a); o.Status != crm.Retry || o.After == 0 {
		t.Errorf("without its contact: %+v", o)
	}
	who := r.done(contact("ada", 1, "x", ""))
	first := r.put(a)
	if first.Status != crm.Done || !first.Created {
		t.Fatalf("%+v", first)
	}
	a.Text, a.End, a.ID, a.Contact.ID = "opened\n<script>x</script>", opened.Add(90*time.Minute), first.ID, who.ID
	a.Fields = []crm.Field{{Name: "public_description", Value: "Chat"}, {Name: "deal_id", Value: nil}}
	if o := r.put(a); o.Status != crm.Done || o.Created || o.ID != first.ID {
		t.Errorf("%+v", o)
	}
	got := r.only("activities")
	for name, want := range map[string]any{
		"subject": "Chat on shop", "type": "task", "done": true, "due_date": "2026-11-25", "due_time": "23:30", "duration": "01:30", "public_description": "Chat",
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if note, _ := got["note"].(string); !strings.HasPrefix(note, "opened<br>&lt;script&gt;x&lt;/script&gt;<br>") || !strings.Contains(note, a.Key) {
		t.Errorf("the note: %s", note)
	}
}

// TestNote: likewise, as a note.
func TestNote(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, pipedrive.Options{Activities: pipedrive.Note})
	who := r.done(contact("ada", 1, "x", ""))
	a := chat("ada", 1, strings.Repeat("line & line\n", 10_000))
	first := r.put(a)
	a.ID, a.Text = first.ID, "short"
	second := r.put(a)
	if !first.Created || second.Created || second.ID != first.ID || who.ID == "" {
		t.Errorf("%+v, %+v", first, second)
	}
	if got := r.only("notes")["content"]; got != "<b>Chat on shop</b><br>short<br><small>Parley "+a.Key+"</small>" {
		t.Errorf("%v", got)
	}
}

// TestActivityGone: one that people deleted is told as gone, and made anew.
func TestActivityGone(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, pipedrive.Options{})
	r.done(contact("ada", 1, "x", ""))
	a := chat("ada", 1, "x")
	a.ID = r.put(a).ID
	r.Remove("activities", r.only("activities").ID())
	if o := r.put(a); o.Status != crm.Rejected || o.Err.Reason != fault.VendorNotFound {
		t.Errorf("%+v", o)
	}
	a.ID = ""
	if o := r.put(a); o.Status != crm.Done || !o.Created {
		t.Errorf("%+v", o)
	}
}

// TestNone: nothing is written.
func TestNone(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, pipedrive.Options{Activities: pipedrive.None})
	if o := r.put(chat("ada", 1, "x")); o.Status != crm.Done || len(r.Calls()) != 0 {
		t.Errorf("%+v", o)
	}
}

// TestForget: the person and the records that are ours are gone; what others
// wrote is not ours to delete.
func TestForget(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, pipedrive.Options{})
	for _, name := range []string{"ada", "bob"} {
		r.done(contact(name, 1, "x", ""))
		r.put(chat(name, 1, "x"))
	}
	id := r.Records("persons")[0].ID()
	r.Add("activities", vendor.Record{"subject": "Theirs", "note": "x", "participants": []any{map[string]any{"person_id": float64(id)}}})
	for range 2 {
		got, err := r.crm.Forget(t.Context(), []crm.Ref{{Key: crmtest.Key("ada")}, {Key: crmtest.Key("nobody")}, {Key: crmtest.Key("gone"), ID: "999"}})
		if err != nil || len(got) != 3 {
			t.Fatalf("%v, %+v", err, got)
		}
		for _, o := range got {
			if o.Status != crm.Done {
				t.Errorf("%+v", o)
			}
		}
	}
	if p := r.only("persons"); p.Custom(r.key) != crmtest.Key("bob") || len(r.Records("activities")) != 2 {
		t.Errorf("%v, %v", p, r.Records("activities"))
	}
}
