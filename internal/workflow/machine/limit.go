package machine

import "time"

// take takes one start from the bucket, which holds so many and is full again
// after the period. It reports whether there was one.
func (r Rate) take(now time.Time, most int, period time.Duration) (Rate, bool) {
	if r.At.IsZero() {
		r = Rate{float64(most), now}
	}
	if passed := now.Sub(r.At); passed > 0 {
		r.Left = min(float64(most), r.Left+float64(most)*float64(passed)/float64(period))
		r.At = now
	}
	if r.Left < 1 {
		return r, false
	}
	r.Left--
	return r, true
}
