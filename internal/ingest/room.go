package ingest

import (
	"context"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/telemetry"
)

const (
	// roomEvery is how often the edge looks how much room the store has.
	roomEvery = time.Second
	// eventRoom is what an event takes in the store beside its body, at most.
	eventRoom = 2 << 10
)

// room is how much the store takes before it would drop what it holds. It is
// what there was at the last look, less what was stored since.
type room struct {
	ask  func(ctx context.Context) (int64, error) // nil means that there is no end
	left atomic.Int64
}

func newRoom(ask func(context.Context) (int64, error)) *room {
	r := &room{ask: ask}
	r.left.Store(math.MaxInt64)
	return r
}

// take takes room for the events of a body of so many bytes, or refuses them.
func (r *room) take(bytes, events int) *fault.Error {
	if r.ask == nil || r.left.Add(-int64(bytes)-int64(events)*eventRoom) >= 0 {
		return nil
	}
	return Later(fault.StoreFull, 30*time.Second, "the store of events is nearly full")
}

// look looks how much room there is. While nobody answers, the last look counts.
func (r *room) look(ctx context.Context, log *slog.Logger) {
	left, err := r.ask(ctx)
	if err != nil {
		log.LogAttrs(ctx, slog.LevelDebug, "room of the store not known", slog.Any(telemetry.AttrErr, err))
		return
	}
	r.left.Store(left)
}

// watch looks again and again, until ctx ends.
func (r *room) watch(ctx context.Context, log *slog.Logger) {
	tick := time.Tick(roomEvery)
	for {
		select {
		case <-tick:
			r.look(ctx, log)
		case <-ctx.Done():
			return
		}
	}
}
