package workflow

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
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

// Decide returns the orders that the rules give for the trigger, which arrived
// at that time, in the order of the rules and of their steps. The same trigger gives the same orders, with
// the same ids. An error says which rules could not be evaluated; the orders of
// the others are there too.
func (s *Set) Decide(trigger event.Envelope, arrived time.Time, site actions.Site, schemas Validator) ([]Order, error) {
	kind := kindOf(trigger.Type)
	data, err := readTrigger(trigger)
	if err != nil {
		return nil, err
	}
	in := input{trigger, data, arrived.UTC(), varsOf(kind, trigger.Source, data, site), schemas}
	var orders []Order
	var wrong []error
	for _, rule := range s.matching(kind, data.Event) {
		if len(rule.On.Sites) > 0 && !slices.Contains(rule.On.Sites, data.Site) {
			continue
		}
		given, err := rule.decide(in)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("rule %s: %w", rule.Name, err))
			continue
		}
		orders = append(orders, given...)
	}
	return orders, errors.Join(wrong...)
}

// input is one trigger on its way through the rules.
type input struct {
	trigger event.Envelope
	data    event.Trigger
	arrived time.Time
	vars    vars
	schemas Validator
}

// matching returns the rules that listen to the event, in their order.
func (s *Set) matching(kind, name string) []*compiled {
	exact, every := s.byEvent[[2]string{kind, name}], s.byEvent[[2]string{kind, ""}]
	if len(every) == 0 || name == "" {
		return exact
	}
	if len(exact) == 0 {
		return every
	}
	return slices.DeleteFunc(slices.Clone(s.rules), func(rule *compiled) bool {
		return rule.On.Trigger != kind || rule.On.Event != "" && rule.On.Event != name
	})
}

// decide returns the rule's orders: all of its steps, or none.
func (r *compiled) decide(in input) ([]Order, error) {
	if r.condition != nil {
		yes, err := holds(r.condition, in.vars)
		if err != nil || !yes {
			return nil, err
		}
	}
	orders := make([]Order, 0, len(r.steps))
	for _, step := range r.steps {
		order, err := step.order(r.Name, in)
		if err != nil {
			return nil, fmt.Errorf("step %s: %w", step.Name, err)
		}
		orders = append(orders, order)
	}
	return orders, nil
}

// order makes the step's command. Its id follows from the rule, the trigger and
// the step.
func (s compiledStep) order(rule string, in input) (Order, error) {
	trigger := in.trigger
	session := event.SessionKey(in.data.Site, in.data.Visitor)
	typ := event.CommandType(s.spec.Name)
	command, raw, err := s.data(in.data.Site, in.data.Visitor, in.vars)
	if err != nil {
		return Order{}, err
	}
	if err := in.schemas.Validate(typ, raw); err != nil {
		return Order{}, fault.New(fault.BadRule, "the parameters of %s do not fit", s.spec.Name).Because(err)
	}
	e := event.Envelope{
		ID:     event.DerivedID(rule, event.Key(trigger.Source, trigger.ID), s.Name),
		Source: "/workflows/" + rule, Type: typ, Subject: session, Time: in.arrived, Data: raw,
		Extensions: map[string]string{
			event.ExtPartitionKey:  session,
			event.ExtCausationID:   trigger.ID,
			event.ExtCorrelationID: correlation(trigger),
			event.ExtExpiryTime:    in.arrived.Add(s.Expires).Format(time.RFC3339Nano),
		},
	}
	if parent := trigger.Extension(event.ExtTraceParent); parent != "" {
		e.Extensions[event.ExtTraceParent] = parent
	}
	subject := event.WorkflowCommandSubject(s.spec.Scope, s.spec.Name, command.Site, session)
	return Order{Rule: rule, Subject: subject, Envelope: e}, nil
}

// data returns the step's command, also as JSON.
func (s compiledStep) data(site string, visitor event.Visitor, v vars) (event.Command, []byte, error) {
	params, err := s.params.value(v)
	if err != nil {
		return event.Command{}, nil, fmt.Errorf("params: %w", err)
	}
	raw, err := json.Marshal(params)
	if err != nil {
		return event.Command{}, nil, fault.New(fault.BadRule, "encoding the parameters: %s", err)
	}
	command := event.Command{Site: site, Visitor: visitor, Params: raw, AutoBoot: s.AutoBoot}
	if s.Timeout > 0 {
		command.TimeoutMS = new(int(s.Timeout.Milliseconds()))
	}
	if s.Action != s.spec.Name {
		command.Alias = s.Action
	}
	data, err := json.Marshal(command)
	if err != nil {
		return event.Command{}, nil, fmt.Errorf("encoding the command: %w", err)
	}
	return command, data, nil
}

// readTrigger returns the trigger's data.
func readTrigger(trigger event.Envelope) (event.Trigger, error) {
	var data event.Trigger
	if err := json.Unmarshal(trigger.Data, &data); err != nil {
		return data, fault.New(fault.SchemaViolation, "reading the trigger: %s", err)
	}
	return data, nil
}

// correlation returns the id of what began it all.
func correlation(trigger event.Envelope) string {
	if id := trigger.Extension(event.ExtCorrelationID); id != "" {
		return id
	}
	return trigger.ID
}

// kindOf returns the kind of a trigger's type.
func kindOf(typ string) string {
	for _, kind := range event.TriggerKinds() {
		if event.TriggerType(kind) == typ {
			return kind
		}
	}
	return ""
}

func varsOf(kind, source string, data event.Trigger, site actions.Site) vars {
	return vars{
		trigger: &triggerVars{
			Kind: kind, Source: strings.TrimPrefix(source, "/"), Event: data.Event, Properties: anyMap(data.Properties),
			Traits: anyMap(data.Traits), URL: data.URL, OccurredAt: data.OccurredAt,
		},
		visitor: &visitorVars{
			UserID: data.Visitor.UserID, Email: data.Visitor.Email, AnonymousID: data.Visitor.AnonymousID,
			Identified: !data.Visitor.Anonymous(),
		},
		site: &siteVars{Name: site.Name, Provider: site.Provider, Mode: site.Mode, URL: site.URL},
	}
}
