//go:build browser

package botstar_test

import (
	"context"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/actions/actionstest"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
)

// TestLies opens the window of a widget that lies: no lie is taken for an open
// window, and the next command works.
func TestLies(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	for lie, want := range map[vendor.Lie]struct {
		reason  fault.Reason
		verdict event.Verdict
	}{
		vendor.LieThrows:  {reason: fault.WidgetFailed},
		vendor.LieIgnored: {reason: fault.NotConfirmed},
		vendor.LieSilent:  {reason: fault.NotConfirmed},
		vendor.LieHollow:  {verdict: event.Contradicted},
	} {
		w.vendor.Set(vendor.Faults{Open: lie})
		s := w.open(t, site(), event.Visitor{UserID: string(lie)})
		s.must(event.Confirmed, "botstar.widget.boot", nil)
		s.act("ready", nil, nil) // The vendor's frame brings the lie.
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		c, err := actionstest.Do(ctx, s.env, botstar.Provider(), "botstar.widget.open", "open", nil)
		cancel()
		switch f := fault.From(err); {
		case want.reason != "" && (f == nil || f.Reason != want.reason):
			t.Errorf("%s gives %v", lie, err)
		case want.reason == "" && (err != nil || c.Proof.Verdict != want.verdict):
			t.Errorf("%s gives %s, %v", lie, c.Proof.Verdict, err)
		}
		s.must(event.Confirmed, "botstar.session.get_state", nil)
	}
}

// TestDialogsAndNavigation opens a window that shows a dialog box, and one that
// sends the page away.
func TestDialogsAndNavigation(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.vendor.Set(vendor.Faults{Dialog: "confirm"})
	s := w.open(t, site(), event.Visitor{UserID: "dialog"})
	s.must(event.Confirmed, "botstar.widget.boot", nil)
	s.act("ready", nil, nil)
	s.must(event.Confirmed, "botstar.widget.open", nil)
	if n := s.tab.Stats().Dialogs; n != 1 {
		t.Errorf("the page showed %d dialog boxes", n)
	}

	w.vendor.Set(vendor.Faults{Navigate: "/pricing"})
	s = w.visit(t, site(), event.Visitor{UserID: "away"}, "")
	s.must(event.Confirmed, "botstar.widget.boot", nil)
	s.act("ready", nil, nil)
	_, err := s.do("botstar.widget.open", nil)
	if f := fault.From(err); f == nil || f.Reason != fault.PageNavigated {
		t.Errorf("a page that goes away gives %v", err)
	}
	w.vendor.Set(vendor.Faults{})
	s.heard("page.started", 2)
	s.must(event.Confirmed, "botstar.widget.boot", nil)
	s.must(event.Confirmed, "botstar.widget.open", nil)
}
