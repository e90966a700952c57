package machine

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/workflow"
)

const (
	// unanswered is how long after its expiry a command's result may still come.
	unanswered = 10 * time.Minute
	// callLife is how long an HTTP call is worth making.
	callLife = 24 * time.Hour
	// maxMessage bounds a message that a workflow makes, and maxBody the body of a
	// call, which travels as base64: the queue takes 256 KiB with the headers.
	maxMessage, maxBody = 200 << 10, 128 << 10
)

// advance leads the thread on until it waits or ends. The run ends with its last
// thread and result. An error is the workflow's: the caller ends the run.
func (f *fold) advance(s *Session, run *Run, p *workflow.Program, thread *Thread) error {
	f.changed(s)
	for range maxStepsAtOnce {
		if thread.At == workflow.End {
			run.Threads = slices.DeleteFunc(run.Threads, func(t *Thread) bool { return t == thread })
			f.finish(s, run)
			return nil
		}
		if thread.At < 0 || thread.At >= len(p.Ops) {
			return fault.New(fault.InternalError, "the run is at the op %d of %d", thread.At, len(p.Ops))
		}
		op := &p.Ops[thread.At]
		waits, err := f.do(s, run, p, thread, op)
		if err != nil {
			run.Broke = op.ID
			return fmt.Errorf("step %s: %w", op.ID, err)
		}
		if waits || run.Status != Running {
			return nil
		}
	}
	return fault.New(fault.InternalError, "the run did %d steps at once", maxStepsAtOnce)
}

// do does one op, and moves the thread on. It reports whether the thread waits,
// or is no more.
func (f *fold) do(s *Session, run *Run, p *workflow.Program, thread *Thread, op *workflow.Op) (waits bool, err error) {
	switch op.Kind {
	case workflow.OpAction:
		return f.act(s, run, p, thread, op)
	case workflow.OpHTTP:
		return f.call(s, run, p, thread, op)
	case workflow.OpWait:
		w := Wait{Kind: waitEvent, Step: op.ID}
		if op.Wait.Timeout > 0 {
			w.Timer, w.Due = strconv.Itoa(op.Index), f.in.At.Add(op.Wait.Timeout)
		}
		f.wait(s, run, thread, w)
		return true, nil
	case workflow.OpDelay:
		return f.delay(s, run, p, thread, op)
	case workflow.OpBranch:
		thread.At, err = f.branch(run, p, op)
		return false, err
	case workflow.OpParallel:
		return f.fork(s, run, p, thread, op)
	case workflow.OpJoin:
		if arms := run.Joined[op.ID] + 1; arms < op.Join.Arms {
			put(&run.Joined, op.ID, arms)
			run.Threads = slices.DeleteFunc(run.Threads, func(t *Thread) bool { return t == thread })
			return true, nil
		}
		delete(run.Joined, op.ID)
		thread.At = op.Next
		return false, nil
	case workflow.OpEmit:
		thread.At = op.Next
		return false, f.emit(run, p, op)
	case workflow.OpStop:
		return f.stop(s, run, p, thread, op)
	}
	return false, fault.New(fault.InternalError, "the op %q is unknown", op.Kind)
}

// vars returns the variables that the op's expressions see. When something
// happened just now, that is what `event` is.
func (f *fold) vars(run *Run, p *workflow.Program, op *workflow.Op, happened *workflow.Happened) (*workflow.Vars, error) {
	scene := workflow.Scene{
		Visitor: run.Visitor, Steps: map[string]workflow.Outcome{},
		Run: workflow.RunInfo{ID: run.ID, Version: p.Version, StartedAt: run.StartedAt, Now: f.in.At},
	}
	var err error
	if scene.Start, err = f.happenedAt(run.Trigger); err != nil {
		return nil, err
	}
	scene.Site, _ = f.m.sites(run.Site)
	scene.Event = happened
	if happened == nil && op != nil && op.Event != workflow.End {
		if moment, ok := run.Events[p.Ops[op.Event].ID]; ok {
			woke, err := f.happenedAt(moment)
			if err != nil {
				return nil, err
			}
			scene.Event = &woke
		}
	}
	for id, outcome := range run.Steps {
		seen := workflow.Outcome{Status: outcome.Status, Verified: outcome.Verified, Reason: outcome.Reason}
		if len(outcome.Output) > 0 {
			if err := json.Unmarshal(outcome.Output, &seen.Output); err != nil {
				seen.Output = nil // It is no object.
			}
		}
		scene.Steps[id] = seen
	}
	return p.Vars(&scene), nil
}

// effect returns the name of the op's effect: the same, whoever does the step
// again, and another one for a repetition that a person asked for.
func (r *Run) effect(op *workflow.Op) string {
	if r.Again == "" {
		return event.DerivedID(r.Workflow, r.Key, op.ID)
	}
	return event.DerivedID(r.Workflow, r.Key, op.ID, r.Again)
}

