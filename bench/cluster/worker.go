package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/app"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/telemetry"
	"github.com/parley-chat/parley/schemas"
)

// workerCommand is the hidden sub-command that makes this program a worker, and
// readyLine is what it says when it has started its parts.
const (
	workerCommand = "worker"
	readyLine     = "ready"
)

// brief is what a worker process is started with: a file that its only argument
// names.
type brief struct {
	Name   string `json:"name"`
	Config string `json:"config"` // its parley.yaml
	Mode   mode   `json:"mode"`
	// Ledger and Work are those of simulated actions.
	Ledger string        `json:"ledger"`
	Work   time.Duration `json:"work"`
	// Resolve and TrustSPKI lead its browsers to the stand-ins.
	Resolve   map[string]string `json:"resolve"`
	TrustSPKI []string          `json:"trust_spki"`
}

// work is the worker process: the system that `worker run` runs, with the
// catalogue of the mode. It returns when ctx ends and all has stopped.
func work(ctx context.Context, file string, out, diagnostics io.Writer) error {
	text, err := os.ReadFile(file) //nolint:gosec // The harness has written it.
	if err != nil {
		return fmt.Errorf("reading what to do: %w", err)
	}
	var b brief
	if err := json.Unmarshal(text, &b); err != nil {
		return fmt.Errorf("reading what to do: %w", err)
	}
	catalog, validators, err := b.catalog()
	if err != nil {
		return err
	}
	cfg, err := app.LoadConfig(b.Config, app.Env{}, catalog)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Telemetry.Level)); err != nil {
		return fmt.Errorf("reading the level of the log: %w", err)
	}
	log := telemetry.NewLogger(diagnostics, telemetry.LogOptions{Level: level, Format: "json"})
	system, err := app.Start(ctx, log, cfg, app.Parts{
		Catalog: catalog, Schemas: validators, Env: app.Env{},
		Resolve: b.Resolve, TrustSPKI: b.TrustSPKI, Pageless: b.Mode == simulated,
	})
	if err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	fmt.Fprintln(out, readyLine)
	return errors.Join(system.Run(ctx), system.Close(ctx))
}

// catalog returns the catalogue and the schemas of the mode.
func (b brief) catalog() (*actions.Catalog, *event.Schemas, error) {
	if b.Mode == simulated {
		s := &simulator{ledger: b.Ledger, worker: b.Name, work: b.Work, client: &http.Client{
			Timeout:   30 * time.Second,
			Transport: &http.Transport{MaxIdleConnsPerHost: 256},
		}}
		return s.catalog()
	}
	catalog, err := app.Catalog()
	if err != nil {
		return nil, nil, fmt.Errorf("building the catalogue: %w", err)
	}
	validators, err := event.NewSchemas(schemas.FS)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the schemas: %w", err)
	}
	return catalog, validators, nil
}
