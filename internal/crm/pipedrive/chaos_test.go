package pipedrive_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/crmtest"
	"github.com/parley-chat/parley/internal/crm/pipedrive"
	"github.com/parley-chat/parley/internal/fault"
	vendor "github.com/parley-chat/parley/internal/standin/pipedrive"
)

// tally is what the account has in the end.
type tally struct{ records, lost, twice int }

func (r *rig) tally(plan string) tally {
	var all tally
	keys := map[string]int{}
	for _, p := range r.Records("persons") {
		all.records++
		key := fmt.Sprint(p.Custom(r.key))
		if keys[key]++; keys[key] > 1 {
			all.twice++
		}
		if p.Custom(r.plan) != plan {
			all.lost++
		}
	}
	return all
}

// states writes two states of each of 1,000 visitors, 2,000 writes in all.
func states(t *testing.T, r *rig, p *crmtest.Pump) {
	t.Helper()
	for seq := uint64(1); seq <= 2; seq++ {
		var all []crm.Contact
		for i, name := range crmtest.Names(1_000) {
			email := ""
			if i%3 == 0 && seq > 1 || i%3 == 1 { // They tell their address later, or at once.
				email = name + "@example.test"
			}
			all = append(all, contact(name, seq, "plan-"+strconv.FormatUint(seq, 10), email))
		}
		p.Contacts(t, all)
	}
	spoiled := map[vendor.Kind]int{}
	for _, c := range r.Calls() {
		spoiled[c.Fault]++
	}
	delete(spoiled, vendor.None)
	calls, attempts := p.Calls()
	t.Logf("2,000 writes: %d calls, %d requests, %d tokens, at most %d attempts; %+v; faults %v", calls, len(r.Calls()), r.Tokens(), attempts, r.crm.Stats(), spoiled)
}

// TestTimeoutAfterCommit is row C1: of every twenty writes one is done and not
// answered. The search is behind; lists are not.
func TestTimeoutAfterCommit(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{Lag: 10 * time.Second}, pipedrive.Options{})
	r.Set(vendor.Faults{Seed: 1, Shares: map[vendor.Kind]float64{vendor.Lost: 0.05}})
	p := r.pump()
	states(t, r, p)
	if got := r.tally("plan-2"); got != (tally{records: 1_000}) || len(p.Dead()) != 0 {
		t.Errorf("%+v, dead letters %v", got, p.Dead())
	}
	s := r.crm.Stats()
	if lost := r.Spoiled(vendor.Lost); lost < 70 || s.Found < 30 || s.Again != 0 || s.Duplicates != 0 {
		t.Errorf("%d answers lost, %+v", lost, s)
	}
	if n := r.Effects("persons", vendor.Created); n != 1_000 {
		t.Errorf("%d were made", n)
	}
}

// TestServerErrors is row C3: 30 % of all calls fail, half of them after the work
// was done.
func TestServerErrors(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{Lag: 10 * time.Second}, pipedrive.Options{})
	r.Set(vendor.Faults{Seed: 2, Shares: map[vendor.Kind]float64{vendor.Down: 0.15, vendor.Late: 0.15}})
	p := r.pump()
	states(t, r, p)
	if got := r.tally("plan-2"); got != (tally{records: 1_000}) || len(p.Dead()) != 0 || r.Effects("persons", vendor.Created) != 1_000 {
		t.Errorf("%+v, dead letters %v", got, p.Dead())
	}
}

// TestStorm: limits, the guard, failures and lost answers at once.
func TestStorm(t *testing.T) {
	t.Parallel()
	r := newRig(t, vendor.Options{Lag: 5 * time.Second}, pipedrive.Options{})
	r.Set(vendor.Faults{Seed: 3, Shares: map[vendor.Kind]float64{
		vendor.Throttled: 0.15, vendor.Guard: 0.05, vendor.Down: 0.05, vendor.Late: 0.05, vendor.Lost: 0.05,
	}})
	p := r.pump()
	states(t, r, p)
	if got := r.tally("plan-2"); got != (tally{records: 1_000}) || len(p.Dead()) != 0 || r.Effects("persons", vendor.Created) != 1_000 {
		t.Errorf("%+v, dead letters %v", got, p.Dead())
	}
}

