package worker

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// The limits of a result.
const (
	maxOutput   = 256 << 10
	maxEvidence = 50
	maxSteps    = 50
	maxSeen     = 500 // characters of one text from a page
)

// toldError marks the error of a command whose result is published.
type toldError struct{ error }

// Unwrap returns the error.
func (t toldError) Unwrap() error { return t.error }

// reject publishes the result of a command that was not tried.
func (w *Worker) reject(ctx context.Context, j *job, why error) error {
	r := w.result(j, outcome{}, why)
	r.Status = event.Rejected
	e, r := w.envelope(ctx, j, r, j.own())
	return w.publish(ctx, j, conclusion{e, r, why, false})
}

// conclude publishes the result of a command that was tried. The error is what
// the bus is to know of it.
func (w *Worker) conclude(ctx context.Context, j *job, o outcome, why error) error {
	if why == nil && o.verdict == event.Contradicted {
		why = fault.New(fault.NotConfirmed, "%s ran, and the opposite of its effect was seen", j.spec.Name)
	}
	r := w.result(j, o, why)
	if why == nil {
		if err := output(&r, j, o); err != nil {
			why = err
			r.Status, r.Problem = event.Failed, problemOf(err)
		}
	}
	e, r := w.envelope(ctx, j, r, j.resultID())
	j.progress.concluded = &conclusion{e, r, why, j.guarded}
	return w.deliver(ctx, j)
}

// conclusion is how a command ended: its result, and why it did not succeed.
type conclusion struct {
	envelope event.Envelope
	result   event.Result
	why      error
	recorded bool // the result is to be in the effect record too
}

// deliver publishes how the command ended. What cannot be stored now is stored
// by the next attempt: nothing is done again for it.
func (w *Worker) deliver(ctx context.Context, j *job) error {
	err := w.publish(ctx, j, *j.progress.concluded)
	if _, told := errors.AsType[toldError](err); err == nil || told {
		w.forget(j)
	} else {
		w.leave(j)
	}
	return err
}

// repeat publishes a result again. Nothing is done.
func (w *Worker) repeat(ctx context.Context, j *job, s stored) error {
	w.answer(ctx, j, s.Envelope)
	j.d.After(w.o.Bus.PublishAsync(event.ResultSubject(j.at.Action, j.at.Site, j.at.Session), s.Envelope))
	w.log.LogAttrs(ctx, slog.LevelInfo, "command was done before", j.attrs()...)
	var r event.Result
	if w.o.Repeated != nil && json.Unmarshal(s.Envelope.Data, &r) == nil {
		w.o.Repeated(ctx, r)
	}
	return nil
}

// Dead publishes the result of a command that the bus buries without one. It is
// for bus.CommandOptions.Dead.
func (w *Worker) Dead(ctx context.Context, d *bus.Delivery, err error) {
	if _, ok := errors.AsType[toldError](err); ok {
		return
	}
	j, unreadable := w.newJob(d)
	if unreadable != nil {
		return
	}
	w.forget(j)
	e, r := w.envelope(ctx, j, w.result(j, outcome{}, err), j.own())
	w.answer(ctx, j, e)
	d.After(w.o.Bus.PublishAsync(event.ResultSubject(j.at.Action, j.at.Site, j.at.Session), e))
	w.report(ctx, r)
}

// publish publishes the result: to a caller that waits, into the effect record,
// and to the stream. The record comes before the stream, because it refuses a
// worker that does not own the session any more. When the command is to be
// buried, it waits until all that is stored, since a buried command has no other
// way to its result.
func (w *Worker) publish(ctx context.Context, j *job, c conclusion) error {
	e, r := c.envelope, c.result
	s := stored{Params: j.params, Envelope: e, Status: r.Status}
	if err := j.owned(); err != nil {
		return err
	}
	w.answer(ctx, j, e)
	if c.recorded {
		if err := w.finish(ctx, j, s); err != nil {
			return later(err)
		}
	}
	published := w.o.Bus.PublishAsync(event.ResultSubject(j.at.Action, j.at.Site, j.at.Session), e)
	w.report(ctx, r)
	if c.why != nil {
		w.log.LogAttrs(ctx, slog.LevelWarn, "command did not succeed",
			append(j.attrs(), slog.String("status", string(r.Status)), slog.Any("err", c.why))...)
	}
	verdict := w.burial(j, r, c.why)
	if verdict == nil {
		j.d.After(published)
	} else if _, err := published.Wait(ctx); err != nil {
		return later(err)
	}
	if r.Status != event.Rejected {
		w.results.keep(j.key, s)
	}
	if verdict != nil {
		return toldError{verdict}
	}
	return nil
}

// burial returns the error that has the bus bury the command, or nil when its
// result is all there is to say. Buried is what an operator may want to send
// again: what failed for reasons that are not in the command.
func (w *Worker) burial(j *job, r event.Result, why error) error {
	if why == nil || r.Status == event.Rejected {
		return nil
	}
	switch problem := fault.From(why); problem.Code {
	case fault.Expired, fault.Internal:
		return why
	case fault.Unavailable, fault.Exhausted:
		switch {
		case !transient(problem.Reason):
			return nil
		case j.d.Last:
			return why
		}
		return fault.New(fault.DeadlineExceeded, "no time is left for another attempt").Because(why)
	case fault.Invalid, fault.NotFound, fault.Conflict, fault.Unmet, fault.Denied, fault.Unsupported, fault.Stopping:
	}
	return nil
}

