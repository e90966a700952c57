package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/actions"
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

// record returns the record of the running attempt.
func (w *Worker) record(j *job) record {
	p := j.progress
	return record{
		Params: j.params, StartedAt: j.started.UTC(), Worker: w.o.Name,
		Attempt: j.d.Attempt, Fence: j.d.Fence, Acted: p.acted || p.marked,
	}
}

// subject returns where the command's effect record is.
func (j *job) subject() string { return event.EffectSubject(j.at.Site, j.at.Session, j.key) }

// begin makes the effect record, or reads it. It returns the result when the
// command was done before.
//
// A command that was begun in another life of a worker, and not ended, is
// carried on: see reconcile and mayAct. When its record is of a later owner,
// the error is fault.StaleFence.
func (w *Worker) begin(ctx context.Context, j *job) (*stored, error) {
	p := j.progress
	if p.recorded {
		// Another attempt. Whoever else believes to own the command fails from here.
		return nil, w.write(ctx, j, w.record(j))
	}
	mine, err := encode(w.record(j))
	if err != nil {
		return nil, err
	}
	err = w.persist(ctx, func(ctx context.Context) (err error) {
		p.effect, err = w.o.Records.Begin(ctx, j.subject(), mine)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("making the effect record: %w", err)
	}
	p.recorded = true
	if p.effect.New || bytes.Equal(p.effect.Record, mine) {
		return nil, nil
	}
	var before record
	if err := json.Unmarshal(p.effect.Record, &before); err != nil {
		return nil, fault.New(fault.InternalError, "reading the effect record %s", j.subject()).Because(err)
	}
	switch {
	case before.Params != j.params:
		return nil, fault.New(fault.IDReused, "the command %s was sent before, with other parameters", j.e.ID)
	case before.Done != nil && !j.again(*before.Done):
		return before.Done, nil
	case before.Fence > j.d.Fence:
		return nil, staleError{byRecord, fault.New(fault.StaleFence, "the command was begun by %s with the fence %d, and ours is %d",
			before.Worker, before.Fence, j.d.Fence)}
	case before.Done == nil:
		p.inherited, p.acted = &before, before.Acted
	}
	return nil, w.write(ctx, j, w.record(j))
}

// write brings the effect record up to date, however long the bus is away. It
// fails with fault.StaleFence when somebody else has written it since.
func (w *Worker) write(ctx context.Context, j *job, r record) error {
	text, err := encode(r)
	if err != nil {
		return err
	}
	p := j.progress
	err = w.persist(ctx, func(ctx context.Context) error {
		receipt, err := w.o.Records.Finish(ctx, j.subject(), p.effect.Revision, text)
		if err == nil {
			p.effect.Revision = receipt.Sequence
			return nil
		}
		if !isStale(err) {
			return err
		}
		// An earlier try of ours may be stored, with its confirmation lost.
		now, unread := w.o.Records.Begin(ctx, j.subject(), text)
		if unread != nil {
			return unread
		}
		if !now.New && !bytes.Equal(now.Record, text) {
			return staleError{byRecord, err}
		}
		p.effect = now
		return nil
	})
	if err != nil {
		return fmt.Errorf("writing the effect record: %w", err)
	}
	return nil
}

func encode(r record) ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fault.New(fault.InternalError, "encoding an effect record").Because(err)
	}
	return text, nil
}

// again reports whether a command that is done is to be done again: somebody
// took it out of the dead letters.
func (j *job) again(done stored) bool {
	return j.d.Replay != 0 && done.Status != event.Succeeded && done.Status != event.Queued
}

// finish writes the result into the effect record.
func (w *Worker) finish(ctx context.Context, j *job, done stored) error {
	r := w.record(j)
	r.Acted, r.Done = false, &done
	return w.write(ctx, j, r)
}

// mayAct is called right before an action runs. An action that must not happen
// twice leaves a mark that it was begun; when that mark was there, and the page
// that would know the answer is gone, nothing is done.
func (w *Worker) mayAct(ctx context.Context, j *job, held bool) error {
	p := j.progress
	if !j.guarded || j.spec.Idempotent {
		return nil
	}
	if (p.acted || p.ran) && !held {
		return fault.New(fault.EffectUnknown, "%s was begun before, and nothing is left that would know how it ended", j.spec.Name)
	}
	if p.marked {
		return nil
	}
	p.marked = true
	return w.write(ctx, j, w.record(j))
}

// reconcile prepares to carry on with a command that another life of a worker
// has begun: nobody knows how far it came. What is known of the session is not
// trusted until the page has been looked at; an action whose effect is there
// finds it there, and changes nothing.
func (w *Worker) reconcile(j *job, doubt func()) {
	before := j.progress.inherited
	if before == nil {
		return
	}
	doubt()
	if j.progress.told {
		return
	}
	j.progress.told = true
	j.progress.evidence = append(j.progress.evidence, event.Evidence{
		Kind: "record", At: w.o.Now().UTC(),
		Seen: fmt.Sprintf("begun before by the worker %s, attempt %d: looked before acting", before.Worker, before.Attempt),
	})
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
