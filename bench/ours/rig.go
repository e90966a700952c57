package ours

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/session"
	"github.com/parley-chat/parley/internal/vault"
	"github.com/parley-chat/parley/internal/worker"
	"github.com/parley-chat/parley/schemas"
)

const (
	siteName = "shop"
	source   = "/parley/bench"
	// patience bounds one command, and the end of everything.
	patience = 30 * time.Second
)

// rig is a worker with everything that it needs, put together as package app
// does it, and a sender of commands.
type rig struct {
	bus      *bus.Bus
	pool     *browser.Pool
	sessions *session.Manager
	site     actions.Site
	far      session.Visitors // visitors' own tabs; nil is none
	stop     context.CancelFunc
	stopped  chan error // nil when it takes no commands yet
}

// rigOptions are what the benchmarks want otherwise.
type rigOptions struct {
	// full asks for the customer's whole page.
	full bool
	// unowned takes the commands from a consumer that all workers share, without
	// ownership, fences and effect records.
	unowned bool
}

// startRig starts the worker.
func startRig(ctx context.Context, s contend.Setup, o rigOptions) (_ *rig, err error) {
	r := &rig{stop: func() {}, site: actions.Site{
		Name: siteName, Provider: "botstar", AppID: s.AppID, Mode: "livechat", URL: s.URL, FullPage: o.full,
	}}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.end(ctx))
		}
	}()
	if r.bus, err = openBus(ctx, bus.Options{Dir: filepath.Join(s.Dir, "nats")}); err != nil {
		return nil, err
	}
	return r, r.start(ctx, s, o.unowned)
}

// start starts what takes the commands. The bus is there.
func (r *rig) start(ctx context.Context, s contend.Setup, unowned bool) error {
	log := slog.New(slog.DiscardHandler)
	catalog, err := actions.NewCatalog(botstar.Provider())
	if err != nil {
		return fmt.Errorf("making the catalogue: %w", err)
	}
	checks, err := event.NewSchemas(schemas.FS)
	if err != nil {
		return fmt.Errorf("reading the schemas: %w", err)
	}
	if err := r.startPages(ctx, log, s, catalog); err != nil {
		return err
	}
	w := worker.New(log, worker.Options{
		Bus: r.bus, Catalog: catalog, Schemas: checks, Sessions: r.sessions, Name: "bench",
		HandOver: r.sessions.HandOver, Lost: r.sessions.Lose, Unguarded: unowned,
		Site:  func(name string) (actions.Site, bool) { return r.site, name == siteName },
		Sites: func() []actions.Site { return []actions.Site{r.site} },
	})
	run := w.Run
	if unowned {
		run = func(ctx context.Context) error {
			return r.bus.Consume(ctx, bus.ConsumeOptions{Stream: bus.StreamCommands, Durable: "shared"}, w.Handle)
		}
	}
	running, stop := context.WithCancel(ctx)
	r.stop, r.stopped = stop, make(chan error, 1)
	go func() { r.stopped <- run(running) }()
	return nil
}

// startPages starts the browsers, and the sessions on them.
func (r *rig) startPages(ctx context.Context, log *slog.Logger, s contend.Setup, catalog *actions.Catalog) error {
	profiles, err := r.bus.KV(ctx, bus.BucketProfiles)
	if err != nil {
		return fmt.Errorf("opening the profiles: %w", err)
	}
	snapshots, err := openStore(ctx, r.bus)
	if err != nil {
		return err
	}
	held := max(s.Sessions, 100)
	// The browsers' scratch folders are where they are in production.
	r.pool, err = browser.New(log, browser.Options{
		Binary: s.Binary, Tabs: 2 * held, Resolve: s.Resolve, TrustSPKI: []string{s.SPKI},
	})
	if err != nil {
		return fmt.Errorf("making the pool: %w", err)
	}
	if err := r.pool.Start(ctx); err != nil {
		return fmt.Errorf("starting the pool: %w", err)
	}
	r.sessions = session.New(log, session.Options{
		Pool: session.Chromium(r.pool), Catalog: catalog, Profiles: profiles, Snapshots: snapshots, Held: held,
		Visitors: r.far, Executor: r.executor(),
		Publish: func(ctx context.Context, subject string, e event.Envelope) error {
			_, err := r.bus.Publish(ctx, subject, e)
			return err //nolint:wrapcheck // it says what it was doing.
		},
	})
	return nil
}

