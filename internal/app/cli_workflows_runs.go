package app

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/workflow"
	"github.com/parley-chat/parley/internal/workflow/engine"
	"github.com/parley-chat/parley/internal/workflow/machine"
)

// leastOfID is how many characters of a run's id a person has to write.
const leastOfID = 6

// flowRunsCmd lists runs, or shows one.
type flowRunsCmd struct {
	Run_     string        `arg:"" name:"run" optional:"" help:"Show this run: its steps, and why."` //nolint:revive // Run is the method.
	Site     string        `short:"s" help:"Only runs of this site."`
	Workflow string        `short:"w" placeholder:"NAME" help:"Only runs of this workflow."`
	Status   string        `placeholder:"STATUS" help:"Only runs with this status, such as running or failed."`
	Since    workflow.Span `placeholder:"SPAN" help:"Only runs that began within the span, such as 24h or 7d."`
	Most     int           `default:"50" help:"Show so many, the newest."`
	JSON     bool          `name:"json" help:"Print JSON, one run per line, all of them."`
}

// Run lists or shows.
func (f *flowRunsCmd) Run(ctx context.Context, c *cli) error {
	d, err := c.online(ctx)
	if err != nil {
		return err
	}
	defer d.shut(ctx)
	if f.Run_ != "" {
		run, err := d.run(ctx, f.Run_)
		if err != nil {
			return err
		}
		if f.JSON {
			return writeJSON(c.Stdout, run, "  ")
		}
		return d.show(run)
	}
	filter, err := f.filter(d)
	if err != nil {
		return err
	}
	var all []*machine.Run
	for run, err := range engine.ListRuns(ctx, d.bus, filter) {
		if err != nil {
			return err
		}
		if f.JSON {
			if err := writeJSON(c.Stdout, run, ""); err != nil {
				return err
			}
			continue
		}
		all = append(all, run)
		if len(all) > 4*max(f.Most, 1) {
			all = newest(all, f.Most)
		}
	}
	if f.JSON {
		return nil
	}
	return d.table(newest(all, f.Most))
}

// newest returns the newest runs, the newest first, each once.
func newest(all []*machine.Run, most int) []*machine.Run {
	slices.SortStableFunc(all, func(a, b *machine.Run) int { return b.StartedAt.Compare(a.StartedAt) })
	all = slices.CompactFunc(all, func(a, b *machine.Run) bool { return a.ID == b.ID })
	return all[:min(len(all), max(most, 1))]
}

// statuses returns the statuses of runs as text.
func statuses() []string {
	var all []string
	for _, status := range machine.Statuses() {
		all = append(all, string(status))
	}
	return all
}

func (f *flowRunsCmd) filter(d *desk) (engine.Filter, error) {
	filter := engine.Filter{Workflow: f.Workflow, Status: machine.Status(f.Status)}
	if f.Status != "" && !slices.Contains(machine.Statuses(), filter.Status) {
		return filter, fault.New(fault.SchemaViolation, "%q is no status of a run", f.Status).WithFix("%s", nearest(f.Status, statuses()))
	}
	if f.Since > 0 {
		filter.Since = time.Now().Add(-time.Duration(f.Since))
	}
	if f.Site == "" {
		return filter, nil
	}
	var err error
	filter.Site, err = d.site(d.cfg, f.Site)
	return filter, err
}

// table prints runs.
func (d *desk) table(all []*machine.Run) error {
	table := tabwriter.NewWriter(d.Stdout, 0, 0, 2, ' ', 0)
	if len(all) == 0 {
		_, _ = fmt.Fprintln(table, "no runs")
		return table.Flush()
	}
	_, _ = fmt.Fprintln(table, "RUN\tWORKFLOW\tSITE\tBEGAN\tSTATUS\tWHERE, OR WHY")
	for _, run := range all {
		where := run.Reason
		if run.Status == machine.Running {
			where = waits(run)
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", run.ID[:min(len(run.ID), 12)], run.Workflow, run.Site,
			run.StartedAt.Local().Format(time.DateTime), run.Status, orDash(printable(where)))
	}
	_, _ = fmt.Fprintln(table, "\nShow one: publisher workflows runs RUN. Repeat one: publisher workflows replay RUN.")
	return table.Flush()
}

