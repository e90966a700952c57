package salesforce_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/crmtest"
	"github.com/parley-chat/parley/internal/crm/salesforce"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin"
	vendor "github.com/parley-chat/parley/internal/standin/salesforce"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, bustest.Leaks()...) }

const host = "demo.my.salesforce.com"

// rig is an org and a connector to it.
type rig struct {
	*vendor.Org
	t      testing.TB
	hosts  *standin.Server
	client *http.Client
	tokens *crmtest.Static
	crm    *salesforce.Connector
}

// newRig has an org with the fields that docs/crm-salesforce.md names.
func newRig(t testing.TB, v vendor.Options, o salesforce.Options) *rig {
	t.Helper()
	r := bareRig(t, v, o)
	prepare(r.Org)
	return r
}

func prepare(org *vendor.Org) {
	key := vendor.Field{Name: "Parley_Key__c", Type: "string", Length: 64, ExternalID: true, Unique: true}
	for _, object := range []string{"Contact", "Lead"} {
		org.AddFields(object, key, vendor.Field{Name: "Parley_Seq__c", Type: "double"}, vendor.Field{Name: "Plan__c", Type: "string", Length: 40},
			vendor.Field{Name: "Last_Chat__c", Type: "datetime"}, vendor.Field{Name: "Tags__c", Type: "multipicklist", Options: []string{"a", "b"}})
	}
	org.AddFields("Lead", vendor.Field{Name: "Interest__c", Type: "string", Length: 40})
	org.AddFields("Task", key)
	org.AddFields("Case", key)
	org.AddEvent("Parley_Chat__e", vendor.Field{Name: "Key__c", Type: "string", Length: 64, Required: true}, vendor.Field{Name: "Seq__c", Type: "double"},
		vendor.Field{Name: "Subject__c", Type: "string", Length: 20}, vendor.Field{Name: "At__c", Type: "datetime"})
}

func bareRig(t testing.TB, v vendor.Options, o salesforce.Options) *rig {
	t.Helper()
	if v.Valid == nil {
		v.Valid = func(token string) bool { return token == crmtest.Canary }
	}
	r := &rig{t: t, Org: vendor.New(v), tokens: &crmtest.Static{
		List: []string{crmtest.Canary}, Accounts: map[string]string{"instance_url": "https://" + host},
	}}
	var err error
	if r.hosts, err = standin.Start(slog.New(slog.DiscardHandler), map[string]http.Handler{host: r.Org}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.hosts.Close() })
	r.client = r.hosts.Client()
	o.Transport = r.client.Transport
	r.crm = salesforce.New(r.tokens, o)
	t.Cleanup(func() { _ = r.crm.Close() })
	return r
}

// contact is a contact with a plan, and an address if there is one.
func contact(name string, seq uint64, plan, email string) crm.Contact {
	c := crm.Contact{Key: crmtest.Key(name), Seq: seq, At: time.Now(), Attempt: 1, Email: email}
	if email != "" {
		c.Fields = append(c.Fields, crm.Field{Name: "Email", Value: email, Rule: crm.Always})
	}
	c.Fields = append(c.Fields, crm.Field{Name: "Plan__c", Value: plan, Rule: crm.Always})
	return c
}

func with(c crm.Contact, name string, value any) crm.Contact {
	c.Fields = append(c.Fields, crm.Field{Name: name, Value: value, Rule: crm.Always})
	return c
}

// upsert writes, and returns the outcomes by key.
func (r *rig) upsert(contacts ...crm.Contact) map[string]crm.Outcome {
	r.t.Helper()
	outcomes, err := r.crm.UpsertContacts(r.t.Context(), contacts)
	if err != nil {
		r.t.Fatal(err)
	}
	all := map[string]crm.Outcome{}
	for _, o := range outcomes {
		if _, twice := all[o.Key]; twice {
			r.t.Errorf("two outcomes of %s", o.Key)
		}
		all[o.Key] = o
	}
	return all
}

// one writes one contact.
func (r *rig) one(c crm.Contact) crm.Outcome {
	r.t.Helper()
	all := r.upsert(c)
	if len(all) != 1 || all[c.Key].Key != c.Key {
		r.t.Fatalf("the outcomes: %+v", all)
	}
	return all[c.Key]
}

// only returns the only record of the object.
func (r *rig) only(object string) vendor.Record {
	r.t.Helper()
	all := r.Records(object)
	if len(all) != 1 {
		r.t.Fatalf("%d of %s: %v", len(all), object, all)
	}
	return all[0]
}

// want fails unless the error has the reason.
func want(t testing.TB, err error, reason fault.Reason) {
	t.Helper()
	if e := fault.From(err); e == nil || e.Reason != reason {
		t.Errorf("the error is %v, want %s", err, reason)
	}
}

// has fails unless the record has the fields.
func has(t testing.TB, r vendor.Record, fields map[string]any) {
	t.Helper()
	for name, value := range fields {
		if fmt.Sprint(r[name]) != fmt.Sprint(value) {
			t.Errorf("%s is %v, want %v", name, r[name], value)
		}
	}
}
