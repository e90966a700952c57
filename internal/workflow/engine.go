package workflow

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/telemetry"
)

// durable is the name of the engine's consumer: all workers share it.
const durable = "workflow"

// Options say what an engine works with. Rules, Sites and Schemas are needed.
type Options struct {
	Rules *Set
	// Sites returns the site of the name.
	Sites   func(name string) (actions.Site, bool)
	Schemas Validator
	// Grace is how long triggers that are being looked at may go on after the
	// stop. 0 is the bus's own.
	Grace time.Duration
	// Counted, if set, is told what became of each trigger: matched, ignored or
	// failed.
	Counted func(outcome string)
}

// Engine turns triggers on the bus into commands.
type Engine struct {
	log *slog.Logger
	bus *bus.Bus
	o   Options
}

// New returns an engine. Run starts it.
func New(log *slog.Logger, b *bus.Bus, o Options) *Engine {
	if o.Counted == nil {
		o.Counted = func(string) {}
	}
	return &Engine{log, b, o}
}

// Run takes triggers until ctx ends, and returns when those that it took are
// settled.
func (e *Engine) Run(ctx context.Context) error {
	err := e.bus.Consume(ctx, bus.ConsumeOptions{
		Stream: bus.StreamFlow, Durable: durable, Filters: []string{event.TriggerFilter()}, Grace: e.o.Grace,
	}, e.handle)
	if err != nil {
		return fmt.Errorf("running the workflows: %w", err)
	}
	return nil
}

// handle publishes what the rules want for one trigger. The trigger is settled
// when the commands are stored. A trigger that comes again after a crash gives
// the same commands, and the bus and the worker know them.
func (e *Engine) handle(ctx context.Context, d *bus.Delivery) error {
	trigger, err := d.Envelope()
	if err != nil {
		return err
	}
	ctx = telemetry.With(ctx, slog.String(telemetry.AttrTriggerID, trigger.ID))
	orders, err := e.decide(trigger, d.StoredAt)
	for _, order := range orders {
		future := e.bus.PublishAsync(order.Subject, order.Envelope)
		if err == nil {
			d.After(future)
			continue
		}
		// The trigger will be buried for the rules that failed. What the others
		// want is stored first.
		if _, unstored := future.Wait(ctx); unstored != nil {
			return fmt.Errorf("publishing a command of the rule %s: %w", order.Rule, unstored)
		}
	}
	e.tell(ctx, orders, err)
	return err
}

func (e *Engine) decide(trigger event.Envelope, arrived time.Time) ([]Order, error) {
	if err := e.o.Schemas.Validate(trigger.Type, trigger.Data); err != nil {
		return nil, fmt.Errorf("checking the trigger: %w", err)
	}
	site, err := e.site(trigger)
	if err != nil {
		return nil, err
	}
	return e.o.Rules.Decide(trigger, arrived, site, e.o.Schemas)
}

func (e *Engine) site(trigger event.Envelope) (actions.Site, error) {
	data, err := readTrigger(trigger)
	if err != nil {
		return actions.Site{}, err
	}
	site, ok := e.o.Sites(data.Site)
	if !ok {
		return actions.Site{}, fault.New(fault.UnknownSite, "the trigger names the site %q", data.Site).At("/site")
	}
	return site, nil
}

// tell counts and logs what became of the trigger.
func (e *Engine) tell(ctx context.Context, orders []Order, err error) {
	switch {
	case err != nil:
		e.o.Counted("failed")
	case len(orders) == 0:
		e.o.Counted("ignored")
	default:
		e.o.Counted("matched")
	}
	for i, order := range orders {
		if i > 0 && order.Rule == orders[i-1].Rule {
			continue
		}
		e.log.LogAttrs(ctx, slog.LevelDebug, "rule matched",
			slog.String(telemetry.AttrRule, order.Rule), slog.String(telemetry.AttrSession, order.Envelope.Subject))
	}
}
