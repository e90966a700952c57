package ours

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/app"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/telemetry"
	"github.com/parley-chat/parley/schemas"
)

// WorkCommand is the sub-command that makes the program a worker of a crew, and
// readyLine is what it says when it has started its parts.
const (
	WorkCommand = "work"
	readyLine   = "ready"
)

// simulated is how long a simulated action takes.
const simulated = 20 * time.Millisecond

// Work is one worker of a crew: what `worker run` runs, without a browser. The
// file is its configuration. It returns when ctx ends and all has stopped.
func Work(ctx context.Context, file string, out, diagnostics io.Writer) error {
	catalog, err := actions.NewCatalog(simulation())
	if err != nil {
		return fmt.Errorf("making the catalogue: %w", err)
	}
	checks, err := event.NewSchemas(schemas.FS)
	if err != nil {
		return fmt.Errorf("reading the schemas: %w", err)
	}
	cfg, err := app.LoadConfig(file, app.Env{}, catalog)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	log := telemetry.NewLogger(diagnostics, telemetry.LogOptions{Level: slog.LevelError, Format: "json"})
	system, err := app.Start(ctx, log, cfg, app.Parts{Catalog: catalog, Schemas: checks, Env: app.Env{}, Pageless: true})
	if err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	if _, err := fmt.Fprintln(out, readyLine); err != nil {
		return errors.Join(err, system.Close(ctx))
	}
	return errors.Join(system.Run(ctx), system.Close(ctx))
}

// opened is the output of the simulated action.
type opened struct {
	Open    bool `json:"open"`
	Changed bool `json:"changed"`
}

// simulation returns a vendor whose only action takes a time, and does nothing.
// It has the name of a real action, so that the same commands and schemas fit.
func simulation() actions.Provider {
	open := actions.New(actions.Spec{
		Name: message.Open, Title: "Open", Scope: event.ClassWrite, Plane: actions.PlaneLocal, Idempotent: true,
		Timeout: actions.Bounds{Min: time.Second, Default: patience, Max: time.Minute},
	}, func(ctx context.Context, _ actions.Env, _ json.RawMessage) (actions.Done[opened], error) {
		var done actions.Done[opened]
		timer := time.NewTimer(simulated)
		defer timer.Stop()
		select {
		case <-timer.C:
			done.Output = opened{Open: true, Changed: true}
			return done, nil
		case <-ctx.Done():
			return done, fault.From(context.Cause(ctx))
		}
	}, nil)
	return actions.Provider{
		Name: "botstar", Title: "Simulated", Modes: []string{"livechat"},
		CheckAppID: func(string) error { return nil },
		Actions:    []actions.Spec{open},
	}
}

// writeConfig writes the configuration of a worker of a crew.
func writeConfig(file, name, url string, lanes int) error {
	text := fmt.Sprintf(`bus: {url: '%s', replicas: 1}
worker: {name: %s, lanes: %d, grace: 15s}
telemetry: {level: error, format: json}
sites:
  %s: {app_id: any, domains: [load.example.test]}
`, url, name, lanes, message.Site)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing the configuration of %s: %w", name, err)
	}
	return nil
}
