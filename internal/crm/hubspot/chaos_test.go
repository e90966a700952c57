package hubspot_test

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/hubspot"
	vendor "github.com/parley-chat/parley/internal/standin/hubspot"
)

// states writes five states of each of the visitors, 10,000 writes in all, and
// judges by the account and its ledger: nothing lost, no record twice, nothing
// put back to an older state.
func states(t *testing.T, faults vendor.Faults, timeout time.Duration) (*rig, *pump) {
	t.Helper()
	const visitors, rounds = 2_000, 5
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	r.upsert(contact("warm", 1, "x", ""))
	r.Set(faults)
	p := newPump(r.crm, 20)
	p.timeout = timeout
	for seq := uint64(1); seq <= rounds; seq++ {
		var all []crm.Contact
		for i, name := range names(visitors) {
			email := ""
			if i%3 == 0 && seq > 1 || i%3 == 1 { // They tell their address later, or at once.
				email = name + "@example.test"
			}
			all = append(all, contact(name, seq, "plan-"+strconv.FormatUint(seq, 10), email))
		}
		p.run(t, all)
	}
	r.Set(vendor.Faults{})
	last := map[string]int{}
	made := map[string]int{}
	for _, w := range r.Writes("contacts") {
		key := w.Properties["parley_key"]
		seq, _ := strconv.Atoi(w.Properties["parley_seq"])
		if seq < last[key] {
			t.Errorf("%s went back from %d to %d", key, last[key], seq)
		}
		last[key] = seq
		if w.Created {
			made[key]++
		}
	}
	for key, n := range made {
		if n != 1 {
			t.Errorf("%s was made %d times", key, n)
		}
	}
	records := map[string]string{}
	for _, record := range r.Records("contacts") {
		key := record.Properties["parley_key"]
		if _, twice := records[key]; twice {
			t.Errorf("two records of %s", key)
		}
		records[key] = record.Properties["plan"]
	}
	lost := 0
	for _, name := range names(visitors) {
		if records[keyOf(name)] != "plan-5" {
			lost++
		}
	}
	if lost != 0 || len(records) != visitors+1 || len(p.dead) != 0 {
		t.Errorf("lost %d, records %d, dead letters %d", lost, len(records)-1, len(p.dead))
	}
	t.Logf("10,000 writes: %d batches, %d requests, at most %d attempts of a batch; faults: %v", p.calls, r.Count(""), p.most, faulted(r))
	return r, p
}

// faulted counts the calls that were spoiled, by the fault.
func faulted(r *rig) map[string]int {
	all := map[string]int{}
	for _, c := range r.Calls("") {
		if c.Fault != "" {
			all[c.Fault]++
		}
	}
	return all
}

// TestTimeoutAfterCommit is row C1.
func TestTimeoutAfterCommit(t *testing.T) {
	t.Parallel()
	r, _ := states(t, vendor.Faults{Seed: 1, Shares: []vendor.Share{
		{Share: 0.05, Operation: "upsert", Fault: vendor.Fault{Lost: true}}, {Share: 0.05, Operation: "update", Fault: vendor.Fault{Lost: true}},
	}}, 300*time.Millisecond)
	if n := faulted(r)["lost"]; n < 10 {
		t.Errorf("only %d answers were lost", n)
	}
}

// TestServerErrors is row C3: 30 % of all calls fail, half of them after the work
// was done.
func TestServerErrors(t *testing.T) {
	t.Parallel()
	r, p := states(t, vendor.Faults{Seed: 2, Shares: []vendor.Share{
		{Share: 0.08, Fault: vendor.Fault{Status: 503}},
		{Share: 0.07, Fault: vendor.Fault{Status: 500}},
		{Share: 0.08, Fault: vendor.Fault{Late: 502}},
		{Share: 0.04, Fault: vendor.Fault{Late: 504}},
		{Share: 0.03, Fault: vendor.Fault{Cut: true}},
	}}, 5*time.Second)
	if p.calls > 2*2_000*5/20 {
		t.Errorf("%d batches for %d", p.calls, 2_000*5/20)
	}
	if n := faulted(r)["late 502"]; n < 20 {
		t.Errorf("only %d of them", n)
	}
}

// TestPartialFailures is row C6: of the inputs of a batch one in five fails.
func TestPartialFailures(t *testing.T) {
	t.Parallel()
	states(t, vendor.Faults{Seed: 3, Shares: []vendor.Share{{Share: 1, Fault: vendor.Fault{Partial: 0.2}}}}, 5*time.Second)
}

// TestOnePerson is row C9: ten writers at once, each with its own connector, and
// one record for each person.
func TestOnePerson(t *testing.T) {
	t.Parallel()
	const writers, people = 10, 500
	r := newRig(t, vendor.Options{}, hubspot.Options{})
	var running sync.WaitGroup
	for range writers {
		c := hubspot.New(r.tokens, hubspot.Options{Transport: r.client.Transport})
		running.Go(func() {
			var all []crm.Contact
			for _, name := range names(people) {
				all = append(all, contact(name, 1, "pro", name+"@example.test"))
			}
			p := newPump(c, 50)
			p.run(t, all)
			if len(p.dead) != 0 {
				t.Errorf("%d dead letters", len(p.dead))
			}
		})
	}
	running.Wait()
	keys := map[string]int{}
	for _, record := range r.Records("contacts") {
		keys[record.Properties["parley_key"]]++
	}
	if len(keys) != people || len(r.Records("contacts")) != people {
		t.Errorf("%d keys, %d records", len(keys), len(r.Records("contacts")))
	}
}

// TestStorm: all at once: limits, locks, a moving account, silence.
func TestStorm(t *testing.T) {
	t.Parallel()
	states(t, vendor.Faults{Seed: 4, Shares: []vendor.Share{
		{Share: 0.2, Fault: vendor.Fault{Status: 429, Policy: "TEN_SECONDLY_ROLLING"}},
		{Share: 0.05, Fault: vendor.Fault{Status: 429, Policy: "SECONDLY"}},
		{Share: 0.05, Fault: vendor.Fault{Status: 423}},
		{Share: 0.05, Fault: vendor.Fault{Status: 477, RetryAfter: "30"}},
		{Share: 0.05, Fault: vendor.Fault{Empty: true}},
		{Share: 0.05, Fault: vendor.Fault{Late: 524}},
		{Share: 0.02, Fault: vendor.Fault{Page: true}},
		{Share: 0.1, Fault: vendor.Fault{Partial: 0.3, Mute: true}},
	}}, 5*time.Second)
}
