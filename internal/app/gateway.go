package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/session"
	"github.com/parley-chat/parley/internal/telemetry"
	"github.com/parley-chat/parley/internal/visitor"
)

// What an action sees fits what a visitor's tab offers, without knowing it.
var (
	_ actions.Page   = (*visitor.Tab)(nil)
	_ session.FarTab = (*visitor.Tab)(nil)
)

// visitors finds visitors' own tabs.
type visitors struct{ bus *bus.Bus }

// Open implements session.Visitors.
func (v visitors) Open(ctx context.Context, site, name string) (session.FarTab, error) {
	tab, err := visitor.Open(ctx, v.bus, site, name)
	if err != nil {
		return nil, err //nolint:wrapcheck // The session says what it was doing.
	}
	return tab, nil
}

// gateway is where visitors' pages connect.
type gateway struct {
	*visitor.Gateway
	listener net.Listener
}

// openGateway makes the gateway that the configuration describes, and listens. It
// lets nobody in yet: see serve. publish stores a fact.
func openGateway(
	ctx context.Context, log *slog.Logger, cfg *Config, parts Parts, b *bus.Bus, metrics *telemetry.Metrics,
	publish func(context.Context, string, event.Envelope) error,
) (*gateway, error) {
	secret, err := gatewaySecret(cfg, parts.Env)
	if err != nil {
		return nil, err
	}
	sites, err := visitorSites(cfg, parts)
	if err != nil {
		return nil, err
	}
	tracks, err := openTracks(ctx, log, cfg, b, parts.Schemas, metrics)
	if err != nil {
		return nil, err
	}
	g := &gateway{}
	g.Gateway, err = visitor.New(log, visitor.Options{
		Bus: b, Sites: sites, Secret: secret, Publish: publish, Name: cfg.Worker.Name, Track: tracks.take,
		TokenLife: cfg.Gateway.TokenLife, Forwarded: cfg.Gateway.Forwarded, Drain: cfg.Gateway.Drain,
		Limits: visitor.Limits{Connections: cfg.Gateway.Connections, PerIP: cfg.Gateway.PerAddress},
	})
	if err != nil {
		return nil, fmt.Errorf("making the gateway: %w", err)
	}
	metrics.Watch(gatewayFigures(g.Stats)...)
	var config net.ListenConfig
	if g.listener, err = config.Listen(ctx, "tcp", cfg.Gateway.Listen); err != nil {
		return nil, fault.New(fault.BadConfig, "listening on gateway.listen").Because(err).WithFix("choose a free address")
	}
	return g, nil
}

// serve lets visitors in until ctx ends, and hands them over.
func (g *gateway) serve(ctx context.Context) error { return g.Serve(ctx, g.listener) }

// address returns where pages connect.
func (g *gateway) address() string { return g.listener.Addr().String() }

// gatewaySecret returns what signs visitors' tokens.
func gatewaySecret(cfg *Config, env Env) ([]byte, error) {
	if cfg.Gateway.Secret == "" {
		if cfg.Bus.URL != "" {
			return nil, fault.New(fault.BadConfig, "gateway.secret names no secret, and other gateways could not check our tokens").
				WithFix("make one with `openssl rand -hex 32`, the same for all gateways")
		}
		return []byte(rand.Text()), nil // Nobody else is there.
	}
	all, err := readSecrets([]Secret{cfg.Gateway.Secret}, env)
	if err != nil {
		return nil, fmt.Errorf("reading gateway.secret: %w", err)
	}
	return all[0], nil
}

// visitorSites returns the sites whose visitors may connect, by name.
func visitorSites(cfg *Config, parts Parts) ([]visitor.Site, error) {
	var all []visitor.Site
	for _, name := range slices.Sorted(maps.Keys(cfg.Sites)) {
		s := cfg.Sites[name]
		if s.Visitor.Key == "" {
			continue
		}
		provider, ok := parts.Catalog.Provider(s.Provider)
		if !ok {
			return nil, fault.New(fault.BadConfig, "site %s has the provider %q, which does not exist", name, s.Provider)
		}
		identity, err := readSecrets(s.Visitor.Identity, parts.Env)
		if err != nil {
			return nil, fmt.Errorf("reading sites.%s.visitor.identity_secret: %w", name, err)
		}
		boot, err := json.Marshal(map[string]any{
			"settings": map[string]any{"appId": s.AppID, "mode": s.Mode, "variables": s.Variables}, "usual_mode": s.Mode, "wait_ms": 15000,
		})
		if err != nil {
			return nil, fault.New(fault.BadConfig, "sites.%s.variables cannot be told to a page", name).Because(err)
		}
		all = append(all, visitor.Site{
			Name: name, Provider: provider, Key: s.Visitor.Key, Origins: s.origins(), Identity: identity, Config: s.page(boot),
		})
	}
	return all, nil
}

// tracks puts the events of pages' own analytics onto the bus, the way of all
// events.
type tracks struct{ edge *ingest.Edge }

// trackSource is the name and the type of the source of those events.
const trackSource = "visitor"

func openTracks(ctx context.Context, log *slog.Logger, cfg *Config, b *bus.Bus, schemas *event.Schemas, metrics *telemetry.Metrics) (tracks, error) {
	identities, err := b.KV(ctx, bus.BucketIdentities)
	if err != nil {
		return tracks{}, fmt.Errorf("opening the identities: %w", err)
	}
	e, err := ingest.New(log, ingest.Options{
		Sources: []ingest.Mount{{Settings: ingest.Settings{Name: trackSource, Type: trackSource}, Source: pages{}, Path: "/" + trackSource}},
		Store:   ingest.OnBus(b), Identities: ingest.OnKV(identities), IdentityLife: cfg.Ingest.Remember,
		Site: cfg.FindSite, IsSite: func(name string) bool { _, ok := cfg.Sites[name]; return ok },
		Validate: schemas.Validate, Counter: metrics, Healthy: b.Healthy,
	})
	if err != nil {
		return tracks{}, fmt.Errorf("preparing visitors' events: %w", err)
	}
	return tracks{e}, nil
}

// take stores the event, once for its id. One that is wrong is on the rejected
// list.
func (t tracks) take(ctx context.Context, one visitor.Track) error {
	item := ingest.Item{ID: one.ID, Kind: event.KindTrack, Authenticated: event.AuthenticPath, Raw: one.Properties, Trigger: event.Trigger{
		Site: one.Site, Visitor: one.Visitor, Event: one.Name, URL: one.URL, OccurredAt: one.At, Consent: &one.Consent,
	}}
	if len(one.Properties) > 0 {
		properties, err := ingest.ParseObject(one.Properties)
		item.Err = err
		item.Trigger.Properties = properties.Plain()
	}
	if _, err := t.edge.Backfill(ctx, trackSource, []ingest.Item{item}, true); err != nil {
		return fmt.Errorf("storing a visitor's event: %w", err)
	}
	return nil
}

// pages is the source of events that come over visitors' connections, and not
// over HTTP.
type pages struct{}

// Routes implements ingest.Source: nothing comes over HTTP.
func (pages) Routes() []ingest.Route { return nil }

// Receive implements ingest.Source.
func (pages) Receive(context.Context, *ingest.Request) (ingest.Received, error) {
	return ingest.Received{}, fault.New(fault.NoRoute, "visitors' events come over their connections")
}

// Answer implements ingest.Source.
func (pages) Answer(r *ingest.Request, o ingest.Outcome) ingest.Reply { return ingest.Standard(r, o) }
