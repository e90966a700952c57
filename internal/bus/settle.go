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
func (c *consumer) handle(ctx context.Context, h *held) step {
	if h.tries == 0 && h.Attempt > maxDeliveries {
		return c.fail(h, fault.New(fault.TooManyAttempts, "it was delivered %d times, and no worker ended it", h.Attempt-1))
	}
	if h.tries > 0 {
		h.Attempt++
	}
	h.tries++
	h.Last = h.tries >= c.attempts
	h.after = nil
	err := c.handler(ctx, &h.Delivery)
	switch {
	case err == nil:
		return c.succeed(h)
	case !fault.Retryable(err):
		return c.fail(h, err)
	case ctx.Err() != nil:
		return step{} // We stop. It stays held, for the next worker.
	case fault.CodeOf(err) == fault.Stopping:
		// Something below the handler stops, and we do not yet. It does not count.
		h.tries--
		return step{again: true, after: c.pause}
	case !h.Last:
		return step{again: true, after: c.pause << (h.tries - 1)}
	default:
		return c.fail(h, fault.New(fault.TooManyAttempts, "%d attempts failed, the last one with %s",
			h.tries, fault.From(err).Reason).Because(err))
	}
}

// succeed acknowledges the message, at once if there is nothing to wait for.
func (c *consumer) succeed(h *held) step {
	if len(h.after) == 0 && c.lanes.server(h).Ack() == nil {
		c.lanes.release(h)
	} else {
		c.finished <- h
	}
	return step{}
}

// fail has the message buried.
func (c *consumer) fail(h *held, err error) step {
	h.fails, h.after = err, nil
	c.finished <- h
	return step{}
}

// settle ends handled messages, in the order in which the handlers returned.
// One goroutine runs it.
func (c *consumer) settle(ctx context.Context) {
	for h := range c.finished {
		c.finish(ctx, h)
	}
}

// finish waits for the message's futures, and tells the server that the
// message is done. When the context ends first, the message stays held, for
// the next worker.
func (c *consumer) finish(ctx context.Context, h *held) {
	if h.fails == nil {
		h.fails = c.stored(ctx, h.after)
	}
	switch {
	case h.fails == nil:
		c.tell(ctx, h, acker.Ack)
	case ctx.Err() == nil:
		c.bury(ctx, h)
	}
}

// stored waits until the futures' messages are stored, however long the server
// is away. The error says that one never will be, or that the context ended.
func (c *consumer) stored(ctx context.Context, all []*Future) error {
	for _, f := range all {
		if _, err := f.until(ctx); err != nil {
			return err
		}
	}
	return nil
}

// tell says the last word about a message. A word that is lost on the way is
// said again when the server delivers the message again.
func (c *consumer) tell(ctx context.Context, h *held, say func(acker) error) {
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		err := say(c.lanes.server(h))
		if err == nil {
			c.lanes.release(h)
			return
		}
		if !c.bus.pause(ctx, pause) {
			return // It stays held, for the next worker.
		}
	}
}

// bury makes a dead letter of the message, and takes it off its queue.
func (c *consumer) bury(ctx context.Context, h *held) {
	h.after = nil
	if c.dead != nil {
		c.dead(ctx, &h.Delivery, h.fails)
	}
	problem := fault.From(h.fails)
	letter, err := letterOf(&h.Delivery, problem)
	if err == nil {
		err = c.stored(ctx, append(h.after, c.bus.send(letter, nil)))
	}
	attrs := []slog.Attr{
		slog.String("subject", h.Subject), slog.Uint64("sequence", h.Sequence),
		slog.String("reason", string(problem.Reason)), slog.String("text", problem.Error()),
	}
	if err != nil {
		c.log.LogAttrs(ctx, slog.LevelError, "dead letter not stored, its message is left", append(attrs, slog.Any("err", err))...)
		return
	}
	c.log.LogAttrs(ctx, slog.LevelWarn, "message buried", attrs...)
	c.tell(ctx, h, func(msg acker) error { return msg.TermWithReason(string(problem.Reason)) })
}

// keepAlive tells the server of held messages well before it takes them for
// lost, until the context ends.
func (c *consumer) keepAlive(ctx context.Context) {
	every := time.NewTicker(c.ackWait / 4)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			for _, msg := range c.lanes.silent(c.ackWait / 4) {
				_ = msg.InProgress() // If it is lost, the next one may not be.
			}
		case <-ctx.Done():
			return
		}
	}
}
