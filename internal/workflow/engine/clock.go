package engine

import "time"

// maxJump is how far the wall clock may lie beside the time that passed before
// that counts as a jump.
const maxJump = 5 * time.Second

// clock tells a time that no jump of the wall clock moves: the wall clock at its
// start, and what passed since.
type clock struct {
	began  time.Time
	wall   func() time.Time
	passed func() time.Duration
}

// newClock returns a clock that begins now.
func newClock() clock {
	began := time.Now()
	return clock{
		began:  began.Round(0).UTC(),
		wall:   time.Now,
		passed: func() time.Duration { return time.Since(began) },
	}
}

// now returns the time.
func (c clock) now() time.Time { return c.began.Add(c.passed()) }

// jumped returns how far the wall clock is ahead of the time; less than zero is
// behind. It is 0 when that is no jump.
func (c clock) jumped() time.Duration {
	by := c.wall().Round(0).Sub(c.now())
	if by.Abs() <= maxJump {
		return 0
	}
	return by
}

// at returns when something happened that the server stored at that time: not
// later than now, so that a wall clock that ran ahead makes nothing early.
func (c clock) at(stored time.Time) time.Time {
	if now := c.now(); stored.After(now) {
		return now
	}
	return stored.UTC()
}

// onServer returns when a server whose clock is so far ahead has to fire a timer
// that is due then. When it is far ahead, its clock may come back: then the timer
// fires on the way, and is set again.
func (c clock) onServer(due time.Time, ahead time.Duration) time.Time {
	now := c.now()
	left := due.Sub(now)
	if ahead <= 0 || left <= 0 {
		return due
	}
	if ahead > maxJump && left > time.Minute {
		left = max(time.Minute, left/2)
	}
	return now.Add(ahead + left)
}
