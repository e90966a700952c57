package worker_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/worker"
)

// A trial is an action of the tests' own, without a page, that counts its runs.
type trial struct {
	spec actions.Spec
	runs atomic.Int64
	run  func(ctx context.Context, t *trial, n int64, env actions.Env) (actions.Done[trialOut], error)
}

type trialIn struct {
	Text string `json:"text,omitempty"`
}

type trialOut struct {
	Run int64 `json:"run"`
}

func (t *trial) make() actions.Spec {
	spec := t.spec
	spec.Scope = event.ClassWrite
	if spec.Plane == "" {
		spec.Plane = actions.PlaneLocal
	}
	spec.Timeout = actions.Bounds{Min: 100 * time.Millisecond, Default: 10 * time.Second, Max: time.Minute}
	return actions.New(spec, func(ctx context.Context, env actions.Env, _ trialIn) (actions.Done[trialOut], error) {
		return t.run(ctx, t, t.runs.Add(1), env)
	}, nil)
}

// setupTrials starts a rig whose site knows the trials only.
func setupTrials(t testing.TB, p plan, trials ...*trial) *rig {
	t.Helper()
	provider := actions.Provider{Name: "trial", Title: "Trial"}
	files := fstest.MapFS{}
	for _, one := range trials {
		provider.Actions = append(provider.Actions, one.make())
		files["v1/command/"+one.spec.Name+".schema.json"] = &fstest.MapFile{Data: []byte(
			`{"type":"object","properties":{"params":{"type":"object","properties":{"text":{"type":"string"}},"additionalProperties":false}}}`)}
		files["v1/result/"+one.spec.Name+".schema.json"] = &fstest.MapFile{Data: []byte(`{"type":"object"}`)}
	}
	var err error
	p.catalog, err = actions.NewCatalog(provider)
	must(t, err)
	p.schemas, err = event.NewSchemas(files)
	must(t, err)
	p.sites = []actions.Site{{Name: "shop", Provider: "trial", URL: "https://shop.example.test/"}}
	return setup(t, p)
}

func ran(n int64) actions.Done[trialOut] { return actions.Done[trialOut]{Output: trialOut{n}} }

func TestPanicIsOneCommandsFailure(t *testing.T) {
	t.Parallel()
	one := &trial{spec: actions.Spec{Name: "trial.thing.panic", Idempotent: true}}
	one.run = func(_ context.Context, _ *trial, n int64, _ actions.Env) (actions.Done[trialOut], error) {
		if n == 1 {
			panic("a bug")
		}
		return ran(n), nil
	}
	r := setupTrials(t, plan{}, one)
	result := r.do(order{action: "trial.thing.panic"})
	if result.Status != event.Failed || reasonOf(result) != string(fault.InternalError) {
		t.Errorf("%s %+v", result.Status, result.Problem)
	}
	if letters := r.dead(1); letters[0].Problem.Reason != string(fault.InternalError) {
		t.Errorf("buried as %+v", letters[0].Problem)
	}
	r.succeed(order{action: "trial.thing.panic"})
}

