package machine

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/workflow"
)

// factTopic returns the topic of a fact's type, without reading its data.
func factTopic(typ string) (workflow.Topic, bool) {
	name, ok := strings.CutPrefix(typ, "chat.parley.event.")
	provider, fact, three := strings.Cut(strings.TrimSuffix(name, ".v1"), ".")
	return workflow.Topic{Name: fact, Provider: provider}, ok && three
}

// tell tells the runs under way of what happened. It reports whether one of them
// took note.
func (f *fold) tell(s *Session, h workflow.Happened, late bool) (touched bool) {
	for _, run := range slices.Clone(s.Runs) {
		if run.Status != Running || !slices.Contains(s.Runs, run) {
			continue // An earlier one ended it.
		}
		p, ok := f.m.programs.Program(run.Version)
		if !ok {
			f.lost(s, run)
			touched = true
			continue
		}
		took, err := f.hear(s, run, p, h, late)
		if err != nil {
			f.end(s, run, Failed, fault.From(err).Error())
		}
		touched = touched || took || err != nil
	}
	return touched
}

// lost ends a run whose program is gone.
func (f *fold) lost(s *Session, run *Run) {
	f.end(s, run, Failed, "the version of the workflow that it began with is gone")
}

// hear has one run take note of what happened: it is cancelled by it, or a
// thread that waits for it goes on.
func (f *fold) hear(s *Session, run *Run, p *workflow.Program, h workflow.Happened, late bool) (bool, error) {
	for _, cancel := range p.Bounds.CancelOn {
		if !cancel.Topic.Covers(h.Topic) {
			continue
		}
		yes, err := f.holds(run, p, nil, cancel.If, h)
		if err != nil {
			return true, err
		}
		if !yes {
			continue
		}
		if late && h.Trigger.OccurredAt.Before(run.After[h.Source]) {
			f.tardy(run, h)
			return true, nil
		}
		f.end(s, run, Cancelled, h.Topic.String())
		return true, nil
	}
	took := false
	for _, thread := range slices.Clone(run.Threads) {
		w := thread.Wait
		if w == nil || w.Kind != waitEvent || run.Status != Running {
			continue
		}
		op := &p.Ops[thread.At]
		if !op.Wait.Topic.Covers(h.Topic) {
			continue
		}
		yes, err := f.holds(run, p, op, op.Wait.If, h)
		if err != nil {
			run.Broke = op.ID
			return true, err
		}
		if !yes {
			continue
		}
		took = true
		if late && h.Trigger.OccurredAt.Before(w.After[h.Source]) {
			f.tardy(run, h)
			continue
		}
		f.disarm(run, w)
		moment := f.in.moment()
		put(&run.Events, op.ID, moment)
		put(&run.Steps, op.ID, Outcome{Status: stepHappened, Output: outputOf(h), At: f.in.At})
		run.note(Entry{At: f.in.At, What: "woken", Step: op.ID, ID: h.ID, Text: h.Topic.String()})
		thread.Wait, thread.At = nil, op.Wait.Then
		if err := f.advance(s, run, p, thread); err != nil {
			return true, err
		}
	}
	return took, nil
}

// holds evaluates a condition on what happened. A nil one holds.
func (f *fold) holds(run *Run, p *workflow.Program, op *workflow.Op, e *workflow.Expr, h workflow.Happened) (bool, error) {
	if e == nil {
		return true, nil
	}
	vars, err := f.vars(run, p, op, &h)
	if err != nil {
		return false, err
	}
	return e.Bool(vars)
}

// tardy records an event that came too late: what it tells was overtaken.
func (f *fold) tardy(run *Run, h workflow.Happened) {
	run.note(Entry{At: f.in.At, What: "late", ID: h.ID, Text: h.Topic.String()})
	f.change.mark(MarkLate, run.Workflow, "")
}

// outputOf returns what steps after a wait see of the event.
func outputOf(h workflow.Happened) json.RawMessage {
	from := h.Trigger.Properties
	if h.Fact != nil {
		from = h.Fact
	}
	raw, err := json.Marshal(from)
	if err != nil || len(raw) > maxOutput || from == nil {
		return nil
	}
	return raw
}

// answered gives a run the result of a command.
func (f *fold) answered(s *Session, run *Run, open Open, result event.Result) {
	delete(run.Open, result.CommandID)
	outcome := Outcome{
		Status: string(result.Status), Verified: result.Verified, Command: result.CommandID, At: f.in.At,
	}
	if len(result.Output) <= maxOutput {
		outcome.Output = result.Output
	}
	if result.Problem != nil {
		outcome.Reason = result.Problem.Reason
	}
	f.resolve(s, run, open.Step, outcome)
}

