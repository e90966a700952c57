// Package worker handles one command: it checks the command, makes sure that
// its effect happens once, runs the action on the session's page, has the
// effect verified, and publishes the result.
package worker

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/session"
)

// Source is the CloudEvents source of results. It is the same for all workers,
// so that the result of a command has one id.
const Source = "/parley/worker"

// Options are the settings of a worker. Those of the first group are needed.
type Options struct {
	Bus      *bus.Bus
	Catalog  *actions.Catalog
	Schemas  *event.Schemas
	Sessions *session.Manager
	// Site returns the site of the name, and Sites returns all of them.
	Site  func(name string) (actions.Site, bool)
	Sites func() []actions.Site

	// Name is the worker's name, for results. "" is "worker".
	Name string
	// Actions are patterns of the actions to take, such as "botstar.widget.*".
	// None means all.
	Actions []string
	// Lanes is how many sessions are worked for at the same time. 0 is the bus's
	// own default.
	Lanes int
	// Grace is how long running commands may go on after the stop. 0 is the
	// bus's own default.
	Grace time.Duration
	// Attempts is how often a command is tried when a page or a browser fails.
	// 0 is 3.
	Attempts int
	// Fence is the owner's token, which rises with every owner of the sessions.
	// A page refuses a lower one than it has seen. 0 means that there is none.
	Fence uint64
	// Done, if set, is called with every result that is published.
	Done func(ctx context.Context, r event.Result)
	// Repeated, if set, is called when a command was done before, with the result
	// that it had and has again.
	Repeated func(ctx context.Context, r event.Result)
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

// Worker handles commands. Its methods may be called by many goroutines, for
// one session by one at a time.
type Worker struct {
	log     *slog.Logger
	o       Options
	makers  map[string]map[actions.Fact]actions.Spec // by provider
	results *results

	mu   sync.Mutex // guards the field below
	open map[string]*progress
}

// New returns a worker.
func New(log *slog.Logger, o Options) *Worker {
	if o.Name == "" {
		o.Name = "worker"
	}
	if o.Attempts == 0 {
		o.Attempts = 3
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Worker{
		log: log, o: o, makers: makersOf(o.Catalog, o.Schemas),
		results: newResults(resultsKept), open: map[string]*progress{},
	}
}

// Run takes commands from the queue until the context ends, then lets those
// that run end within the grace, and leaves the others to the next worker.
func (w *Worker) Run(ctx context.Context) error {
	filters := make([]string, 0, len(w.o.Actions))
	for _, pattern := range w.o.Actions {
		filter, err := event.QueueFilter(pattern)
		if err != nil {
			return fmt.Errorf("reading the pattern of actions: %w", err)
		}
		filters = append(filters, filter)
	}
	err := w.o.Bus.Commands(ctx, bus.CommandOptions{
		Filters: filters, Lanes: w.o.Lanes, Grace: w.o.Grace,
		Attempts: w.o.Attempts, Pause: retryPause, Dead: w.Dead,
	}, w.Handle)
	if err != nil {
		return fmt.Errorf("taking commands: %w", err)
	}
	return nil
}

// makersOf returns, for every provider, the action that makes a fact true
// without being told anything: the worker may insert it.
func makersOf(catalog *actions.Catalog, schemas *event.Schemas) map[string]map[actions.Fact]actions.Spec {
	const bare = `{"site":"s","visitor":{"user_id":"u"},"params":{}}`
	all := map[string]map[actions.Fact]actions.Spec{}
	for _, provider := range catalog.Providers() {
		makers := map[actions.Fact]actions.Spec{}
		for _, spec := range provider.Actions {
			if spec.Plane != actions.PlanePage || schemas.Validate(event.CommandType(spec.Name), []byte(bare)) != nil {
				continue
			}
			for _, fact := range spec.Makes {
				if _, taken := makers[fact]; !taken {
					makers[fact] = spec
				}
			}
		}
		all[provider.Name] = makers
	}
	return all
}