// result makes the result of what happened.
func (w *Worker) result(j *job, o outcome, why error) event.Result {
	p := j.progress
	r := event.Result{
		CommandID: j.e.ID, CommandSource: j.e.Source,
		Action: j.at.Action, Site: j.at.Site, Session: j.at.Session,
		Status: event.Succeeded, Verdict: event.Unverifiable,
		Evidence: tail(p.evidence, maxEvidence), Steps: tail(p.steps, maxSteps),
		Executor: p.executor, ExecutorWhy: clip(p.why), Worker: w.o.Name, Fence: j.d.Fence, Attempt: max(p.attempt, 1), StartedAt: j.started.UTC(),
	}
	switch {
	case j.spec.Plane == actions.PlaneLocal && o.done:
		r.Executor = "local"
	case j.spec.Plane == actions.PlaneREST && p.ran:
		r.Executor = executorREST
	}
	if o.done {
		r.Verdict, r.Advice = o.verdict, o.result.Advice
		if o.result.Queued {
			r.Status = event.Queued
		}
	}
	r.Verified = r.Verdict == event.Confirmed
	if why != nil {
		r.Problem = problemOf(why)
		r.Status, r.Verified = statusOf(why, p.ran), false
		if !o.done && p.ran {
			r.Verdict = event.Unconfirmed
		}
	}
	return r
}

// statusOf returns the status of a command that came to nothing.
func statusOf(why error, ran bool) event.Status {
	problem := fault.From(why)
	switch problem.Code {
	case fault.Invalid, fault.NotFound, fault.Denied, fault.Unsupported:
		return event.Rejected
	case fault.Conflict, fault.Unmet:
		if !ran && problem.Reason != fault.EffectUnknown {
			return event.Rejected
		}
	case fault.Expired:
		if problem.Reason == fault.CommandExpired {
			return event.Expired
		}
	case fault.Exhausted, fault.Unavailable, fault.Stopping, fault.Internal:
	}
	return event.Failed
}

func problemOf(err error) *event.Problem {
	e := fault.From(err)
	return &event.Problem{
		Code: string(e.Code), Reason: string(e.Reason), Message: clip(e.Error()),
		Field: e.Field, Fix: e.Fix, Retryable: fault.Retryable(e),
	}
}

// output puts the action's output into the result, and the hub's snippet beside
// it when the command came by a hub's name.
func output(r *event.Result, j *job, o outcome) error {
	raw, err := json.Marshal(o.result.Output)
	if err != nil {
		return fault.New(fault.InternalError, "encoding the output of %s", j.spec.Name).Because(err)
	}
	if len(raw) > maxOutput {
		return fault.New(fault.PageAnswerInvalid, "the output has %d bytes, and %d are the most", len(raw), maxOutput)
	}
	if j.alias.SnippetField != "" && j.spec.Snippet != nil {
		if raw, err = withMember(raw, j.alias.SnippetField, j.spec.Snippet(j.command.Params)); err != nil {
			return err
		}
	}
	r.Output = raw
	return nil
}

func withMember(object json.RawMessage, name, value string) (json.RawMessage, error) {
	members := map[string]json.RawMessage{}
	if err := json.Unmarshal(object, &members); err != nil {
		return nil, fault.New(fault.InternalError, "reading an output").Because(err)
	}
	text, err := json.Marshal(value)
	if err != nil {
		return nil, fault.New(fault.InternalError, "encoding a snippet").Because(err)
	}
	members[name] = text
	object, err = json.Marshal(members)
	if err != nil {
		return nil, fault.New(fault.InternalError, "encoding an output").Because(err)
	}
	return object, nil
}

// envelope completes the result with its duration, and wraps it.
func (w *Worker) envelope(ctx context.Context, j *job, r event.Result, id string) (event.Envelope, event.Result) {
	now := w.o.Now()
	r.DurationUS = now.Sub(j.started).Microseconds()
	data, err := json.Marshal(r)
	if err != nil { // Only an output that is no JSON could do that, and outputs come from an encoder.
		w.log.LogAttrs(ctx, slog.LevelError, "encoding a result", append(j.attrs(), slog.Any("err", err))...)
	}
	e := event.Envelope{
		ID: id, Source: Source, Type: event.ResultType(j.at.Action), Subject: j.at.Site + "/" + j.at.Session,
		Time: now.UTC(), Data: data, Extensions: map[string]string{
			event.ExtPartitionKey:  j.at.Session,
			event.ExtCausationID:   j.e.ID,
			event.ExtCorrelationID: orElse(j.e.Extension(event.ExtCorrelationID), j.e.ID),
		},
	}
	if trace := j.e.Extension(event.ExtTraceParent); trace != "" {
		e.Extensions[event.ExtTraceParent] = trace
	}
	return e, r
}

// answer gives the result to a caller that waits. Who does not get it finds it
// in the stream.
func (w *Worker) answer(ctx context.Context, j *job, e event.Envelope) {
	if j.d.ReplyTo == "" {
		return
	}
	if err := w.o.Bus.Answer(j.d.ReplyTo, e); err != nil {
		w.log.LogAttrs(ctx, slog.LevelWarn, "answering a caller", append(j.attrs(), slog.Any("err", err))...)
	}
}

func (w *Worker) report(ctx context.Context, r event.Result) {
	if w.o.Done != nil {
		w.o.Done(ctx, r)
	}
}

// attrs names the command in log lines.
func (j *job) attrs() []slog.Attr {
	return []slog.Attr{
		slog.String("command_id", j.e.ID), slog.String("action", j.at.Action), slog.String("site", j.at.Site),
		slog.String("session", j.at.Session), slog.Int("attempt", j.d.Attempt),
	}
}

// clip cuts a text that may come from a page, between characters.
func clip(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	count := 0
	for i := range text {
		if count == maxSeen {
			return text[:i]
		}
		count++
	}
	return text
}

// tail returns the last elements.
func tail[T any](all []T, most int) []T { return all[max(len(all)-most, 0):] }
