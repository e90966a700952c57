//go:build browser

package visitor_test

import (
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/session"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
)

// moments are when, in milliseconds, the page is loaded again, after a command was sent: before it
// arrives, while the driver or the widget loads, when the answer is on its way,
// and afterwards.
func moments() []int {
	return []int{0, 5, 15, 30, 50, 80, 120, 200, 400, 800}
}

// G2: the page is loaded again in the middle of an action, which the worker does
// in the visitor's own tab. None is lost; none opens the window twice in one
// document, by the vendor's ledger; and each is told of once, by the facts.
func TestReloadInMidAction(t *testing.T) {
	t.Parallel()
	rounds := bustest.Count(10, 200)
	w := newWorld(t)
	w.vendor.Set(vendor.Faults{Throttle: vendor.Throttle{Limit: 1 << 20}})
	w.work(t, session.ExecutorVisitor)
	v := event.Visitor{UserID: "reload"}
	g := w.visit(t, v.UserID)
	var commands []string
	unseen := 0
	for i := range rounds {
		result := w.send(t, "botstar.widget.open", v, 0)
		pause(t, time.Duration(moments()[i%len(moments())])*time.Millisecond)
		must(t, g.own.Reload(t.Context()))
		r := result()
		if r.Status != event.Succeeded || r.Executor != session.ExecutorVisitor {
			t.Fatalf("round %d: %s in %s: %+v; %+v", i, r.Status, r.Executor, r.Problem, w.gateway.Stats())
		}
		if !r.Verified {
			unseen++ // It was done, and its page went before anybody could look.
		}
		commands = append(commands, r.CommandID)
		must(t, g.own.Reload(t.Context())) // The next one finds the window closed.
	}
	s := w.gateway.Stats()
	t.Logf("%d reloads in mid-action: %d connections, %d calls, %d effects that went with their page", rounds, s.Opened, s.Calls, unseen)
	w.toldOnce(t, g.name, commands)
	w.openedOnce(t, v.UserID)
}

// toldOnce wants one fact of each command.
func (w *world) toldOnce(t *testing.T, name string, commands []string) {
	t.Helper()
	told := map[string]int{}
	for _, e := range w.history("evt.botstar.widget.opened.shop."+name, len(commands)) {
		told[e.Extension(event.ExtCausationID)]++
	}
	for i, id := range commands {
		if told[id] != 1 {
			t.Errorf("the command of round %d opened the window %d times", i, told[id])
		}
	}
}

// openedOnce wants no document in which the window was opened twice, by the
// vendor's own ledger: what of it arrived, since a frame that goes with its page
// may have told nothing yet.
func (w *world) openedOnce(t *testing.T, who string) {
	t.Helper()
	s := w.vendor.Ledger().Snapshot()
	opened := map[string]int{}
	for _, e := range s.Of(who) {
		if e.Kind == vendor.Opened {
			opened[e.Instance]++
		}
	}
	for instance, n := range opened {
		if n > 1 {
			t.Errorf("in the frame %s the window was opened %d times", instance, n)
		}
	}
	if len(opened) == 0 {
		t.Error("the vendor saw no opening")
	}
	t.Logf("the vendor saw openings in %d documents", len(opened))
	for _, e := range s.Entries {
		if e.Visitor != "" && e.Visitor != who {
			t.Errorf("the vendor knows another visitor: %+v", e)
		}
	}
}
