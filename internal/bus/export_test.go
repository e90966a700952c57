package bus

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"
)

// DirectReads tells which buckets any of so many copies may answer for.
func DirectReads(replicas int) map[string]bool {
	direct := map[string]bool{}
	for _, bucket := range buckets(replicas) {
		direct[bucket.Name] = bucket.AllowDirect
	}
	return direct
}

// Repeat is Bus.repeat.
func (b *Bus) Repeat(ctx context.Context, done func(context.Context) bool, ask func(context.Context) error) error {
	return b.repeat(ctx, "$JS.API.", done, ask)
}

// JetStream is for comparisons with nats.go alone.
func (b *Bus) JetStream() jetstream.JetStream { return b.js }

// Fits is fits.
func Fits(subject, filter string) bool { return fits(subject, filter) }
