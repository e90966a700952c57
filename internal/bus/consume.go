package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

const (
	// pullHeartbeat and pullExpiry go with every Consume. With the defaults of
	// nats.go a race in it stops the flow for up to 30 s.
	pullHeartbeat = 500 * time.Millisecond
	pullExpiry    = 5 * time.Second
	// abandoned is how long a consumer may be without any worker. Nothing is
	// lost with a consumer of the queue: the next one gets all that is left.
	abandoned = 5 * time.Minute
	// everyCommand is a filter that takes everything in the queue.
	everyCommand = "cq.>"
	// lastWords bounds what a consumer says to the server when it stops.
	lastWords = 5 * time.Second
)

// CommandOptions say which commands a worker takes, and how. The zero value
// takes all.
type CommandOptions struct {
	// Filters are subjects as the queue stores them: see event.QueueFilter. None
	// means all commands. Workers with the same filters share the work; two
	// groups whose filters overlap cannot be.
	Filters []string
	// Worker is the worker's name, which no other worker of the group has at the
	// same time: letters, digits, - and _. "" makes one up.
	Worker string
	// Version is shown to whoever asks for Members.
	Version string
	// HandOver, if set, is called when a partition moves to another worker, or
	// this one stops: after the commands of the partition that ran have ended,
	// and before the partition is given up. What it keeps of the sessions, the
	// next owner finds. An error is logged, and the partition moves. The context
	// lasts as long as the grace.
	HandOver func(ctx context.Context, partition int) error
	// Lost, if set, is called when a partition was taken from us, because we
	// seemed dead: its sessions are another worker's, and nothing of them may be
	// kept. Commands that run see the end of their context.
	Lost func(partition int)
	// TTL is how long a worker that says nothing owns its partitions; it is at
	// least a second. 0 is 2 s, and 5 s in a cluster, which may be silent for
	// seconds when it loses a server.
	TTL time.Duration
	// Lanes is how many sessions are worked for at the same time. 0 is 256.
	Lanes int
	// Held is how many commands of one partition a worker holds before the queue
	// waits. 0 is 256.
	Held int
	// AckWait is how long the server waits for a word before it gives a command
	// to another worker. Commands that are held are kept alive well within it.
	// 0 is 30 s.
	AckWait time.Duration
	// Grace is how long commands that run may go on after the stop. 0 is 10 s.
	Grace time.Duration
	// Attempts is how often a command is tried. 0 is 3.
	Attempts int
	// Pause is the time before the second attempt; it doubles. 0 is 250 ms.
	Pause time.Duration
	// Dead, if set, is called before a message is buried: it may publish what the
	// caller waits for, with Delivery.After. It must be quick, and may be called
	// again for the same message after a crash.
	Dead func(ctx context.Context, d *Delivery, err error)
}

// Commands gives the worker its commands until the context ends; then it waits
// for those that run, up to the grace, and leaves the others to the next
// worker. It returns nil after such a stop. While the server is away it waits.
func (b *Bus) Commands(ctx context.Context, o CommandOptions, h Handler) error {
	filters, err := queueFilters(o.Filters)
	if err != nil {
		return err
	}
	named := filters
	if filters[0] == everyCommand {
		filters = nil // The server would match every subject of the queue for every command.
	}
	config := jetstream.ConsumerConfig{
		// The name follows from the filters, so that workers with the same ones
		// share a consumer, and others do not.
		Durable:        "worker-" + event.DerivedID(named...)[:16],
		Description:    "commands of " + fmt.Sprint(named),
		FilterSubjects: filters,
		// In this process, a crash takes the consumer along, and the next one gets
		// all that is left in order and at once. An outside server may restart
		// while workers live: there the consumer must know what they hold.
		MemoryStorage:     b.server != nil,
		InactiveThreshold: abandoned,
	}
	return b.consume(ctx, StreamCommands, config, o, h)
}

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

	// Lanes, Held, AckWait, Grace, Attempts, Pause and Dead are those of
	// CommandOptions.
	Lanes, Held    int
	AckWait, Grace time.Duration
	Attempts       int
	Pause          time.Duration
	Dead           func(ctx context.Context, d *Delivery, err error)
}

