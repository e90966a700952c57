package ingest

import (
	"context"
	"time"

	"github.com/parley-chat/parley/internal/event"
)

// Store keeps what came in. It is the bus.
type Store interface {
	// Accept stores the events, each once: one that was stored before under the
	// same source and id is a duplicate, however long ago a sender may repeat it,
	// and a conflict when its sum was another. It returns when every event is
	// stored as durably as the bus is configured, or when it is sure that it is
	// not; the fates are in the order of the events. Events of one call are
	// stored in their order.
	Accept(ctx context.Context, events []Event) []Stored
	// Reject stores an event for people to look at. Storing it again within some
	// minutes stores it once.
	Reject(ctx context.Context, subject string, e event.Envelope) error
}

// Event is an event that is to be stored.
type Event struct {
	Subject  string
	Envelope event.Envelope
	// Sum tells events apart that have the same id.
	Sum []byte
}

// Stored is the fate of an event. It is stored when Err is nil and neither of
// the others is set.
type Stored struct {
	Duplicate, Conflict bool
	Err                 error
}

// Bucket keeps who is who. Every value has a revision that rises with each
// change of the bucket.
type Bucket interface {
	Get(ctx context.Context, key string) (value []byte, revision uint64, found bool, err error)
	// Create writes the value if there is none, and Replace if it still has the
	// revision. If not, the error is fault.StaleFence. The value ends by itself
	// after its life.
	Create(ctx context.Context, key string, value []byte, life time.Duration) (uint64, error)
	Replace(ctx context.Context, key string, value []byte, revision uint64, life time.Duration) (uint64, error)
	// Each calls the function with every key that fits the filter, such as
	// "shop.*", in no order.
	Each(ctx context.Context, filter string, do func(key string, value []byte) error) error
	// Purge removes the key, if it is there, and keeps nothing of its value.
	Purge(ctx context.Context, key string) error
}

// Counter is told what the edge does. Sources are names of the configuration.
type Counter interface {
	// Ingested counts events by what became of them: accepted, duplicate,
	// conflict or rejected.
	Ingested(source, outcome string, events int)
	// IngestRejected counts what was refused or rejected, by the fault's reason.
	IngestRejected(source, reason string, events int)
	// IngestAnswered counts a request that was answered.
	IngestAnswered(source string, status int, took time.Duration)
}
