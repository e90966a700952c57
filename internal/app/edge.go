package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/telemetry"
)

// edge takes events over HTTP, and puts them on the bus.
type edge struct {
	*ingest.Edge
	listener net.Listener
	limits   ingest.Limits
}

// openEdge makes the edge that the configuration describes, and listens. It
// takes nothing yet: see serve.
func openEdge(ctx context.Context, log *slog.Logger, cfg *Config, env Env, b *bus.Bus, schemas *event.Schemas, metrics *telemetry.Metrics) (*edge, error) {
	mounts, err := cfg.mounts(env)
	if err != nil {
		return nil, err
	}
	if len(mounts) == 0 {
		return nil, fault.New(fault.BadConfig, "ingest.listen is set, and there is no source").
			WithFix("add one under ingest.sources; docs/ingest.md shows how")
	}
	body, err := cfg.Ingest.MaxBody.Bytes()
	if err != nil {
		return nil, fault.New(fault.BadConfig, "ingest.max_body: %s", err)
	}
	memory, err := cfg.Ingest.Memory.Bytes()
	if err != nil {
		return nil, fault.New(fault.BadConfig, "ingest.memory: %s", err)
	}
	identities, err := b.KV(ctx, bus.BucketIdentities)
	if err != nil {
		return nil, fmt.Errorf("opening the identities: %w", err)
	}
	e := &edge{limits: ingest.Limits{Connections: cfg.Ingest.Connections, Grace: cfg.Ingest.Grace}}
	e.Edge, err = ingest.New(log, ingest.Options{
		Sources: mounts, Store: ingest.OnBus(b), Identities: ingest.OnKV(identities), IdentityLife: cfg.Ingest.Remember,
		Site: cfg.FindSite, IsSite: func(name string) bool { _, ok := cfg.Sites[name]; return ok },
		Validate: schemas.Validate, Counter: metrics,
		MaxBody: body, Memory: memory, Requests: cfg.Ingest.Requests, Maintenance: cfg.Ingest.Maintenance, Healthy: b.Healthy,
		Room: func(ctx context.Context) (int64, error) { return b.Room(ctx, bus.StreamFlow) },
	})
	if err != nil {
		return nil, fmt.Errorf("making the edge: %w", err)
	}
	var config net.ListenConfig
	if e.listener, err = config.Listen(ctx, "tcp", cfg.Ingest.Listen); err != nil {
		return nil, fault.New(fault.BadConfig, "listening on ingest.listen").Because(err).
			WithFix("choose a free address; workers with `worker.roles: [actions, workflows]` leave it to `publisher serve`")
	}
	log.LogAttrs(ctx, slog.LevelInfo, "edge runs", slog.String("address", e.address()), slog.Int("sources", len(mounts)))
	return e, nil
}

// address returns where the edge listens.
func (e *edge) address() string { return e.listener.Addr().String() }

// serve takes events until ctx ends, and answers those under way.
func (e *edge) serve(ctx context.Context) error { return e.Serve(ctx, e.listener, e.limits) }
