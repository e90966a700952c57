package ours

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/schemas"
)

// busPath takes commands from the queue as a worker does, and does nothing.
type busPath struct {
	bus      *bus.Bus
	schemas  *event.Schemas
	sessions int
	sent     int
}

func startBusPath(ctx context.Context, s contend.Setup) (*busPath, error) {
	checks, err := event.NewSchemas(schemas.FS)
	if err != nil {
		return nil, fmt.Errorf("reading the schemas: %w", err)
	}
	b, err := openBus(ctx, bus.Options{Dir: s.Dir})
	if err != nil {
		return nil, err
	}
	return &busPath{bus: b, schemas: checks, sessions: s.Sessions}, nil
}

// Round publishes the commands, or works them off.
func (p *busPath) Round(o contend.Order) (contend.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if o.Prepare {
		return contend.Report{}, p.fill(ctx, o)
	}
	return p.work(ctx, o)
}

// fill publishes the commands of a round.
func (p *busPath) fill(ctx context.Context, o contend.Order) error {
	under := make([]*bus.Future, 0, o.Jobs)
	for _, pick := range o.Picks {
		command := message.Command(p.sent, pick)
		p.sent++
		under = append(under, p.bus.PublishAsync(message.CommandSubject(command), command))
	}
	for _, future := range under {
		if _, err := future.Wait(ctx); err != nil {
			return fmt.Errorf("publishing a command: %w", err)
		}
	}
	return nil
}

// work handles all commands of a round, and ends when they are settled.
func (p *busPath) work(ctx context.Context, o contend.Order) (contend.Report, error) {
	begun := time.Now()
	var done atomic.Int64
	reading, stop := context.WithCancel(ctx)
	defer stop()
	err := p.bus.Commands(reading, bus.CommandOptions{Lanes: p.sessions}, func(_ context.Context, d *bus.Delivery) error {
		e, err := d.Envelope()
		if err != nil {
			return fmt.Errorf("reading the command: %w", err)
		}
		if _, err := p.schemas.DecodeCommand(e); err != nil {
			return fmt.Errorf("checking the command: %w", err)
		}
		d.After(p.bus.PublishAsync(message.ResultSubject(e), message.Result(e)))
		if done.Add(1) == int64(o.Jobs) {
			stop()
		}
		return nil
	})
	if err != nil {
		return contend.Report{}, fmt.Errorf("taking commands: %w", err)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return contend.Report{}, fmt.Errorf("%d of %d commands came in time", done.Load(), o.Jobs)
	}
	return contend.Report{Jobs: int(done.Load()), WallUS: float64(time.Since(begun).Microseconds())}, nil
}

// Close ends the server.
func (p *busPath) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := p.bus.Close(ctx); err != nil {
		return fmt.Errorf("closing the bus: %w", err)
	}
	return nil
}
