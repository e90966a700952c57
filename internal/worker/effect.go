package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// record is the effect record of a command: what guards its effect against a
// second time, whichever worker takes the command.
type record struct {
	// Params is the hash of what was asked.
	Params string `json:"params"`
	// StartedAt, Worker, Attempt and Fence are of the last attempt.
	StartedAt time.Time `json:"started_at"`
	Worker    string    `json:"worker"`
	Attempt   int       `json:"attempt"`
	Fence     uint64    `json:"fence,omitempty"`
	// Acted is true when an action that must not happen twice was about to run.
	Acted bool `json:"acted,omitempty"`
	// Done is the result. It is nil while the command runs.
	Done *stored `json:"done,omitempty"`
}

// begin makes the effect record, or reads it. It returns the result when the
// command was done before.
//
// A command that was begun and not ended is carried on: see worker.attempt for
// what that means when the page is gone.
func (w *Worker) begin(ctx context.Context, j *job) (*stored, error) {
	p := j.progress
	subject := event.EffectSubject(j.at.Site, j.at.Session, j.key)
	mine := record{
		Params: j.params, StartedAt: j.started.UTC(), Worker: w.o.Name,
		Attempt: j.d.Attempt, Fence: w.o.Fence, Acted: p.acted,
	}
	text, err := json.Marshal(mine)
	if err != nil {
		return nil, fault.New(fault.InternalError, "encoding an effect record").Because(err)
	}
	if !p.recorded {
		effect, err := w.o.Bus.Begin(ctx, subject, text)
		if err != nil {
			return nil, fmt.Errorf("making the effect record: %w", err)
		}
		p.effect, p.recorded = effect, true
		if effect.New {
			return nil, nil
		}
		var before record
		if err := json.Unmarshal(effect.Record, &before); err != nil {
			return nil, fault.New(fault.InternalError, "reading the effect record %s", subject).Because(err)
		}
		if before.Params != j.params {
			return nil, fault.New(fault.IDReused, "the command %s was sent before, with other parameters", j.e.ID)
		}
		if before.Done != nil && !j.again(*before.Done) {
			return before.Done, nil
		}
		p.acted = before.Acted && before.Done == nil
	}
	if p.acted {
		mine.Acted = true
		if text, err = json.Marshal(mine); err != nil {
			return nil, fault.New(fault.InternalError, "encoding an effect record").Because(err)
		}
	}
	// Another attempt. Whoever else believes to own the command fails from here.
	return nil, w.overwrite(ctx, p, subject, text)
}

func (w *Worker) overwrite(ctx context.Context, p *progress, subject string, text []byte) error {
	receipt, err := w.o.Bus.Finish(ctx, subject, p.effect.Revision, text).Wait(ctx)
	if err != nil {
		return fmt.Errorf("recording an attempt: %w", err)
	}
	p.effect.Revision = receipt.Sequence
	return nil
}

// again reports whether a command that is done is to be done again: somebody
// took it out of the dead letters.
func (j *job) again(done stored) bool {
	return j.d.Replay != 0 && done.Status != event.Succeeded && done.Status != event.Queued
}

// finish writes the result into the effect record.
func (w *Worker) finish(ctx context.Context, j *job, done stored) *bus.Future {
	text, err := json.Marshal(record{
		Params: j.params, StartedAt: j.started.UTC(), Worker: w.o.Name,
		Attempt: j.d.Attempt, Fence: w.o.Fence, Done: &done,
	})
	if err != nil {
		return nil // An envelope always has a JSON form: it came from one.
	}
	subject := event.EffectSubject(j.at.Site, j.at.Session, j.key)
	return w.o.Bus.Finish(ctx, subject, j.progress.effect.Revision, text)
}

// mayAct is called right before an action runs. An action that must not happen
// twice leaves a mark that it was begun; when that mark was there, and the page
// that would know the answer is gone, nothing is done.
func (w *Worker) mayAct(ctx context.Context, j *job, held bool) error {
	p := j.progress
	if !j.writes() || j.spec.Idempotent {
		return nil
	}
	if p.acted && !held {
		return fault.New(fault.EffectUnknown, "%s was begun before, and its page is gone", j.spec.Name)
	}
	text, err := json.Marshal(record{
		Params: j.params, StartedAt: j.started.UTC(), Worker: w.o.Name,
		Attempt: j.d.Attempt, Fence: w.o.Fence, Acted: true,
	})
	if err != nil {
		return fault.New(fault.InternalError, "encoding an effect record").Because(err)
	}
	return w.overwrite(ctx, p, event.EffectSubject(j.at.Site, j.at.Session, j.key), text)
}

// schedule has the same action run once more, later. The request is durable,
// and the same for every attempt.
func (w *Worker) schedule(ctx context.Context, j *job, again actions.Again) error {
	params, err := json.Marshal(again.Params)
	if err != nil {
		return fault.New(fault.InternalError, "encoding the parameters of a later run").Because(err)
	}
	e, err := event.New(Source, event.CommandType(j.spec.Name), j.e.Subject, event.Command{
		Site: j.command.Site, Visitor: j.command.Visitor, Params: params,
	})
	if err != nil {
		return fmt.Errorf("making a later command: %w", err)
	}
	e.ID = event.DerivedID("again", j.key)
	e.Extensions = map[string]string{
		event.ExtPartitionKey:  j.at.Session,
		event.ExtCausationID:   j.e.ID,
		event.ExtCorrelationID: orElse(j.e.Extension(event.ExtCorrelationID), j.e.ID),
	}
	timer := event.TimerSubject(j.at.Site, j.at.Session, strings.ReplaceAll(j.spec.Name, ".", "-"))
	target := event.DueCommandSubject(j.spec.Scope, j.spec.Name, j.at.Site, j.at.Session)
	return w.persist(ctx, func(ctx context.Context) error {
		return w.o.Bus.Schedule(ctx, timer, again.At, target, e)
	})
}
