package salesforce_test

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/crmtest"
	"github.com/parley-chat/parley/internal/crm/salesforce"
	vendor "github.com/parley-chat/parley/internal/standin/salesforce"
)

// states writes five states of each of 2,000 visitors, 10,000 writes in all, and
// judges by the org and its ledger: nothing lost, no record twice, nothing put
// back to an older state.
func states(t *testing.T, v vendor.Options, faults vendor.Faults, size int) (*rig, *crmtest.Pump) {
	t.Helper()
	const visitors, rounds = 2_000, 5
	r := newRig(t, v, salesforce.Options{Timeout: 2 * time.Second})
	r.Set(faults)
	p := &crmtest.Pump{To: r.crm, Size: size, Parallel: 2}
	for seq := uint64(1); seq <= rounds; seq++ {
		var all []crm.Contact
		for i, name := range crmtest.Names(visitors) {
			email := ""
			if i%3 == 0 && seq > 1 || i%3 == 1 { // They tell their address later, or at once.
				email = name + "@example.test"
			}
			all = append(all, contact(name, seq, "plan-"+strconv.FormatUint(seq, 10), email))
		}
		p.Contacts(t, all)
	}
	r.Set(vendor.Faults{})
	keys := map[string]int{}
	lost := 0
	for _, record := range r.Records("Contact") {
		keys[fmt.Sprint(record["Parley_Key__c"])]++
		if record["Plan__c"] != "plan-5" || fmt.Sprint(record["Parley_Seq__c"]) != "5" {
			lost++
		}
	}
	twice := 0
	for _, n := range keys {
		if n != 1 {
			twice++
		}
	}
	created := r.Effects("Contact", vendor.Created)
	if lost != 0 || twice != 0 || len(keys) != visitors || created != visitors || len(p.Dead()) != 0 {
		t.Errorf("lost %d, twice %d, records %d, made %d, dead letters %v", lost, twice, len(keys), created, p.Dead())
	}
	calls, attempts := p.Calls()
	spoiled := map[vendor.Kind]int{}
	for _, c := range r.Calls() {
		spoiled[c.Fault]++
	}
	requests := len(r.Calls())
	delete(spoiled, vendor.None)
	t.Logf("10,000 writes: %d batches, %d requests, at most %d attempts; records made %d, changed %d, written again without an effect %d; faults %v",
		calls, requests, attempts, created, r.Effects("Contact", vendor.Changed), r.Effects("Contact", vendor.Same), spoiled)
	return r, p
}

// TestTimeoutAfterCommit is row C1: of every twenty writes one is done and not
// answered.
func TestTimeoutAfterCommit(t *testing.T) {
	t.Parallel()
	r, _ := states(t, vendor.Options{}, vendor.Faults{Seed: 1, Shares: map[vendor.Kind]float64{vendor.Lost: 0.05}}, 10)
	if n := r.Spoiled(vendor.Lost); n < 25 {
		t.Errorf("only %d answers were lost", n)
	}
}

// TestServerErrors is row C3: 30 % of all calls fail, half of them after the work
// was done.
func TestServerErrors(t *testing.T) {
	t.Parallel()
	r, _ := states(t, vendor.Options{}, vendor.Faults{Seed: 2, Shares: map[vendor.Kind]float64{vendor.Down: 0.15, vendor.Late: 0.15}}, 10)
	if down, late := r.Spoiled(vendor.Down), r.Spoiled(vendor.Late); down < 50 || late < 50 {
		t.Errorf("only %d and %d", down, late)
	}
}

// TestRowLocks is row C6: of the records of a collection one in five finds a
// locked row, and of the calls one in ten.
func TestRowLocks(t *testing.T) {
	t.Parallel()
	states(t, vendor.Options{}, vendor.Faults{Seed: 3, Shares: map[vendor.Kind]float64{vendor.RowLock: 0.2, vendor.Locked: 0.1}}, 50)
}