// TestCrash: after every lost answer the process dies too, before it could save
// what it knew; the next one has the store only.
func TestCrash(t *testing.T) {
	t.Parallel()
	ids := newStore()
	r := newRig(t, vendor.Options{Lag: 10 * time.Second}, pipedrive.Options{IDs: ids})
	r.Set(vendor.Faults{Seed: 4, Shares: map[vendor.Kind]float64{vendor.Lost: 0.05, vendor.Late: 0.05}})
	p := r.pump()
	p.Restart = func() bool { return true }
	states(t, r, p)
	if got := r.tally("plan-2"); got != (tally{records: 1_000}) || len(p.Dead()) != 0 || r.Effects("persons", vendor.Created) != 1_000 {
		t.Errorf("%+v, dead letters %v", got, p.Dead())
	}
	if s := r.crm.Stats(); s.Found < 60 {
		t.Errorf("%+v", s)
	}
}

// TestBehind: the account tells of what it has only after minutes, in lists too.
// Then nobody can know, and a record may be there twice. When it turns up it is
// merged, or, where that is not wanted, counted: the count is that of the ledger.
func TestBehind(t *testing.T) {
	t.Parallel()
	for _, merge := range []bool{true, false} {
		t.Run("merge "+strconv.FormatBool(merge), func(t *testing.T) {
			t.Parallel()
			behind(t, merge)
		})
	}
}

func behind(t *testing.T, merge bool) {
	t.Helper()
	const people = 400
	o := pipedrive.Options{IDs: newStore(), Settle: 45 * time.Second, NoMerge: !merge}
	r := newRig(t, vendor.Options{Lag: 5 * time.Minute, ListLag: 5 * time.Minute}, o)
	r.Set(vendor.Faults{Seed: 5, Shares: map[vendor.Kind]float64{vendor.Lost: 0.05}})
	p := r.pump()
	p.Parallel = 1
	var all []crm.Contact
	for _, name := range crmtest.Names(people) {
		all = append(all, contact(name, 1, "plan-1", ""))
	}
	p.Contacts(t, all)
	lost := r.Spoiled(vendor.Lost)
	r.Set(vendor.Faults{})
	r.clock.push(10 * time.Minute)
	there := r.tally("plan-1").twice
	for i := range all {
		all[i] = contact(crmtest.Names(people)[i], 2, "plan-2", "")
	}
	p.Contacts(t, all)
	got, s := r.tally("plan-2"), r.crm.Stats()
	if got.records-got.twice != people || len(p.Dead()) != 0 || there == 0 || s.Again == 0 {
		t.Errorf("%+v, %d were there twice, dead letters %v", got, there, p.Dead())
	}
	told, left := s.Duplicates, there
	if merge {
		told, left = s.Merged, 0
	}
	if got.twice != left || told != uint64(there) || int(s.Merged) != r.Effects("persons", vendor.Merged) {
		t.Errorf("%d are there twice after %d lost answers, and %+v was told", got.twice, lost, s)
	}
	t.Logf("%d creations, %d answers lost, %d made again, %d there twice, then %d; %+v", people, lost, s.Again, there, got.twice, s)
}

