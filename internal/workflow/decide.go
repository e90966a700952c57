package workflow

import (
	"errors"
	"fmt"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// Order is a command that a rule asks for, ready to be published.
type Order struct {
	Rule     string
	Subject  string
	Envelope event.Envelope
}

// Decide returns the orders that the workflows of actions alone give for the
// trigger, which arrived at that time, in the order of the workflows and of
// their steps. The same trigger gives the same orders, with the same ids. An
// error says which workflows could not be evaluated; the orders of the others
// are there too.
func (s *Set) Decide(trigger event.Envelope, arrived time.Time, site actions.Site, schemas Validator) ([]Order, error) {
	start, ok, err := ReadHappened(trigger)
	if err != nil || !ok {
		return nil, err
	}
	in := input{trigger, start, arrived.UTC(), &Scene{Start: start, Site: site, Run: RunInfo{Now: arrived.UTC()}}, schemas}
	var orders []Order
	var wrong []error
	for _, program := range s.Starting(start.Topic, start.Trigger.Site) {
		given, err := program.decide(in)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("rule %s: %w", program.Name, err))
			continue
		}
		orders = append(orders, given...)
	}
	return orders, errors.Join(wrong...)
}

// input is one trigger on its way through the programs.
type input struct {
	trigger event.Envelope
	start   Happened
	arrived time.Time
	scene   *Scene
	schemas Validator
}

// decide returns the program's orders: all of its steps, or none.
func (p *Program) decide(in input) ([]Order, error) {
	vars := p.Vars(in.scene)
	if p.Cond != nil {
		yes, err := p.Cond.Bool(vars)
		if err != nil || !yes {
			return nil, err
		}
	}
	orders := make([]Order, 0, len(p.Ops))
	for _, op := range p.Ops {
		if op.Kind != OpAction {
			return nil, fault.New(fault.BadRule, "step %s: %s needs a run", op.ID, op.Kind)
		}
		order, err := op.order(p.Name, in, vars)
		if err != nil {
			return nil, fmt.Errorf("step %s: %w", op.ID, err)
		}
		orders = append(orders, order)
	}
	return orders, nil
}

// order makes the op's command. Its id follows from the workflow, the trigger
// and the step.
func (op Op) order(workflow string, in input, vars *Vars) (Order, error) {
	trigger, visitor := in.trigger, in.start.Trigger.Visitor
	site := in.scene.Site
	site.Name = in.start.Trigger.Site
	session := event.SessionKey(site.Name, visitor)
	made, err := op.Action.Command(vars, site, visitor, in.schemas)
	if err != nil {
		return Order{}, err
	}
	spec := made.Spec
	e := event.Envelope{
		ID:     event.DerivedID(workflow, event.Key(trigger.Source, trigger.ID), op.ID),
		Source: "/workflows/" + workflow, Type: event.CommandType(spec.Name), Subject: session, Time: in.arrived, Data: made.Data,
		Extensions: map[string]string{
			event.ExtPartitionKey:  session,
			event.ExtCausationID:   trigger.ID,
			event.ExtCorrelationID: correlation(trigger),
			event.ExtExpiryTime:    in.arrived.Add(op.Action.Expires).Format(time.RFC3339Nano),
		},
	}
	if parent := trigger.Extension(event.ExtTraceParent); parent != "" {
		e.Extensions[event.ExtTraceParent] = parent
	}
	subject := event.WorkflowCommandSubject(spec.Scope, spec.Name, site.Name, session)
	return Order{Rule: workflow, Subject: subject, Envelope: e}, nil
}

// correlation returns the id of what began it all.
func correlation(trigger event.Envelope) string {
	if id := trigger.Extension(event.ExtCorrelationID); id != "" {
		return id
	}
	return trigger.ID
}
