package workflow

import (
	"errors"
	"fmt"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
)

// order is a command that a workflow asks for.
type order struct {
	rule, step string
	Command
}

// decide returns the commands of the workflows that the trigger starts, which
// have actions alone. An error says which could not be evaluated.
func decide(set *Set, trigger event.Envelope, site actions.Site, schemas Validator) ([]order, error) {
	start, _, err := ReadHappened(trigger)
	if err != nil {
		return nil, err
	}
	scene := &Scene{Start: start, Site: site}
	var orders []order
	var wrong []error
	for _, p := range set.Starting(start.Topic, start.Trigger.Site) {
		given, err := decideOne(p, scene, schemas)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("rule %s: %w", p.Name, err))
			continue
		}
		orders = append(orders, given...)
	}
	return orders, errors.Join(wrong...)
}

func decideOne(p *Program, scene *Scene, schemas Validator) ([]order, error) {
	vars := p.Vars(scene)
	if p.Cond != nil {
		if yes, err := p.Cond.Bool(vars); err != nil || !yes {
			return nil, err
		}
	}
	var orders []order
	for _, op := range p.Ops {
		if op.Action == nil {
			continue // It is for the machine.
		}
		command, err := op.Action.Command(vars, scene.Site, scene.Start.Trigger.Visitor, schemas)
		if err != nil {
			return nil, fmt.Errorf("step %s: %w", op.ID, err)
		}
		orders = append(orders, order{p.Name, op.ID, command})
	}
	return orders, nil
}
