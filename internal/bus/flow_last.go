package bus

import (
	"context"
	"fmt"
	"iter"

	"github.com/nats-io/nats.go/jetstream"
)

// Last returns the last message of the subject, read through the leader. The
// second value is false when there is none.
func (b *Bus) Last(ctx context.Context, subject string) (*Delivery, bool, error) {
	streams, err := streamsOf(TailOptions{Subjects: []string{subject}})
	if err != nil {
		return nil, false, err
	}
	for stream := range streams {
		last, err := b.lastOf(ctx, stream, subject)
		if gone(err) {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, fmt.Errorf("reading the last message of %s: %w", subject, err)
		}
		return stored(stream, last), true, nil
	}
	return nil, false, nil
}

func stored(stream string, msg *jetstream.RawStreamMsg) *Delivery {
	return &Delivery{
		Subject: msg.Subject, Stream: stream, Sequence: msg.Sequence, Attempt: 1,
		StoredAt: msg.Time, Header: msg.Header, Body: msg.Data,
	}
}

// LastEach yields the last message of every subject that fits the filter, in
// the order of the stream, as it was at some moment after the call.
func (b *Bus) LastEach(ctx context.Context, filter string) iter.Seq2[*Delivery, error] {
	return func(yield func(*Delivery, error) bool) {
		streams, err := streamsOf(TailOptions{Subjects: []string{filter}})
		if err != nil {
			yield(nil, err)
			return
		}
		for stream := range streams {
			b.read(ctx, ReadOptions{Stream: stream, Filters: []string{filter}}, jetstream.DeliverLastPerSubjectPolicy, yield)
		}
	}
}
