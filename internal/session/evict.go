package session

import (
	"context"
	"log/slog"
	"time"
)

// take takes the lane, and waits for it. It is false when ctx ends first.
func (h *held) take(ctx context.Context) bool {
	select {
	case h.lane <- struct{}{}:
		return true
	default:
	}
	select {
	case h.lane <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
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

// join takes part in the manager's work, unless it closes or the function says
// no. The caller says work.Done at the end.
func (m *Manager) join(do func() bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing || !do() {
		return false
	}
	m.work.Add(1)
	return true
}

// move hibernates the session when its browser is to be replaced: its next
// command opens a page in another one.
func (h *held) move(ctx context.Context, p *page) {
	select {
	case <-p.tab.Retire():
	case <-p.tab.Done():
		return
	}
	if !h.take(ctx) {
		return
	}
	if !h.begin() {
		<-h.lane
		return
	}
	if h.main != p {
		h.end(false)
		return
	}
	h.part(retired)
}

// forget marks a session that holds nothing as forgotten. It is false when the
// session is in use, has a page, or has something to publish or to store.
func (h *held) forget() bool {
	if h.tab.Load() != nil || h.pinned.Load() || !h.out.empty() || !h.tryLane() {
		return false
	}
	defer func() { <-h.lane }()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.main != nil || len(h.unheard) > 0 || h.dirty && h.m.o.Snapshots != nil || !h.m.warden.forget(h.key) {
		return false
	}
	h.forgotten = true
	return true
}

// watch measures the memory of the browsers from time to time, as long as the
// manager lives.
func (m *Manager) watch(used func(ctx context.Context) (int64, error)) {
	tick := time.NewTicker(m.o.Measure)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-m.life.Done():
			return
		}
		ctx, cancel := context.WithTimeout(m.life, m.o.Measure)
		bytes, err := used(ctx)
		cancel()
		if err != nil {
			m.log.LogAttrs(m.life, slog.LevelWarn, "measuring the memory of the browsers", slog.Any("err", err))
			continue
		}
		m.used.Store(bytes)
		m.warden.measured(bytes)
	}
}
