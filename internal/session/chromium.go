package session

import (
	"context"

	"github.com/parley-chat/parley/internal/browser"
)

// Chromium returns the pool of pages of a pool of browsers.
func Chromium(pool *browser.Pool) Pool { return chromium{pool} }

type chromium struct{ pool *browser.Pool }

// Open implements Pool.
func (c chromium) Open(ctx context.Context, r Request) (Tab, error) {
	tab, err := c.pool.Open(ctx, browser.Request(r))
	if err != nil {
		return nil, err //nolint:wrapcheck // The session says what it was doing.
	}
	return chromiumTab{tab}, nil
}

// chromiumTab is a browser's tab whose further pages are Tabs too.
type chromiumTab struct{ *browser.Tab }

// OpenPage implements Tab.
func (t chromiumTab) OpenPage(ctx context.Context, r Request) (Tab, error) {
	further, err := t.Tab.OpenPage(ctx, browser.Request(r))
	if err != nil {
		return nil, err //nolint:wrapcheck // The session says what it was doing.
	}
	return chromiumTab{further}, nil
}