// executor is where actions run: in visitors' own tabs where those are reached.
func (r *rig) executor() func(actions.Site, string) string {
	if r.far == nil {
		return nil
	}
	return func(actions.Site, string) string { return session.ExecutorVisitor }
}

// openStore returns where sessions are stored, sealed with a key of this run.
func openStore(ctx context.Context, on *bus.Bus) (*session.Store, error) {
	ring, err := vault.Parse(vault.Generate())
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	kv, err := on.KV(ctx, bus.BucketSessions)
	if err != nil {
		return nil, fmt.Errorf("opening the stored sessions: %w", err)
	}
	return session.NewStore(kv, ring, 0), nil
}

// do sends the command for the visitor, and waits for its result. Everything
// but a verified success is an error.
func (r *rig) do(ctx context.Context, action, visitor string, n int) error {
	c := event.Command{Site: siteName, Visitor: event.Visitor{UserID: visitor}}
	return ask(ctx, r.bus, event.ClassWrite, action, c, n)
}

// ask sends the command on the bus, and waits for its result.
func ask(ctx context.Context, on *bus.Bus, class event.Class, action string, c event.Command, n int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	key := event.SessionKey(siteName, c.Visitor)
	command, err := event.New(source, event.CommandType(action), siteName+"/"+key, c)
	if err != nil {
		return fmt.Errorf("making a command: %w", err)
	}
	command.Extensions[event.ExtPartitionKey] = key
	reply, err := on.Send(ctx, event.CommandSubject(class, action, siteName, key), command)
	if err != nil {
		return fmt.Errorf("sending command %d: %w", n, err)
	}
	defer reply.Close()
	answer, err := reply.Wait(ctx)
	if err != nil {
		return fmt.Errorf("waiting for command %d: %w", n, err)
	}
	var result event.Result
	if err := json.Unmarshal(answer.Data, &result); err != nil {
		return fmt.Errorf("reading the result of command %d: %w", n, err)
	}
	if result.Status != event.Succeeded || !result.Verified {
		return fmt.Errorf("command %d, %s, was not proved: %s", n, action, answer.Data)
	}
	return nil
}

// drop closes the visitor's page, as an idle one is closed.
func (r *rig) drop(ctx context.Context, visitor string) error {
	lease, err := r.sessions.Acquire(ctx, r.site, event.Visitor{UserID: visitor})
	if err != nil {
		return fmt.Errorf("taking the session: %w", err)
	}
	defer lease.Release()
	if err := lease.Drop(ctx, "idle"); err != nil {
		return fmt.Errorf("closing the session: %w", err)
	}
	return nil
}

// hibernate stores the visitor's session and closes its page, as an idle one's
// is.
func (r *rig) hibernate(ctx context.Context, visitor string) error {
	if err := r.sessions.Evict(ctx, event.SessionKey(siteName, event.Visitor{UserID: visitor})); err != nil {
		return fmt.Errorf("hibernating the session: %w", err)
	}
	return nil
}

// Close is end.
func (r *rig) Close() error { return r.end(context.Background()) }

// end ends everything that was started, in the order of package app. ctx may
// have ended.
func (r *rig) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	r.stop()
	var all []error
	if r.stopped != nil {
		all = append(all, <-r.stopped)
	}
	if r.sessions != nil {
		all = append(all, r.sessions.Close(ctx))
	}
	if r.pool != nil {
		all = append(all, r.pool.Close(ctx))
	}
	if r.bus != nil {
		all = append(all, r.bus.Close(ctx))
	}
	return errors.Join(all...)
}

// inTurns does the jobs one after another, and times each. A job may return a
// function that clears up: its time belongs to the round, not to the job.
func inTurns(jobs int, one func(i int) (func() error, error)) (contend.Report, error) {
	latencies := make([]float64, 0, jobs)
	begun := time.Now()
	for i := range jobs {
		start := time.Now()
		clearUp, err := one(i)
		if err != nil {
			return contend.Report{}, err
		}
		latencies = append(latencies, microseconds(time.Since(start)))
		if clearUp == nil {
			continue
		}
		if err := clearUp(); err != nil {
			return contend.Report{}, err
		}
	}
	return contend.Report{Jobs: jobs, WallUS: microseconds(time.Since(begun)), LatenciesUS: latencies}, nil
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
