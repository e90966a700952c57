package ours

import (
	"context"
	"fmt"
	"log/slog"
	"testing/fstest"
	"time"

	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/workflow"
	"github.com/parley-chat/parley/internal/workflow/engine"
	"github.com/parley-chat/parley/internal/workflow/machine"
	"github.com/parley-chat/parley/schemas"
)

// rules are compiled workflows, and what they need to run.
type rules struct {
	set    *workflow.Set
	checks *event.Schemas
	site   actions.Site
}

// compile compiles the texts, each a workflow.
func compile(texts ...string) (*rules, error) {
	site := actions.Site{Name: message.Site, Provider: "botstar", Mode: "livechat", URL: "https://shop.example.test/"}
	catalog, err := actions.NewCatalog(botstar.Provider())
	if err != nil {
		return nil, fmt.Errorf("making the catalogue: %w", err)
	}
	checks, err := event.NewSchemas(schemas.FS)
	if err != nil {
		return nil, fmt.Errorf("reading the schemas: %w", err)
	}
	compiler, err := workflow.NewCompiler(catalog, checks, []actions.Site{site})
	if err != nil {
		return nil, fmt.Errorf("preparing the workflows: %w", err)
	}
	files := fstest.MapFS{}
	for i, text := range texts {
		files[fmt.Sprintf("rule-%d.yaml", i)] = &fstest.MapFile{Data: []byte(text)}
	}
	set, err := compiler.Load(files, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("compiling the workflows: %w", err)
	}
	return &rules{set: set, checks: checks, site: site}, nil
}

func (r *rules) find(name string) (actions.Site, bool) { return r.site, name == r.site.Name }

// running is an engine that runs the rules.
type running struct {
	*engine.Engine
	stop func() error
}

// run starts an engine.
func (r *rules) run(ctx context.Context, on *bus.Bus) running { return r.told(ctx, on, nil) }

// told starts an engine that tells what happens. It is not called any more when
// the engine has stopped.
func (r *rules) told(ctx context.Context, on *bus.Bus, tell func(machine.Mark)) running {
	e := engine.New(slog.New(slog.DiscardHandler), on, engine.Options{
		Programs: func(context.Context) (*workflow.Set, error) { return r.set, nil }, Sites: r.find, Schemas: r.checks, Told: tell,
	})
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	return running{e, func() error {
		cancel()
		return <-ended
	}}
}

// folded waits until the engine has folded so many inputs, and returns how long
// each took from the first look at which some were, in microseconds.
func (r running) folded(ctx context.Context, n int) (float64, error) {
	var begun, ended time.Time
	first := uint64(0)
	err := until(ctx, func() bool {
		now := r.Figures().Folded
		if begun.IsZero() && now > 0 {
			begun, first = time.Now(), now
		}
		ended = time.Now()
		return now >= uint64(n) //nolint:gosec // a count is not negative.
	})
	if err != nil {
		return 0, fmt.Errorf("%d of %d events were handled: %w", r.Figures().Folded, n, err)
	}
	return float64(ended.Sub(begun).Microseconds()) / float64(max(n-int(first), 1)), nil
}

// publish stores triggers, many at a time, and waits until they are there.
func publish(ctx context.Context, on *bus.Bus, n int, of func(i int) (id string, data event.Trigger)) error {
	const under = 4096
	waiting := make([]*bus.Future, 0, under)
	for i := range n {
		subject, e, err := message.Trigger(of(i))
		if err != nil {
			return fmt.Errorf("making an event: %w", err)
		}
		waiting = append(waiting, on.PublishAsync(subject, e))
		if len(waiting) < under && i < n-1 {
			continue
		}
		for _, future := range waiting {
			if _, err := future.Wait(ctx); err != nil {
				return fmt.Errorf("publishing an event: %w", err)
			}
		}
		waiting = waiting[:0]
	}
	return nil
}

// shut closes the bus.
func shut(ctx context.Context, b *bus.Bus) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		return fmt.Errorf("closing the bus: %w", err)
	}
	return nil
}
