//go:build browser

package worker_test

import (
	"context"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// TestNeedsAreMadeAnew: a visitor's page may have been loaded again between two
// attempts, and it keeps what a key was answered with over that. So what an action
// needs is made with another key in each attempt, and what it does itself is not.
func TestNeedsAreMadeAnew(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var keys []string
	note := func(env actions.Env, what string) {
		mu.Lock()
		defer mu.Unlock()
		keys = append(keys, what+" "+env.KeyOf("do"))
	}
	boot := &trial{spec: actions.Spec{Name: "trial.thing.boot", Plane: actions.PlanePage, Idempotent: true, Makes: []actions.Fact{actions.Booted}}}
	boot.run = func(_ context.Context, _ *trial, n int64, env actions.Env) (actions.Done[trialOut], error) {
		note(env, "boot")
		return ran(n), nil
	}
	open := &trial{spec: actions.Spec{Name: "trial.thing.open", Plane: actions.PlanePage, Idempotent: true, Needs: []actions.Fact{actions.Booted}}}
	open.run = func(_ context.Context, _ *trial, n int64, env actions.Env) (actions.Done[trialOut], error) {
		note(env, "open")
		if n == 1 {
			return actions.Done[trialOut]{}, fault.New(fault.PageNavigated, "the page was loaded again")
		}
		return ran(n), nil
	}
	r := setupTrials(t, plan{pool: newWorld(t, plan{}).pool}, boot, open)
	result := r.do(order{action: "trial.thing.open"})
	if result.Status != event.Succeeded || result.Attempt != 2 {
		t.Fatalf("%s %+v, attempt %d", result.Status, result.Problem, result.Attempt)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(keys) != 4 {
		t.Fatalf("ran: %v", keys)
	}
	if diff := cmp.Diff(keys[1], keys[3]); diff != "" {
		t.Errorf("the action's own keys differ:\n%s", diff)
	}
	if keys[0] == keys[2] {
		t.Errorf("what it needs has one key in both attempts: %s", keys[0])
	}
}
