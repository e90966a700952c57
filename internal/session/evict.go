package session

import (
	"context"
	"log/slog"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// Why a page is closed that no command asked to close.
const (
	evicted = "evicted"
	idle    = "idle"
)

// admit makes room for one more page, which the caller then opens or gives up.
func (m *Manager) admit(ctx context.Context) error {
	for {
		m.mu.Lock()
		if m.closing {
			m.mu.Unlock()
			return fault.New(fault.ShuttingDown, "opening a page")
		}
		if m.open.Load() < int64(m.o.Held) {
			m.open.Add(1)
			m.mu.Unlock()
			return nil
		}
		victim := m.oldest()
		m.mu.Unlock()
		if victim == nil {
			return fault.New(fault.BrowserBusy, "all %d pages run a command", m.o.Held)
		}
		victim.evict(ctx, evicted)
	}
}

// oldest returns the session with a page that was used the longest time ago and
// has no command, with its lane taken; nil when there is none. The caller holds
// the lock.
func (m *Manager) oldest() *held {
	for at := m.recent.Back(); at != nil; at = at.Prev() {
		if h := heldAt(at); h.paged.Load() && h.tryLane() {
			return h
		}
	}
	return nil
}

// tryLane takes the lane when it is free.
func (h *held) tryLane() bool {
	select {
	case h.lane <- struct{}{}:
		return true
	default:
		return false
	}
}

// evict closes the session's page. The caller has the lane, and loses it.
func (h *held) evict(ctx context.Context, why string) {
	if !h.begin() {
		<-h.lane
		return
	}
	defer h.end()
	if why == idle && time.Since(h.used) < h.m.o.Idle/2 {
		return // A command came in between.
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	had := h.main != nil
	if err := h.close(ctx, why); err != nil {
		h.m.log.LogAttrs(ctx, slog.LevelWarn, "closing an evicted page", slog.String("session", h.key), slog.Any("err", err))
	}
	if had {
		h.m.seen.evicted.Add(1)
	}
}

// rest closes the page of a session that no command has used for Options.Idle.
// The session's timer calls it.
func (h *held) rest() {
	h.m.mu.Lock()
	if h.m.closing || !h.tryLane() {
		h.m.mu.Unlock()
		return // Its command will start the timer again.
	}
	h.m.work.Add(1)
	h.m.mu.Unlock()
	defer h.m.work.Done()
	h.evict(h.m.life, idle)
}

// forget marks a session that holds nothing as forgotten. It is false when the
// session is in use, has a page, or has facts to publish.
func (h *held) forget() bool {
	if h.paged.Load() || !h.out.empty() || !h.tryLane() {
		return false
	}
	defer func() { <-h.lane }()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.main != nil || len(h.unheard) > 0 {
		return false
	}
	h.forgotten = true
	return true
}
