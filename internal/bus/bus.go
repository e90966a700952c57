// Package bus is the only door to NATS: the embedded server, the streams, and
// everything that is published, consumed, settled, scheduled and kept.
//
// DESIGN.md explains the choices. What callers may rely on:
//
//   - A publish that returned is stored. Publishing the same event again is
//     harmless, as long as the stream remembers it.
//   - A handler gets the messages of one session one after another, in the
//     order of the stream; sessions run in parallel.
//   - A message ends in exactly one way: done, left for the next worker, or
//     buried as a dead letter with its reason. settle.go decides which.
//   - The connection is made again for ever. What could not be said meanwhile
//     is said later, or its caller gets a classified error.
package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/fault"
)

// The durability settings of the embedded server.
const (
	// DurabilityInterval writes to the disk at once and flushes every second: a
	// crash of the process loses nothing, a power cut up to a second.
	DurabilityInterval = "interval"
	// DurabilityAlways flushes before every acknowledgement, and costs a flush
	// per publish.
	DurabilityAlways = "always"
)

// Options say where the bus is. The zero value needs Dir or URL.
type Options struct {
	// URL is an outside NATS server or cluster, such as
	// "nats://a:4222,nats://b:4222". "" starts a server in this process.
	URL string
	// Name is the name of the connection, shown by NATS. "" is "parley".
	Name string

	// Dir is where the embedded server keeps its streams. One process at a time
	// may use it.
	Dir string
	// Listen is the loopback address on which the embedded server also answers
	// other processes, such as "127.0.0.1:4222"; port 0 takes a free one. ""
	// answers this process only.
	Listen string
	// Durability is DurabilityInterval or DurabilityAlways. "" is the interval.
	Durability string

	// Replicas is the number of copies of every stream: 1 when 0, or 3 in a
	// cluster. It must be 1 with the embedded server.
	Replicas int
	// Credentials is a file with a NATS user's credentials, or "".
	Credentials string
	// CA is a file with the certificates that the servers' are checked against,
	// or "" for those of the system.
	CA string
	// InboxPrefix is the subject that this user may hear answers on. "" is
	// "_INBOX".
	InboxPrefix string
	// Timeout bounds a request when the caller's context has no deadline. 0 is
	// 15 s, which outlasts the loss of one server of a cluster.
	Timeout time.Duration
	// InboxTTL is how long a repetition of an accepted event is known. 0 is 168 h,
	// which outlasts every sender's retries.
	InboxTTL time.Duration
	// Unheard is for tests. It is called when a message was stored; true makes the
	// confirmation get lost, so that the message is published again.
	Unheard func(subject string) bool
}

// Bus is a connection to NATS, and the embedded server if there is one. Its
// methods may be called from many goroutines.
type Bus struct {
	log     *slog.Logger
	opts    Options
	server  *embedded // nil with an outside server
	conn    *nats.Conn
	js      jetstream.JetStream
	denials *denials
	inbox   *inbox
	flow    flowWriter
	closed  chan struct{} // closed when the connection is gone for good
	async   []jetstream.PublishOpt

	counters counters
	breaks   atomic.Uint64 // times that the connection was lost

	accepting atomic.Int64 // events that Accept has under way

	closing sync.Once

	mu      sync.Mutex                  // guards the fields below
	why     error                       // why the connection is gone for good
	streams map[string]jetstream.Stream // handles
	lost    chan struct{}               // closed, and made anew, at every reconnection
}

// Open starts the embedded server, or connects to the outside one, and returns
// when it answers. The context bounds only this. Call Close when done.
func Open(ctx context.Context, log *slog.Logger, o Options) (*Bus, error) {
	o, err := o.checked()
	if err != nil {
		return nil, err
	}
	b := &Bus{
		log: log, opts: o,
		denials: newDenials(),
		closed:  make(chan struct{}),
		lost:    make(chan struct{}),
		streams: map[string]jetstream.Stream{},
	}
	if o.URL == "" {
		if b.server, err = startEmbedded(ctx, log, o); err != nil {
			return nil, err
		}
	}
	if err := b.connect(ctx); err != nil {
		if b.server != nil {
			b.server.stop()
		}
		return nil, err
	}
	return b, nil
}

// Close ends the connection after what was published has left, and stops the
// embedded server. Stop the consumers first. The context bounds the wait for
// what is under way. Close may be called twice.
func (b *Bus) Close(ctx context.Context) error {
	var err error
	b.closing.Do(func() {
		if b.conn.IsConnected() {
			err = b.conn.FlushWithContext(ctx)
		}
		b.flow.stop(ctx, b.conn.Close)
		if b.server != nil {
			b.server.stop()
		}
	})
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("closing the bus: %w", classify(err))
	}
	return nil
}

// URL returns where other processes reach the bus. It is "" when only this
// process does.
func (b *Bus) URL() string {
	if b.server != nil {
		return b.server.url
	}
	return b.opts.URL
}

// Healthy returns nil when the server answers.
func (b *Bus) Healthy(ctx context.Context) error {
	select {
	case <-b.closed:
		return b.goneErr()
	default:
	}
	if !b.conn.IsConnected() {
		return fault.New(fault.BusUnavailable, "no connection to %s", b.where())
	}
	ctx, cancel := b.deadline(ctx)
	defer cancel()
	if err := b.conn.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("asking %s: %w", b.where(), classify(err))
	}
	return nil
}

// where names the server for a person.
func (b *Bus) where() string {
	if b.server != nil {
		return "the embedded NATS server"
	}
	return b.opts.URL
}

// goneErr says why the connection is gone for good.
func (b *Bus) goneErr() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.why != nil {
		return b.why
	}
	return fault.New(fault.BusUnavailable, "the connection to %s was closed", b.where())
}

// reconnected returns a channel that is closed at the next reconnection.
func (b *Bus) reconnected() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lost
}

// deadline gives the context the default timeout when it has none.
func (b *Bus) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, b.opts.Timeout)
}

// checked returns the options with their defaults, or what is wrong with them.
func (o Options) checked() (Options, error) {
	if o.URL == "" && o.Dir == "" {
		return o, fault.New(fault.BadConfig, "the embedded NATS server needs a directory")
	}
	if o.URL != "" && (o.Listen != "" || o.Dir != "") {
		return o, fault.New(fault.BadConfig, "a directory and a listen address are for the embedded NATS server, and %s is an outside one", o.URL)
	}
	switch o.Durability {
	case "":
		o.Durability = DurabilityInterval
	case DurabilityInterval, DurabilityAlways:
	default:
		return o, fault.New(fault.BadConfig, "the durability %q is neither %s nor %s", o.Durability, DurabilityInterval, DurabilityAlways)
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.URL == "" && o.Replicas != 1 {
		return o, fault.New(fault.BadConfig, "the embedded NATS server keeps one copy, not %d", o.Replicas).
			WithFix("leave out the replicas, or name a cluster")
	}
	if o.Name == "" {
		o.Name = "parley"
	}
	if o.InboxTTL == 0 {
		o.InboxTTL = 7 * day
	}
	if o.Timeout == 0 {
		o.Timeout = 15 * time.Second
	}
	return o, nil
}
