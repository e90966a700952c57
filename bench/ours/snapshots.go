package ours

import (
	"context"
	"fmt"
	"time"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/session"
)

// snapshots stores sessions and reads them again.
type snapshots struct {
	bus       *bus.Bus
	store     *session.Store
	saved     int
	pages     []map[string]string // what pages have stored
	revisions []uint64            // by session
}

// variants is how many different pages are stored in turns.
const variants = 16

func startSnapshots(ctx context.Context, s contend.Setup) (*snapshots, error) {
	b, err := openBus(ctx, bus.Options{Dir: s.Dir})
	if err != nil {
		return nil, err
	}
	store, err := openStore(ctx, b)
	if err != nil {
		return nil, err
	}
	made := &snapshots{bus: b, store: store, revisions: make([]uint64, s.Sessions)}
	for n := range variants {
		made.pages = append(made.pages, message.Storage(n))
	}
	return made, nil
}

// Round saves and loads one snapshot after another, each in the place of the
// one before it of the session.
func (s *snapshots) Round(o contend.Order) (contend.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return inTurns(o.Jobs, func(i int) (func() error, error) { return nil, s.turn(ctx, o.Picks[i]) })
}

func (s *snapshots) turn(ctx context.Context, pick int) error {
	s.saved++
	visitor := event.Visitor{UserID: fmt.Sprintf("u-%d", pick)}
	snap := session.Snapshot{
		Site: siteName, Session: event.SessionKey(siteName, visitor), Visitor: visitor,
		Storage: &browser.Storage{Origins: []browser.Origin{{
			Origin: "https://shop.example.test", Local: s.pages[s.saved%variants],
		}}},
		Fence: uint64(s.saved), SavedAt: time.Now(), //nolint:gosec // a count is not negative.
	}
	at, err := s.store.Save(ctx, snap, s.revisions[pick])
	if err != nil {
		return fmt.Errorf("saving session %d: %w", pick, err)
	}
	s.revisions[pick] = at.Revision
	back, found, err := s.store.Load(ctx, snap.Site, snap.Session)
	if err != nil || !found {
		return fmt.Errorf("loading session %d, which is there (%t): %w", pick, found, err)
	}
	if back.Fence != snap.Fence || len(back.Storage.Origins) != len(snap.Storage.Origins) {
		return fmt.Errorf("session %d came back with the fence %d, not %d", pick, back.Fence, snap.Fence)
	}
	return nil
}

// Close ends the server.
func (s *snapshots) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.bus.Close(ctx); err != nil {
		return fmt.Errorf("closing the bus: %w", err)
	}
	return nil
}
