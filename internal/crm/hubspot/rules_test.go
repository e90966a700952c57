package hubspot_test

import (
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/hubspot"
	vendor "github.com/parley-chat/parley/internal/standin/hubspot"
)

// TestRules: what others own stays theirs, also in a record that is found by its
// address or by a conflict, and is new to us.
func TestRules(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)
	early, late := now.Add(-time.Hour), now.Add(time.Hour)
	for what, test := range map[string]struct {
		theirs, ours string
		rule         crm.Rule
		at           time.Time
		want         string
	}{
		"always":                    {"Countess", "Visitor", crm.Always, early, "Visitor"},
		"if_empty, and it is not":   {"Countess", "Visitor", crm.IfEmpty, late, "Countess"},
		"if_empty, and it is":       {"", "Visitor", crm.IfEmpty, late, "Visitor"},
		"newer than ours":           {"Countess", "Visitor", crm.NeverOverwriteNewer, early, "Countess"},
		"older than ours":           {"Countess", "Visitor", crm.NeverOverwriteNewer, late, "Visitor"},
		"append":                    {"a", "b", crm.Append, late, "a\nb"},
		"append what is there":      {"a\nb", "b", crm.Append, late, "a\nb"},
		"append where nothing is":   {"", "b", crm.Append, late, "b"},
		"newer, and nobody has any": {"", "Visitor", crm.NeverOverwriteNewer, early, "Visitor"},
	} {
		for how, email := range map[string]string{"by the address": "ada@example.test", "by a conflict": "", "by the id": "id", "merged": "merged"} {
			t.Run(what+", "+how, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, vendor.Options{Now: func() time.Time { return now }}, hubspot.Options{App: "4711"})
				id := r.Edit("contacts", "", map[string]string{"email": "ada@example.test", "jobtitle": test.theirs})
				c := crm.Contact{Key: keyOf("ada"), Seq: 1, At: test.at, Email: email, Fields: []crm.Field{
					{Name: "email", Value: "ada@example.test", Rule: crm.Always}, {Name: "jobtitle", Value: test.ours, Rule: test.rule},
				}}
				switch email {
				case "id":
					c.ID, c.Email = id, ""
				case "merged":
					old := r.Edit("contacts", "", map[string]string{"phone": "1"})
					r.Merge(id, old)
					c.ID, c.Email = old, ""
				}
				if o := r.upsert(c)[c.Key]; o.Status != crm.Done || o.ID != id {
					t.Fatalf("the outcome: %+v", o)
				}
				if got := r.only("contacts").Properties["jobtitle"]; got != test.want {
					t.Errorf("%q, want %q", got, test.want)
				}
			})
		}
	}
}

// TestRulesOfOurOwn: what we wrote a moment ago is not somebody else's, so the
// next value of ours is written.
func TestRulesOfOurOwn(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)
	r := newRig(t, vendor.Options{Now: func() time.Time { return now }}, hubspot.Options{})
	for seq, value := range []string{"one", "two"} {
		r.upsert(crm.Contact{Key: keyOf("ada"), Seq: uint64(seq) + 1, At: now.Add(-time.Second), Fields: []crm.Field{{Name: "jobtitle", Value: value, Rule: crm.NeverOverwriteNewer}}})
	}
	if got := r.only("contacts").Properties["jobtitle"]; got != "two" {
		t.Errorf("%q", got)
	}
}