// TestOneWriter: two processes that believe to lead make one person, since they
// share the store.
func TestOneWriter(t *testing.T) {
	t.Parallel()
	const people = 100
	r := newRig(t, vendor.Options{Lag: 10 * time.Second}, pipedrive.Options{IDs: newStore()})
	var running sync.WaitGroup
	for range 4 {
		o := r.o
		running.Go(func() {
			var all []crm.Contact
			for _, name := range crmtest.Names(people) {
				all = append(all, contact(name, 1, "plan-1", ""))
			}
			p := &crmtest.Pump{To: pipedrive.New(r.tokens, o), Size: 1, Wait: func(time.Duration) { r.clock.push(time.Millisecond) }}
			p.Contacts(t, all)
			if len(p.Dead()) != 0 {
				t.Errorf("dead letters: %v", p.Dead())
			}
		})
	}
	running.Wait()
	if got := r.tally("plan-1"); got != (tally{records: people}) {
		t.Errorf("%+v", got)
	}
}

// TestLostStore: the engine tried, and what the store knew is gone: it is looked
// for first.
func TestLostStore(t *testing.T) {
	t.Parallel()
	for _, there := range []bool{true, false} {
		r := newRig(t, vendor.Options{}, pipedrive.Options{IDs: newStore()})
		c := contact("ada", 2, "pro", "")
		if there {
			r.Add("persons", vendor.Record{"name": "Ada", "custom_fields": map[string]any{r.key: c.Key}})
		}
		c.Unsure = true
		p := r.pump()
		o := r.one(c)
		if there != (o.Status == crm.Done) {
			t.Errorf("%+v", o)
		}
		p.Contacts(t, []crm.Contact{c})
		if x := r.only("persons"); x.Custom(r.plan) != "pro" {
			t.Errorf("%v", x)
		}
	}
}

// TestStoreFails: without the store nothing is made; when it fails behind the
// creation, the id is still told.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	ids := newStore()
	r := newRig(t, vendor.Options{}, pipedrive.Options{IDs: ids})
	ids.fail = 1
	_, err := r.crm.UpsertContacts(t.Context(), []crm.Contact{contact("ada", 1, "x", "")})
	want(t, err, fault.BusUnavailable)
	if len(r.Records("persons")) != 0 {
		t.Error("a person was made that nobody could find again")
	}
	first := r.done(contact("ada", 1, "x", ""))
	ids.all = map[string]pipedrive.Entry{} // It comes back without what it had.
	next := contact("ada", 2, "y", "")
	next.ID = first.ID
	if o := r.done(next); o.ID != first.ID || len(r.Records("persons")) != 1 {
		t.Errorf("%+v", o)
	}
}

// TestActivitiesOnce is row C1 for sessions: 5 % of the answers are lost, and 5 %
// fail behind the work; none is there twice.
func TestActivitiesOnce(t *testing.T) {
	t.Parallel()
	for _, kind := range []pipedrive.Kind{pipedrive.Activity, pipedrive.Note} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			const people, each = 50, 5
			r := newRig(t, vendor.Options{Lag: 10 * time.Second}, pipedrive.Options{Activities: kind, IDs: newStore()})
			p := r.pump()
			p.Restart = func() bool { return rand.IntN(2) == 0 }
			var who []crm.Contact
			for _, name := range crmtest.Names(people) {
				who = append(who, contact(name, 1, "x", ""))
			}
			p.Contacts(t, who)
			r.Set(vendor.Faults{Seed: 6, Shares: map[vendor.Kind]float64{vendor.Lost: 0.05, vendor.Late: 0.05}})
			for seq := uint64(1); seq <= 2; seq++ {
				var all []crm.Activity
				for _, name := range crmtest.Names(people) {
					for i := range each {
						a := chat(name, seq, "state "+strconv.FormatUint(seq, 10))
						a.Key = crmtest.Key("c" + strconv.Itoa(i) + name)
						all = append(all, a)
					}
				}
				p.Activities(t, all)
			}
			list := "activities"
			if kind == pipedrive.Note {
				list = "notes"
			}
			if n := len(r.Records(list)); n != people*each || r.Effects(list, vendor.Created) != people*each || len(p.Dead()) != 0 {
				t.Errorf("%d %s of %d, dead letters %v", n, list, people*each, p.Dead())
			}
		})
	}
}
