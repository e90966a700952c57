package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/worker"
)

// refusals counts what was refused to a former owner, by who refused it.
type refusals struct {
	mu sync.Mutex // guards the field below
	by []string
}

func (r *refusals) add(by string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.by = append(r.by, by)
}

func (r *refusals) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.by)
}

// delivery makes the delivery of a command to the owner with the fence, as the
// queue would.
func (r *rig) delivery(subject string, e event.Envelope, fence uint64) *bus.Delivery {
	r.t.Helper()
	header, body := event.Encode(e)
	address, err := event.ParseCommandSubject(subject)
	must(r.t, err)
	return &bus.Delivery{
		Subject: subject, Stream: bus.StreamCommands, Sequence: 1, Attempt: 1, Header: header, Body: body,
		Partition: bus.PartitionOf(address.Site, address.Session), Fence: fence,
	}
}

// owner returns a further worker on the rig's bus and sessions.
func (r *rig) owner(name string, refused *refusals) *worker.Worker {
	o := r.options
	o.Name, o.Refused = name, refused.add
	return worker.New(r.log, o)
}

// effect returns the effect record of the command, and how to overwrite it.
func (r *rig) effect(subject string, e event.Envelope) (fields map[string]any, overwrite func(map[string]any)) {
	r.t.Helper()
	address, err := event.ParseCommandSubject(subject)
	must(r.t, err)
	at := event.EffectSubject(address.Site, address.Session, event.Key(e.Source, e.ID))
	effect, err := r.bus.Begin(r.t.Context(), at, nil)
	must(r.t, err)
	must(r.t, json.Unmarshal(effect.Record, &fields))
	return fields, func(changed map[string]any) {
		r.t.Helper()
		text, err := json.Marshal(changed)
		must(r.t, err)
		_, err = r.bus.Finish(r.t.Context(), at, effect.Revision, text).Wait(r.t.Context())
		must(r.t, err)
	}
}

// quick is an action that does nothing else.
func quick(_ context.Context, _ *trial, n int64, _ actions.Env) (actions.Done[trialOut], error) {
	return ran(n), nil
}

// TestFenceIsEverywhere proves that the owner's fence reaches the action, the
// effect record and the result.
func TestFenceIsEverywhere(t *testing.T) {
	t.Parallel()
	var seen uint64
	one := &trial{spec: actions.Spec{Name: "trial.thing.fenced", Idempotent: true}}
	one.run = func(_ context.Context, _ *trial, n int64, env actions.Env) (actions.Done[trialOut], error) {
		seen = env.Fence
		return ran(n), nil
	}
	r := setupTrials(t, plan{}, one)
	subject, e := r.command(order{action: "trial.thing.fenced"})
	must(t, r.owner("owner", &refusals{}).Handle(t.Context(), r.delivery(subject, e, 41)))
	result := bustest.Next[event.Result](t, r.bus, e)
	record, _ := r.effect(subject, e)
	if seen != 41 || result.Fence != 41 || record["fence"] != 41.0 || result.Worker != "owner" {
		t.Errorf("the action saw the fence %d, the record has %v, the result of %s %d; want 41",
			seen, record["fence"], result.Worker, result.Fence)
	}
}

// TestFormerOwnerIsRefused has a worker run an action while another one takes
// the command over and ends it. The former owner's result is stored nowhere.
func TestFormerOwnerIsRefused(t *testing.T) {
	t.Parallel()
	begun, block := make(chan struct{}), make(chan struct{})
	one := &trial{spec: actions.Spec{Name: "trial.thing.paused", Idempotent: true}}
	one.run = func(_ context.Context, _ *trial, n int64, _ actions.Env) (actions.Done[trialOut], error) {
		if n == 1 {
			close(begun)
			<-block
		}
		return ran(n), nil
	}
	r := setupTrials(t, plan{}, one)
	subject, e := r.command(order{action: "trial.thing.paused"})
	former, latter := &refusals{}, &refusals{}
	ended := make(chan error, 1)
	go func() { ended <- r.owner("former", former).Handle(t.Context(), r.delivery(subject, e, 1)) }()
	<-begun
	// The next owner is another process, with sessions of its own.
	next := setupOn(t, r)
	must(t, next.owner("latter", latter).Handle(t.Context(), next.delivery(subject, e, 2)))
	close(block)
	if err := <-ended; err == nil || fault.From(err).Reason != fault.StaleFence {
		t.Errorf("the former owner's command ended with %v, want it left to the owner", err)
	}
	if by := former.all(); !slices.Equal(by, []string{"record"}) {
		t.Errorf("the former owner was refused by %q", by)
	}
	if by := latter.all(); len(by) != 0 {
		t.Errorf("the owner was refused by %q", by)
	}
	results := r.history("res.>", 1)
	var result event.Result
	must(t, json.Unmarshal(results[0].Data, &result))
	if len(results) != 1 || result.Worker != "latter" || result.Fence != 2 {
		t.Errorf("%d results are stored, the first one by %s with the fence %d", len(results), result.Worker, result.Fence)
	}
	if len(result.Evidence) != 1 || result.Evidence[0].Kind != "record" {
		t.Errorf("the result does not tell that it was carried on with: %+v", result.Evidence)
	}
	record, _ := r.effect(subject, e)
	if record["worker"] != "latter" || record["done"] == nil {
		t.Errorf("the effect record is %v", record)
	}
}

