package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Deleting a consumer of the queue loses nothing: the next one gets every
// command that is not settled, at once and in the order of the stream. Giving
// commands back one by one (Nak), or letting AckWait pass, does not keep the
// order: the server turns its list of those around whenever nobody asks. So a
// consumer that nobody uses is deleted, by the last worker when it stops, or by
// the first one when it starts.
const (
	// A live worker has a pull at the server, except for moments, and for up to
	// two heartbeats when nats.go stumbles. The looks span more than that.
	looks     = 6
	lookPause = pullHeartbeat / 2
)

// unused reports whether no worker uses the consumer.
func (c *consumer) unused(ctx context.Context, stream jetstream.Stream, name string) (bool, error) {
	for look := range looks {
		at, err := stream.Consumer(ctx, name)
		switch {
		case gone(err):
			return true, nil
		case err != nil:
			return false, fmt.Errorf("looking at the consumer %s: %w", name, err)
		case at.CachedInfo().NumWaiting > 0:
			return false, nil
		}
		if look < looks-1 && !c.bus.pause(ctx, lookPause) {
			return false, context.Cause(ctx)
		}
	}
	return true, nil
}

// inherit deletes the consumer that this one would join, when workers that are
// gone still hold commands of it.
func (c *consumer) inherit(ctx context.Context) error {
	stream, err := c.bus.js.Stream(ctx, c.stream)
	if err != nil {
		return err
	}
	before, err := stream.Consumer(ctx, c.config.Durable)
	if gone(err) {
		return nil
	}
	if err != nil || before.CachedInfo().NumAckPending == 0 {
		return err
	}
	unused, err := c.unused(ctx, stream, c.config.Durable)
	if err != nil || !unused {
		return err
	}
	// Another worker may have done all this meanwhile: its consumer stays.
	now, err := stream.Consumer(ctx, c.config.Durable)
	if err != nil || !now.CachedInfo().Created.Equal(before.CachedInfo().Created) {
		return nil //nolint:nilerr // Then there is nothing to inherit.
	}
	if err := stream.DeleteConsumer(ctx, c.config.Durable); err != nil && !gone(err) {
		return fmt.Errorf("taking over the consumer %s: %w", c.config.Durable, err)
	}
	c.log.LogAttrs(ctx, slog.LevelInfo, "consumer of a worker that is gone taken over",
		slog.Int("unsettled", now.CachedInfo().NumAckPending))
	return nil
}

// leave gives what is still held to the next worker. It is the only place that
// gives anything back, and comes after the server stopped to deliver to us.
func (c *consumer) leave(ctx context.Context) error {
	left := c.lanes.left()
	if len(left) == 0 {
		return nil
	}
	if c.queue && c.alone(ctx, len(left)) {
		err := c.bus.js.DeleteConsumer(ctx, c.stream, c.config.Durable)
		if err == nil || gone(err) {
			return nil
		}
	}
	// Others are there, who get each command at once.
	var all []error
	for _, h := range left {
		all = append(all, h.msg.Nak())
	}
	return errors.Join(all...)
}

// alone reports whether nobody but us holds commands or asks for any. It waits
// for the server to deal with our last acknowledgements.
func (c *consumer) alone(ctx context.Context, holding int) bool {
	for pause := time.Millisecond; pause < time.Second; pause *= 2 {
		at, err := c.bus.js.Consumer(ctx, c.stream, c.config.Durable)
		if err != nil || at.CachedInfo().NumWaiting > 0 {
			return false
		}
		if at.CachedInfo().NumAckPending <= holding {
			return true
		}
		if !c.bus.pause(ctx, pause) {
			return false
		}
	}
	return false
}
