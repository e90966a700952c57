package worker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/worker"
)

// An action may ask what the vendor's webhooks have told of its own session.
func TestActionAsksForTakeovers(t *testing.T) {
	t.Parallel()
	asked := time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)
	one := &trial{spec: actions.Spec{Name: "trial.thing.ask", Idempotent: true}}
	one.run = func(ctx context.Context, _ *trial, n int64, env actions.Env) (actions.Done[trialOut], error) {
		if env.Takeover == nil {
			return actions.Done[trialOut]{}, errors.New("nobody can be asked")
		}
		told, err := env.Takeover(ctx)
		if !told.RequestedAt.Equal(asked) {
			err = errors.Join(err, errors.New("what was told is lost"))
		}
		return ran(n), err
	}
	var site, session string
	r := setupTrials(t, plan{worker: worker.Options{
		Takeover: func(_ context.Context, s, key string) (actions.Takeover, error) {
			site, session = s, key
			return actions.Takeover{RequestedAt: asked}, nil
		},
	}}, one)
	visitor := event.Visitor{UserID: "u-42"}
	r.succeed(order{action: "trial.thing.ask", visitor: visitor})
	if site == "" || session != event.SessionKey(site, visitor) {
		t.Errorf("it was asked for the session %s of site %s", session, site)
	}
}
