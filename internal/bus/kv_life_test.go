package bus_test

import (
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/fault"
)

func TestReplaceComparesAndKeepsAlive(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	ctx := t.Context()
	kv, err := b.KV(ctx, bus.BucketSessions)
	if err != nil {
		t.Fatal(err)
	}
	first, err := kv.Create(ctx, "shop.s1", []byte("one"), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	second, err := kv.Replace(ctx, "shop.s1", []byte("two"), first, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	_, err = kv.Replace(ctx, "shop.s1", []byte("late"), first, time.Hour)
	wantReason(t, err, fault.StaleFence)
	_, err = kv.Replace(ctx, "shop.s2", []byte("nothing to replace"), first, time.Hour)
	wantReason(t, err, fault.StaleFence)
	for _, key := range []string{"shop", "shop.s1.x", "shop.*", "shop.s 1", ""} {
		_, err = kv.Replace(ctx, key, nil, 1, time.Hour)
		wantReason(t, err, fault.Malformed)
	}
	// The first value's life is over when this key's is, and the second's is not.
	if _, err := kv.Create(ctx, "shop.s3", []byte("short"), time.Second); err != nil {
		t.Fatal(err)
	}
	bustest.Until(t, "a key with a short life ends", func() bool {
		_, found, err := kv.Get(ctx, "shop.s3")
		return err == nil && !found
	})
	entry, found, err := kv.Get(ctx, "shop.s1")
	if err != nil || !found || string(entry.Value) != "two" || entry.Revision != second {
		t.Errorf("the replaced key: %+v, %t, %v", entry, found, err)
	}
}

func TestPurgeLeavesAMarkThatEnds(t *testing.T) {
	t.Parallel()
	server := bustest.Serve(t)
	b := server.Bus()
	ctx := t.Context()
	kv, err := b.KV(ctx, bus.BucketSessions)
	if err != nil {
		t.Fatal(err)
	}
	revision, err := kv.Create(ctx, "shop.s1", []byte("personal"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // Twice is no error.
		if err := kv.Purge(ctx, "shop.s1"); err != nil {
			t.Fatal(err)
		}
	}
	if _, found, err := kv.Get(ctx, "shop.s1"); found || err != nil {
		t.Errorf("a purged key: %t, %v", found, err)
	}
	if keys, err := kv.Keys(ctx, "shop.*"); len(keys) > 0 || err != nil {
		t.Errorf("keys: %v, %v", keys, err)
	}
	_, err = kv.Replace(ctx, "shop.s1", []byte("late"), revision, time.Hour)
	wantReason(t, err, fault.StaleFence)
	if _, err := kv.Create(ctx, "shop.s1", []byte("anew"), time.Hour); err != nil {
		t.Errorf("creating a purged key: %v", err)
	}
	if count := server.Messages("KV_" + bus.BucketSessions); count != 1 {
		t.Errorf("the bucket holds %d messages, want the new value only", count)
	}
}

// TestKeysLeaveTheirFilters asks twice with the same filters: the library writes
// into those that it is given.
func TestKeysLeaveTheirFilters(t *testing.T) {
	t.Parallel()
	kv, err := bustest.Start(t).KV(t.Context(), bus.BucketFlows)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Create(t.Context(), "help.head", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	filters := []string{"*.head"}
	for range 2 {
		keys, err := kv.Keys(t.Context(), filters...)
		if err != nil || len(keys) != 1 || filters[0] != "*.head" {
			t.Errorf("the keys are %v, %v; the filters are %v", keys, err, filters)
		}
	}
}