// act issues a command. When the queue has no room for it, the thread waits.
func (f *fold) act(s *Session, run *Run, p *workflow.Program, thread *Thread, op *workflow.Op) (waits bool, err error) {
	if thread.Wait != nil && thread.Wait.Kind == waitResult {
		return true, nil
	}
	vars, err := f.vars(run, p, op, nil)
	if err != nil {
		return false, err
	}
	site, ok := f.m.sites(run.Site)
	if !ok {
		return false, fault.New(fault.UnknownSite, "there is no site %q any more", run.Site)
	}
	if event.SessionKey(run.Site, run.Visitor) != run.Session {
		return false, fault.New(fault.UnknownSession, "nothing told who the visitor of the session is").
			WithFix("have a trigger of the visitor come first: it tells the identity")
	}
	command, err := op.Action.Command(vars, site, run.Visitor, f.m.schemas)
	if err != nil {
		return false, err
	}
	if len(command.Data) > maxMessage {
		return false, fault.New(fault.TooLarge, "the command has %d bytes, and %d are the most", len(command.Data), maxMessage)
	}
	if full, until := f.full(s, command.Spec.Name); full {
		f.wait(s, run, thread, Wait{Kind: waitRoom, Step: op.ID, Action: command.Spec.Name, Timer: strconv.Itoa(op.Index), Due: until})
		return true, nil
	}
	e := f.envelope(run, op, event.CommandType(command.Spec.Name), command.Data)
	expires := f.in.At.Add(op.Action.Expires)
	e.Extensions[event.ExtExpiryTime] = expires.UTC().Format(time.RFC3339Nano)
	f.change.Messages = append(f.change.Messages, Message{
		event.WorkflowCommandSubject(command.Spec.Scope, command.Spec.Name, run.Site, run.Session), e,
	})
	f.issued(s, run, thread, op, Open{op.ID, command.Spec.Name, expires.Add(unanswered)}, e.ID, op.Action.Await)
	return op.Action.Await, nil
}

// issued remembers a command or call that has no result yet, and has the thread
// wait for the result, or go on.
func (f *fold) issued(s *Session, run *Run, thread *Thread, op *workflow.Op, open Open, id string, await bool) {
	put(&run.Open, id, open)
	put(&run.Steps, op.ID, Outcome{Status: stepIssued, Command: id, At: f.in.At})
	run.note(Entry{At: f.in.At, What: "issued", Step: op.ID, ID: id, Text: open.Action})
	if await {
		f.wait(s, run, thread, Wait{Kind: waitResult, Step: op.ID, Timer: strconv.Itoa(op.Index), Due: open.Until})
		return
	}
	thread.Wait, thread.At = nil, op.Next
}

// full reports whether the workflows of the session have as many commands of the
// action under way as they may, and until when at most.
func (f *fold) full(s *Session, action string) (bool, time.Time) {
	n, until := 0, time.Time{}
	for _, run := range s.Runs {
		for _, open := range run.Open {
			if open.Action != action || !open.Until.After(f.in.At) {
				continue
			}
			n++
			if until.IsZero() || open.Until.Before(until) {
				until = open.Until
			}
		}
	}
	return n >= maxOpen, until
}

// envelope returns an event of the run's.
func (f *fold) envelope(run *Run, op *workflow.Op, typ string, data []byte) event.Envelope {
	e := event.Envelope{
		ID: run.effect(op), Source: "/workflows/" + run.Workflow, Type: typ, Subject: run.Session, Time: f.in.At.UTC(), Data: data,
		Extensions: map[string]string{
			event.ExtPartitionKey:  run.Session,
			event.ExtCausationID:   run.Trigger.ID,
			event.ExtCorrelationID: run.Trigger.Correlation,
		},
	}
	if run.Trigger.Trace != "" {
		e.Extensions[event.ExtTraceParent] = run.Trigger.Trace
	}
	return e
}

// call asks for an HTTP call.
func (f *fold) call(s *Session, run *Run, p *workflow.Program, thread *Thread, op *workflow.Op) (waits bool, err error) {
	vars, err := f.vars(run, p, op, nil)
	if err != nil {
		return false, err
	}
	request, err := op.HTTP.Request(vars)
	if err != nil {
		return false, err
	}
	if len(request.Body) > maxBody {
		return false, fault.New(fault.TooLarge, "the body of the call has %d bytes, and %d are the most", len(request.Body), maxBody)
	}
	expires := f.in.At.Add(callLife)
	call := Call{
		Key: run.effect(op), Site: run.Site, Session: run.Session, Workflow: run.Workflow, Run: run.ID, Step: op.ID,
		Method: request.Method, URL: request.URL, Headers: request.Headers, Body: request.Body, Secret: op.HTTP.Secret,
		TimeoutMS: int(op.HTTP.Timeout.Milliseconds()), Retries: op.HTTP.Retries, ExpiresAt: expires.UTC(),
		Cause: run.Trigger.ID, Correlation: run.Trigger.Correlation,
	}
	f.change.Calls = append(f.change.Calls, call)
	f.issued(s, run, thread, op, Open{op.ID, CallAction, expires.Add(unanswered)}, call.Key, op.HTTP.Await)
	return op.HTTP.Await, nil
}