// Consume gives a handler the messages of a stream, as Commands does with those
// of the queue: in order per session, with retries, dead letters, and one stop.
func (b *Bus) Consume(ctx context.Context, o ConsumeOptions, h Handler) error {
	config := jetstream.ConsumerConfig{
		Durable: o.Durable, FilterSubjects: slices.Sorted(slices.Values(o.Filters)),
	}
	if o.New {
		config.DeliverPolicy = jetstream.DeliverNewPolicy
	}
	return b.consume(ctx, o.Stream, config, CommandOptions{
		Lanes: o.Lanes, Held: o.Held, AckWait: o.AckWait, Grace: o.Grace,
		Attempts: o.Attempts, Pause: o.Pause, Dead: o.Dead,
	}, h)
}

// consumer is one call of Commands or Consume.
type consumer struct {
	bus      *Bus
	log      *slog.Logger
	stream   string
	queue    bool // the stream is a work queue
	config   jetstream.ConsumerConfig
	handler  Handler
	dead     func(context.Context, *Delivery, error)
	ackWait  time.Duration
	grace    time.Duration
	pause    time.Duration
	attempts int
	lanes    *lanes
	finished chan *held // handled, in that order, waiting for their futures
}

func (b *Bus) consume(ctx context.Context, stream string, config jetstream.ConsumerConfig, o CommandOptions, h Handler) error {
	most := orDefault(o.Held, 1024)
	c := &consumer{
		bus: b, stream: stream, queue: stream == StreamCommands, handler: h, dead: o.Dead,
		log:      b.log.With(slog.String("stream", stream), slog.String("consumer", config.Durable)),
		ackWait:  orDefault(o.AckWait, 30*time.Second),
		grace:    orDefault(o.Grace, 10*time.Second),
		pause:    orDefault(o.Pause, 250*time.Millisecond),
		attempts: orDefault(o.Attempts, 3),
		finished: make(chan *held, 2*most), // More than can be held, so that no lane waits.
	}
	c.config = config
	c.config.AckPolicy = jetstream.AckExplicitPolicy
	c.config.AckWait = c.ackWait
	c.config.MaxAckPending = most
	c.config.MaxDeliver = -1 // A message above the limit would stay for ever.
	c.lanes = newLanes(orDefault(o.Lanes, 256), c.handle)
	return c.run(ctx)
}

func orDefault[T int | time.Duration](value, otherwise T) T {
	if value > 0 {
		return value
	}
	return otherwise
}

// run takes messages until the context ends. Taking, doing and settling end in
// this order, each with a context of its own.
func (c *consumer) run(ctx context.Context) error {
	work, stopWork := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopWork(nil)
	words, stopWords := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWords()
	settled, beating := make(chan struct{}), make(chan struct{})
	go func() { defer close(settled); c.settle(words) }()
	go func() { defer close(beating); c.keepAlive(words) }()

	var grace *time.Timer
	end := sync.OnceFunc(func() {
		c.lanes.halt()
		grace = time.AfterFunc(c.grace, func() { stopWork(ErrStopping) })
	})
	defer context.AfterFunc(ctx, end)()
	err := c.take(ctx, work)
	end()
	c.lanes.wait()
	grace.Stop()

	last := time.AfterFunc(lastWords, stopWords)
	close(c.finished)
	<-settled
	last.Stop()
	stopWords()
	<-beating
	return errors.Join(err, c.farewell(ctx))
}

