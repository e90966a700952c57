package bus

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/fault"
)

const (
	// readAhead is how many messages are on their way to a reader.
	readAhead = 4096
	// readLook is how often a reader who waits for the end looks whether it is
	// there: what it waits for may have been removed.
	readLook = time.Second
)

// ReadOptions say what to read. Without a beginning it is everything.
type ReadOptions struct {
	// Stream is one of the Stream constants, but not the queue of commands, and
	// Filters are subjects of it. None means all.
	Stream  string
	Filters []string
	// FromSequence begins with the first message that is not before it.
	FromSequence uint64
	// Since begins with the first message at or after the time.
	Since time.Time
	// Until ends before the first message at or after the time.
	Until time.Time
	// Follow waits for new messages. Without it, Read ends with the message that
	// is the last one when it begins.
	Follow bool
}

// Read yields the messages in the order of the stream, each exactly once, also
// across reconnections and restarts of the server. Whoever notes the sequence of
// the last one goes on from the next. It ends with the context, without an
// error. What the reader takes slowly waits in the stream.
func (b *Bus) Read(ctx context.Context, o ReadOptions) iter.Seq2[*Delivery, error] {
	return func(yield func(*Delivery, error) bool) {
		policy := jetstream.DeliverAllPolicy
		switch {
		case o.FromSequence > 0:
			policy = jetstream.DeliverByStartSequencePolicy
		case !o.Since.IsZero():
			policy = jetstream.DeliverByStartTimePolicy
		}
		b.read(ctx, o, policy, yield)
	}
}

// reader is a Read under way.
type reader struct {
	bus  *Bus
	o    ReadOptions
	next uint64 // the sequence that comes next, at the least
	end  uint64 // the last one of interest
	bulk uint64 // the last one that is taken whether it fits or not; 0 is none
	few  uint64 // until here few of all fit
	at   jetstream.Consumer
}

// read yields what comes by the policy.
func (b *Bus) read(ctx context.Context, o ReadOptions, policy jetstream.DeliverPolicy, yield func(*Delivery, error) bool) {
	r := &reader{bus: b, o: o, next: o.FromSequence}
	defer r.close(ctx)
	for first := true; ctx.Err() == nil; first = false {
		err := r.open(ctx, policy, first)
		if err == nil && r.over() {
			return
		}
		more, turned := true, false
		if err == nil {
			more, turned, err = r.drain(ctx, yield)
		}
		if !more || ctx.Err() != nil {
			return
		}
		if err != nil && fault.CodeOf(classify(err)) != fault.Unavailable {
			yield(nil, fmt.Errorf("reading %s of %s: %w", strings.Join(o.Filters, ", "), o.Stream, classify(err)))
			return
		}
		if r.next > 0 { // From here on, by sequence.
			policy = jetstream.DeliverByStartSequencePolicy
		}
		if turned {
			r.close(ctx)
			continue
		}
		if !b.pause(ctx, retryFirst) {
			if ctx.Err() == nil {
				yield(nil, b.goneErr())
			}
			return
		}
	}
}

// open makes a consumer that begins with the next message.
func (r *reader) open(ctx context.Context, policy jetstream.DeliverPolicy, begin bool) error {
	config := jetstream.OrderedConsumerConfig{FilterSubjects: r.o.Filters, DeliverPolicy: policy}
	switch policy { //nolint:exhaustive // The others need no more.
	case jetstream.DeliverByStartSequencePolicy:
		config.OptStartSeq = r.next
	case jetstream.DeliverByStartTimePolicy:
		config.OptStartTime = &r.o.Since
	}
	return r.bus.repeat(ctx, "$JS.API.", nil, func(ctx context.Context) error {
		stream, err := r.bus.js.Stream(ctx, r.o.Stream)
		if err != nil {
			return err
		}
		if begin {
			r.end = stream.CachedInfo().State.LastSeq
		}
		return r.consumer(ctx, stream, config)
	})
}

// close removes the reader's consumer.
func (r *reader) close(ctx context.Context) { r.remove(ctx, r.at) }

// remove removes a consumer from the server, which would keep it for minutes.
func (r *reader) remove(ctx context.Context, at jetstream.Consumer) {
	if at == nil || !r.bus.conn.IsConnected() {
		return // The server forgets it by itself.
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = r.bus.js.DeleteConsumer(ctx, r.o.Stream, at.CachedInfo().Name) // As above.
}

// over reports whether nothing more is to come.
func (r *reader) over() bool {
	return !r.o.Follow && (r.next > r.end || r.at.CachedInfo().NumPending == 0)
}

// drain yields messages until the end, when more is false, or until the consumer
// is of no use any more: turned says that nothing is wrong with it.
func (r *reader) drain(ctx context.Context, yield func(*Delivery, error) bool) (more, turned bool, err error) {
	messages, err := r.at.Messages(jetstream.PullMaxMessages(readAhead), jetstream.PullThresholdMessages(readAhead/2),
		jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullHeartbeat))
	if err != nil {
		return true, false, err
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	var wait []jetstream.NextOpt // Whoever follows without an end has nothing to look for.
	if !r.o.Follow || !r.o.Until.IsZero() {
		wait = append(wait, jetstream.NextMaxWait(readLook))
	}
	for {
		msg, err := messages.Next(wait...)
		if errors.Is(err, nats.ErrTimeout) {
			if over, err := r.looked(ctx); over || err != nil {
				return !over, false, err
			}
			continue
		}
		if err != nil {
			return true, false, err
		}
		d, pending := delivered(msg)
		if !r.o.Follow && d.Sequence > r.end || !r.o.Until.IsZero() && !d.StoredAt.Before(r.o.Until) {
			return false, false, nil
		}
		if d.Sequence < r.next {
			continue
		}
		r.next = d.Sequence + 1
		if !r.skips(d.Subject) && !yield(d, nil) {
			return false, false, nil
		}
		if !r.o.Follow && (pending == 0 || r.next > r.end) {
			return false, false, nil
		}
		if r.turns(pending) {
			return true, true, nil
		}
	}
}

// looked asks whether the end is there, when nothing came for a while.
func (r *reader) looked(ctx context.Context) (over bool, err error) {
	if !r.o.Until.IsZero() && time.Since(r.o.Until) > readLook {
		return true, nil // Nothing that is stored from now on is before it.
	}
	if r.o.Follow || !r.bus.conn.IsConnected() {
		return false, nil
	}
	err = r.bus.repeat(ctx, "$JS.API.", nil, func(ctx context.Context) error {
		info, err := r.at.Info(ctx)
		if err == nil {
			over = info.NumPending == 0
		}
		return err
	})
	return over, err
}