// delay waits for a span or until a time.
func (f *fold) delay(s *Session, run *Run, p *workflow.Program, thread *Thread, op *workflow.Op) (waits bool, err error) {
	d := op.Delay
	due := d.At
	if d.Span != nil || d.Until != nil {
		vars, err := f.vars(run, p, op, nil)
		if err != nil {
			return false, err
		}
		if d.Until != nil {
			due, err = d.Until.Time(vars)
		} else {
			var span time.Duration
			span, err = d.Span.Span(vars)
			due = f.in.At.Add(span)
		}
		if err != nil {
			return false, err
		}
	} else if due.IsZero() {
		due = f.in.At.Add(d.For)
	}
	if !due.After(f.in.At) {
		thread.At = op.Next
		return false, nil
	}
	f.wait(s, run, thread, Wait{Kind: waitTime, Step: op.ID, Timer: strconv.Itoa(op.Index), Due: due.UTC()})
	return true, nil
}

// branch returns where the first arm leads whose condition holds.
func (f *fold) branch(run *Run, p *workflow.Program, op *workflow.Op) (int, error) {
	vars, err := f.vars(run, p, op, nil)
	if err != nil {
		return 0, err
	}
	for i, arm := range op.Arms {
		yes := true
		if arm.If != nil {
			if yes, err = arm.If.Bool(vars); err != nil {
				return 0, err
			}
		}
		if yes {
			run.note(Entry{At: f.in.At, What: "branch", Step: op.ID, Text: strconv.Itoa(i + 1)})
			return arm.Then, nil
		}
	}
	return op.Next, nil
}

// fork begins the arms of a parallel step, each in a thread of its own.
func (f *fold) fork(s *Session, run *Run, p *workflow.Program, thread *Thread, op *workflow.Op) (waits bool, err error) {
	run.Threads = slices.DeleteFunc(run.Threads, func(t *Thread) bool { return t == thread })
	begun := make([]*Thread, len(op.Parallel.Arms))
	for i, at := range op.Parallel.Arms {
		run.Born++
		begun[i] = &Thread{ID: run.Born, At: at}
	}
	run.Threads = append(run.Threads, begun...)
	for _, arm := range begun {
		if run.Status != Running {
			break
		}
		if err := f.advance(s, run, p, arm); err != nil {
			return false, err
		}
	}
	return true, nil
}

// emit makes a trigger for other workflows.
func (f *fold) emit(run *Run, p *workflow.Program, op *workflow.Op) error {
	vars, err := f.vars(run, p, op, nil)
	if err != nil {
		return err
	}
	trigger := event.Trigger{
		Site: run.Site, Visitor: run.Visitor, Event: op.Emit.Event, OccurredAt: f.in.At.UTC(), ReceivedAt: f.in.At.UTC(),
		Origin: &event.Origin{Provider: "workflow", SourceID: run.Workflow, Authenticated: event.AuthenticFull},
	}
	if event.SessionKey(run.Site, run.Visitor) != run.Session {
		return fault.New(fault.UnknownSession, "nothing told who the visitor of the session is").
			WithFix("have a trigger of the visitor come first: it tells the identity")
	}
	if start, err := f.happenedAt(run.Trigger); err == nil {
		trigger.Consent, trigger.URL = start.Trigger.Consent, start.Trigger.URL
	}
	if op.Emit.Properties != nil {
		value, err := op.Emit.Properties.Value(vars)
		if err != nil {
			return fmt.Errorf("properties: %w", err)
		}
		trigger.Properties, _ = value.(map[string]any) // A template of a map makes a map.
	}
	data, err := json.Marshal(trigger)
	if err != nil {
		return fault.New(fault.BadRule, "encoding the event: %s", err)
	}
	if len(data) > maxMessage {
		return fault.New(fault.TooLarge, "the event has %d bytes, and %d are the most", len(data), maxMessage)
	}
	e := f.envelope(run, op, event.TriggerType(event.KindEmitted), data)
	e.Extensions[extHops] = strconv.Itoa(run.Trigger.Hops + 1)
	f.change.Messages = append(f.change.Messages, Message{event.TriggerSubject("workflow", event.KindEmitted, run.Site, run.Session), e})
	put(&run.Steps, op.ID, Outcome{Status: stepDone, At: f.in.At})
	run.note(Entry{At: f.in.At, What: "emitted", Step: op.ID, ID: e.ID, Text: trigger.Event})
	return nil
}

// stop ends the run when the condition holds.
func (f *fold) stop(s *Session, run *Run, p *workflow.Program, thread *Thread, op *workflow.Op) (waits bool, err error) {
	vars, err := f.vars(run, p, op, nil)
	if err != nil {
		return false, err
	}
	if op.Stop.If != nil {
		yes, err := op.Stop.If.Bool(vars)
		if err != nil {
			return false, err
		}
		if !yes {
			thread.At = op.Next
			return false, nil
		}
	}
	reason := ""
	if op.Stop.Reason != nil {
		value, err := op.Stop.Reason.Value(vars)
		if err != nil {
			return false, fmt.Errorf("reason: %w", err)
		}
		reason = fmt.Sprint(value)
	}
	put(&run.Steps, op.ID, Outcome{Status: stepDone, At: f.in.At})
	f.end(s, run, Stopped, reason)
	return true, nil
}
