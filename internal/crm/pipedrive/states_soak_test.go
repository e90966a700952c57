package pipedrive_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/crm/crmtest"
	"github.com/parley-chat/parley/internal/crm/pipedrive"
	vendor "github.com/parley-chat/parley/internal/standin/pipedrive"
)

// TestTenThousandWrites is rows C1 and C3 at their full count in the long form:
// five states of each visitor, with one answer in twenty lost, and with three
// calls in ten that fail, half of them after the work was done. The account's
// ledger counts.
func TestTenThousandWrites(t *testing.T) {
	t.Parallel()
	visitors := bustest.Count(60, 2000)
	for name, faults := range map[string]vendor.Faults{
		"C1": {Seed: 11, Shares: map[vendor.Kind]float64{vendor.Lost: 0.05}},
		"C3": {Seed: 12, Shares: map[vendor.Kind]float64{vendor.Down: 0.15, vendor.Late: 0.15}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const states = 5
			r := newRig(t, vendor.Options{Lag: 10 * time.Second}, pipedrive.Options{})
			r.Set(faults)
			p := r.pump()
			for seq := uint64(1); seq <= states; seq++ {
				var all []crm.Contact
				for i, visitor := range crmtest.Names(visitors) {
					email := ""
					if i%3 == 0 && seq > 1 || i%3 == 1 { // They tell their address later, or at once.
						email = visitor + "@example.test"
					}
					all = append(all, contact(visitor, seq, "plan-"+strconv.FormatUint(seq, 10), email))
				}
				p.Contacts(t, all)
			}
			spoiled := r.Spoiled(vendor.Lost) + r.Spoiled(vendor.Down) + r.Spoiled(vendor.Late)
			got, made := r.tally("plan-5"), r.Effects("persons", vendor.Created)
			calls, attempts := p.Calls()
			t.Logf("%d writes: %d calls of which %d were spoiled, at most %d attempts; lost %d, twice %d, made %d", visitors*states, calls, spoiled, attempts, got.lost, got.twice, made)
			if got != (tally{records: visitors}) || made != visitors || len(p.Dead()) != 0 {
				t.Errorf("%+v, %d were made, dead letters %v", got, made, p.Dead())
			}
			if spoiled < visitors/30 {
				t.Errorf("only %d requests were spoiled", spoiled)
			}
		})
	}
}
