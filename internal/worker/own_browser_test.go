//go:build browser

package worker_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/session"
	"github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/vault"
)

// next starts the worker that comes after the world's own: another process, on
// the same bus, with sessions of its own.
func (w *world) next(p plan) *rig {
	w.t.Helper()
	p.bus, p.pool, p.catalog, p.schemas, p.sites = w.bus, w.pool, w.catalog, w.schemas, w.sites
	p.worker.Name = "next"
	return setup(w.t, p)
}

func ring(t testing.TB) *vault.Keyring {
	t.Helper()
	keys, err := vault.Parse(vault.Generate())
	must(t, err)
	return keys
}

// TestCarriedOnAfterACrash has a worker die after it has opened the window, and
// before anybody was told. The next owner gets the session as it was stored,
// looks, finds the window open, and does not open it again.
func TestCarriedOnAfterACrash(t *testing.T) {
	t.Parallel()
	p := plan{keys: ring(t)}
	w := newWorld(t, p)
	o := order{action: "botstar.widget.open", visitor: event.Visitor{UserID: "carried-on"}, id: "open-1"}
	subject, e := w.command(o)
	first := w.send(subject, e)
	if first.Status != event.Succeeded || first.Fence == 0 {
		t.Fatalf("%s %+v, fence %d", first.Status, first.Problem, first.Fence)
	}
	key := event.SessionKey("shop", o.visitor)
	bustest.Until(t, "the session is stored", func() bool {
		info, err := w.sessions.Show(t.Context(), key)
		return err == nil && !info.SavedAt.IsZero() && info.Open && !info.Unsaved
	})
	// As if it had died: the record says begun, its pages are gone.
	record, overwrite := w.effect(subject, e)
	delete(record, "done")
	overwrite(record)
	w.sessions.Lose(bus.PartitionOf("shop", key))

	next := w.next(p)
	refused := &refusals{}
	must(t, next.owner("next", refused).Handle(t.Context(), next.delivery(subject, e, first.Fence+1_000_000)))
	now, _ := next.effect(subject, e)
	done, _ := now["done"].(map[string]any)
	if done["status"] != string(event.Succeeded) || now["worker"] != "next" || len(refused.all()) != 0 {
		t.Errorf("the command ended as %v by %v, refused by %q", done["status"], now["worker"], refused.all())
	}
	results := next.ran("open-1")
	if len(results) != 1 || !results[0].Verified || len(results[0].Steps) != 1 || !strings.Contains(string(results[0].Output), `"changed":false`) {
		t.Fatalf("carried on with: %+v", results)
	}
	var seen []string
	for _, evidence := range results[0].Evidence {
		if evidence.Kind == "record" {
			seen = append(seen, evidence.Seen)
		}
	}
	if len(seen) != 2 || !strings.HasPrefix(seen[0], "begun before by the worker") || !strings.Contains(seen[1], "hibernated") {
		t.Errorf("the evidence tells %q", seen)
	}
	w.oncePerPage("carried-on", botstar.Opened, 2)
	// Nobody is told twice that the window was opened.
	facts[event.WidgetOpened](w, o, event.FactWidgetOpened, 1)
}

// oncePerPage fails the test unless the visitor has entries of the kind in so
// many lives of a page, and one in each.
func (w *world) oncePerPage(visitor string, kind botstar.Kind, lives int) {
	w.t.Helper()
	w.count(visitor, kind, lives)
	var pages []string
	for _, entry := range w.vendor.Ledger().Snapshot().Of(visitor) {
		if entry.Kind != kind {
			continue
		}
		if slices.Contains(pages, entry.Instance) {
			w.t.Errorf("%s was %s twice in one life of a page", visitor, kind)
		}
		pages = append(pages, entry.Instance)
	}
}

// TestPageRefusesAFormerOwner has a later owner use a page, then a former one:
// the page refuses, and nothing of it is told.
func TestPageRefusesAFormerOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{})
	visitor := event.Visitor{UserID: "fenced"}
	subject, e := w.command(order{action: "botstar.widget.open", visitor: visitor})
	later, former := &refusals{}, &refusals{}
	const fence = 5_000_000
	must(t, w.owner("later", later).Handle(t.Context(), w.delivery(subject, e, fence)))
	w.count("fenced", botstar.Opened, 1)
	subject, e = w.command(order{action: "botstar.widget.close", visitor: visitor, id: "late"})
	err := w.owner("former", former).Handle(t.Context(), w.delivery(subject, e, fence-1))
	if fault.From(err) == nil || fault.From(err).Reason != fault.StaleFence {
		t.Errorf("the former owner's command ended with %v", err)
	}
	if by := former.all(); len(by) != 1 || by[0] != "page" && by[0] != "snapshot" {
		t.Errorf("the former owner was refused by %q", by)
	}
	if all := w.ran("late"); len(all) != 0 || len(later.all()) != 0 {
		t.Errorf("the former owner's result was told: %+v", all)
	}
	w.count("fenced", botstar.Closed, 0)
}

// TestHibernatedAndBack stores a session with an open window and a mode of its
// own. The record answers for it while it sleeps; its next command finds it as
// it was.
func TestHibernatedAndBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{keys: ring(t)})
	o := order{visitor: event.Visitor{UserID: "sleeper"}}
	do := func(action, params string) event.Result {
		t.Helper()
		o.action, o.params = action, params
		return w.succeed(o)
	}
	do("botstar.widget.boot", `{"user":{"city":"London"}}`)
	do("botstar.widget.set_mode", `{"mode":"popup"}`)
	do("botstar.widget.open", "{}")
	key := event.SessionKey("shop", o.visitor)
	must(t, w.sessions.Evict(t.Context(), key))
	asleep := do("botstar.session.get_state", "{}")
	if info, err := w.sessions.Show(t.Context(), key); err != nil || info.State != session.Hibernated ||
		!strings.Contains(string(asleep.Output), `"state":"hibernated"`) {
		t.Errorf("asking woke the session: %+v, %v, %s", info, err, asleep.Output)
	}
	closed := do("botstar.widget.close", "{}")
	if !closed.Verified || len(closed.Steps) != 1 || !strings.Contains(string(closed.Output), `"changed":true`) {
		t.Errorf("closing after the sleep: steps %+v, %s", closed.Steps, closed.Output)
	}
	boots := w.vendor.Ledger().Snapshot().Kind(botstar.Booted)
	last := boots[len(boots)-1]
	if last.Mode != "popup" || last.Attributes["city"] != "London" || last.Visitor != "sleeper" {
		t.Errorf("brought back as %s in mode %s with %+v", last.Visitor, last.Mode, last.Attributes)
	}
	facts[event.WidgetOpened](w, o, event.FactWidgetOpened, 1)
}