// resolve sets what became of a step, and goes on.
func (f *fold) resolve(s *Session, run *Run, step string, outcome Outcome) {
	put(&run.Steps, step, outcome)
	text := outcome.Status
	if outcome.Reason != "" {
		text += ": " + outcome.Reason
	}
	run.note(Entry{At: f.in.At, What: "result", Step: step, ID: outcome.Command, Text: text})
	p, ok := f.m.programs.Program(run.Version)
	if !ok {
		f.lost(s, run)
		return
	}
	op, ok := p.Op(step)
	if !ok {
		f.finish(s, run)
		return
	}
	goOn := op.Action != nil && op.Action.GoOn || op.HTTP != nil && op.HTTP.GoOn
	if outcome.failed() && !goOn {
		run.Broke = step
		f.end(s, run, Failed, "step "+step+": "+text)
		return
	}
	for _, thread := range slices.Clone(run.Threads) {
		if w := thread.Wait; w != nil && w.Kind == waitResult && w.Step == step {
			f.disarm(run, w)
			thread.Wait, thread.At = nil, op.Next
			f.goOn(s, run, p, thread)
			return
		}
	}
	f.finish(s, run)
}

// goOn advances the thread, and ends the run when a step cannot be done.
func (f *fold) goOn(s *Session, run *Run, p *workflow.Program, thread *Thread) {
	if err := f.advance(s, run, p, thread); err != nil {
		f.end(s, run, Failed, fault.From(err).Error())
	}
}

// makeRoom has the threads go on that wait for room among the commands of the
// action.
func (f *fold) makeRoom(s *Session, action string) {
	for _, run := range slices.Clone(s.Runs) {
		for _, thread := range slices.Clone(run.Threads) {
			w := thread.Wait
			if w == nil || w.Kind != waitRoom || w.Action != action || run.Status != Running {
				continue
			}
			if full, _ := f.full(s, action); full {
				return
			}
			p, ok := f.m.programs.Program(run.Version)
			if !ok {
				f.lost(s, run)
				break
			}
			f.disarm(run, w)
			thread.Wait = nil
			f.goOn(s, run, p, thread)
		}
	}
}

// wake folds the firing of a timer. It only wakes: the run decides.
func (f *fold) wake() error {
	if f.in.Session == "-" {
		return f.tick()
	}
	s, err := f.session(f.in.Site, f.in.Session)
	if err != nil {
		return err
	}
	run := s.run(f.in.run)
	if run == nil {
		f.change.mark(MarkStale, "", "")
		return nil
	}
	for _, thread := range run.Threads {
		w := thread.Wait
		if w == nil || w.Timer != f.in.timer || w.Due.IsZero() {
			continue
		}
		if f.now.Before(w.Due) {
			f.held(s, run, w)
			return nil
		}
		f.changed(s)
		f.due(s, run, thread)
		f.settle(s)
		return nil
	}
	f.change.mark(MarkStale, run.Workflow, "")
	return nil
}

// held sets a timer anew that fired too early. Unless it lies too far ahead for
// one timer, a clock jumped.
func (f *fold) held(s *Session, run *Run, w *Wait) {
	f.arm(run, w)
	if w.Due.Sub(w.Since) <= maxAhead {
		f.changed(s)
		run.note(Entry{At: f.in.At, What: "held", Step: w.Step, Text: "the timer fired " + w.Due.Sub(f.now).Round(time.Millisecond).String() + " too early"})
		f.change.mark(MarkHeld, run.Workflow, "")
	}
}

// due goes on after a wait that is over.
func (f *fold) due(s *Session, run *Run, thread *Thread) {
	p, ok := f.m.programs.Program(run.Version)
	if !ok {
		f.lost(s, run)
		return
	}
	w := *thread.Wait
	switch w.Kind {
	case waitDebounce, waitQuiet:
		next := waitQuiet
		if w.Kind == waitQuiet {
			next = waitLock
		}
		if err := f.gate(s, run, p, next); err != nil {
			f.end(s, run, Failed, fault.From(err).Error())
		}
		return
	case waitResult:
		f.unanswered(s, run, w.Step)
		return
	}
	op := &p.Ops[thread.At]
	thread.Wait = nil
	switch w.Kind {
	case waitEvent:
		put(&run.Steps, op.ID, Outcome{Status: stepTimedOut, At: f.in.At})
		run.note(Entry{At: f.in.At, What: "timed_out", Step: op.ID})
		thread.At = op.Wait.OnTimeout
	case waitTime:
		put(&run.Steps, op.ID, Outcome{Status: stepDone, At: f.in.At})
		run.note(Entry{At: f.in.At, What: "woken", Step: op.ID})
		thread.At = op.Next
	case waitRoom: // The op is tried again: the oldest commands do not count any more.
	}
	f.goOn(s, run, p, thread)
}

