package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/fault"
)

// ConsumeOptions say what a consumer reads. Stream and Durable are needed.
type ConsumeOptions struct {
	Stream string
	// Durable names the consumer, which remembers its place. Processes that use
	// the same name share the work.
	Durable string
	// Filters are the subjects to read. None means all.
	Filters []string
	// New begins with what is stored from now on, when the consumer is made for
	// the first time. Otherwise it begins with the first message.
	New bool

	// Held is how many messages all processes of the name hold together. 0 is
	// 1024.
	Held int
	// Lanes, AckWait, Grace, Attempts, Pause and Dead are those of
	// CommandOptions.
	Lanes          int
	AckWait, Grace time.Duration
	Attempts       int
	Pause          time.Duration
	Dead           func(ctx context.Context, d *Delivery, err error)
}

// Consume gives a handler the messages of a stream, as Commands does with those
// of the queue: in order per session as long as one process reads, with retries,
// dead letters, and one stop.
func (b *Bus) Consume(ctx context.Context, o ConsumeOptions, h Handler) error {
	most := orDefault(o.Held, 1024)
	log := b.log.With(slog.String("stream", o.Stream), slog.String("consumer", o.Durable))
	c := &consumer{
		engine: newEngine(b, log, CommandOptions{
			Lanes: o.Lanes, AckWait: o.AckWait, Grace: o.Grace, Attempts: o.Attempts, Pause: o.Pause, Dead: o.Dead,
		}, most, h),
		stream: o.Stream,
	}
	c.config = jetstream.ConsumerConfig{
		Durable: o.Durable, FilterSubjects: slices.Sorted(slices.Values(o.Filters)),
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: c.ackWait, MaxAckPending: most,
		MaxDeliver: -1, // A message above the limit would stay for ever.
	}
	if o.New {
		c.config.DeliverPolicy = jetstream.DeliverNewPolicy
	}
	return c.run(ctx)
}

// consumer is one call of Consume.
type consumer struct {
	*engine
	stream string
	config jetstream.ConsumerConfig
}

// run takes messages until the context ends. Taking, doing and settling end in
// this order, each with a context of its own.
func (c *consumer) run(ctx context.Context) error {
	work, stopWork := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopWork(nil)
	stop := c.start(ctx)

	var grace *time.Timer
	end := sync.OnceFunc(func() {
		c.lanes.halt()
		grace = time.AfterFunc(c.grace, func() { stopWork(ErrStopping) })
	})
	defer context.AfterFunc(ctx, end)()
	err := c.take(ctx, work)
	end()
	stop()
	grace.Stop()
	return errors.Join(err, c.farewell(ctx))
}

// farewell gives back what is left, and waits until the server heard it.
func (c *consumer) farewell(ctx context.Context) error {
	if !c.bus.conn.IsConnected() {
		return nil // The server finds out by itself, after AckWait.
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	var all []error
	for _, h := range c.lanes.left() {
		all = append(all, h.msg.Nak())
	}
	all = append(all, c.bus.conn.FlushWithContext(ctx))
	if err := errors.Join(all...); err != nil && c.bus.conn.IsConnected() {
		return fmt.Errorf("leaving the consumer %s: %w", c.config.Durable, classify(err))
	}
	return nil
}

// take makes the consumer and takes messages, and makes it again when somebody
// deleted it or the server lost it.
func (c *consumer) take(ctx, work context.Context) error {
	pause := retryFirst
	for ctx.Err() == nil {
		at, err := c.make(ctx)
		if err == nil {
			pause = retryFirst
			made := at.CachedInfo().Created
			err = c.receive(ctx, at, c.config.MaxAckPending, func(msg jetstream.Msg) {
				if h, ok := c.heldOf(work, msg); ok {
					h.Recovered = h.StoredAt.Before(made)
					c.lanes.offer(work, h)
				}
			}, c.lanes.halt)
		}
		switch {
		case ctx.Err() != nil:
		case err != nil && fault.CodeOf(err) != fault.Unavailable:
			return fmt.Errorf("taking from %s: %w", c.stream, err)
		case err != nil:
			c.log.LogAttrs(ctx, slog.LevelWarn, "consumer waits for nats", slog.Any("err", err))
			if !c.bus.pause(ctx, pause) && ctx.Err() == nil {
				return c.bus.goneErr()
			}
			pause = min(2*pause, retryMost)
		}
	}
	return nil
}

// make makes the consumer, or joins the others that use it.
func (c *consumer) make(ctx context.Context) (jetstream.Consumer, error) {
	var at jetstream.Consumer
	err := c.bus.guard(ctx, "$JS.API.CONSUMER.", func(ctx context.Context) (err error) {
		at, err = c.bus.js.CreateOrUpdateConsumer(ctx, c.stream, c.config)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("making the consumer %s: %w", c.config.Durable, absent(err, c.stream))
	}
	return at, nil
}

// absent says of an error that the stream is not there yet, if it means that:
// then another attempt is worth it.
func absent(err error, stream string) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, nats.ErrNoResponders) {
		return fault.New(fault.BusUnavailable, "the stream %s is not there", stream).Because(err)
	}
	return classify(err)
}
