// Package ours is Parley as a contender in its own benchmarks: the parts that
// the worker is made of, in one process, with the embedded NATS server.
package ours

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/bus"
)

// Start prepares the job that the setup names.
func Start(s contend.Setup) (contend.Job, error) {
	ctx := context.Background() // A contender lives as long as its process.
	switch s.Job {
	case "warm-action", "warm-throughput":
		return startWarm(ctx, s, rigOptions{})
	case "unowned":
		return startWarm(ctx, s, rigOptions{unowned: true})
	case "rehydrate":
		return startRehydrate(ctx, s)
	case "memory-held":
		return &memory{setup: s}, nil
	case "scale-1":
		return startScale(ctx, s, 1)
	case "scale-2":
		return startScale(ctx, s, 2)
	case "scale-4":
		return startScale(ctx, s, 4)
	case "failover":
		return startFailover(ctx, s)
	case "snapshots":
		return startSnapshots(ctx, s)
	case "cold-light":
		return startCold(ctx, s, false)
	case "cold-full":
		return startCold(ctx, s, true)
	case "bus-path":
		return startBusPath(ctx, s)
	case "ingest-single":
		return startIngest(ctx, s, 1)
	case "ingest-batch":
		return startIngest(ctx, s, message.BatchOf)
	case "event-path":
		return startEventPath(ctx, s)
	case "event-command":
		c, err := startEventCommand(ctx, s, 200)
		return rated{c}, err
	case "event-rules-10", "event-rules-1000":
		many := 10
		if s.Job == "event-rules-1000" {
			many = 1000
		}
		c, err := startEventCommand(ctx, s, many)
		return flooded{c}, err
	case "timers":
		return startTimers(ctx, s)
	case "backtest":
		return startBacktest(ctx, s)
	case "rest-action":
		return startRESTActions()
	case "rest-bare":
		return startRESTCalls()
	case "rest-bus":
		return startRESTBus(ctx, s)
	case "crm-record-sqlite", "crm-record-postgres":
		return startCRMRecord(ctx, s, strings.TrimPrefix(s.Job, "crm-record-"))
	case "crm-sustained-sqlite", "crm-sustained-postgres":
		return startCRMSustained(ctx, s, strings.TrimPrefix(s.Job, "crm-sustained-"))
	case "crm-loop-sqlite", "crm-loop-postgres":
		return startCRMLoop(ctx, s, strings.TrimPrefix(s.Job, "crm-loop-"))
	case "crm-calls":
		return startCRMCalls(ctx, s)
	case "visitor-idle":
		return startVisitorIdle(ctx, s)
	case "visitor-open":
		return startVisitorOpen(ctx, s)
	case "codec":
		return startCodec()
	case "sessions-logical", "sessions-belady", "sessions-least-recent":
		return startLogical(s.Job), nil
	}
	return nil, fmt.Errorf("no job is called %q", s.Job)
}

// openBus starts the embedded server with the streams.
func openBus(ctx context.Context, o bus.Options) (*bus.Bus, error) {
	b, err := bus.Open(ctx, slog.New(slog.DiscardHandler), o)
	if err != nil {
		return nil, fmt.Errorf("opening the bus: %w", err)
	}
	if err := b.EnsureTopology(ctx); err != nil {
		return nil, fmt.Errorf("making the streams: %w", err)
	}
	return b, nil
}