// TestStorm: all at once, and sessions that end; the org itself refuses older
// states.
func TestStorm(t *testing.T) {
	t.Parallel()
	r, _ := states(t, vendor.Options{Fence: "Parley_Seq__c"}, vendor.Faults{Seed: 4, Shares: map[vendor.Kind]float64{
		vendor.Lost: 0.05, vendor.Late: 0.05, vendor.Down: 0.1, vendor.Quota: 0.1, vendor.Crowded: 0.1, vendor.Locked: 0.05, vendor.RowLock: 0.05,
	}}, 20)
	if n := r.Spoiled(vendor.Quota); n < 20 {
		t.Errorf("only %d", n)
	}
}

// TestHang: a call that is never answered ends with its time, and counts as
// unsure.
func TestHang(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{}, salesforce.Options{Timeout: 100 * time.Millisecond})
	if _, err := r.crm.Schema(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Set(vendor.Faults{Plan: []vendor.Kind{vendor.Hang}})
	p := &crmtest.Pump{To: r.crm, Size: 2}
	p.Contacts(t, []crm.Contact{contact("ada", 1, "pro", ""), contact("bob", 1, "pro", "")})
	if n := r.Effects("Contact", vendor.Created); n > 2 || len(r.Records("Contact")) != 2 || p.Outcome(crmtest.Key("ada")).Status != crm.Done {
		t.Errorf("%d made, %v", n, r.Records("Contact"))
	}
}

// TestTasks is row C1 for activities: 5 % of the answers are lost, 10 % of the
// records find a locked row, and no task is there twice.
func TestTasks(t *testing.T) {
	t.Parallel()
	const sessions, rounds = 500, 4
	r := newRig(t, vendor.Options{}, salesforce.Options{})
	p := &crmtest.Pump{To: r.crm, Size: 20, Parallel: 2}
	var people []crm.Contact
	for _, name := range crmtest.Names(sessions) {
		people = append(people, contact(name, 1, "pro", ""))
	}
	p.Contacts(t, people)
	r.Set(vendor.Faults{Seed: 5, Shares: map[vendor.Kind]float64{vendor.Lost: 0.05, vendor.Late: 0.05, vendor.RowLock: 0.1}})
	for seq := uint64(1); seq <= rounds; seq++ {
		var all []crm.Activity
		for _, name := range crmtest.Names(sessions) {
			all = append(all, chat(name, seq, "state "+strconv.FormatUint(seq, 10)))
		}
		p.Activities(t, all)
	}
	tasks, lost := r.Records("Task"), 0
	who := map[string]bool{}
	for _, task := range tasks {
		who[fmt.Sprint(task["WhoId"])] = true
		if task["Description"] != "state 4" {
			lost++
		}
	}
	if len(tasks) != sessions || len(who) != sessions || lost != 0 || len(p.Dead()) != 0 {
		t.Errorf("%d tasks of %d people, %d lost, %v", len(tasks), len(who), lost, p.Dead())
	}
}

// TestOnePerson is row C9: ten writers at once, each with its own connector, and
// one record for each person.
func TestOnePerson(t *testing.T) {
	t.Parallel()
	writers, people := 10, bustest.Count(200, 500)
	r := newRig(t, vendor.Options{}, salesforce.Options{})
	var running sync.WaitGroup
	for range writers {
		c := salesforce.New(r.tokens, salesforce.Options{Transport: r.client.Transport})
		running.Go(func() {
			var all []crm.Contact
			for _, name := range crmtest.Names(people) {
				all = append(all, contact(name, 1, "pro", name+"@example.test"))
			}
			p := &crmtest.Pump{To: c, Size: 50}
			p.Contacts(t, all)
			if len(p.Dead()) != 0 {
				t.Errorf("dead letters: %v", p.Dead())
			}
		})
	}
	running.Wait()
	if n := len(r.Records("Contact")); n != people {
		t.Errorf("%d records of %d people", n, people)
	}
}
