package visitor_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/session"
	"github.com/parley-chat/parley/internal/visitor"
	"github.com/parley-chat/parley/internal/visitor/wire"
	"github.com/parley-chat/parley/internal/worker"
	"github.com/parley-chat/parley/schemas"
)

// reached finds visitors' own tabs on the bus.
type reached struct{ bus *bus.Bus }

func (r reached) Open(ctx context.Context, site, name string) (session.FarTab, error) {
	tab, err := visitor.Open(ctx, r.bus, site, name)
	if err != nil {
		return nil, err
	}
	return tab, nil
}

// nobrowser opens no page: the machine has no browser.
type nobrowser struct{}

var errNoBrowser = fault.New(fault.BrowserCrashed, "there is no browser here")

func (nobrowser) Open(context.Context, session.Request) (session.Tab, error) {
	return nil, errNoBrowser
}

func routedSite() actions.Site {
	return actions.Site{Name: "shop", Provider: "botstar", AppID: "app", URL: origin + "/", Domains: []string{"shop.example.test"}}
}

// sessionsOn are the sessions of a worker without a browser.
func sessionsOn(t *testing.T, b *bus.Bus, far session.Visitors, executor func(actions.Site, string) string) *session.Manager {
	t.Helper()
	catalog, err := actions.NewCatalog(botstar.Provider())
	must(t, err)
	profiles, err := b.KV(t.Context(), bus.BucketProfiles)
	must(t, err)
	m := session.New(slog.New(slog.DiscardHandler), session.Options{
		Pool: nobrowser{}, Catalog: catalog, Profiles: profiles, Visitors: far, Executor: executor,
		Publish: func(ctx context.Context, subject string, e event.Envelope) error {
			_, err := b.Publish(ctx, subject, e)
			return err
		},
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		must(t, m.Close(ctx))
	})
	return m
}

// The policy: which executor a command gets, and why, or why it gets none.
func TestRoutes(t *testing.T) {
	t.Parallel()
	r := setup(t)
	known, anonymousOne := event.Visitor{UserID: "ada"}, event.Visitor{AnonymousID: anonymous(1)}
	identity, err := visitor.SignIdentity([]byte(backend), "shop", known, time.Now().Add(time.Hour))
	must(t, err)
	r.connect(t, hello("known", func(h *wire.Hello) { h.Identity = identity }))
	r.connect(t, hello("anonymous"))
	away, awayAnonymous := event.Visitor{UserID: "bob"}, event.Visitor{AnonymousID: anonymous(2)}
	const connected, absent = "the visitor's own tab is connected", "the visitor's own tab is not connected"
	for _, test := range []struct {
		name          string
		policy        string
		unreachable   bool
		who           event.Visitor
		executor, why string
		fails         fault.Reason // "" is a page
	}{
		{"auto, connected", session.ExecutorAuto, false, known, session.ExecutorVisitor, connected, ""},
		{"auto, anonymous and connected", session.ExecutorAuto, false, anonymousOne, session.ExecutorVisitor, connected, ""},
		{"auto, away", session.ExecutorAuto, false, away, session.ExecutorHeadless, absent, fault.BrowserCrashed},
		{"auto, anonymous and away", session.ExecutorAuto, false, awayAnonymous, session.ExecutorVisitor, absent, fault.VisitorAway},
		{"auto, no way to tabs", session.ExecutorAuto, true, known, session.ExecutorHeadless, "this worker reaches no visitor's tab", fault.BrowserCrashed},
		{"visitor, connected", session.ExecutorVisitor, false, known, session.ExecutorVisitor, connected, ""},
		{"visitor, away", session.ExecutorVisitor, false, away, session.ExecutorVisitor, absent, fault.VisitorAway},
		{"visitor, no way to tabs", session.ExecutorVisitor, true, known, "", "", fault.NoExecutor},
		{"headless, connected", session.ExecutorHeadless, false, known, session.ExecutorHeadless, "the site's policy", fault.BrowserCrashed},
	} {
		var far session.Visitors = reached{r.bus}
		if test.unreachable {
			far = nil
		}
		m := sessionsOn(t, r.bus, far, func(_ actions.Site, action string) string {
			if action != "botstar.widget.open" {
				t.Errorf("the policy is asked for %q", action)
			}
			return test.policy
		})
		lease, err := m.Acquire(t.Context(), routedSite(), test.who)
		must(t, err)
		lease.For("botstar.widget.open")
		err = lease.Open(t.Context())
		if test.fails == "" && err != nil || test.fails != "" && !errors.Is(err, fault.New(test.fails, "")) {
			t.Errorf("%s: %v, want %q", test.name, err, test.fails)
		}
		if got := lease.Route(); got != (session.Route{Executor: test.executor, Why: test.why}) {
			t.Errorf("%s: %+v", test.name, got)
		}
		lease.Release()
	}
}

