package workflow

import (
	"encoding/json"
	"strings"
	"time"

	"cel.dev/cel-go/cel"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// KindFact is trigger.kind of a run that a fact started.
const KindFact = "fact"

// Happened is a trigger or a fact that came.
type Happened struct {
	ID, Source string
	Topic      Topic
	// Trigger is the trigger's data. Of a fact it holds the site, the fact's name
	// as Event, its data as Properties and its time.
	Trigger event.Trigger
	// Fact is the fact's data, or nil.
	Fact map[string]any
	// Session is the session key. Of a fact it is all that tells the visitor.
	Session string

	rest *rest // what was not read yet; nil when all was
}

// ReadHappened reads a trigger or a fact. It is not ok for an event of another
// type.
func ReadHappened(e event.Envelope) (h Happened, ok bool, err error) {
	h = Happened{ID: e.ID, Source: e.Source, Session: e.Subject}
	if kind, isTrigger := triggerKind(e.Type); isTrigger {
		h.Topic.Kind = kind
		if h.Trigger, err = readTrigger(e); err != nil {
			return h, true, err
		}
		h.Topic.Name = h.Trigger.Event
		h.Session = event.SessionKey(h.Trigger.Site, h.Trigger.Visitor)
		return h, true, nil
	}
	name, isFact := strings.CutPrefix(e.Type, "chat.parley.event.")
	provider, fact, three := strings.Cut(strings.TrimSuffix(name, ".v1"), ".")
	if !isFact || !three {
		return h, false, nil
	}
	h.Topic = Topic{Name: fact, Provider: provider}
	var common event.Occurrence
	if err := json.Unmarshal(e.Data, &common); err != nil {
		return h, true, fault.New(fault.SchemaViolation, "reading the fact %s: %s", fact, err)
	}
	if err := json.Unmarshal(e.Data, &h.Fact); err != nil {
		return h, true, fault.New(fault.SchemaViolation, "reading the fact %s: %s", fact, err)
	}
	h.Session = common.Session
	h.Trigger = event.Trigger{
		Site: common.Site, Event: fact, Properties: h.Fact, URL: common.Page, OccurredAt: common.At,
	}
	return h, true, nil
}

// readTrigger returns the trigger's data.
func readTrigger(trigger event.Envelope) (event.Trigger, error) {
	var data event.Trigger
	if err := json.Unmarshal(trigger.Data, &data); err != nil {
		return data, fault.New(fault.SchemaViolation, "reading the trigger: %s", err)
	}
	return data, nil
}

// Outcome is what became of a step, for expressions.
type Outcome struct {
	// Status is a result's status; of a wait_for "happened" or "timed_out".
	Status   string `json:"status"`
	Verified bool   `json:"verified,omitempty"`
	// Reason is why it failed, or "".
	Reason string `json:"reason,omitempty"`
	// Output is the action's output, the awaited event's data, or the answer of an
	// HTTP call: {"code": 200, "body": …}.
	Output map[string]any `json:"output,omitempty"`
}

// RunInfo is what expressions see of the run.
type RunInfo struct {
	ID        string
	Version   int
	StartedAt time.Time
	// Now is the time of the event that is being handled. There is no other clock.
	Now time.Time
}

// Scene is what expressions are evaluated on. Only Start and Site are needed.
// Many programs may share one, in one goroutine; nothing of it may change after
// the first evaluation.
type Scene struct {
	// Start is what started the run.
	Start Happened
	// Event is what `event` is, when it is not Start: see Op.Event.
	Event *Happened
	// Visitor is whom it is about; the zero value is Start's.
	Visitor event.Visitor
	Site    actions.Site
	// Steps are the outcomes of steps, by their names.
	Steps map[string]Outcome
	Run   RunInfo

	trigger, visitor, site, event *record
}

// Vars are the variables of a program's expressions.
type Vars struct {
	program *Program
	scene   *Scene
	steps   *record
	run     *record
}

// Vars returns the variables for the scene.
func (p *Program) Vars(scene *Scene) *Vars { return &Vars{program: p, scene: scene} }

// ResolveName returns the variable of the name, as CEL asks for it.
func (v *Vars) ResolveName(name string) (any, bool) {
	s, known := v.scene, v.program.known
	switch name {
	case "trigger":
		if s.trigger == nil {
			s.trigger = known.ofTrigger(&s.Start)
		}
		return s.trigger, true
	case "visitor":
		if s.visitor == nil {
			s.visitor = known.ofVisitor(s)
		}
		return s.visitor, true
	case "site":
		if s.site == nil {
			s.site = &record{shape: known["site"], values: map[string]any{
				"name": s.Site.Name, "provider": s.Site.Provider, "mode": s.Site.Mode, "url": s.Site.URL, "app_id": s.Site.AppID,
			}}
		}
		return s.site, true
	case "event":
		if s.event == nil {
			s.event = known.ofEvent(s)
		}
		return s.event, true
	case "steps":
		if v.steps == nil {
			v.steps = v.program.outcomes(s.Steps)
		}
		return v.steps, true
	case "run":
		if v.run == nil {
			v.run = &record{shape: known["run"], values: map[string]any{
				"id": s.Run.ID, "workflow": v.program.Name, "version": int64(max(s.Run.Version, v.program.Version)),
				"started_at": s.Run.StartedAt, "now": s.Run.Now,
			}}
		}
		return v.run, true
	}
	return nil, false
}

// Parent returns nil: there are no other variables.
func (v *Vars) Parent() cel.Activation { return nil }

// common are the shapes that every expression may see.
func common() shapes {
	consent := newShape("consent", flagMember("analytics"), flagMember("advertising"), flagMember("functionality"),
		flagMember("personalization"), flagMember("gpc"))
	origin := newShape("origin", textMember("provider"), textMember("source_id"), textMember("message_id"), textMember("authenticated"))
	all := []*shape{
		consent, origin,
		newShape("trigger", textMember("id"), textMember("kind"), textMember("source"), textMember("event"),
			mapMember("properties"), mapMember("traits"), textMember("group"), textMember("url"), textMember("site"),
			timeMember("occurred_at"), timeMember("received_at"), consent.as("consent"), origin.as("origin")),
		newShape("visitor", textMember("user_id"), textMember("email"), textMember("anonymous_id"), flagMember("identified")),
		newShape("site", textMember("name"), textMember("provider"), textMember("mode"), textMember("url"), textMember("app_id")),
		newShape("run", textMember("id"), textMember("workflow"), wholeMember("version"), timeMember("started_at"), timeMember("now")),
		newShape("call", wholeMember("code"), anyMember("body")),
	}
	known := shapes{}
	for _, s := range all {
		known[s.name] = s
	}
	return known
}

// ofTrigger returns the variable trigger; what happened must not change any more.
func (s shapes) ofTrigger(h *Happened) *record { return &record{shape: s["trigger"], trigger: h} }

func flags(from map[string]*bool) map[string]any {
	values := map[string]any{}
	for name, flag := range from {
		if flag != nil {
			values[name] = *flag
		}
	}
	return values
}

func (s shapes) ofVisitor(scene *Scene) *record {
	v := scene.Visitor
	if v.Key() == "" {
		v = scene.Start.Trigger.Visitor
	}
	return &record{shape: s["visitor"], values: map[string]any{
		"user_id": v.UserID, "email": v.Email, "anonymous_id": v.AnonymousID, "identified": !v.Anonymous(),
	}}
}

func (s shapes) ofEvent(scene *Scene) *record {
	h := &scene.Start
	if scene.Event != nil {
		h = scene.Event
	}
	if of := s[factShape(h.Topic.Name)]; of != nil && h.Topic.Kind == "" {
		return &record{shape: of, values: h.Fact}
	}
	return s.ofTrigger(h)
}

// factShape returns the name of the shape of a fact.
func factShape(fact string) string { return "fact." + fact }

// outcomes returns the variable steps.
func (p *Program) outcomes(of map[string]Outcome) *record {
	values := make(map[string]any, len(of))
	for name, o := range of {
		step := map[string]any{"status": o.Status, "verified": o.Verified, "reason": o.Reason}
		if o.Output != nil {
			step["output"] = o.Output
		}
		values[variable(name)] = step
	}
	return &record{shape: p.steps, values: values}
}

// variable returns the name under which expressions see the step.
func variable(step string) string { return strings.ReplaceAll(step, "-", "_") }
