package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/fault"
)

// KV is a bucket of keys and values. Every change has a revision, which rises
// over the whole bucket.
type KV struct {
	bus  *Bus
	name string
	kv   jetstream.KeyValue
}

// Entry is a value and its revision.
type Entry struct {
	Key      string
	Value    []byte
	Revision uint64
	At       time.Time
}

// KV returns the bucket: one of the Bucket constants. EnsureTopology makes
// them.
func (b *Bus) KV(ctx context.Context, bucket string) (*KV, error) {
	k := &KV{bus: b, name: bucket}
	err := b.repeat(ctx, "$JS.API.", nil, func(ctx context.Context) (err error) {
		k.kv, err = b.js.KeyValue(ctx, bucket)
		if errors.Is(err, jetstream.ErrBucketNotFound) {
			return fault.New(fault.BusMisconfigured, "there is no bucket %s", bucket).WithFix("start a worker: it makes the buckets")
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("opening the bucket %s: %w", bucket, err)
	}
	return k, nil
}

// Get returns the entry of the key. The second value is false when there is
// none.
func (k *KV) Get(ctx context.Context, key string) (Entry, bool, error) {
	var entry Entry
	found := false
	err := k.do(ctx, "reading", key, nil, func(ctx context.Context) error {
		got, err := k.kv.Get(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return nil
		}
		if err == nil {
			found = true
			entry = Entry{Key: key, Value: got.Value(), Revision: got.Revision(), At: got.Created()}
		}
		return err
	})
	return entry, found, err
}

// Put writes the value, whatever was there, and returns its revision.
func (k *KV) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	var revision uint64
	err := k.do(ctx, "writing", key, nil, func(ctx context.Context) (err error) {
		revision, err = k.kv.Put(ctx, key, value)
		return err
	})
	return revision, err
}

// Create writes the value if there is none. If there is one, the error is
// fault.StaleFence. A positive life ends the key by itself, in whole seconds;
// the buckets flows and grants know no such keys.
func (k *KV) Create(ctx context.Context, key string, value []byte, life time.Duration) (uint64, error) {
	var revision uint64
	err := k.do(ctx, "creating", key, k.stored(key, value, 0, &revision), func(ctx context.Context) (err error) {
		var opts []jetstream.KVCreateOpt
		if life > 0 {
			opts = append(opts, jetstream.KeyTTL(life))
		}
		revision, err = k.kv.Create(ctx, key, value, opts...)
		return err
	})
	return revision, err
}

// Update writes the value if the key still has the revision. If not, the error
// is fault.StaleFence.
func (k *KV) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	var next uint64
	err := k.do(ctx, "updating", key, k.stored(key, value, revision, &next), func(ctx context.Context) (err error) {
		next, err = k.kv.Update(ctx, key, value, revision)
		return err
	})
	return next, err
}

// Delete removes the key. Deleting what is not there is no error.
func (k *KV) Delete(ctx context.Context, key string) error {
	return k.do(ctx, "deleting", key, nil, func(ctx context.Context) error { return k.kv.Delete(ctx, key) })
}

// Keys returns the keys that fit the filters, such as "shop.*"; none means all.
func (k *KV) Keys(ctx context.Context, filters ...string) ([]string, error) {
	var keys []string
	err := k.do(ctx, "listing", "", nil, func(ctx context.Context) error {
		wanted := slices.Clone(filters) // The library writes its prefix into them.
		if len(wanted) == 0 {
			wanted = []string{">"}
		}
		list, err := k.kv.ListKeysFiltered(ctx, wanted...)
		if err != nil {
			return err
		}
		defer func() { _ = list.Stop() }()
		for {
			select {
			case key, ok := <-list.Keys():
				if !ok {
					return nil
				}
				keys = append(keys, key)
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	})
	return keys, err
}

// each calls the function with every key that exists, in no order.
func (k *KV) each(ctx context.Context, do func(jetstream.KeyValueEntry) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	watch, err := k.kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return err
	}
	defer func() { _ = watch.Stop() }() // It fails when the connection is gone, and so is the watch.
	for {
		select {
		case entry, ok := <-watch.Updates():
			if !ok || entry == nil { // The mark after the last one.
				return nil
			}
			if err := do(entry); err != nil {
				return fmt.Errorf("reading the key %q: %w", entry.Key(), err)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// stored reports whether the key has the value under a later revision: an
// attempt to write it was stored, and its answer got lost. It sets next then.
func (k *KV) stored(key string, value []byte, revision uint64, next *uint64) func(ctx context.Context) bool {
	return func(ctx context.Context) bool {
		now, found, err := k.Get(ctx, key)
		if err != nil || !found || now.Revision <= revision || !bytes.Equal(now.Value, value) {
			return false
		}
		*next = now.Revision
		return true
	}
}

// do asks the server, again while no answer comes, and says what was asked when
// that fails. done is that of Bus.repeat.
func (k *KV) do(ctx context.Context, what, key string, done func(ctx context.Context) bool, ask func(ctx context.Context) error) error {
	err := k.bus.repeat(ctx, "$", done, ask)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrInvalidKey):
		err = fault.New(fault.Malformed, "the key has an illegal character").Because(err)
	}
	return fmt.Errorf("%s the key %q of the bucket %s: %w", what, key, k.name, err)
}
