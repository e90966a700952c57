package app

import (
	"context"
	"errors"
	"log/slog"
	"net"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/telemetry"
)

// serveCmd runs the edge alone.
type serveCmd struct {
	Listen  string `placeholder:"HOST:PORT" help:"Where events come in. Default: ingest.listen."`
	Metrics string `placeholder:"HOST:PORT" help:"Where /metrics and /healthz of this process are. Default: none; the events' address has a /healthz too."`
}

// Help is the long help.
func (*serveCmd) Help() string {
	return `Takes events over HTTP from the senders under ingest.sources in parley.yaml, and answers each when it is stored on the bus. Any number of them may run, beside workers that do the work. docs/ingest.md shows how to point Segment, RudderStack, PostHog, Google Analytics and others here.`
}

// Run takes events until the process is told to stop, and returns when those
// under way are answered.
func (s *serveCmd) Run(ctx context.Context, c *cli) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	if s.Listen != "" {
		cfg.Ingest.Listen = s.Listen
	}
	if cfg.Ingest.Listen == "" {
		return fault.New(fault.BadConfig, "nothing says where events come in").WithFix("set ingest.listen, or --listen 127.0.0.1:8088")
	}
	log := c.logger(cfg.Telemetry)
	b, err := c.connect(ctx, cfg)
	if err != nil {
		return err
	}
	defer c.close(ctx, b)
	metrics := telemetry.NewMetrics()
	e, err := openEdge(ctx, log, cfg, c.Env, b, c.schemas, metrics)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var figures *part
	if s.Metrics != "" {
		var config net.ListenConfig
		l, err := config.Listen(ctx, "tcp", s.Metrics)
		if err != nil {
			_ = e.listener.Close()
			return fault.New(fault.BadConfig, "listening on --metrics").Because(err).WithFix("choose a free address, or leave it out")
		}
		figures = launch(ctx, cancel, func(ctx context.Context) error { return telemetry.Serve(ctx, log, l, metrics, b.Healthy) })
	}
	err = e.serve(ctx)
	log.LogAttrs(context.WithoutCancel(ctx), slog.LevelInfo, "edge stops", slog.Any("cause", context.Cause(ctx)))
	if figures != nil {
		err = errors.Join(err, figures.stop())
	}
	return err
}
