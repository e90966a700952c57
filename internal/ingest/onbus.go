package ingest

import (
	"context"
	"errors"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
)

// OnBus returns the store that is the bus.
func OnBus(b *bus.Bus) Store { return busStore{b} }

type busStore struct{ bus *bus.Bus }

// Accept stores the events in the inbox.
func (s busStore) Accept(ctx context.Context, events []Event) []Stored {
	batch := make([]bus.Accepted, len(events))
	for i, e := range events {
		batch[i] = bus.Accepted(e)
	}
	stored := make([]Stored, len(events))
	for i, r := range s.bus.AcceptBatch(ctx, batch) {
		stored[i] = Stored{Duplicate: r.Duplicate, Conflict: r.Conflict, Err: r.Err}
	}
	return stored
}

// Reject stores the event among the dead letters.
func (s busStore) Reject(ctx context.Context, subject string, e event.Envelope) error {
	_, err := s.bus.Publish(ctx, subject, e)
	return err
}

// OnKV returns the bucket that is one of the bus.
func OnKV(k *bus.KV) Bucket { return kvBucket{k} }

type kvBucket struct{ *bus.KV }

// Get returns the value of the key.
func (k kvBucket) Get(ctx context.Context, key string) (value []byte, revision uint64, found bool, err error) {
	entry, found, err := k.KV.Get(ctx, key)
	return entry.Value, entry.Revision, found, err
}

// errAll ends a watch that has shown everything there was.
var errAll = errors.New("that was all")

// Each calls the function with every key that fits the filter.
func (k kvBucket) Each(ctx context.Context, filter string, do func(key string, value []byte) error) error {
	err := k.Watch(ctx, []string{filter}, func(c bus.Change) error {
		switch {
		case c.Key == "":
			return errAll
		case c.Gone:
			return nil
		}
		return do(c.Key, c.Value)
	})
	if errors.Is(err, errAll) {
		return nil
	}
	return err //nolint:wrapcheck // It says which bucket.
}
