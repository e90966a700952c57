package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/fault"
)

func TestWatchTellsWhatThereIsAndWhatChanges(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	kv, err := b.KV(t.Context(), bus.BucketVault)
	if err != nil {
		t.Fatal(err)
	}
	put := func(key, value string) uint64 {
		t.Helper()
		revision, err := kv.Put(t.Context(), key, []byte(value))
		if err != nil {
			t.Fatal(err)
		}
		return revision
	}
	put("a.1", "first")
	put("b.1", "elsewhere")
	ctx, stop := context.WithCancel(t.Context())
	seen, ended := make(chan string, 10), make(chan error, 1)
	go func() {
		ended <- kv.Watch(ctx, []string{"a.>"}, func(c bus.Change) error {
			seen <- fmt.Sprintf("%s=%s %t", c.Key, c.Value, c.Gone)
			return nil
		})
	}()
	var got []string
	next := func(n int) {
		t.Helper()
		for range n {
			got = append(got, <-seen)
		}
	}
	next(2)
	revision := put("a.1", "second")
	next(1)
	if err := kv.Remove(t.Context(), "a.1", revision-1); !errors.Is(err, fault.New(fault.StaleFence, "")) {
		t.Errorf("removing another revision: %v", err)
	}
	if err := kv.Remove(t.Context(), "a.1", revision); err != nil {
		t.Errorf("removing: %v", err)
	}
	next(1)
	if diff := cmp.Diff([]string{"a.1=first false", "= false", "a.1=second false", "a.1= true"}, got); diff != "" {
		t.Error(diff)
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the end of the watch: %v", err)
	}
}

func TestWatchEndsWithItsFunction(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	kv, err := b.KV(t.Context(), bus.BucketVault)
	if err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	if err := kv.Watch(t.Context(), nil, func(bus.Change) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("the end of the watch: %v", err)
	}
}
