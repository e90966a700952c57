package model

import (
	"time"

	"github.com/parley-chat/parley/internal/session"
)

// answer is how a command ended.
type answer uint8

const (
	succeeded answer = iota
	refused          // early, with a time to come again
	expired          // its deadline passed
	full             // too many of its session wait
)

// cause is why commands of a partition waited for an owner.
type cause uint8

const (
	nothing cause = iota
	planned
	killed
	paused
)

// stop is since when a partition's commands wait, and why.
type stop struct {
	at  time.Duration
	why cause
}

// stop notes the time, unless they wait already.
func (r *record) stop(at time.Duration, why cause) {
	if r.stopped.why == nothing {
		r.stopped = stop{at, why}
	}
}

// ledger is what an outsider sees of a run.
type ledger struct {
	asked, answered int
	sites           []siteLedger

	twoOwners, twice, disorder   int
	stale, reconciled            int
	moves, changed, needed       int
	joins, leaves, kills, pauses int
	mostTabs                     int
	mostMemory                   int64
	closings                     map[string]int
	gaps                         [4][]float64 // by cause, in ms
	trace                        uint64
}

// siteLedger is what is seen of one site.
type siteLedger struct {
	asked          int
	answers        [4]int
	cold, restored int
	latencies      []float64 // of those that succeeded, in ms
}

func newLedger(sites []Site) ledger {
	return ledger{sites: make([]siteLedger, len(sites)), closings: map[string]int{}, trace: 14695981039346656037}
}

// note mixes numbers into the fingerprint of the run.
func (l *ledger) note(numbers ...int) {
	for _, n := range numbers {
		l.trace = (l.trace ^ uint64(n)) * 1099511628211 //nolint:gosec // bits are bits.
	}
}

func (l *ledger) ask(site int) {
	l.asked++
	l.sites[site].asked++
}

func (l *ledger) answer(site int, a answer, after time.Duration) {
	l.answered++
	s := &l.sites[site]
	s.answers[a]++
	if a == succeeded {
		s.latencies = append(s.latencies, float64(after)/float64(time.Millisecond))
	}
	l.note(site, int(a), int(after))
}

// open notes that a session's tab is opened.
func (l *ledger) open(s *sess) {
	if s.known {
		l.sites[s.site].restored++
	} else {
		l.sites[s.site].cold++
	}
}

// tabs notes how many a worker has.
func (l *ledger) tabs(s session.ResidencyStats) {
	l.mostTabs = max(l.mostTabs, s.Placed)
}

// owner holds that who acts is the one that the lease names.
func (l *ledger) owner(r record, at *worker) {
	if r.owner != at.id || r.life != at.life {
		l.twoOwners++
	}
}

// act holds that a session's commands have their effects once, and in order.
func (l *ledger) act(now time.Duration, s *sess, number int) {
	word, bit := number/64, uint64(1)<<(number%64)
	for len(s.acted) <= word {
		s.acted = append(s.acted, 0)
	}
	switch {
	case s.acted[word]&bit != 0:
		l.twice++
	case number < s.last:
		l.disorder++
	}
	s.acted[word] |= bit
	s.last = max(s.last, number)
	l.note(int(now), s.part, number)
}

// move notes that a partition has another owner.
func (l *ledger) move(now time.Duration, p int, r record) {
	l.moves++
	l.note(int(now), p, r.owner, r.epoch)
}

// served notes that a partition's commands wait no longer.
func (l *ledger) served(r *record, now time.Duration) {
	if r.stopped.why != nothing {
		l.gaps[r.stopped.why] = append(l.gaps[r.stopped.why], float64(now-r.stopped.at)/float64(time.Millisecond))
	}
	r.stopped = stop{}
}

// change compares who should own what before and after the members changed, and
// counts the fewest moves that could have done: those of partitions whose owner
// is gone, and of those that are above an owner's share.
func (l *ledger) change(before, after view) {
	loads := map[int]int{}
	for p, owner := range before.owners {
		if owner != after.owners[p] {
			l.changed++
		}
		if _, stays := after.lives[owner]; !stays {
			l.needed++
			continue
		}
		loads[owner]++
		if share := (len(after.owners) + len(after.lives) - 1) / len(after.lives); loads[owner] > share {
			l.needed++
		}
	}
}
