package machine

import (
	"encoding/json"
	"maps"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/workflow"
)

// The events of manual triggers by which a person controls runs. The trigger's
// properties are a Control.
const (
	EventRepeat = "parley.run.repeat"
	EventCancel = "parley.run.cancel"
)

// Where a repetition begins: these, or the id of a step.
const (
	FromStart  = "start"
	FromFailed = "failed"
)

// Control says what to do with a run of the trigger's visitor.
type Control struct {
	Run string `json:"run"`
	// From is FromStart, FromFailed or the id of a step. "" is the start. Steps
	// before it keep the outcomes that they had.
	From string `json:"from,omitempty"`
	// Current repeats it on the current version of the workflow, in place of the
	// one that it had.
	Current bool `json:"current,omitempty"`
	// Input takes the place of the trigger's data.
	Input json.RawMessage `json:"input,omitempty"`
}

// control obeys a person. It reports whether the trigger was meant for that.
func (f *fold) control(s *Session, h workflow.Happened) (bool, error) {
	if h.Topic.Name != EventRepeat && h.Topic.Name != EventCancel {
		return false, nil
	}
	var c Control
	raw, err := json.Marshal(h.Trigger.Properties)
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	if err != nil {
		return true, errMalformed("control", err)
	}
	if h.Topic.Name == EventCancel {
		run := s.run(c.Run)
		if run == nil {
			return true, fault.New(fault.UnknownRun, "no run %s of the visitor is under way", c.Run)
		}
		f.end(s, run, Cancelled, "a person cancelled it")
		f.settle(s)
		return true, nil
	}
	old := s.run(c.Run)
	if old == nil {
		if old, err = f.world.Run(s.Site, s.Key, c.Run); err != nil {
			return true, err
		}
	}
	if old == nil {
		return true, fault.New(fault.UnknownRun, "there is no run %s of the visitor", c.Run)
	}
	err = f.repeat(s, old, c)
	f.settle(s)
	return true, err
}

// repeat starts a run again. Limits do not hold for it, and what it requires
// does.
func (f *fold) repeat(s *Session, old *Run, c Control) error {
	p, ok := f.m.programs.Program(old.Version)
	if c.Current {
		p, ok = f.m.programs.Current(old.Workflow)
	}
	if !ok {
		return fault.New(fault.UnknownRun, "the version of %s that the run had is gone", old.Workflow).
			WithFix("repeat it on the current version")
	}
	run := &Run{
		ID:       event.DerivedID(p.Name, p.Digest, f.in.moment().key()),
		Workflow: p.Name, Version: p.Digest, Site: s.Site, Session: s.Key, Status: Running, StartedAt: f.in.At,
		Key: old.Key, Again: f.in.moment().key(), Of: old.ID, Trigger: old.Trigger, After: maps.Clone(s.Seen),
	}
	if s.knew(run.ID) {
		return nil
	}
	run.Trigger.Hops = 0
	if len(c.Input) > 0 {
		if err := f.m.schemas.Validate(run.Trigger.Type, c.Input); err != nil {
			return errChecking(err)
		}
		run.Trigger.Data = c.Input
	}
	h, _, err := workflow.ReadHappened(run.Trigger.envelope())
	if err != nil {
		return err
	}
	if len(s.Runs) >= MaxRuns {
		return fault.New(fault.QueueFull, "%d runs of the visitor are under way", len(s.Runs))
	}
	first, err := f.from(run, old, p, c)
	if err != nil {
		return err
	}
	f.change.mark(MarkStarted, p.Name, "")
	f.admit(s, run, h)
	site, _ := f.m.sites(s.Site)
	switch status, why := f.promised(p, run, h, site); {
	case status == ConsentMissing, status == Undisclosed:
		f.end(s, run, status, why)
		return nil
	case first == workflow.End:
		f.end(s, run, Stopped, "there is nothing to do")
		return nil
	}
	run.Born = 1
	run.Threads = []*Thread{{ID: 1, At: first}}
	f.goOn(s, run, p, run.Threads[0])
	return nil
}

// from returns the op that the repetition begins with, and gives it the outcomes
// of the steps before.
func (f *fold) from(run, old *Run, p *workflow.Program, c Control) (int, error) {
	if c.From == "" || c.From == FromStart {
		if p.Cond == nil {
			return p.First, nil
		}
		vars, err := f.vars(run, p, nil, nil)
		if err != nil {
			return 0, err
		}
		yes, err := p.Cond.Bool(vars)
		if err != nil || yes {
			return p.First, err
		}
		run.Else = true
		return p.Otherwise, nil
	}
	id := c.From
	if id == FromFailed {
		if id = old.Broke; id == "" {
			return 0, fault.New(fault.UnknownRun, "no step of the run %s failed", old.ID).WithFix("repeat it from the start")
		}
	}
	op, ok := p.Op(id)
	if !ok {
		return 0, fault.New(fault.UnknownRun, "the workflow %s has no step %s", p.Name, id)
	}
	run.From, run.Else = id, old.Else
	for i := range p.Ops {
		before := &p.Ops[i]
		if before.Kind == workflow.OpJoin && before.Join.Of < op.Index && op.Index < before.Index {
			put(&run.Joined, before.ID, before.Join.Arms-1) // The other arms had their turn.
		}
		if before.Index >= op.Index {
			continue
		}
		if outcome, ok := old.Steps[before.ID]; ok {
			put(&run.Steps, before.ID, outcome)
		}
		if moment, ok := old.Events[before.ID]; ok {
			put(&run.Events, before.ID, moment)
		}
	}
	return op.Index, nil
}