// unanswered gives up the wait for a result.
func (f *fold) unanswered(s *Session, run *Run, step string) {
	for id, open := range run.Open {
		if open.Step == step {
			delete(run.Open, id)
			f.resolve(s, run, step, Outcome{Status: string(event.Expired), Reason: string(fault.NoWorker), Command: id, At: f.in.At})
			return
		}
	}
}

// clockName is the name of the timer of the program's start with the number.
func clockName(start int) string { return "clock" + strconv.Itoa(start) }

// setClocks sets the clocks of schedules that are new or were changed.
func (f *fold) setClocks() error {
	for _, p := range f.m.programs.All() {
		for i, start := range p.Starts {
			if start.Schedule == nil {
				continue
			}
			site, err := f.world.Site(start.Schedule.Site)
			if err != nil {
				return err
			}
			clock, known := site.Clocks[p.Name+"."+clockName(i)]
			if known && clock.Schedule == start.Schedule.Text {
				continue
			}
			if err := f.windUp(p, i, f.in.At); err != nil {
				return err
			}
		}
	}
	return nil
}

// windUp sets the clock to its first time after the one given.
func (f *fold) windUp(p *workflow.Program, i int, after time.Time) error {
	schedule := p.Starts[i].Schedule
	site, err := f.site(schedule.Site)
	if err != nil {
		return err
	}
	next := schedule.Next(after)
	put(&site.Clocks, p.Name+"."+clockName(i), Clock{schedule.Text, next})
	if !next.IsZero() {
		f.change.Timers = append(f.change.Timers, f.clock(schedule.Site, p.Name, clockName(i), next))
	}
	return nil
}

func (f *fold) clock(site, program, name string, due time.Time) Timer {
	if far := f.now.Add(maxAhead); due.After(far) {
		due = far
	}
	return Timer{site, "-", program, name, due}
}

// tick makes the trigger of a schedule that is due, once, however long nobody
// was there, and winds the clock up again.
func (f *fold) tick() error {
	name := f.in.run + "." + f.in.timer
	known, err := f.world.Site(f.in.Site)
	if err != nil {
		return err
	}
	clock, ok := known.Clocks[name]
	p, current := f.m.programs.Current(f.in.run)
	i := -1
	if current {
		i = slices.IndexFunc(p.Starts, func(s workflow.Start) bool {
			return s.Schedule != nil && s.Schedule.Text == clock.Schedule && s.Schedule.Site == f.in.Site
		})
	}
	switch {
	case !ok:
		f.change.mark(MarkStale, f.in.run, "")
		return nil
	case i < 0:
		site, err := f.site(f.in.Site)
		if err == nil {
			delete(site.Clocks, name)
		}
		return err
	case f.now.Before(clock.Next):
		f.change.Timers = append(f.change.Timers, f.clock(f.in.Site, f.in.run, f.in.timer, clock.Next))
		f.change.mark(MarkHeld, f.in.run, "")
		return nil
	}
	schedule := p.Starts[i].Schedule
	trigger := event.Trigger{
		Site: schedule.Site, Visitor: schedule.Visitor, Event: p.Name, OccurredAt: clock.Next, ReceivedAt: f.in.At.UTC(),
		Origin: &event.Origin{Provider: "workflow", SourceID: p.Name, Authenticated: event.AuthenticFull},
	}
	data, err := json.Marshal(trigger)
	if err != nil {
		return errMalformed("schedule", err)
	}
	session := event.SessionKey(schedule.Site, schedule.Visitor)
	id := event.DerivedID(p.Name, name, clock.Next.UTC().Format(time.RFC3339Nano))
	f.change.Messages = append(f.change.Messages, Message{
		event.TriggerSubject("workflow", event.KindSchedule, schedule.Site, session),
		event.Envelope{
			ID: id, Source: "/workflows/" + p.Name, Type: event.TriggerType(event.KindSchedule), Subject: session,
			Time: f.in.At.UTC(), Data: data, Extensions: map[string]string{event.ExtPartitionKey: session, event.ExtCorrelationID: id},
		},
	})
	return f.windUp(p, i, f.in.At)
}
