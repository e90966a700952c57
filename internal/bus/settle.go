package bus

import (
	"context"
	"log/slog"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// ErrStopping is the cause of the end of a handler's context when the consumer
// was told to stop and its grace is over.
var ErrStopping error = fault.New(fault.ShuttingDown, "the consumer is stopping")

// maxDeliveries is how often a message may be delivered. It is generous: every
// stop of a worker counts. A message above it took its worker down each time.
const maxDeliveries = 10

// handle runs the handler on the message once, and decides what becomes of it.
// It is the only place that does.
func (e *engine) handle(ctx context.Context, h *held) step {
	if h.tries == 0 && h.Attempt > maxDeliveries {
		return e.fail(h, fault.New(fault.TooManyAttempts, "it was delivered %d times, and no worker ended it", h.Attempt-1))
	}
	if h.tries > 0 {
		h.Attempt++
	}
	h.tries++
	h.Last = h.tries >= e.attempts
	h.after = nil
	err := e.handler(ctx, &h.Delivery)
	switch {
	case err == nil:
		return e.succeed(h)
	case h.lease.isGone():
		return e.refused(h)
	case h.lease != nil && fault.From(err).Reason == fault.StaleFence:
		return e.doubted(h, err)
	case !fault.Retryable(err):
		return e.fail(h, err)
	case ctx.Err() != nil:
		return step{left: true} // We stop, or the partition moves.
	case fault.CodeOf(err) == fault.Stopping:
		// Something below the handler stops, and we do not yet. It does not count.
		h.tries--
		return step{again: true, after: max(e.pause, fault.From(err).After)}
	case !h.Last:
		return step{again: true, after: e.pause << (h.tries - 1)}
	default:
		return e.fail(h, fault.New(fault.TooManyAttempts, "%d attempts failed, the last one with %s",
			h.tries, fault.From(err).Reason).Because(err))
	}
}

// refused leaves the message of a partition that was taken from us to the next
// owner.
func (e *engine) refused(h *held) step {
	e.bus.counters.staleWrite.Add(1)
	h.tries--
	return step{left: true, after: e.pause}
}

// doubted tries again what somebody refused because the partition may not be
// ours: soon we know. When it is ours after all, the refusal has another cause,
// and counts.
func (e *engine) doubted(h *held, err error) step {
	switch {
	case h.lease.owned() != nil:
		h.tries--
	case h.Last:
		return e.fail(h, err)
	}
	return step{again: true, after: e.pause}
}

// succeed acknowledges the message, at once if there is nothing to wait for.
func (e *engine) succeed(h *held) step {
	if len(h.after) == 0 && e.lanes.server(h).Ack() == nil {
		e.lanes.release(h)
	} else {
		e.finished <- h
	}
	return step{}
}

// fail has the message buried.
func (e *engine) fail(h *held, err error) step {
	h.fails, h.after = err, nil
	e.finished <- h
	return step{}
}

// settle ends handled messages, in the order in which the handlers returned.
// One goroutine runs it.
func (e *engine) settle(ctx context.Context) {
	for h := range e.finished {
		e.finish(ctx, h)
	}
}

// finish waits for the message's futures, and tells the server that the
// message is done. When the context ends first, the message stays held, for
// the next worker.
func (e *engine) finish(ctx context.Context, h *held) {
	if h.fails == nil {
		h.fails = e.stored(ctx, h.after)
	}
	switch owner := e.lanes.term(h); {
	case h.fails == nil:
		if owner.isGone() {
			e.bus.counters.staleWrite.Add(1) // Nobody hears the acknowledgement.
		}
		e.tell(ctx, h, acker.Ack)
	case owner.isGone(), h.lease.owned() != nil && fault.From(h.fails).Reason == fault.StaleFence:
		e.bus.counters.staleWrite.Add(1)
		e.lanes.abandon(h) // The owner carries on.
	case ctx.Err() == nil:
		e.bury(ctx, h)
	}
}

// stored waits until the futures' messages are stored, however long the server
// is away. The error says that one never will be, or that the context ended.
func (e *engine) stored(ctx context.Context, all []*Future) error {
	for _, f := range all {
		if _, err := f.until(ctx); err != nil {
			return err
		}
	}
	return nil
}

// tell says the last word about a message. A word that is lost on the way is
// said again when the server delivers the message again.
func (e *engine) tell(ctx context.Context, h *held, say func(acker) error) {
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		err := say(e.lanes.server(h))
		if err == nil {
			e.lanes.release(h)
			return
		}
		if !e.bus.pause(ctx, pause) {
			return // It stays held, for the next worker.
		}
	}
}

// bury makes a dead letter of the message, and takes it off its queue.
func (e *engine) bury(ctx context.Context, h *held) {
	h.after = nil
	if e.dead != nil {
		e.dead(ctx, &h.Delivery, h.fails)
	}
	problem := fault.From(h.fails)
	letter, err := letterOf(&h.Delivery, problem)
	if err == nil {
		err = e.stored(ctx, append(h.after, e.bus.send(letter, nil)))
	}
	attrs := []slog.Attr{
		slog.String("subject", h.Subject), slog.Uint64("sequence", h.Sequence),
		slog.String("reason", string(problem.Reason)), slog.String("text", problem.Error()),
	}
	if err != nil {
		e.log.LogAttrs(ctx, slog.LevelError, "dead letter not stored, its message is left", append(attrs, slog.Any("err", err))...)
		return
	}
	e.log.LogAttrs(ctx, slog.LevelWarn, "message buried", attrs...)
	e.tell(ctx, h, func(msg acker) error { return msg.TermWithReason(string(problem.Reason)) })
}

// keepAlive tells the server of held messages well before it takes them for
// lost, until the context ends.
func (e *engine) keepAlive(ctx context.Context) {
	every := time.NewTicker(e.ackWait / 4)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			for _, msg := range e.lanes.silent(e.ackWait / 4) {
				_ = msg.InProgress() // If it is lost, the next one may not be.
			}
		case <-ctx.Done():
			return
		}
	}
}