func TestAttempts(t *testing.T) {
	t.Parallel()
	failing := func(times int64, reason fault.Reason) func(context.Context, *trial, int64, actions.Env) (actions.Done[trialOut], error) {
		return func(_ context.Context, _ *trial, n int64, _ actions.Env) (actions.Done[trialOut], error) {
			if n <= times {
				return actions.Done[trialOut]{}, fault.New(reason, "attempt %d", n)
			}
			return ran(n), nil
		}
	}
	tests := []struct {
		name       string
		idempotent bool
		times      int64
		reason     fault.Reason
		status     event.Status
		runs       int64
		buried     fault.Reason
	}{
		{"crash", true, 2, fault.PageCrashed, event.Succeeded, 3, ""},
		{"dead", true, 9, fault.BrowserCrashed, event.Failed, 3, fault.TooManyAttempts},
		{"once", false, 9, fault.EffectUnknown, event.Failed, 1, ""},
		{"load", false, 1, fault.PageLoadFailed, event.Succeeded, 2, ""},
		{"unseen", true, 9, fault.NotConfirmed, event.Failed, 1, ""},
		{"unmet", true, 9, fault.NotOpen, event.Failed, 1, ""},
		{"wrong", true, 9, fault.NotDeclared, event.Rejected, 1, ""},
		{"late", true, 9, fault.DeadlineExceeded, event.Failed, 1, fault.DeadlineExceeded},
	}
	trials := make([]*trial, len(tests))
	for i, test := range tests {
		reason := test.reason
		if reason == fault.EffectUnknown {
			reason = fault.PageCrashed // That is what makes it unknown.
		}
		trials[i] = &trial{spec: actions.Spec{Name: "trial.thing." + test.name, Idempotent: test.idempotent}, run: failing(test.times, reason)}
	}
	r := setupTrials(t, plan{}, trials...)
	buried := map[string]string{}
	for i, test := range tests {
		result := r.do(order{action: "trial.thing." + test.name})
		if result.Status != test.status || trials[i].runs.Load() != test.runs {
			t.Errorf("%s: %s %+v after %d runs, want %s after %d", test.name, result.Status, result.Problem, trials[i].runs.Load(), test.status, test.runs)
		}
		if test.status != event.Succeeded && reasonOf(result) != string(test.reason) {
			t.Errorf("%s: the reason is %s", test.name, reasonOf(result))
		}
		if test.buried != "" {
			buried[test.name] = string(test.buried)
		}
	}
	letters := r.dead(len(buried))
	if len(letters) != len(buried) {
		t.Errorf("%d commands were buried, want %d", len(letters), len(buried))
	}
	for _, letter := range letters {
		address, err := event.ParseCommandSubject(letter.DeadLetter.Subject)
		must(t, err)
		if name := address.Action[len("trial.thing."):]; buried[name] != letter.Problem.Reason {
			t.Errorf("%s was buried as %s", name, letter.Problem.Reason)
		}
	}
}

// TestStoppedInMidAction stops the worker while an action runs. The next worker
// does it again when that is harmless, and says so when it is not.
func TestStoppedInMidAction(t *testing.T) {
	t.Parallel()
	for _, idempotent := range []bool{true, false} {
		t.Run(fmt.Sprintf("idempotent %t", idempotent), func(t *testing.T) {
			t.Parallel()
			begun := make(chan struct{}, 1)
			one := &trial{spec: actions.Spec{Name: "trial.thing.slow", Idempotent: idempotent}}
			one.run = func(ctx context.Context, _ *trial, n int64, _ actions.Env) (actions.Done[trialOut], error) {
				if n == 1 {
					begun <- struct{}{}
					<-ctx.Done()
					return actions.Done[trialOut]{}, fmt.Errorf("waiting for ever: %w", context.Cause(ctx))
				}
				return ran(n), nil
			}
			r := setupTrials(t, plan{worker: worker.Options{Grace: time.Millisecond}}, one)
			subject, e := r.command(order{action: "trial.thing.slow"})
			_, err := r.bus.Publish(t.Context(), subject, e)
			must(t, err)
			<-begun
			r.restart()
			result := bustest.Next[event.Result](t, r.bus, e)
			if idempotent && (result.Status != event.Succeeded || one.runs.Load() != 2) {
				t.Errorf("%s %+v after %d runs", result.Status, result.Problem, one.runs.Load())
			}
			if !idempotent && (reasonOf(result) != string(fault.EffectUnknown) || one.runs.Load() != 1) {
				t.Errorf("%s %+v after %d runs", result.Status, result.Problem, one.runs.Load())
			}
		})
	}
}

