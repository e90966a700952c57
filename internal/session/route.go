package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/fault"
)

// Where a command's page is: what a result calls the executor, and what
// Options.Executor answers.
const (
	// ExecutorAuto is the visitor's own tab when it is connected, else a browser
	// of ours for visitors whom the site knows.
	ExecutorAuto = "auto"
	// ExecutorVisitor is the visitor's own tab, and nothing else.
	ExecutorVisitor = "visitor"
	// ExecutorHeadless is a browser of ours.
	ExecutorHeadless = "headless"
)

// tellWithin bounds what a visitor's gateway is told after a command.
const tellWithin = time.Second

// Visitors finds the visitors' own tabs.
type Visitors interface {
	// Open returns the tab of the session's visitor. The error is
	// fault.VisitorAway when the visitor is not there.
	Open(ctx context.Context, site, session string) (FarTab, error)
}

// FarTab is a visitor's own tab. A session has it for one command, and hears
// what it says for the state only: whoever holds the connection makes the facts.
type FarTab interface {
	actions.Page
	// There says where the visitor is, and whether the page shows another document
	// than when that was asked last.
	There(ctx context.Context) (address string, there, changed bool, err error)
	// Behind says which command is behind the calls that follow, by its effect key
	// and its id, and which subscriptions the session has.
	Behind(key, id, correlation, trace string, subscriptions []actions.Subscription)
	// Tell tells at once what Behind has said.
	Tell(ctx context.Context) error
	// Close lets the tab go; the visitor notices nothing. Done and Err are Tab's.
	Close(ctx context.Context) error
	Done() <-chan struct{}
	Err() error
}

// Route says where a command's page is, and why.
type Route struct{ Executor, Why string }

// For says which action the session's page is for. Call it before Open.
func (l *Lease) For(action string) { l.h.action = action }

// Route returns where the page is that Open opened, or would have.
func (l *Lease) Route() Route { return l.h.route }

// reach makes the visitor's own tab the session's page, where that is what the
// site wants, and the visitor is there. It is false when a browser of ours is to
// do it. Only the owner calls it.
func (h *held) reach(ctx context.Context) (bool, error) {
	want := ExecutorHeadless
	if h.m.o.Executor != nil {
		want = h.m.o.Executor(h.site, h.action)
	}
	switch {
	case want == ExecutorHeadless:
		h.route = Route{ExecutorHeadless, "the site's policy"}
		if h.m.o.Visitors == nil || h.m.o.Executor == nil {
			h.route.Why = ""
		}
		return false, nil
	case h.m.o.Visitors == nil && want == ExecutorVisitor:
		return false, fault.New(fault.NoExecutor, "the policy of site %s wants the visitor's own tab, which this worker does not reach", h.name)
	case h.m.o.Visitors == nil:
		h.route = Route{ExecutorHeadless, "this worker reaches no visitor's tab"}
		return false, nil
	case h.main != nil && h.main.far != nil:
		return true, nil
	}
	tab, err := h.m.o.Visitors.Open(ctx, h.name, h.key)
	switch {
	case err == nil:
		h.route = Route{ExecutorVisitor, "the visitor's own tab is connected"}
		return true, h.visit(ctx, tab)
	case !errors.Is(err, fault.New(fault.VisitorAway, "")):
		return false, fmt.Errorf("reaching the visitor's own tab: %w", err)
	case want == ExecutorAuto && !h.visitor.Anonymous():
		h.route = Route{ExecutorHeadless, "the visitor's own tab is not connected"}
		return false, nil
	}
	h.route = Route{ExecutorVisitor, "the visitor's own tab is not connected"}
	return false, fault.New(fault.VisitorAway, "the visitor's own tab is not connected")
}

// visit makes the tab the session's page. One of our own is closed: there is one
// page of a visitor, and what it is like is the visitor's business.
func (h *held) visit(ctx context.Context, tab FarTab) error {
	err := h.close(ctx, "visitor")
	if err != nil {
		h.m.log.LogAttrs(ctx, slog.LevelWarn, "closing the page of a visitor who is there", slog.String("session", h.key), slog.Any("err", err))
	}
	address, there, _, err := tab.There(ctx)
	if err == nil && !there {
		err = fault.New(fault.VisitorAway, "the visitor has just gone")
	}
	if err != nil {
		return errors.Join(err, tab.Close(ctx))
	}
	h.state.Forget()
	h.mem.was, h.restored = nil, nil
	p := newPage(farTab{tab}, address, false)
	p.far = tab
	p.lives.Store(1) // Its document has begun: the next one is another.
	h.main, h.doubtful = p, true
	h.listenTo(p)
	return nil
}

// partFar lets the visitor's tab go after a command. What the session learnt of it
// is not kept, but for what the widget was booted with: the next command looks
// again. Only the owner calls it.
func (h *held) partFar() {
	p := h.main
	if p == nil || p.far == nil {
		return
	}
	ctx, cancel := context.WithTimeout(h.m.life, tellWithin)
	defer cancel()
	if h.subscribed != len(h.state.Subscriptions) {
		p.far.Behind("", "", "", "", h.state.Subscriptions)
		if err := p.far.Tell(ctx); err != nil {
			h.m.log.LogAttrs(ctx, slog.LevelWarn, "a visitor's gateway does not know of a subscription", slog.String("session", h.key), slog.Any("err", err))
		}
	}
	_ = p.end(ctx, "visitor") // It cannot fail.
	h.catchUp()
}

// loseFar takes note that the visitor's tab was let go.
func (h *held) loseFar() {
	h.main = nil
	h.state.Forget()
}

// farTab is a visitor's tab where a page in a browser of ours is wanted.
type farTab struct{ FarTab }

// ClearOrigin implements Tab.
func (farTab) ClearOrigin(context.Context, string) error { return farCannot() }

// Reload implements Tab.
func (farTab) Reload(context.Context) error { return farCannot() }

// OpenPage implements Tab.
func (farTab) OpenPage(context.Context, Request) (Tab, error) { return nil, farCannot() }

// Storage implements Tab.
func (farTab) Storage(context.Context) (browser.Storage, error) {
	return browser.Storage{}, farCannot()
}

// Retire implements Tab.
func (farTab) Retire() <-chan struct{} { return nil }

func farCannot() error {
	return fault.New(fault.UnsupportedExecutor, "the visitor's own browser is not ours to control")
}
