package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// Who refused a write of a worker that does not own the session any more.
const (
	byLease    = "lease"    // our own clock: the lease may have ended
	byRecord   = "record"   // the effect record: another worker has written it
	bySnapshot = "snapshot" // the stored session: a later owner has written it
	byPage     = "page"     // the page: it has seen a later owner
)

// staleError is a write that was refused, because another worker owns the
// session.
type staleError struct {
	by string
	error
}

// Unwrap returns the refusal.
func (s staleError) Unwrap() error { return s.error }

// isStale reports whether the error says that another worker owns the session.
func isStale(err error) bool { return errors.Is(err, fault.New(fault.StaleFence, "")) }

// owned is called right before what cannot be taken back. It returns nil while
// the session is surely ours.
func (j *job) owned() error {
	if err := j.d.Owned(); err != nil {
		return staleError{byLease, err}
	}
	return nil
}

// refused takes note of a refused write. Nothing is answered and nothing is
// stored: the command is the next owner's. When only our own clock says so, the
// session may turn out to be ours after all; then we carry on where we were.
func (w *Worker) refused(ctx context.Context, j *job, err error) error {
	by := byPage
	if stale, ok := errors.AsType[staleError](err); ok {
		by = stale.by
	}
	if by == byLease {
		if !j.progress.ran {
			j.progress.deadline = time.Time{} // It has not begun yet.
		}
		w.leave(j)
	} else {
		w.forget(j)
	}
	w.log.LogAttrs(ctx, slog.LevelWarn, "write of a former owner refused", append(j.attrs(),
		slog.Uint64("fence", j.d.Fence), slog.String("by", by), slog.Any("err", err))...)
	if w.o.Refused != nil {
		w.o.Refused(by)
	}
	return fmt.Errorf("leaving the command to the session's owner: %w", err)
}

// lost drops what this process knew of the partition's commands, and of its
// sessions: another worker has taken the partition.
func (w *Worker) lost(partition int) {
	w.mu.Lock()
	for key, p := range w.open {
		if p.partition == partition {
			delete(w.open, key)
		}
	}
	w.mu.Unlock()
	if w.o.Lost != nil {
		w.o.Lost(partition)
	}
}
