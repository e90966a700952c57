package ingest

import (
	"context"
	"runtime"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// turns bounds the bodies of one source that are parsed at one time to the number
// of processors. More would gain nothing, and in a flood each of them would stand
// before the other sources' in the line for a processor.
type turns chan struct{}

func newTurns() turns { return make(turns, runtime.GOMAXPROCS(0)) }

// wait waits for a turn, which end gives back. It fails when the sender is gone.
func (t turns) wait(ctx context.Context) *fault.Error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return Later(fault.Overloaded, time.Second, "the request ended before its turn")
	}
}

func (t turns) end() { <-t }
