package session

import (
	"math"
	"time"
)

// The half-lives of a session's two counts of commands.
//
// The short one sees that a visitor is in a conversation now, the long one that
// a visitor comes back again and again. Each count through its half-life is a
// rate; their sum is what is expected of the session. The long one alone is the
// best on a steady Zipf distribution and keeps ended conversations far too
// long; the short one alone forgets regular visitors. The sum stays near the
// better one on both (docs/simulation.md).
const (
	shortHalf = 15 * time.Second
	longHalf  = 10 * time.Minute
)

// rate is how often a session was used, where older uses count less.
type rate struct {
	short, long float64
	last        time.Time // when the counts were true
}

// add counts one use.
func (r *rate) add(now time.Time) {
	short, long := r.decayed(now)
	r.short, r.long, r.last = short+1, long+1, now
}

// at returns the uses per second to expect at the time.
func (r *rate) at(now time.Time) float64 {
	short, long := r.decayed(now)
	return short/shortHalf.Seconds() + long/longHalf.Seconds()
}

// decayed returns the counts at the time. A clock that was set back takes
// nothing away.
func (r *rate) decayed(now time.Time) (short, long float64) {
	age := max(now.Sub(r.last), 0)
	return r.short * half(age, shortHalf), r.long * half(age, longHalf)
}

// half returns the part that is left after the age.
func half(age, life time.Duration) float64 {
	return math.Exp2(-float64(age) / float64(life))
}
