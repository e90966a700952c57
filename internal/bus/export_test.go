package bus

import "github.com/nats-io/nats.go/jetstream"

// DirectReads tells which buckets any of so many copies may answer for.
func DirectReads(replicas int) map[string]bool {
	direct := map[string]bool{}
	for _, bucket := range buckets(replicas) {
		direct[bucket.Name] = bucket.AllowDirect
	}
	return direct
}

// JetStream is for comparisons with nats.go alone.
func (b *Bus) JetStream() jetstream.JetStream { return b.js }
