package worker

import (
	"errors"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// awayPause is the time between two looks for a visitor who is away. Meanwhile
// the command holds nothing.
const awayPause = 250 * time.Millisecond

// isAway reports whether the visitor's own tab was wanted, and not there.
func isAway(err error) bool { return errors.Is(err, fault.New(fault.VisitorAway, "")) }

// park has a command wait for its visitor: until its expiry, or where it has none,
// as long as its action may take. The returned error has it come again, unless
// that time is over: then it is how the command ended. What the page has done for
// the command it does not do again, so it may come again also after it began.
func (w *Worker) park(j *job, away error) error {
	p, now := j.progress, w.o.Now()
	if p.awayUntil.IsZero() {
		p.awayUntil = j.started.Add(j.timeout())
		if expiry, err := j.e.Expiry(); err == nil && !expiry.IsZero() {
			p.awayUntil = expiry
		}
	}
	switch {
	case now.Before(p.awayUntil):
		p.deadline = time.Time{} // The action's time counts from when he is back.
		p.attempt--
		w.leave(j)
		return fault.New(fault.ShuttingDown, "the command waits for its visitor").Because(away).
			WithAfter(min(awayPause, p.awayUntil.Sub(now)))
	case p.ran:
		return fault.New(fault.DeadlineExceeded, "the visitor went away under the action, and did not come back").Because(away)
	}
	return fault.New(fault.CommandExpired, "the visitor was not there until %s", p.awayUntil.UTC().Format(time.RFC3339)).Because(away)
}
