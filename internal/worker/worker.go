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

	// REST reaches the vendors' REST APIs. Nil means that there is no way to them.
	REST actions.REST
	// Takeover returns what the vendor's webhooks have told of a session's visitor.
	// Nil means that nobody hears them.
	Takeover func(ctx context.Context, site, session string) (actions.Takeover, error)
	// VendorUser returns whom the vendor means by a session's visitor, as its
	// webhooks have told. Nil means that nobody hears them.
	VendorUser func(ctx context.Context, site, session string) (actions.VendorUser, error)

	// Name is the worker's name, for results, and for the partitions that it owns:
	// no two workers of a bus may have the same. "" is "worker".
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
	// Version is shown to whoever lists the workers.
	Version string
	// Records keeps the effect records. Nil means the bus.
	Records Records
	// HandOver, if set, is called at a planned move of a partition, after its
	// commands have ended and before it is given up: the sessions of the partition
	// are to be stored. Lost, if set, is called when the partition was taken from
	// us: what is held of its sessions is worth nothing. See bus.CommandOptions.
	HandOver func(ctx context.Context, partition int) error
	Lost     func(partition int)
	// Unguarded leaves out the effect records, so that their cost can be measured.
	// A command may then happen twice.
	Unguarded bool
	// Refused, if set, is called when a write was refused because another worker
	// owns the session now, with who refused it: lease, record, snapshot or page.
	Refused func(by string)
	// Done, if set, is called with every result that is published.
	Done func(ctx context.Context, r event.Result)
	// Repeated, if set, is called when a command was done before, with the result
	// that it had and has again.
	Repeated func(ctx context.Context, r event.Result)
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

// Records keeps one effect record for each command.
type Records interface {
	// Begin makes the record, unless there is one. Of any number of callers one
	// gets Effect.New; the others get the record that is there.
	Begin(ctx context.Context, subject string, record []byte) (bus.Effect, error)
	// Finish overwrites the record, if it still has the revision. If not, the
	// error is fault.StaleFence.
	Finish(ctx context.Context, subject string, revision uint64, record []byte) (bus.Receipt, error)
}

// OnBus returns the records that the bus keeps.
func OnBus(b *bus.Bus) Records { return onBus{b} }

type onBus struct{ *bus.Bus }

// Finish implements Records.
func (b onBus) Finish(ctx context.Context, subject string, revision uint64, record []byte) (bus.Receipt, error) {
	return b.Bus.Finish(ctx, subject, revision, record).Wait(ctx)
}

// Worker handles commands. Its methods may be called by many goroutines, for
// one session by one at a time.
type Worker struct {
	log     *slog.Logger
	o       Options
	makers  map[string]map[actions.Fact]actions.Spec // by provider
	results *results
	gate    *gate

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
	if o.Records == nil {
		o.Records = OnBus(o.Bus)
	}
	return &Worker{
		log: log, o: o, makers: makersOf(o.Catalog, o.Schemas),
		results: newResults(resultsKept), gate: newGate(), open: map[string]*progress{},
	}
}

// Run takes commands from the queue until the context ends, then lets those
// that run end within the grace, hands the sessions over, and leaves the other
// commands to the next worker. Between Drain and Resume it takes none.
func (w *Worker) Run(ctx context.Context) error {
	filters := make([]string, 0, len(w.o.Actions))
	for _, pattern := range w.o.Actions {
		filter, err := event.QueueFilter(pattern)
		if err != nil {
			return fmt.Errorf("reading the pattern of actions: %w", err)
		}
		filters = append(filters, filter)
	}
	options := bus.CommandOptions{
		Worker: w.o.Name, Version: w.o.Version, Filters: filters, Lanes: w.o.Lanes, Grace: w.o.Grace,
		Attempts: w.o.Attempts, Pause: retryPause, Dead: w.Dead,
		HandOver: w.o.HandOver, Lost: w.lost,
	}
	for {
		taking, leave, ok := w.gate.enter(ctx)
		if !ok {
			return nil
		}
		err := w.o.Bus.Commands(taking, options, w.Handle)
		leave()
		if err != nil {
			return fmt.Errorf("taking commands: %w", err)
		}
	}
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
