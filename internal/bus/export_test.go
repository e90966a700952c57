package bus

import "github.com/nats-io/nats.go/jetstream"

// JetStream is for comparisons with nats.go alone.
func (b *Bus) JetStream() jetstream.JetStream { return b.js }
