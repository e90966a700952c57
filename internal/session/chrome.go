package session

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/fault"
)

// bornTimeout bounds the wait for the first signal of a reloaded document. A
// document that sends none is treated as one that did.
const bornTimeout = 2 * time.Second

// chrome is the browser behind a session's page: actions.Browser. Only the
// session's owner uses it.
type chrome struct{ h *held }

// ClearOrigin implements actions.Browser.
func (c *chrome) ClearOrigin(ctx context.Context, origin string) error {
	p, err := c.page()
	if err != nil {
		return err
	}
	return p.tab.ClearOrigin(ctx, origin)
}

// Reload implements actions.Browser. It returns after the state has taken note
// of the new document, so that nothing late can undo what comes next.
func (c *chrome) Reload(ctx context.Context) error {
	p, err := c.page()
	if err != nil {
		return err
	}
	select { // What was born before does not count.
	case <-p.born:
	default:
	}
	if err := p.tab.Reload(ctx); err != nil {
		return err
	}
	timer := time.NewTimer(bornTimeout)
	defer timer.Stop()
	select {
	case <-p.born:
	case <-p.ended:
	case <-timer.C:
	case <-ctx.Done():
		return fault.From(context.Cause(ctx))
	}
	c.h.catchUp()
	return nil
}

// OpenPage implements actions.Browser.
func (c *chrome) OpenPage(ctx context.Context, address string, driver actions.Driver) (actions.Page, error) {
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	if err := c.ClosePage(ctx); err != nil {
		return nil, fmt.Errorf("closing the webview before: %w", err)
	}
	r := c.h.scripted(driver)
	r.URL = address
	r.Hosts = append(r.Hosts, c.h.provider.Hosts...)
	for _, origin := range c.h.site.Webviews {
		if u, err := url.Parse(origin); err == nil && u.Host != "" {
			r.Hosts = append(r.Hosts, u.Host)
		}
	}
	tab, err := p.tab.OpenPage(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("opening the webview: %w", err)
	}
	c.h.webview = c.h.attend(tab, address, true) //nolint:contextcheck // A page outlives the command that opened it.
	return tab, nil
}

// ClosePage implements actions.Browser.
func (c *chrome) ClosePage(ctx context.Context) error {
	w := c.h.webview
	if w == nil {
		return nil
	}
	err := w.end(ctx, "done")
	c.h.catchUp()
	return err
}

func (c *chrome) page() (*page, error) {
	if c.h.main == nil || c.h.main.gone() {
		return nil, fault.New(fault.PageCrashed, "the session's page is gone")
	}
	return c.h.main, nil
}
