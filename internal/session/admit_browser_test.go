//go:build browser

package session_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/session"
)

// TestOneSiteCannotStarveAnother has many visitors of a busy site and one of a
// quiet one wait for the only page.
func TestOneSiteCannotStarveAnother(t *testing.T) {
	t.Parallel()
	h := newHouse(t, bustest.Start(t), session.Options{Held: 1})
	holder := acquire(t, h.Manager, event.Visitor{UserID: "holder"})
	must(t, holder.Open(t.Context()))
	var mu sync.Mutex
	var order []string
	var all sync.WaitGroup
	wait := func(site actions.Site, visitor string) {
		before := h.Stats().Residency.Waiting
		all.Go(func() {
			l, err := h.Acquire(t.Context(), site, event.Visitor{UserID: visitor})
			if err != nil {
				t.Error(err)
				return
			}
			defer l.Release()
			if err := l.Open(t.Context()); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			order = append(order, site.Name)
		})
		bustest.Until(t, visitor+" waits", func() bool { return h.Stats().Residency.Waiting == before+1 })
	}
	for i := range 6 {
		wait(probeSite, fmt.Sprint("busy-", i))
	}
	quiet := probeSite
	quiet.Name = "quiet"
	wait(quiet, "quiet")
	holder.Release()
	all.Wait()
	if at := slices.Index(order, "quiet"); at < 0 || at > 1 {
		t.Errorf("the quiet site came at place %d of %v", at+1, order)
	}
}

// TestNobodyWaitsInVain refuses openings early, with the time to come again.
func TestNobodyWaitsInVain(t *testing.T) {
	t.Parallel()
	h := newHouse(t, bustest.Start(t), session.Options{Held: 1, Waiting: 1})
	holder := acquire(t, h.Manager, event.Visitor{UserID: "holder"})
	must(t, holder.Open(t.Context()))
	open := func(visitor string, within time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		l := acquire(t, h.Manager, event.Visitor{UserID: visitor})
		defer l.Release()
		return l.Open(ctx)
	}
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, fault.New(fault.BrowserBusy, "")) || fault.From(err).After <= 0 {
			t.Errorf("%s: %v, come again after %s", what, err, fault.From(err).After)
		}
	}
	began := time.Now()
	refused("a deadline that is too near", open("hasty", 20*time.Millisecond))
	waits := make(chan error, 1)
	go func() { waits <- open("patient", patience) }()
	bustest.Until(t, "one waits", func() bool { return h.Stats().Residency.Waiting == 1 })
	refused("a queue that is full", open("late", patience))
	if took := time.Since(began); took > patience/2 {
		t.Errorf("the refusals took %s", took)
	}
	holder.Release()
	must(t, <-waits)
	if stats := h.Stats(); stats.Residency.Waiting != 0 || stats.Residency.Refused < 2 || stats.Pages != 1 {
		t.Errorf("%+v", stats)
	}
}

// TestClosingRefusesThoseWhoWait closes a manager while a session waits.
func TestClosingRefusesThoseWhoWait(t *testing.T) {
	t.Parallel()
	h := newHouse(t, bustest.Start(t), session.Options{Held: 1})
	holder := acquire(t, h.Manager, event.Visitor{UserID: "holder"})
	must(t, holder.Open(t.Context()))
	waits := make(chan error, 1)
	go func() {
		l, err := h.Acquire(t.Context(), probeSite, event.Visitor{UserID: "patient"})
		if err != nil {
			waits <- err
			return
		}
		defer l.Release()
		waits <- l.Open(t.Context())
	}()
	bustest.Until(t, "one waits", func() bool { return h.Stats().Residency.Waiting == 1 })
	closed := make(chan error, 1)
	go func() { closed <- h.Close(t.Context()) }()
	if err := <-waits; !errors.Is(err, fault.New(fault.ShuttingDown, "")) {
		t.Errorf("who waits is told: %v", err)
	}
	holder.Release()
	must(t, <-closed)
}
