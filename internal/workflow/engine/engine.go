// Package engine folds what happens into the runs of workflows: it reads the
// log, has the machine decide, and stores what changed with what is to be done,
// all or nothing. It also makes the HTTP calls that workflows ask for, lists
// runs, and has them repeated.
//
// Files: engine.go has what an engine works with; log.go reads what happened;
// lead.go folds it; world.go holds the records, older.go the programs, and commit.go stores them;
// runs.go is for people; caller.go and sign.go make HTTP calls.
package engine

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/workflow"
	"github.com/parley-chat/parley/internal/workflow/machine"
)

// leadership is the name under which engines elect their leader.
const leadership = "workflows"

// Options say what an engine works with. Programs, Sites and Schemas are needed.
type Options struct {
	// Programs returns the current programs. The leader asks before it folds
	// anything, and after every call of Changed.
	Programs func(ctx context.Context) (*workflow.Set, error)
	// Sites returns the site of the name.
	Sites   func(name string) (actions.Site, bool)
	Schemas workflow.Validator
	// Older, if set, returns the program of the name and digest, which a run under
	// way, or one that is repeated, began with and which is not current; false
	// when nobody has it.
	Older func(ctx context.Context, name, digest string) (*workflow.Program, bool, error)
	// Told, if set, is told what happened after it was stored. It must be quick.
	Told func(mark machine.Mark)
}

// Engine runs workflows: of all engines on a bus one leads, and the others wait
// to take its place.
type Engine struct {
	log     *slog.Logger
	bus     *bus.Bus
	o       Options
	clock   clock
	stats   stats
	changed chan struct{} // holds one word when the programs changed
}

// New returns an engine. Run starts it.
func New(log *slog.Logger, b *bus.Bus, o Options) *Engine {
	return &Engine{log: log, bus: b, o: o, clock: newClock(), changed: make(chan struct{}, 1)}
}

// Changed tells the engine that the current programs may be others. Runs under
// way keep theirs.
func (e *Engine) Changed() {
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// stats are the engine's figures.
type stats struct {
	leads     atomic.Bool
	folded    atomic.Uint64 // inputs
	committed atomic.Uint64 // groups
	messages  atomic.Uint64 // of the groups
	largest   atomic.Int64  // messages of the largest group
	timers    atomic.Uint64 // set
	refused   atomic.Uint64 // commits, because another one leads
	waiting   atomic.Int64  // inputs that were read and not folded
	behind    atomic.Int64  // how old the last input was when it was stored, in nanoseconds
	jumped    atomic.Uint64 // timers that were held because a clock jumped
}

// Figures are what an engine counted. Only the leader's rise.
type Figures struct {
	Leads     bool
	Folded    uint64
	Commits   uint64
	Messages  uint64
	Largest   int64
	Timers    uint64
	Refused   uint64
	Waiting   int64
	Behind    time.Duration
	Jumped    uint64
	ClockJump time.Duration
}

// Figures returns what the engine counted until now.
func (e *Engine) Figures() Figures {
	s := &e.stats
	return Figures{
		Leads: s.leads.Load(), Folded: s.folded.Load(), Commits: s.committed.Load(), Messages: s.messages.Load(),
		Largest: s.largest.Load(), Timers: s.timers.Load(), Refused: s.refused.Load(), Waiting: s.waiting.Load(),
		Behind: time.Duration(s.behind.Load()), Jumped: s.jumped.Load(), ClockJump: e.clock.jumped(),
	}
}