// TestReplay sends a dead letter again. What failed is done again; what
// succeeded is not.
func TestReplay(t *testing.T) {
	t.Parallel()
	one := &trial{spec: actions.Spec{Name: "trial.thing.retry", Idempotent: true}}
	one.run = func(_ context.Context, _ *trial, n int64, _ actions.Env) (actions.Done[trialOut], error) {
		if n <= 3 {
			return actions.Done[trialOut]{}, fault.New(fault.BrowserCrashed, "attempt %d", n)
		}
		return ran(n), nil
	}
	r := setupTrials(t, plan{}, one)
	if result := r.do(order{action: "trial.thing.retry", id: "again"}); result.Status != event.Failed {
		t.Fatalf("%s", result.Status)
	}
	letter := r.dead(1)[0]
	_, err := r.bus.Replay(t.Context(), letter.Sequence)
	must(t, err)
	bustest.Until(t, "the replayed command has its result", func() bool { return len(r.ran("again")) == 2 })
	if result := r.ran("again")[1]; result.Status != event.Succeeded || one.runs.Load() != 4 {
		t.Errorf("%s after %d runs", result.Status, one.runs.Load())
	}
	if all := r.history("res.>", 2); len(all) != 2 {
		t.Errorf("%d results are stored", len(all))
	}
}

// TestAgain has an action ask for a later run, which the server's timer brings.
func TestAgain(t *testing.T) {
	t.Parallel()
	one := &trial{spec: actions.Spec{Name: "trial.thing.later", Idempotent: true}}
	one.run = func(_ context.Context, _ *trial, n int64, env actions.Env) (actions.Done[trialOut], error) {
		done := ran(n)
		if n == 1 {
			done.Queued = true
			done.Again = &actions.Again{At: env.Now().Add(50 * time.Millisecond), Params: trialIn{Text: "later"}}
		}
		env.Profile.Pending = map[string]any{"runs": n}
		return done, nil
	}
	r := setupTrials(t, plan{}, one)
	subject, e := r.command(order{action: "trial.thing.later"})
	if result := r.send(subject, e); result.Status != event.Queued {
		t.Fatalf("%s %+v", result.Status, result.Problem)
	}
	later := event.DerivedID("again", event.Key(e.Source, e.ID))
	bustest.Until(t, "the later run has its result", func() bool { return len(r.ran(later)) == 1 })
	if result := r.ran(later)[0]; result.Status != event.Succeeded || one.runs.Load() != 2 {
		t.Errorf("%s %+v after %d runs", result.Status, result.Problem, one.runs.Load())
	}
}

// TestBusAwayBeforeTheAction stops the server before a command begins: it waits,
// and does not count as an attempt.
func TestBusAwayBeforeTheAction(t *testing.T) {
	t.Parallel()
	server := bustest.Serve(t)
	block, begun := make(chan struct{}), make(chan struct{}, 1)
	one := &trial{spec: actions.Spec{Name: "trial.thing.wait", Idempotent: true}}
	one.run = func(ctx context.Context, _ *trial, n int64, _ actions.Env) (actions.Done[trialOut], error) {
		if n == 1 {
			begun <- struct{}{}
			select {
			case <-block:
			case <-ctx.Done():
				return actions.Done[trialOut]{}, errors.New("nobody let it go on")
			}
		}
		return ran(n), nil
	}
	r := setupTrials(t, plan{bus: server.Bus()}, one)
	subject, first := r.command(order{action: "trial.thing.wait"})
	_, second := r.command(order{action: "trial.thing.wait"})
	for _, e := range []event.Envelope{first, second} {
		_, err := r.bus.Publish(t.Context(), subject, e)
		must(t, err)
	}
	<-begun
	server.Stop()
	close(block) // The first one ends, and the second one begins, while the server is away.
	server.Start()
	attempts := 0
	for _, e := range []event.Envelope{first, second} {
		result := bustest.Next[event.Result](t, r.bus, e)
		attempts += result.Attempt
		if result.Status != event.Succeeded {
			t.Errorf("%s %+v, attempt %d", result.Status, result.Problem, result.Attempt)
		}
	}
	// A worker that was away for so long that others may think it dead begins anew.
	stats := r.bus.Stats()
	lapsed := stats.Evictions+stats.Fences+stats.StaleRefused > 0
	if runs := one.runs.Load(); !lapsed && (runs != 2 || attempts != 2) {
		t.Errorf("the action ran %d times, in %d attempts", runs, attempts)
	}
	bustest.Until(t, "the commands are settled", func() bool { return server.Messages("CMD") == 0 })
}
