package salesforce

import "math/rand/v2"

// Kind is what can go wrong with a call.
type Kind string

// The kinds.
const (
	None    Kind = ""
	Lost    Kind = "lost"    // A write is done, and the answer breaks off.
	Hang    Kind = "hang"    // A write is done, and never answered.
	Late    Kind = "late"    // A write is done, and answered with 500.
	Down    Kind = "down"    // 503, and nothing is done.
	Expired Kind = "expired" // 401, as when the session has ended.
	Quota   Kind = "quota"   // 403: the calls of the day are used up.
	Crowded Kind = "crowded" // 403: too many calls at once.
	Locked  Kind = "locked"  // 400 for the whole call: a trigger found a locked row.
	RowLock Kind = "rowlock" // Single records of a write find a locked row.
)

// writing are the kinds that spoil writes only.
func (k Kind) writing() bool {
	return k == Lost || k == Hang || k == Late || k == Locked || k == RowLock
}

// Faults are the faults of the calls to come.
type Faults struct {
	// Plan spoils the next writes, in order; None lets one be.
	Plan []Kind
	// Shares spoil calls by chance, each from 0 to 1: of writes, and where it makes
	// sense of reads too. The share of RowLock is one of records.
	Shares map[Kind]float64
	// Seed makes the chance repeatable.
	Seed uint64
	// Echo repeats the token in the message of an error, as servers do that log too
	// much.
	Echo bool
}

// dice picks faults.
type dice struct {
	f    Faults
	plan []Kind
	rand *rand.Rand
}

// Set replaces the faults.
func (o *Org) Set(f Faults) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.faults = dice{f, append([]Kind(nil), f.Plan...), rand.New(rand.NewPCG(f.Seed, 3))}
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
	for _, kind := range []Kind{Lost, Hang, Late, Down, Expired, Quota, Crowded, Locked} {
		share := d.f.Shares[kind]
		switch {
		case at >= share:
			at -= share
		case kind.writing() && !write:
			return None
		default:
			return kind
		}
	}
	return None
}

// row reports whether a record finds a locked row.
func (d *dice) row(of Kind) bool {
	return of == RowLock || d.rand != nil && d.f.Shares[RowLock] > 0 && d.rand.Float64() < d.f.Shares[RowLock]
}
