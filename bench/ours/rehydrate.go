package ours

import (
	"context"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/bench/contend"
)

// rehydrate opens and closes the windows of sessions that are hibernated: each
// command brings its session's page back first.
type rehydrate struct{ *warm }

func startRehydrate(ctx context.Context, s contend.Setup) (*rehydrate, error) {
	w, err := startWarm(ctx, s, rigOptions{})
	if err != nil {
		return nil, err
	}
	for _, h := range w.held {
		if err := w.hibernate(ctx, h.visitor); err != nil {
			return nil, errors.Join(err, w.end(ctx))
		}
	}
	return &rehydrate{w}, nil
}

// Round sends one command after another, each to a hibernated session, which
// is hibernated again afterwards.
func (r *rehydrate) Round(o contend.Order) (contend.Report, error) {
	ctx := context.Background() // Each command has its own deadline.
	before := r.sessions.Stats().Restored
	report, err := inTurns(o.Jobs, func(i int) (func() error, error) {
		if err := r.toggle(ctx, o.Picks[i], i); err != nil {
			return nil, err
		}
		return func() error { return r.hibernate(ctx, r.held[o.Picks[i]].visitor) }, nil
	})
	if restored := int(r.sessions.Stats().Restored - before); err == nil && restored != o.Jobs {
		err = fmt.Errorf("%d of %d sessions were restored", restored, o.Jobs)
	}
	return report, err
}
