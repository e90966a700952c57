package engine

import (
	"context"
	"fmt"

	"github.com/parley-chat/parley/internal/workflow"
	"github.com/parley-chat/parley/internal/workflow/machine"
)

// shelf holds the programs that the machine works with. Those of long ago are
// fetched when a run that began with one is read. It belongs to one goroutine.
type shelf struct {
	*machine.Library
	// fetch is Options.Older; nil has nothing.
	fetch func(ctx context.Context, name, digest string) (*workflow.Program, bool, error)
	// gone are the digests that fetch does not have.
	gone map[string]bool
}

func newShelf(current *workflow.Set, fetch func(ctx context.Context, name, digest string) (*workflow.Program, bool, error)) *shelf {
	return &shelf{machine.NewLibrary(current), fetch, map[string]bool{}}
}

// serve returns the world, in which no run is read before its program is on the
// shelf, if there is one.
func (s *shelf) serve(ctx context.Context, w machine.World) machine.World {
	served := w
	served.Session = func(site, key string) (*machine.Session, error) {
		session, err := w.Session(site, key)
		if err != nil {
			return nil, err
		}
		return session, s.need(ctx, session.Runs...)
	}
	served.Run = func(site, session, id string) (*machine.Run, error) {
		run, err := w.Run(site, session, id)
		if err != nil || run == nil {
			return nil, err
		}
		return run, s.need(ctx, run)
	}
	return served
}

// need fetches the programs of the runs.
func (s *shelf) need(ctx context.Context, runs ...*machine.Run) error {
	if s.fetch == nil {
		return nil
	}
	for _, run := range runs {
		if _, there := s.Program(run.Version); there || s.gone[run.Version] {
			continue
		}
		p, ok, err := s.fetch(ctx, run.Workflow, run.Version)
		switch {
		case err != nil:
			return fmt.Errorf("finding the version %s of %s: %w", run.Version, run.Workflow, err)
		case ok:
			s.Library = s.With(p)
		default:
			s.gone[run.Version] = true
		}
	}
	return nil
}
