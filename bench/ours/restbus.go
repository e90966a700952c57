package ours

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/app"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/schemas"
)

// restBus sends REST actions as commands to a whole worker, which has no
// browser.
type restBus struct {
	*account
	bus   *bus.Bus
	close func() error
	sent  int
}

func startRESTBus(ctx context.Context, s contend.Setup) (_ *restBus, err error) {
	a, err := openAccount()
	if err != nil {
		return nil, err
	}
	r := &restBus{account: a, close: func() error { return nil }}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if r.bus, err = openBus(ctx, bus.Options{Dir: filepath.Join(s.Dir, "nats"), Listen: "127.0.0.1:0"}); err != nil {
		return nil, err
	}
	return r, r.work(ctx, filepath.Join(s.Dir, "worker.yaml"))
}

// work starts the worker.
func (r *restBus) work(ctx context.Context, file string) error {
	text := fmt.Sprintf("bus: {url: '%s', replicas: 1}\nworker: {name: rest}\nsites:\n  %s: {app_id: %s, bot_id: %s, domains: [shop.example.test]}\n",
		r.bus.URL(), siteName, restApp, restBot)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	catalog, err := actions.NewCatalog(botstar.Provider())
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
	system, err := app.Start(ctx, slog.New(slog.DiscardHandler), cfg, app.Parts{
		Catalog: catalog, Schemas: checks, Env: app.Env{}, Pageless: true,
		Resolve: r.server.Resolve(), Roots: r.server.Roots(), Tokens: r.account,
	})
	if err != nil {
		return fmt.Errorf("starting the worker: %w", err)
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- system.Run(running) }()
	r.close = func() error {
		stop()
		return errors.Join(<-ended, system.Close(ctx))
	}
	return nil
}

// Round reads the user and changes him, again and again.
func (r *restBus) Round(o contend.Order) (contend.Report, error) {
	ctx := context.Background() // Each command has its own deadline.
	return inTurns(o.Jobs, func(int) (func() error, error) {
		if err := r.command(ctx, event.ClassRead, "botstar.users.get", map[string]any{"user_id": r.user}); err != nil {
			return nil, err
		}
		return nil, r.command(ctx, event.ClassWrite, "botstar.users.update", r.update())
	})
}

// command sends a command, and waits until it is verified.
func (r *restBus) command(ctx context.Context, class event.Class, action string, input map[string]any) error {
	params, err := json.Marshal(input)
	if err != nil {
		return fmt.Errorf("writing the parameters: %w", err)
	}
	r.sent++
	c := event.Command{Site: siteName, Visitor: event.Visitor{UserID: "u-1"}, Params: params}
	return ask(ctx, r.bus, class, action, c, r.sent)
}

// Close ends the worker, the bus and the stand-in.
func (r *restBus) Close() error {
	err := r.close()
	if r.bus != nil {
		err = errors.Join(err, shut(context.Background(), r.bus))
	}
	return errors.Join(err, r.account.Close())
}