// farewell leaves the rest to others, and waits until the server heard it.
func (c *consumer) farewell(ctx context.Context) error {
	if !c.bus.conn.IsConnected() {
		return nil // The server finds out by itself, after AckWait.
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	if err := errors.Join(c.leave(ctx), c.bus.conn.FlushWithContext(ctx)); err != nil && c.bus.conn.IsConnected() {
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
			err = c.receive(ctx, work, at)
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

// receive takes messages until the context ends or the consumer is gone.
func (c *consumer) receive(ctx, work context.Context, at jetstream.Consumer) error {
	trouble, made := make(chan error, 1), at.CachedInfo().Created
	flow, err := at.Consume(
		func(msg jetstream.Msg) { c.offer(work, msg, made) },
		jetstream.PullMaxMessages(min(c.config.MaxAckPending, 256)),
		jetstream.PullExpiry(pullExpiry),
		jetstream.PullHeartbeat(pullHeartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			select {
			case trouble <- err:
			default:
			}
		}))
	if err != nil {
		return classify(err)
	}
	for {
		select {
		case <-ctx.Done():
			// What is on its way to us still comes to the lanes, which begin nothing
			// any more, and is given back in order.
			c.lanes.halt()
			flow.Drain()
			c.ended(flow)
			return nil
		case <-c.bus.closed:
			flow.Stop()
			return c.bus.goneErr()
		case <-flow.Closed():
			return nil
		case err := <-trouble:
			if c.lost(ctx, at, err) {
				flow.Stop()
				c.ended(flow)
				return nil
			}
		}
	}
}

// ended waits for the end of the flow, which needs the server.
func (c *consumer) ended(flow jetstream.ConsumeContext) {
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case <-flow.Closed():
	case <-c.bus.closed:
	case <-timer.C:
	}
}

// lost finds out whether the consumer is gone, after an error said that
// something is wrong.
func (c *consumer) lost(ctx context.Context, at jetstream.Consumer, err error) bool {
	if !c.bus.conn.IsConnected() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	_, infoErr := at.Info(ctx)
	if !gone(infoErr) {
		return false
	}
	c.log.LogAttrs(ctx, slog.LevelWarn, "consumer is gone, and is made again", slog.Any("err", err))
	return true
}

// offer hands a message to its lane, from a consumer that was made at the time.
func (c *consumer) offer(work context.Context, msg jetstream.Msg, made time.Time) {
	meta, err := msg.Metadata()
	if err != nil {
		c.log.LogAttrs(work, slog.LevelError, "message without metadata", slog.String("subject", msg.Subject()), slog.Any("err", err))
		return
	}
	header := msg.Headers()
	var replay uint64
	if text := first(header, headerReplay); text != "" {
		replay, _ = strconv.ParseUint(text, 10, 64) // 0 when it is none.
	}
	h := &held{
		Delivery: Delivery{
			Subject: msg.Subject(), Stream: meta.Stream, Sequence: meta.Sequence.Stream,
			Attempt:   int(min(meta.NumDelivered, maxDeliveries+1)),
			Recovered: meta.Timestamp.Before(made), StoredAt: meta.Timestamp,
			Header: header, Body: msg.Data(), Replay: replay,
		},
		msg: msg, name: laneOf(msg.Subject()),
	}
	if to := first(header, headerReply); isInbox(to) {
		h.ReplyTo = to
	}
	c.lanes.offer(work, h)
}

// make makes the consumer, or joins the others that use it.
func (c *consumer) make(ctx context.Context) (jetstream.Consumer, error) {
	var at jetstream.Consumer
	err := c.bus.guard(ctx, "$JS.API.CONSUMER.", func(ctx context.Context) (err error) {
		if c.queue {
			if err = c.inherit(ctx); err != nil {
				return err
			}
		}
		at, err = c.bus.js.CreateOrUpdateConsumer(ctx, c.stream, c.config)
		if code := apiCode(err); code == codeConsumerOverlap || code == codeConsumerUnbound {
			if err = c.clear(ctx); err == nil {
				at, err = c.bus.js.CreateOrUpdateConsumer(ctx, c.stream, c.config)
			}
		}
		return err
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, nats.ErrNoResponders) {
		return nil, fault.New(fault.BusUnavailable, "the stream %s is not there", c.stream).Because(err)
	}
	if err != nil {
		return nil, fmt.Errorf("making the consumer %s: %w", c.config.Durable, err)
	}
	return at, nil
}
