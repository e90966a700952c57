package main

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// TestHistoryHearsResultsAndDeadLetters follows a real bus on which one command
// succeeds and one is buried.
func TestHistoryHearsResultsAndDeadLetters(t *testing.T) {
	t.Parallel()
	on := bustest.Start(t)
	good, bad := sent{ID: "c-good", Site: loadSite, Visitor: "v", Action: putName}, sent{ID: "c-bad", Site: loadSite, Visitor: "v", Action: putName}
	for _, c := range []*sent{&good, &bad} {
		c.Session = event.SessionKey(c.Site, event.Visitor{UserID: c.Visitor})
		e, err := c.envelope()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := on.Publish(t.Context(), event.CommandSubject(event.ClassWrite, c.Action, c.Site, c.Session), e); err != nil {
			t.Fatal(err)
		}
		c.Stored = true
	}
	h := newHistory(bustest.Log(t), on)
	if n := h.open([]sent{good, bad, {ID: "c-never"}}); n != 2 {
		t.Errorf("%d are open, want the two that were stored", n)
	}

	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	work.Go(func() { h.run(ctx) })
	work.Go(func() { _ = on.Commands(ctx, bus.CommandOptions{Attempts: 1}, answer(on)) })
	err := until(ctx, 20*time.Second, func(context.Context) bool { return h.open([]sent{good, bad}) == 0 })
	if err != nil {
		t.Fatal(err)
	}
	results, dead, _ := h.all()
	want := map[string][]outcome{"c-good": {{ID: "c-good", Worker: "w", Status: "succeeded", Fence: 4, Attempt: 1}}}
	if diff := cmp.Diff(want, results, cmpopts.IgnoreFields(outcome{}, "At")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]bool{"c-bad": true}, dead); diff != "" {
		t.Error(diff)
	}
	if deeds := deedsOf(results); len(deeds) != 1 || deeds[0].ID != "c-good" || deeds[0].At.IsZero() {
		t.Errorf("the deeds are %+v", deeds)
	}
}

// answer publishes a result for the good command, and has the bad one buried.
func answer(on *bus.Bus) bus.Handler {
	return func(ctx context.Context, d *bus.Delivery) error {
		e, err := d.Envelope()
		if err != nil {
			return err
		}
		if e.ID == "c-bad" {
			return fault.New(fault.NotConfirmed, "it was not seen")
		}
		data, err := json.Marshal(event.Result{CommandID: e.ID, Worker: "w", Status: event.Succeeded, Fence: 4, Attempt: 1})
		if err != nil {
			return err
		}
		address, err := event.ParseCommandSubject(d.Subject)
		if err != nil {
			return err
		}
		_, err = on.Publish(ctx, event.ResultSubject(address.Action, address.Site, address.Session), event.Envelope{
			ID: "r-" + e.ID, Source: "/test", Type: event.ResultType(putName), Time: time.Now(), Data: data,
		})
		return err
	}
}