// G4: commands to visitors who are away wait until their deadline, and then are
// expired: not before, once each, and nothing happens when the visitors come
// after all.
func TestAbsentVisitorsCommandsExpire(t *testing.T) {
	t.Parallel()
	r := setup(t)
	commands := bustest.Count(30, 500)
	sessions := sessionsOn(t, r.bus, reached{r.bus}, func(actions.Site, string) string { return session.ExecutorAuto })
	startWorkerOn(t, r.bus, sessions)
	until := time.Now().Add(3 * time.Second)
	replies := make([]*bus.Reply, commands)
	for i := range replies {
		v := event.Visitor{AnonymousID: anonymous(i)}
		e, err := event.New("/test", event.CommandType("botstar.widget.open"), "shop", event.Command{Site: "shop", Visitor: v, Params: json.RawMessage("{}")})
		must(t, err)
		e.Extensions[event.ExtExpiryTime] = until.UTC().Format(time.RFC3339Nano)
		replies[i], err = r.bus.Send(t.Context(), event.CommandSubject(event.ClassWrite, "botstar.widget.open", "shop", event.SessionKey("shop", v)), e)
		must(t, err)
	}
	for i, reply := range replies {
		result := resultOf(t, reply)
		if result.Status != event.Expired || result.Problem.Reason != string(fault.CommandExpired) {
			t.Errorf("command %d is %s: %+v", i, result.Status, result.Problem)
		}
		if time.Now().Before(until) {
			t.Fatalf("command %d has expired before its deadline", i)
		}
	}
	late := 0
	for i := range commands {
		p := r.connect(t, ofVisitor(i))
		p.say(wire.Head{T: wire.KindPing}) // What was asked before is heard before its answer.
		if !p.wait(wire.KindPong, 1) {
			t.Fatalf("closed with %d", p.closedWith())
		}
		late += len(p.all(wire.KindCall))
		p.leave()
	}
	if late != 0 || r.gateway.Stats().Calls != 0 {
		t.Errorf("%d calls came after the deadline, %d at all", late, r.gateway.Stats().Calls)
	}
	t.Logf("%d commands to absent visitors: %d expired after their deadline, %d late effects", commands, commands, late)
}

// startWorkerOn runs a worker until the test ends.
func startWorkerOn(t *testing.T, b *bus.Bus, sessions *session.Manager) {
	t.Helper()
	catalog, err := actions.NewCatalog(botstar.Provider())
	must(t, err)
	all, err := event.NewSchemas(schemas.FS)
	must(t, err)
	w := worker.New(slog.New(slog.DiscardHandler), worker.Options{
		Bus: b, Catalog: catalog, Schemas: all, Sessions: sessions,
		Site:  func(name string) (actions.Site, bool) { return routedSite(), name == "shop" },
		Sites: func() []actions.Site { return []actions.Site{routedSite()} },
	})
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		must(t, <-ended)
	})
}

// resultOf waits for the result of a command.
func resultOf(t *testing.T, reply *bus.Reply) event.Result {
	t.Helper()
	defer reply.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	answer, err := reply.Wait(ctx)
	must(t, err)
	var r event.Result
	must(t, json.Unmarshal(answer.Data, &r))
	return r
}
