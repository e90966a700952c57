package app

import (
	"context"
	"sync"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/session"
)

// What an action sees and what a browser offers fit without knowing each other.
var (
	_ actions.Page = (*browser.Tab)(nil)
	_ session.Pool = (*tabs)(nil)
)

// tabs is a pool that remembers the open pages by their session, so that the
// demo can take a picture of one.
type tabs struct {
	session.Pool

	mu   sync.Mutex // guards the field below
	open map[string]session.Tab
}

func newTabs(pool session.Pool) *tabs { return &tabs{Pool: pool, open: map[string]session.Tab{}} }

// Open implements session.Pool.
func (t *tabs) Open(ctx context.Context, r session.Request) (session.Tab, error) {
	tab, err := t.Pool.Open(ctx, r)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for label, old := range t.open { // Forget those that have ended.
		select {
		case <-old.Done():
			delete(t.open, label)
		default:
		}
	}
	t.open[r.Label] = tab
	return tab, nil
}

// screenshot takes a picture of the page of the session, whose label is
// "site/session".
func (t *tabs) screenshot(ctx context.Context, label string) ([]byte, error) {
	t.mu.Lock()
	tab := t.open[label]
	t.mu.Unlock()
	camera, ok := tab.(interface {
		Screenshot(ctx context.Context) ([]byte, error)
	})
	if !ok {
		return nil, fault.New(fault.PageLoadFailed, "no page of the session %s is open", label)
	}
	return camera.Screenshot(ctx)
}
