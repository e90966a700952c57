package bus

import (
	"context"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// The server finds the next message that fits a filter by looking through all
// subjects of a block, again for every message. Where many fit, it costs less to
// take all, and to leave out here what does not fit.
const (
	// bulkFrom is how many messages must fit for a reader to think about it.
	bulkFrom = 512
	// bulkShare is the most messages that are taken for one that fits.
	bulkShare = 8
	// bulkAgain is how far behind a reader that follows may fall before it thinks
	// about it again.
	bulkAgain = 1024
)

// consumer makes the reader's consumer: with its filters, or without them where
// much is there and much of it fits.
func (r *reader) consumer(ctx context.Context, stream jetstream.Stream, config jetstream.OrderedConsumerConfig) error {
	r.bulk, r.few = 0, 0
	filtered, err := stream.OrderedConsumer(ctx, config)
	if err != nil {
		return err
	}
	r.at = filtered
	fits := filtered.CachedInfo().NumPending
	if len(r.o.Filters) == 0 || config.DeliverPolicy == jetstream.DeliverLastPerSubjectPolicy || fits < bulkFrom {
		return nil
	}
	last := stream.CachedInfo().State.LastSeq
	config.FilterSubjects = nil
	all, err := stream.OrderedConsumer(ctx, config)
	if err != nil {
		r.few = last
		return nil //nolint:nilerr // Whoever may not read all reads as before.
	}
	if all.CachedInfo().NumPending > bulkShare*fits {
		r.remove(ctx, all)
		r.few = last
		return nil
	}
	r.remove(ctx, filtered)
	r.at, r.bulk = all, last
	return nil
}

// skips reports whether the reader leaves the message out.
func (r *reader) skips(subject string) bool {
	return r.bulk > 0 && !slices.ContainsFunc(r.o.Filters, func(filter string) bool { return fits(subject, filter) })
}

// turns reports whether a reader that follows goes over: to its filters when it
// has all that was there, or to taking all when so many that fit wait for it.
func (r *reader) turns(wait uint64) bool {
	switch {
	case !r.o.Follow || len(r.o.Filters) == 0:
		return false
	case r.bulk > 0:
		return r.next > r.bulk
	}
	return wait >= bulkAgain && r.next > r.few
}

// fits reports whether the filter, which may have wildcards, takes the subject.
func fits(subject, filter string) bool {
	for {
		want, wants, more := strings.Cut(filter, ".")
		if want == ">" {
			return subject != ""
		}
		token, tokens, follows := strings.Cut(subject, ".")
		if want != "*" && want != token || more != follows {
			return false
		}
		if !more {
			return true
		}
		filter, subject = wants, tokens
	}
}
