package bus

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/internal/fault"
)

// TailOptions say what to follow, and from where. Without a beginning it is what
// is stored from now on.
type TailOptions struct {
	// Subjects to follow, such as "res.>" and "evt.*.*.*.shop.*". Those of one
	// stream come in its order; streams are merged as they arrive. Commands
	// ("cmd.>") are seen as they are published: they have no history.
	Subjects []string
	// Since begins with the first message at or after the time.
	Since time.Time
	// Sequence begins with this message; it needs subjects of one stream.
	Sequence uint64
	// All begins with the first message.
	All bool
	// ToEnd ends with the message that is the last one when Tail begins.
	ToEnd bool
}

// Tail yields messages to whoever looks on: nothing is settled, and nobody else
// gets fewer. It ends with the context, without an error, or at the end. What
// the reader takes slowly waits in the stream. Attempt is always 1.
func (b *Bus) Tail(ctx context.Context, o TailOptions) iter.Seq2[*Delivery, error] {
	return func(yield func(*Delivery, error) bool) {
		streams, err := streamsOf(o)
		if err != nil {
			yield(nil, err)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		out := make(chan *Delivery)
		group, reading := errgroup.WithContext(ctx)
		for stream, subjects := range streams {
			group.Go(func() error {
				if err := b.follow(reading, stream, subjects, o, out); err != nil {
					return fmt.Errorf("following %s: %w", strings.Join(subjects, ", "), err)
				}
				return nil
			})
		}
		go func() { err = group.Wait(); close(out) }()
		defer func() {
			cancel()
			for range out { // What is on its way has no reader any more.
			}
		}()
		for d := range out {
			if !yield(d, nil) {
				return
			}
		}
		if err != nil && ctx.Err() == nil {
			yield(nil, err)
		}
	}
}

// streamsOf finds out which stream has which of the subjects.
func streamsOf(o TailOptions) (map[string][]string, error) {
	found := map[string][]string{}
	for _, subject := range o.Subjects {
		word, _, _ := strings.Cut(subject, ".")
		stream, ok := map[string]string{
			"cmd": StreamCommands, "res": StreamEvents, "evt": StreamEvents,
			"in": StreamFlow, "run": StreamFlow, "timer": StreamFlow, "due": StreamFlow, "go": StreamFlow, "crm": StreamFlow,
			"jrn": StreamJournal, "audit": StreamAudit, "dead": StreamDead, "$JS": StreamAdvisory,
		}[word]
		if !ok {
			return nil, fault.New(fault.Malformed, "no stream has the subject %q", subject).
				WithFix("begin with cmd., res., evt., in., run., due., go., jrn., audit., dead. or $JS.EVENT.ADVISORY.")
		}
		found[stream] = append(found[stream], subject)
	}
	if o.Sequence > 0 && len(found) > 1 {
		return nil, fault.New(fault.Malformed, "a sequence belongs to one stream, and %d are asked for", len(found))
	}
	return found, nil
}

// follow sends the messages of one stream until the context ends, or the end.
func (b *Bus) follow(ctx context.Context, stream string, subjects []string, o TailOptions, out chan<- *Delivery) error {
	if stream == StreamCommands {
		return b.overhear(ctx, subjects, o, out)
	}
	var at jetstream.Consumer
	end := uint64(0)
	err := b.guard(ctx, "$JS.API.", func(ctx context.Context) error {
		info, err := b.js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		if o.ToEnd {
			end = info.CachedInfo().State.LastSeq
		}
		at, err = info.OrderedConsumer(ctx, ordered(subjects, o))
		return err
	})
	if err != nil {
		return err
	}
	if o.ToEnd && at.CachedInfo().NumPending == 0 {
		return nil
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// A callback may still run after Stop. It sends only while it holds the
	// lock and the context lives, so that nothing is sent once we returned.
	var sending sync.Mutex
	flow, err := at.Consume(func(msg jetstream.Msg) {
		sending.Lock()
		defer sending.Unlock()
		if ctx.Err() != nil {
			return
		}
		d, more := delivered(msg)
		select {
		case out <- d:
		case <-ctx.Done():
		}
		if o.ToEnd && (more == 0 || d.Sequence >= end) {
			stop()
		}
	}, jetstream.PullMaxMessages(128), jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullHeartbeat))
	if err != nil {
		return classify(err)
	}
	defer func() {
		stop()
		flow.Stop()
		sending.Lock()
		defer sending.Unlock()
	}()
	select {
	case <-ctx.Done():
		return nil
	case <-flow.Closed():
		return fault.New(fault.BusUnavailable, "the stream %s can no longer be followed", stream)
	case <-b.closed:
		return b.goneErr()
	}
}

// ordered returns a consumer without acknowledgements, which makes itself anew
// after a gap.
func ordered(subjects []string, o TailOptions) jetstream.OrderedConsumerConfig {
	config := jetstream.OrderedConsumerConfig{FilterSubjects: subjects, DeliverPolicy: jetstream.DeliverNewPolicy}
	switch {
	case o.Sequence > 0:
		config.DeliverPolicy, config.OptStartSeq = jetstream.DeliverByStartSequencePolicy, o.Sequence
	case !o.Since.IsZero():
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, &o.Since
	case o.All:
		config.DeliverPolicy = jetstream.DeliverAllPolicy
	}
	return config
}

// delivered returns the message, and how many more the stream has now.
func delivered(msg jetstream.Msg) (*Delivery, uint64) {
	d := &Delivery{Subject: msg.Subject(), Attempt: 1, Header: msg.Headers(), Body: msg.Data(), ReplyTo: first(msg.Headers(), headerReply)}
	meta, err := msg.Metadata()
	if err != nil {
		return d, 1
	}
	d.Stream, d.Sequence, d.StoredAt = meta.Stream, meta.Sequence.Stream, meta.Timestamp
	return d, meta.NumPending
}

// overhear sends commands as they are published. The queue itself shows a
// command only to the one who does it.
func (b *Bus) overhear(ctx context.Context, subjects []string, o TailOptions, out chan<- *Delivery) error {
	if o.ToEnd {
		return nil
	}
	heard := make(chan *nats.Msg, 1024)
	for _, subject := range subjects {
		sub, err := b.conn.ChanSubscribe(subject, heard)
		if err != nil {
			return classify(err)
		}
		defer func() { _ = sub.Unsubscribe() }() // It fails when the connection is gone, and so is the subscription.
	}
	for {
		select {
		case msg := <-heard:
			d := &Delivery{
				Subject: msg.Subject, Stream: StreamCommands, Attempt: 1, StoredAt: time.Now(),
				Header: msg.Header, Body: msg.Data, ReplyTo: first(msg.Header, headerReply),
			}
			select {
			case out <- d:
			case <-ctx.Done():
				return nil
			}
		case <-ctx.Done():
			return nil
		case <-b.closed:
			return b.goneErr()
		}
	}
}
