package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
)

// Why a session loses its page though nothing is wrong with it.
const (
	evicted  = whyRoom
	idle     = whyIdle
	pressure = "pressure"
	retired  = "retired"
	handover = "handover"
	shutdown = "shutdown"
	asked    = "asked"
)

// rest closes the session's page, keeping what it knew in memory. What the page
// has said is heard, and the place is free when it returns; put does the rest.
// Only the owner calls it.
func (h *held) rest(ctx context.Context, why string) (dropped []string, err error) {
	h.catchUp()
	if h.main == nil {
		return nil, nil
	}
	if h.m.o.Snapshots == nil || h.lost.Load() || h.main.gone() {
		return nil, h.close(ctx, why)
	}
	h.read(ctx)
	if h.webview != nil {
		dropped, err = []string{"webview"}, h.webview.end(ctx, why)
	}
	h.sleeping = why
	err = errors.Join(err, h.main.leave(ctx, why, h.m.work.Go))
	h.catchUp()
	h.sleeping = ""
	return dropped, err
}

// put publishes what the session has said, and then stores what is known of
// it, so that what is stored never knows more than the bus. Then the session is
// hibernated. Only the owner calls it.
func (h *held) put(ctx context.Context, why string, had bool, dropped []string) error {
	if err := h.out.flush(ctx); err != nil {
		return h.awake(why, had, err)
	}
	if err := h.store(ctx); err != nil {
		return h.awake(why, had, fmt.Errorf("storing session %s: %w", h.key, err))
	}
	if !had || h.m.o.Snapshots == nil || h.mem.revision == 0 {
		return nil
	}
	h.m.seen.hibernated.Add(1)
	h.tellHibernated(why, dropped)
	return nil
}

// awake says that the session could not be hibernated: its page has ended, and
// only this worker knows what it was like.
func (h *held) awake(why string, had bool, err error) error {
	h.m.seen.unstored.Add(1)
	if had && h.m.o.Snapshots != nil {
		h.tellEnded(why, h.m.o.Now().UTC(), bare(h.site.URL))
	}
	return err
}

// hibernate is rest and put. Only the owner calls it.
func (h *held) hibernate(ctx context.Context, why string) error {
	had := h.main != nil
	dropped, err := h.rest(ctx, why)
	return errors.Join(err, h.put(ctx, why, had, dropped))
}

// save stores what has changed. Only the owner calls it.
func (h *held) save(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	h.catchUp()
	if h.m.o.Snapshots == nil || h.lost.Load() || !h.dirty {
		return nil
	}
	h.read(ctx)
	return h.store(ctx)
}

// saveDue is called by the session's timer, some time after a change. When a
// command has the session, it is saved after it.
func (h *held) saveDue() {
	h.armed.Store(false)
	h.due.Store(true)
	if !h.m.join(h.tryLane) {
		return
	}
	defer h.m.work.Done()
	if h.begin() {
		h.end(false)
		return
	}
	<-h.lane
}

// sum names the session's state, to see whether it changes.
func (h *held) sum() uint64 {
	raw, err := json.Marshal(h.state)
	if err != nil {
		return 0
	}
	return maphash.Bytes(h.m.seed, raw)
}

// arm has the session stored some time from now, when something has changed.
// Whoever may write its fields calls it.
func (h *held) arm() {
	if h.dirty && h.m.o.Snapshots != nil && !h.lost.Load() && h.armed.CompareAndSwap(false, true) {
		h.saver.Reset(h.m.o.SaveAfter)
	}
}

// end gives the session back, and saves it when that is due. used says that a
// command had it.
func (h *held) end(used bool) {
	h.catchUp()
	h.partFar()
	if h.main != nil && h.mem.was != nil && h.state.Booted {
		h.mem.was = nil // It was booted by other means.
	}
	if h.due.Swap(false) {
		h.m.work.Go(func() {
			if err := h.save(h.m.life); err != nil {
				h.m.seen.unstored.Add(1)
				h.m.log.LogAttrs(h.m.life, slog.LevelWarn, "storing a session", slog.String("session", h.key), slog.Any("err", err))
			}
			h.giveBack(used)
		})
		return
	}
	h.giveBack(used)
}

func (h *held) giveBack(used bool) {
	h.mu.Lock()
	for _, x := range h.unheard {
		if !h.heed(x) {
			h.overflow(x.page)
		}
	}
	h.unheard = nil
	h.owned = false
	if now := h.sum(); now != h.mark {
		h.mark, h.dirty = now, true
	}
	if used {
		h.used = time.Now()
	}
	h.arm()
	h.mu.Unlock()
	<-h.lane
	if used && !h.lost.Load() {
		h.m.warden.end(h.key)
	}
	if h.due.Load() {
		h.saveDue() // The timer has found the lane taken.
	}
}

// lose takes note that a page is gone.
func (h *held) lose(x heard) {
	switch x.page {
	case h.webview:
		h.webview, h.state.WebviewURL = nil, ""
	case h.main:
		if x.page.far != nil {
			h.loseFar()
			return
		}
		if h.m.o.Snapshots != nil {
			h.remember()
		} else {
			h.state.Forget()
		}
		h.main = nil
		h.tab.Store(nil)
		h.m.open.Add(-1)
		h.m.seen.ended.Add(1)
		why := x.page.reason()
		if h.sleeping == "" {
			h.tellEnded(why, x.at.UTC(), x.page.address)
		}
		level := slog.LevelInfo
		if why == "crash" || why == "hang" || why == "overflow" {
			level = slog.LevelWarn
		}
		h.m.log.LogAttrs(h.m.life, level, "a session's page ended",
			slog.String("session", h.key), slog.String("why", why))
		if !h.lost.Load() {
			h.m.warden.closed(h.key)
		}
	}
}

func (h *held) tellEnded(why string, at time.Time, address string) {
	h.post(actions.Notice{Name: event.FactSessionEnded, Data: func(o event.Occurrence) any {
		return event.SessionEnded{Occurrence: o, Why: why}
	}}, event.CauseNavigation, Command{}, at, address, true)
}
