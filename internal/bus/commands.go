package bus

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// ownTTL and clusterTTL are how long a worker that says nothing owns its
	// partitions. A cluster is silent for seconds when it loses a server.
	ownTTL, clusterTTL = 2 * time.Second, 5 * time.Second
	// everyCommand is a filter that takes everything in the queue.
	everyCommand = "cq.>"
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
	// kept. Commands that run see the end of their context. It must not block.
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
	// AckWait is how long the server waits for a word before it delivers a
	// command again. Commands that are held are kept alive well within it. 0 is
	// 30 s.
	AckWait time.Duration
	// Grace is how long commands that run may go on after the stop, or when their
	// partition moves. 0 is 10 s.
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

// Commands gives the worker the commands of its partitions until the context
// ends; then it waits for those that run, up to the grace, and hands the
// partitions over. It returns nil after such a stop. While the server is away it
// waits.
//
// The partitions are shared among the workers of the group, and each has one
// owner: see Delivery.Owned and Delivery.Fence for what holds when an owner was
// thought dead and is not.
func (b *Bus) Commands(ctx context.Context, o CommandOptions, h Handler) error {
	filters, err := queueFilters(o.Filters)
	if err != nil {
		return err
	}
	if o.Worker == "" {
		o.Worker = "worker-" + nonce()
	}
	if err := checkWorker(o.Worker); err != nil {
		return err
	}
	if o.TTL == 0 {
		o.TTL = ownTTL
		if b.opts.Replicas > 1 {
			o.TTL = clusterTTL
		}
	}
	o.TTL = max(o.TTL, time.Second)
	o.Held = orDefault(o.Held, 256)
	log := b.log.With(slog.String("worker", o.Worker))
	e := newEngine(b, log, o, o.Held*partitions, h)
	work, stopWork := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopWork(nil)
	stop := e.start(ctx)
	err = newMember(e, o, filters).run(ctx, work)
	e.lanes.halt()
	stopWork(ErrStopping)
	stop()
	return err
}

// nonce returns a word that nobody else has.
func nonce() string { return nats.NewInbox()[len(nats.InboxPrefix):] }

func orDefault[T int | time.Duration](value, otherwise T) T {
	if value > 0 {
		return value
	}
	return otherwise
}