// waits says what a run waits for.
func waits(run *machine.Run) string {
	var all []string
	for _, thread := range run.Threads {
		w := thread.Wait
		if w == nil {
			continue
		}
		text := waitFor(w)
		if !w.Due.IsZero() {
			text += " until " + w.Due.Local().Format(time.DateTime)
		}
		all = append(all, text)
	}
	if len(all) == 0 && len(run.Open) > 0 {
		all = append(all, "waits for "+plural(len(run.Open), "result"))
	}
	return strings.Join(all, ", ")
}

// waitFor says what a wait is for.
func waitFor(w *machine.Wait) string {
	switch w.Kind {
	case "time":
		return "waits"
	case "event":
		return "waits for an event"
	case "result":
		return "waits for a result"
	case "room":
		return "waits for room in the queue of " + w.Action
	case "lock":
		return "waits for its turn"
	case "quiet":
		return "waits for the end of the quiet hours"
	case "debounce":
		return "waits whether more comes"
	}
	return "waits for " + w.Kind
}

// run returns the run whose id begins so.
func (d *desk) run(ctx context.Context, id string) (*machine.Run, error) {
	if run, err := engine.GetRun(ctx, d.bus, id); err == nil {
		return run, nil
	}
	if len(id) < leastOfID {
		return nil, fault.New(fault.UnknownRun, "%q is too short to name a run", id).
			WithFix("write at least %d characters of its id; `publisher workflows runs` lists them", leastOfID)
	}
	var found *machine.Run
	for run, err := range engine.ListRuns(ctx, d.bus, engine.Filter{}) {
		switch {
		case err != nil:
			return nil, err
		case !strings.HasPrefix(run.ID, id) || found != nil && found.ID == run.ID:
		case found != nil:
			return nil, fault.New(fault.UnknownRun, "several runs begin with %s", id).WithFix("write more of it")
		default:
			found = run
		}
	}
	if found == nil {
		return nil, fault.New(fault.UnknownRun, "no run begins with %s", id).WithFix("`publisher workflows runs` lists them")
	}
	return found, nil
}

// show prints a run.
func (d *desk) show(run *machine.Run) error {
	row := func(name, value string) {
		if value != "" {
			_, _ = fmt.Fprintf(d.Stdout, "%-9s %s\n", name, printable(value))
		}
	}
	row("run", run.ID)
	row("workflow", run.Workflow+", version "+run.Version[:min(12, len(run.Version))])
	row("session", run.Site+"/"+run.Session)
	row("status", string(run.Status))
	row("why", run.Reason)
	row("waits", waits(run))
	row("began", run.StartedAt.Local().Format(time.RFC3339))
	if !run.EndedAt.IsZero() {
		row("ended", run.EndedAt.Local().Format(time.RFC3339))
	}
	row("trigger", run.Trigger.ID)
	row("repeats", run.Of)
	_, _ = fmt.Fprintln(d.Stdout)
	table := tabwriter.NewWriter(d.Stdout, 0, 0, 2, ' ', 0)
	for _, e := range run.History {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", e.At.Local().Format("15:04:05.000"), e.What, orDash(e.Step), orDash(e.ID), printable(e.Text))
	}
	if run.Left > 0 {
		_, _ = fmt.Fprintf(table, "%s in the middle left out\n", plural(run.Left, "entry"))
	}
	return table.Flush()
}

// flowReplayCmd repeats a run.
type flowReplayCmd struct {
	ID       string   `arg:"" name:"run" help:"The run, or the first characters of its id."`
	From     string   `default:"start" help:"start, failed, or the id of a step: what came before keeps its outcome."`
	Current  bool     `help:"Use the current version of the workflow, in place of the run's own."`
	Property []string `short:"p" sep:"none" placeholder:"NAME=TEXT" help:"Change a property of the event that started it; NAME:=JSON for a number, true, a list. Repeat it."`
	Input    string   `placeholder:"FILE" help:"Take the whole event's data from this JSON file."`
	Wait     bool     `help:"Wait until the repetition has begun, and show it."`
}

