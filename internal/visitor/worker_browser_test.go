//go:build browser

package visitor_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/session"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
	"github.com/parley-chat/parley/internal/visitor"
	"github.com/parley-chat/parley/internal/worker"
	"github.com/parley-chat/parley/schemas"
)

// tabs finds visitors' own tabs.
type tabs struct{ bus *bus.Bus }

func (o tabs) Open(ctx context.Context, site, name string) (session.FarTab, error) {
	tab, err := visitor.Open(ctx, o.bus, site, name)
	if err != nil {
		return nil, err
	}
	return tab, nil
}

// work starts a worker for the world, whose policy is the executor.
func (w *world) work(t *testing.T, executor string) {
	t.Helper()
	catalog, err := actions.NewCatalog(botstar.Provider())
	must(t, err)
	all, err := event.NewSchemas(schemas.FS)
	must(t, err)
	profiles, err := w.bus.KV(t.Context(), bus.BucketProfiles)
	must(t, err)
	log := bustest.Log(t)
	sessions := session.New(log, session.Options{
		Pool: session.Chromium(w.pool), Catalog: catalog, Profiles: profiles, Visitors: tabs{w.bus},
		Executor: func(actions.Site, string) string { return executor },
		Publish: func(ctx context.Context, subject string, e event.Envelope) error {
			_, err := w.bus.Publish(ctx, subject, e)
			return err
		},
	})
	site := shopSite()
	site.URL = shop.Origin + "/?who=headless"
	wk := worker.New(log, worker.Options{
		Bus: w.bus, Catalog: catalog, Schemas: all, Sessions: sessions,
		Site:  func(name string) (actions.Site, bool) { return site, name == site.Name },
		Sites: func() []actions.Site { return []actions.Site{site} },
	})
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- wk.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		must(t, <-ended)
		closing, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		must(t, sessions.Close(closing))
	})
}

// send sends a command and returns what its result will be.
func (w *world) send(t *testing.T, action string, v event.Visitor, within time.Duration) func() event.Result {
	t.Helper()
	return w.sendWith(t, errand{action: action, class: event.ClassWrite, visitor: v, params: "{}", within: within})
}

// errand is a command to send.
type errand struct {
	action  string
	class   event.Class
	visitor event.Visitor
	params  string
	within  time.Duration // 0 is for as long as the action may take
}

// sendWith is send for any command.
func (w *world) sendWith(t *testing.T, o errand) func() event.Result {
	t.Helper()
	e, err := event.New("/test", event.CommandType(o.action), "shop", event.Command{Site: "shop", Visitor: o.visitor, Params: json.RawMessage(o.params)})
	must(t, err)
	if o.within > 0 {
		e.Extensions[event.ExtExpiryTime] = time.Now().Add(o.within).UTC().Format(time.RFC3339Nano)
	}
	reply, err := w.bus.Send(t.Context(), event.CommandSubject(o.class, o.action, "shop", event.SessionKey("shop", o.visitor)), e)
	must(t, err)
	return func() event.Result {
		t.Helper()
		defer reply.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		defer cancel()
		answer, err := reply.Wait(ctx)
		must(t, err)
		var r event.Result
		must(t, json.Unmarshal(answer.Data, &r))
		return r
	}
}

// A command is done in the visitor's own tab when it is connected, and elsewhere
// when it is not; the result says where, and why.
func TestExecutorIsChosen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.vendor.Set(vendor.Faults{Throttle: vendor.Throttle{Limit: 1 << 20}})
	w.work(t, session.ExecutorAuto)
	v := event.Visitor{UserID: "ada"}
	r := w.send(t, "botstar.widget.open", v, 0)()
	if r.Status != event.Succeeded || !r.Verified || r.Executor != session.ExecutorHeadless || r.ExecutorWhy != "the visitor's own tab is not connected" {
		t.Errorf("nobody is there: %s in %s because %q: %+v", r.Status, r.Executor, r.ExecutorWhy, r.Problem)
	}
	g := w.visit(t, "ada")
	r = w.send(t, "botstar.widget.open", v, 0)()
	if r.Status != event.Succeeded || !r.Verified || r.Executor != session.ExecutorVisitor || r.ExecutorWhy == "" {
		t.Errorf("the visitor is there: %s in %s because %q: %+v", r.Status, r.Executor, r.ExecutorWhy, r.Problem)
	}
	r = w.send(t, "botstar.widget.close", v, 0)()
	if r.Status != event.Succeeded || !r.Verified || r.Executor != session.ExecutorVisitor {
		t.Errorf("closing: %s in %s: %+v", r.Status, r.Executor, r.Problem)
	}
	var sources []string
	for _, e := range w.history("evt.botstar.widget.closed.shop."+g.name, 1) {
		sources = append(sources, e.Source)
		if e.Extension(event.ExtCausationID) != r.CommandID {
			t.Errorf("the fact is caused by %q, and the command is %q", e.Extension(event.ExtCausationID), r.CommandID)
		}
	}
	if sources[0] != visitor.Source {
		t.Errorf("the fact comes from %s", sources)
	}
}

// A command to a visitor who is away waits, and takes nobody's place: it is done
// when the visitor comes, and expires when he does not.
func TestCommandWaitsForItsVisitor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.vendor.Set(vendor.Faults{Throttle: vendor.Throttle{Limit: 1 << 20}})
	w.work(t, session.ExecutorVisitor)
	late := w.send(t, "botstar.widget.open", event.Visitor{UserID: "never"}, 1500*time.Millisecond)
	waits := w.send(t, "botstar.widget.open", event.Visitor{UserID: "bob"}, 30*time.Second)
	r := late()
	if r.Status != event.Expired || r.Problem.Reason != "command_expired" || r.Executor != session.ExecutorVisitor || r.Attempt != 1 {
		t.Errorf("a visitor who never comes: %s in %s, attempt %d: %+v", r.Status, r.Executor, r.Attempt, r.Problem)
	}
	w.visit(t, "bob")
	r = waits()
	if r.Status != event.Succeeded || !r.Verified || r.Executor != session.ExecutorVisitor {
		t.Errorf("a visitor who comes: %s in %s: %+v", r.Status, r.Executor, r.Problem)
	}
	if n := w.vendor.Ledger().Snapshot().Count("bob", vendor.Booted); n != 1 {
		t.Errorf("the widget was booted %d times", n)
	}
	if n := w.vendor.Ledger().Snapshot().Count("never", vendor.Booted); n != 0 {
		t.Errorf("late effects: %d", n)
	}
}
