package salesforce_test

import (
	"fmt"
	"testing"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/crmtest"
	"github.com/parley-chat/parley/internal/crm/salesforce"
	"github.com/parley-chat/parley/internal/fault"
	vendor "github.com/parley-chat/parley/internal/standin/salesforce"
)

// TestC8NoSilentPick is row C8: an org has two records for each of many people.
// None of them is picked in silence: each is refused by its name, for a person to
// decide, and no record is changed or made. The others in the same calls are
// written.
func TestC8NoSilentPick(t *testing.T) {
	t.Parallel()
	people := bustest.Count(20, 100)
	r := newRig(t, vendor.Options{}, salesforce.Options{})
	for _, name := range crmtest.Names(people) {
		for n := range 2 {
			r.Add("Contact", vendor.Record{"LastName": fmt.Sprint("before ", n), "Parley_Key__c": crmtest.Key(name)})
		}
	}
	made := r.Effects("Contact", vendor.Created)
	refused, picked := 0, 0
	for n, name := range crmtest.Names(people) {
		all := []crm.Contact{contact(name, 1, "pro", "")}
		if n%2 == 1 {
			all = append(all, contact(fmt.Sprint("other-", n), 1, "pro", ""))
		}
		outcomes := r.upsert(all...)
		switch o := outcomes[crmtest.Key(name)]; {
		case o.Status == crm.Rejected && o.Err.Reason == fault.VendorConflict:
			refused++
		default:
			picked++
			t.Errorf("%s: %+v", name, o)
		}
		if n%2 == 1 && outcomes[crmtest.Key(fmt.Sprint("other-", n))].Status != crm.Done {
			t.Errorf("the other one in the call of %s: %+v", name, outcomes)
		}
	}
	changed := 0
	for _, record := range r.Records("Contact") {
		if name, _ := record["LastName"].(string); len(name) > 6 && name[:6] == "before" && record["Plan__c"] != nil {
			changed++
		}
	}
	if more := r.Effects("Contact", vendor.Created) - made; more != people/2 || changed != 0 {
		t.Errorf("%d records were made, want those %d of the others; %d of the doubles were changed", more, people/2, changed)
	}
	t.Logf("%d people with two records each: %d refused by name, %d picked, %d records changed", people, refused, picked, changed)
}