// setupOn starts another rig on the bus of the first one, with sessions of its
// own, as another process has.
func setupOn(t testing.TB, r *rig) *rig {
	t.Helper()
	o := r.options
	o.Name = "another"
	return setup(t, plan{bus: r.bus, catalog: r.catalog, schemas: r.schemas, sites: r.sites, worker: o})
}

// TestRecordOfALaterOwner has a worker get a command that a later owner has
// begun: it does nothing.
func TestRecordOfALaterOwner(t *testing.T) {
	t.Parallel()
	one := &trial{spec: actions.Spec{Name: "trial.thing.late", Idempotent: true}}
	one.run = quick
	r := setupTrials(t, plan{}, one)
	subject, e := r.command(order{action: "trial.thing.late"})
	must(t, r.owner("owner", &refusals{}).Handle(t.Context(), r.delivery(subject, e, 9)))
	record, overwrite := r.effect(subject, e)
	delete(record, "done") // As if the owner had died before its end.
	overwrite(record)
	tests := []struct {
		fence   uint64
		refused []string
		runs    int64
	}{
		{8, []string{"record"}, 1},
		{10, nil, 2},
		{9, nil, 2}, // It is done, so the result is all that is given.
	}
	for _, test := range tests {
		refused := &refusals{}
		err := r.owner("other", refused).Handle(t.Context(), r.delivery(subject, e, test.fence))
		if (err != nil) != (test.refused != nil) || !slices.Equal(refused.all(), test.refused) || one.runs.Load() != test.runs {
			t.Errorf("fence %d: %v, refused by %q, %d runs; want refused by %q, %d runs",
				test.fence, err, refused.all(), one.runs.Load(), test.refused, test.runs)
		}
	}
}

// TestBegunTwice has another life of a worker begin an action that must not
// happen twice: whoever carries on says that nobody knows.
func TestBegunTwice(t *testing.T) {
	t.Parallel()
	for _, marked := range []bool{true, false} {
		t.Run(fmt.Sprintf("marked %t", marked), func(t *testing.T) {
			t.Parallel()
			one := &trial{spec: actions.Spec{Name: "trial.thing.once"}}
			one.run = quick
			r := setupTrials(t, plan{}, one)
			subject, e := r.command(order{action: "trial.thing.once"})
			must(t, r.owner("dead", &refusals{}).Handle(t.Context(), r.delivery(subject, e, 1)))
			record, overwrite := r.effect(subject, e)
			delete(record, "done")
			record["acted"] = marked // Else it died before it acted.
			overwrite(record)
			must(t, setupOn(t, r).owner("next", &refusals{}).Handle(t.Context(), r.delivery(subject, e, 2)))
			now, _ := r.effect(subject, e)
			done, _ := now["done"].(map[string]any)
			wanted, runs := string(event.Succeeded), int64(2)
			if marked {
				wanted, runs = string(event.Failed), 1
			}
			if done["status"] != wanted || one.runs.Load() != runs {
				t.Errorf("it ended as %v after %d runs, want %s after %d", done["status"], one.runs.Load(), wanted, runs)
			}
		})
	}
}

// TestDrain has a worker take nothing for a while.
func TestDrain(t *testing.T) {
	t.Parallel()
	block, begun := make(chan struct{}), make(chan struct{}, 9)
	one := &trial{spec: actions.Spec{Name: "trial.thing.steady", Idempotent: true}}
	one.run = func(_ context.Context, _ *trial, n int64, _ actions.Env) (actions.Done[trialOut], error) {
		begun <- struct{}{}
		<-block
		return ran(n), nil
	}
	r := setupTrials(t, plan{}, one)
	o := order{action: "trial.thing.steady"}
	subject, first := r.command(o)
	_, err := r.bus.Publish(t.Context(), subject, first)
	must(t, err)
	<-begun
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.worker.Drain(short); !errors.Is(err, fault.New(fault.DeadlineExceeded, "")) || !r.worker.Draining() {
		t.Errorf("draining a worker that works: %v, draining %t", err, r.worker.Draining())
	}
	close(block)
	must(t, r.worker.Drain(t.Context()))
	if result := bustest.Next[event.Result](t, r.bus, first); result.Status != event.Succeeded {
		t.Errorf("the command that ran ended as %s", result.Status)
	}
	_, second := r.command(o)
	_, err = r.bus.Publish(t.Context(), subject, second)
	must(t, err)
	must(t, r.worker.Drain(t.Context())) // Again is harmless.
	if runs := one.runs.Load(); runs != 1 {
		t.Errorf("a drained worker ran %d commands, want 1", runs)
	}
	r.worker.Resume()
	if result := bustest.Next[event.Result](t, r.bus, second); result.Status != event.Succeeded || r.worker.Draining() {
		t.Errorf("the command after the drain ended as %s", result.Status)
	}
}