// Run repeats.
func (f *flowReplayCmd) Run(ctx context.Context, c *cli) error {
	d, err := c.online(ctx)
	if err != nil {
		return err
	}
	defer d.shut(ctx)
	old, err := d.run(ctx, f.ID)
	if err != nil {
		return err
	}
	if err := f.check(ctx, d, old); err != nil {
		return err
	}
	control := machine.Control{From: f.From, Current: f.Current}
	if control.Input, err = f.input(old); err != nil {
		return err
	}
	key, err := engine.Replay(ctx, d.bus, old, control)
	if err != nil {
		return err
	}
	if !f.Wait {
		_, err := fmt.Fprintln(c.Stdout, "asked for; `publisher workflows runs` shows it")
		return err
	}
	return d.await(ctx, old, key)
}

// check refuses what the worker would refuse, where that can be told.
func (f *flowReplayCmd) check(ctx context.Context, d *desk, old *machine.Run) error {
	switch f.From {
	case "", machine.FromStart:
		return nil
	case machine.FromFailed:
		if old.Broke == "" {
			return fault.New(fault.UnknownRun, "no step of the run %s failed", old.ID).WithFix("leave --from out, or name a step")
		}
		return nil
	}
	p, err := d.programOf(ctx, old, f.Current)
	if err != nil || p == nil {
		return err
	}
	if _, ok := p.Op(f.From); ok {
		return nil
	}
	var steps []string
	for _, op := range p.Ops {
		steps = append(steps, op.ID)
	}
	return fault.New(fault.UnknownRun, "the workflow %s has no step %q", p.Name, f.From).WithFix("%s", nearest(f.From, steps))
}

// programOf returns the version that the run had, or the current one; nil where
// that cannot be told.
func (d *desk) programOf(ctx context.Context, run *machine.Run, current bool) (*workflow.Program, error) {
	known, err := d.versions.List(ctx, run.Workflow)
	if err != nil {
		return nil, err
	}
	head, err := d.versions.Head(ctx, run.Workflow)
	if err != nil {
		return nil, err
	}
	for _, v := range known {
		if current && v.Number == head.Current || !current && v.Digest == run.Version {
			return d.versions.Program(ctx, d.compiler, run.Workflow, v.Number)
		}
	}
	return nil, nil //nolint:nilnil // The worker says what is wrong.
}

// await waits until the repetition is there.
func (d *desk) await(ctx context.Context, old *machine.Run, key string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Second,
		fault.New(fault.NoWorker, "no worker has begun the repetition within 10s").WithFix("`publisher replay` says if it was refused; a worker with the role workflows has to run"))
	defer cancel()
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		run, err := engine.Repetition(ctx, d.bus, old, key)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if run != nil {
			return d.show(run)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// input returns the data of the event that a person changed, or nil.
func (f *flowReplayCmd) input(old *machine.Run) (json.RawMessage, error) {
	if f.Input != "" {
		text, err := os.ReadFile(f.Input)
		if err != nil || !json.Valid(text) {
			return nil, fault.New(fault.BadConfig, "%s holds no JSON", f.Input).Because(err)
		}
		return text, nil
	}
	if len(f.Property) == 0 {
		return nil, nil
	}
	var data event.Trigger
	if err := json.Unmarshal(old.Trigger.Data, &data); err != nil {
		return nil, fault.New(fault.SchemaViolation, "the run was not started by a trigger").WithFix("use --input")
	}
	if data.Properties == nil {
		data.Properties = map[string]any{}
	}
	if err := addPairs(data.Properties, f.Property, "--property"); err != nil {
		return nil, err
	}
	return json.Marshal(data) //nolint:wrapcheck // It was JSON before.
}

// flowCancelCmd ends a run.
type flowCancelCmd struct {
	ID string `arg:"" name:"run" help:"The run, or the first characters of its id."`
}

// Run ends it.
func (f *flowCancelCmd) Run(ctx context.Context, c *cli) error {
	d, err := c.online(ctx)
	if err != nil {
		return err
	}
	defer d.shut(ctx)
	run, err := d.run(ctx, f.ID)
	if err != nil {
		return err
	}
	if run.Status != machine.Running {
		return fault.New(fault.UnknownRun, "the run has ended: %s", run.Status)
	}
	if err := engine.Cancel(ctx, d.bus, run); err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.Stdout, "asked for; `publisher workflows runs` shows it")
	return err
}
