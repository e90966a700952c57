package app

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/worker"
)

// TestFailingIsSeeded proves that what fails follows from the seed, is as often
// as was asked, and does not come in runs.
func TestFailingIsSeeded(t *testing.T) {
	t.Parallel()
	const things, times, rate = 100, 100, 0.03
	draw := func(seed uint64) (all []bool, twice int) {
		f := &Failing{Seed: seed, Rate: rate}
		for thing := range things {
			before := false
			for range times {
				now := f.fails("bus", fmt.Sprint("thing ", thing))
				if now && before {
					twice++
				}
				all, before = append(all, now), now
			}
		}
		share := float64(f.Failed()) / (things * times)
		if math.Abs(share-rate) > 0.01 {
			t.Errorf("seed %d: %.3f failed, want %.3f", seed, share, rate)
		}
		return all, twice
	}
	first, twice := draw(1)
	again, _ := draw(1)
	other, _ := draw(2)
	if !cmp.Equal(first, again) || cmp.Equal(first, other) {
		t.Error("what fails does not follow from the seed")
	}
	if twice > 40 { // 10,000 things, of which 3 % of 3 % are expected: 9.
		t.Errorf("%d failures follow a failure", twice)
	}
}

// TestFailingIsDone proves that what is said to have failed was done, and that
// nothing is wrapped without the mode.
func TestFailingIsDone(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	always := &Failing{Rate: 1}
	records := always.records(worker.OnBus(b))
	subject := event.EffectSubject("shop", "s1", "k1")
	if _, err := records.Begin(t.Context(), subject, []byte("{}")); !errors.Is(err, fault.New(fault.BusUnavailable, "")) {
		t.Errorf("a record that failed: %v", err)
	}
	effect, err := b.Begin(t.Context(), subject, nil)
	if err != nil || effect.New || string(effect.Record) != "{}" {
		t.Errorf("the record is %+v, %v", effect, err)
	}
	published := 0
	publish := always.publish(func(context.Context, string, event.Envelope) error { published++; return nil })
	if err := publish(t.Context(), "evt.x", event.Envelope{}); err == nil || published != 1 {
		t.Errorf("a fact that failed was published %d times: %v", published, err)
	}
	kv, err := b.KV(t.Context(), bus.BucketSessions)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := always.snapshots(kv).Create(t.Context(), "shop.s1", []byte("x"), 0); err == nil {
		t.Error("a snapshot did not fail")
	}
	if entry, found, err := kv.Get(t.Context(), "shop.s1"); !found || err != nil || string(entry.Value) != "x" {
		t.Errorf("the snapshot is %+v, %t, %v", entry, found, err)
	}
	if always.Failed() != 3 {
		t.Errorf("%d things have failed, want 3", always.Failed())
	}
	var none *Failing
	if none.unheard() != nil || none.Failed() != 0 || none.snapshots(kv) != any(kv) || none.pages(nil) != nil {
		t.Error("without the mode something is wrapped")
	}
}
