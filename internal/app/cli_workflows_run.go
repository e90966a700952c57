package app

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/workflow"
	"github.com/parley-chat/parley/internal/workflow/engine"
	"github.com/parley-chat/parley/internal/workflow/machine"
)

// flowRunCmd starts a workflow, or shows what an event would lead to.
type flowRunCmd struct {
	Name string `arg:"" optional:"" help:"The workflow to start; it has to allow that by on: {manual: true}."`
	Site string `short:"s" help:"The site's name, or a page of it. Default: the only one."`
	who
	Property []string `short:"p" sep:"none" placeholder:"NAME=TEXT" help:"A property of the event; NAME:=JSON for a number, true, a list. Repeat it."`
	Dry      bool     `help:"Do nothing: show what the workflows of the files would do now."`
	Event    string   `placeholder:"NAME" help:"With --dry: this event happens, such as \"Pricing Viewed\"."`
	Kind     string   `default:"track" placeholder:"KIND" help:"With --event: the kind of trigger."`
	File     []string `placeholder:"FILE" help:"With --dry: workflow files. Default: those of the configuration."`
}

// Help is the long help.
func (*flowRunCmd) Help() string {
	return `Examples:

  publisher workflows run onboarding --site shop --visitor u-42
  publisher workflows run --dry --event "Pricing Viewed" -p plan=pro --site shop --visitor u-42 --email ada@example.test`
}

// Run starts it.
func (f *flowRunCmd) Run(ctx context.Context, c *cli) error {
	d, err := c.desk()
	if err != nil {
		return err
	}
	properties := map[string]any{}
	if err := addPairs(properties, f.Property, "--property"); err != nil {
		return err
	}
	site, err := c.site(d.cfg, f.Site)
	if err != nil {
		return err
	}
	if f.visitor().Key() == "" {
		return fault.New(fault.SchemaViolation, "the event names no visitor").WithFix("name one: --visitor ID, --email ADDRESS or --anonymous ID")
	}
	if f.Dry {
		return f.dry(d, site, properties)
	}
	if f.Name == "" {
		return fault.New(fault.BadRule, "no workflow is named").WithFix("name one, or use --dry with --event; `publisher workflows` lists them")
	}
	if err := d.open(ctx); err != nil {
		return err
	}
	defer d.shut(ctx)
	number, err := d.number(ctx, f.Name, "")
	if err != nil {
		return err
	}
	p, err := d.versions.Program(ctx, d.compiler, f.Name, number)
	if err != nil {
		return err
	}
	if !byHand(p) {
		return errNotByHand(f.Name)
	}
	if _, err := engine.Start(ctx, d.bus, f.Name, site, f.visitor(), properties); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Stdout, "asked for; `publisher workflows runs -w %s` shows the run\n", f.Name)
	return err
}

// errNotByHand says that a workflow exists and has another beginning.
func errNotByHand(name string) error {
	return fault.New(fault.BadRule, "nobody may start %s by hand", name).WithFix("add {manual: true} to its `on`; or, with --dry, name an --event")
}

// notByHand says why a person cannot start the workflow of the files.
func (d *desk) notByHand(name string, set *workflow.Set, there bool) error {
	if there {
		return errNotByHand(name)
	}
	var names []string
	for _, p := range set.Programs() {
		names = append(names, p.Name)
	}
	return fault.New(fault.BadRule, "the files have no workflow %q", name).WithFix("%s", nearest(name, names))
}

func byHand(p *workflow.Program) bool {
	for _, start := range p.Starts {
		if start.Topic.Kind == event.KindManual {
			return true
		}
	}
	return false
}

// dry lets the event happen to the files' workflows, in memory.
func (f *flowRunCmd) dry(d *desk, site string, properties map[string]any) error {
	set, err := d.files(f.File)
	if err != nil {
		return err
	}
	name, kind := f.Event, f.Kind
	if f.Name != "" && name == "" {
		name, kind = f.Name, event.KindManual
	}
	if name == "" {
		return fault.New(fault.SchemaViolation, "no event is named").WithFix(`name one: --event "Pricing Viewed"`)
	}
	if kind == event.KindManual {
		if p, ok := set.Program(name); !ok || !byHand(p) {
			return d.notByHand(name, set, ok)
		}
	}
	if !slices.Contains(event.TriggerKinds(), kind) {
		return fault.New(fault.SchemaViolation, "%q is no kind of trigger", kind).WithFix("%s", nearest(kind, event.TriggerKinds()))
	}
	now := time.Now().UTC()
	data := event.Trigger{Site: site, Visitor: f.visitor(), Event: name, Properties: properties, OccurredAt: now, ReceivedAt: now}
	_, e, err := ingest.Trigger("cli", "", data)
	if err != nil {
		return err
	}
	e.Type = event.TriggerType(kind)
	in, ok := machine.ReadInput(event.TriggerSubject("cli", kind, site, e.Subject), e, now)
	if !ok {
		return fault.New(fault.InternalError, "the event cannot be read")
	}
	world := machine.World{
		Session: func(site, key string) (*machine.Session, error) { return &machine.Session{Site: site, Key: key}, nil },
		Site:    func(name string) (*machine.Site, error) { return &machine.Site{Name: name}, nil },
		Run:     func(_, _, _ string) (*machine.Run, error) { return nil, nil }, //nolint:nilnil // There is none.
	}
	change, err := machine.New(machine.NewLibrary(set), d.cfg.Site, d.schemas).Step(world, in, now)
	if err != nil {
		return err
	}
	return d.would(change)
}

// would prints what a change would do.
func (d *desk) would(change machine.Change) error {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(d.Stdout, format+"\n", args...) }
	for _, err := range change.Refused {
		say("refused: %s", printable(err.Error()))
	}
	for _, m := range change.Messages {
		by := strings.TrimPrefix(m.Envelope.Source, "/workflows/")
		action, ok := event.ActionOfType(m.Envelope.Type)
		if !ok {
			say("%s: would emit %s", by, printable(string(m.Envelope.Data)))
			continue
		}
		var command event.Command
		if err := json.Unmarshal(m.Envelope.Data, &command); err != nil {
			return fmt.Errorf("reading a command: %w", err)
		}
		params, err := json.Marshal(command.Params)
		if err != nil {
			return fmt.Errorf("reading a command: %w", err)
		}
		say("%s: would send %s %s", by, action, printable(string(params)))
	}
	for _, call := range change.Calls {
		say("%s: would call %s %s", call.Workflow, call.Method, printable(call.URL))
	}
	for _, run := range change.Ended {
		say("%s: ends, %s%s", run.Workflow, run.Status, orNothing(run.Reason))
	}
	began := false
	for _, session := range change.Sessions {
		for _, run := range session.Runs {
			began = true
			say("%s: %s", run.Workflow, waits(run))
		}
	}
	for _, mark := range change.Marks {
		if mark.What == machine.MarkSkipped {
			say("%s: is not started, because of %s", mark.Workflow, mark.Detail)
		}
		began = began || mark.What != machine.MarkIgnored
	}
	if !began {
		say("no workflow listens to that, or no condition holds")
	}
	return nil
}

func orNothing(text string) string {
	if text == "" {
		return ""
	}
	return ": " + printable(text)
}
