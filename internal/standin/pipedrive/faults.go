package pipedrive

import "math/rand/v2"

// Kind is what can go wrong with a call.
type Kind string

// The kinds.
const (
	None      Kind = ""
	Lost      Kind = "lost"      // A write is done, and the answer breaks off.
	Hang      Kind = "hang"      // A write is done, and never answered.
	Late      Kind = "late"      // A write is done, and answered with 502.
	Down      Kind = "down"      // 503, and nothing is done.
	Expired   Kind = "expired"   // 401, as when the token has ended.
	Throttled Kind = "throttled" // 429.
	Guard     Kind = "guard"     // 403 with a web page, as for those who go on in spite of 429.
	Capped    Kind = "capped"    // 403: the plan has no more of it.
)

// Faults are the faults of the calls to come.
type Faults struct {
	// Plan spoils the next writes, in order; None lets one be.
	Plan []Kind
	// Shares spoil calls by chance, each from 0 to 1: of writes, and where it makes
	// sense of reads too.
	Shares map[Kind]float64
	// Seed makes the chance repeatable.
	Seed uint64
	// Echo repeats the token in the message of an error.
	Echo bool
}

// dice picks faults.
type dice struct {
	f    Faults
	plan []Kind
	rand *rand.Rand
}

// Set replaces the faults.
func (a *Account) Set(f Faults) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults = dice{f, append([]Kind(nil), f.Plan...), rand.New(rand.NewPCG(f.Seed, 5))}
}

func (d *dice) next(write bool) Kind {
	if write && len(d.plan) > 0 {
		kind := d.plan[0]
		d.plan = d.plan[1:]
		return kind
	}
	if d.rand == nil {
		return None
	}
	at := d.rand.Float64()
	for _, kind := range []Kind{Lost, Hang, Late, Down, Expired, Throttled, Guard, Capped} {
		share := d.f.Shares[kind]
		switch {
		case at >= share:
			at -= share
		case !write && (kind == Lost || kind == Hang || kind == Late || kind == Capped):
			return None
		default:
			return kind
		}
	}
	return None
}
