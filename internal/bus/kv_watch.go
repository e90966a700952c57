package bus

import (
	"context"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/fault"
)

// Change is the latest entry of a key, or that the key is gone.
type Change struct {
	Entry
	Gone bool
}

// Watch calls the function with the latest entry of every key that fits the
// filters, then with a change without a key, and from then on with every change
// in the order of the bucket. Of several changes of one key, a slow function
// may see the latest only. It returns when ctx ends, or when the function or the
// connection fails; a connection that comes back is no failure. No filter means
// every key.
func (k *KV) Watch(ctx context.Context, filters []string, do func(Change) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	wanted := slices.Clone(filters) // The library writes its prefix into them.
	if len(wanted) == 0 {
		wanted = []string{">"}
	}
	watch, err := k.kv.WatchFiltered(ctx, wanted)
	if err != nil {
		return fmt.Errorf("watching the bucket %s: %w", k.name, err)
	}
	defer func() { _ = watch.Stop() }() // It fails when the connection is gone, and so is the watch.
	for {
		select {
		case entry, ok := <-watch.Updates():
			if !ok {
				return fault.New(fault.BusUnavailable, "the watch of the bucket %s ended", k.name)
			}
			var change Change // The mark after what was there.
			if entry != nil {
				change = Change{
					Entry: Entry{Key: entry.Key(), Value: entry.Value(), Revision: entry.Revision(), At: entry.Created()},
					Gone:  entry.Operation() != jetstream.KeyValuePut,
				}
			}
			if err := do(change); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Remove deletes the key if it still has the revision. If not, the error is
// fault.StaleFence. The mark that is left ends by itself where the bucket knows
// keys with a life of their own.
func (k *KV) Remove(ctx context.Context, key string, revision uint64) error {
	gone := func(ctx context.Context) bool { // An earlier attempt may have removed it.
		_, found, err := k.Get(ctx, key)
		return err == nil && !found
	}
	return k.do(ctx, "removing", key, gone, func(ctx context.Context) error {
		return k.kv.Delete(ctx, key, jetstream.LastRevision(revision))
	})
}
