package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/workflow"
)

// workflowsCmd is everything about workflows.
type workflowsCmd struct {
	List     flowListCmd     `cmd:"" default:"1" help:"List the workflows that are switched on."`
	Lint     flowLintCmd     `cmd:"" help:"Check workflow files, and say everything that is wrong."`
	Diff     flowDiffCmd     `cmd:"" help:"Show what two versions of a workflow do differently."`
	Backtest flowBacktestCmd `cmd:"" help:"Let workflows run over the events of the past, and report what they would have done."`
	Run      flowRunCmd      `cmd:"" help:"Start a workflow for a visitor; or show, with --dry, what an event would lead to."`
	Runs     flowRunsCmd     `cmd:"" help:"List the runs, or show one."`
	Replay   flowReplayCmd   `cmd:"" help:"Repeat a run: from its start, from the failed step, with other input, on the current version."`
	Cancel   flowCancelCmd   `cmd:"" help:"End a run that is under way."`
	Publish  flowPublishCmd  `cmd:"" help:"Publish workflow files as new versions, and switch them on."`
	Versions flowVersionsCmd `cmd:"" help:"List the versions of a workflow."`
	Rollback flowRollbackCmd `cmd:"" help:"Switch on a version that was published before."`
	Off      flowOffCmd      `cmd:"" help:"Switch a workflow off: no run starts, and runs under way go on."`
}

// desk is what the commands about workflows work with.
type desk struct {
	*cli
	cfg      *Config
	compiler *workflow.Compiler
	bus      *bus.Bus           // nil until it was opened
	versions *workflow.Versions // likewise
}

// desk reads the configuration, and makes a compiler for its sites.
func (c *cli) desk() (*desk, error) {
	cfg, err := c.config()
	if err == nil {
		cfg, err = c.orDemo(cfg)
	}
	if err != nil {
		return nil, err
	}
	compiler, err := workflow.NewCompiler(c.catalog, c.schemas, cfg.AllSites())
	if err != nil {
		return nil, fmt.Errorf("preparing the workflows: %w", err)
	}
	return &desk{cli: c, cfg: cfg, compiler: compiler}, nil
}

// online is desk with the bus. Close it.
func (c *cli) online(ctx context.Context) (*desk, error) {
	d, err := c.desk()
	if err != nil {
		return nil, err
	}
	return d, d.open(ctx)
}

// open opens the bus and the versions.
func (d *desk) open(ctx context.Context) error {
	var err error
	if d.bus, err = d.connect(ctx, d.cfg); err != nil {
		return err
	}
	bucket, err := d.bus.KV(ctx, bus.BucketFlows)
	if err != nil {
		d.shut(ctx)
		return fmt.Errorf("opening the versions of workflows: %w", err)
	}
	d.versions = workflow.NewVersions(bucket)
	return nil
}

// shut closes the bus.
func (d *desk) shut(ctx context.Context) {
	if d.bus != nil {
		d.close(ctx, d.bus)
	}
}

// files compiles the files; none means those of the configuration.
func (d *desk) files(names []string) (*workflow.Set, error) {
	if d.cfg.File == "" {
		_, _ = fmt.Fprintf(d.Stderr, "there is no %s here; the sites are those of the demo shop\n", ConfigFile)
	}
	if len(names) == 0 {
		return LoadRules(d.cfg, d.catalog, d.schemas)
	}
	names, err := inFolders(names)
	if err != nil {
		return nil, err
	}
	var programs []*workflow.Program
	for _, name := range names {
		text, err := os.ReadFile(name) //nolint:gosec // The person names it.
		if err != nil {
			return nil, fault.New(fault.BadConfig, "reading the workflow %s", name).Because(err).WithFix("name files of workflows")
		}
		p, err := d.compiler.Compile(name, text)
		if err != nil {
			return nil, err //nolint:wrapcheck // It names the file and the line.
		}
		programs = append(programs, p)
	}
	return workflow.NewSet(programs...) //nolint:wrapcheck // It names the files.
}

// inFolders puts the workflow files of a folder in its place.
func inFolders(names []string) ([]string, error) {
	var all []string
	for _, name := range names {
		if info, err := os.Stat(name); err != nil || !info.IsDir() {
			all = append(all, name)
			continue
		}
		found := 0
		for _, end := range []string{"*.yaml", "*.yml"} {
			files, err := filepath.Glob(filepath.Join(name, end))
			if err != nil {
				return nil, fault.New(fault.BadConfig, "reading the folder %s", name).Because(err)
			}
			found += len(files)
			all = append(all, files...)
		}
		if found == 0 {
			return nil, fault.New(fault.BadConfig, "the folder %s has no *.yaml and no *.yml", name)
		}
	}
	return all, nil
}

// by says who changes something.
func (d *desk) by(note string) workflow.Change {
	return workflow.Change{Author: d.Env["USER"], Note: note, At: time.Now()}
}

// flowListCmd lists the workflows.
type flowListCmd struct {
	JSON bool `name:"json" help:"Print JSON, one workflow per line."`
}

// listed is a workflow in the list.
type listed struct {
	Name     string    `json:"name"`
	Version  int       `json:"version"`
	On       []string  `json:"on"`
	Versions int       `json:"versions"`
	Since    time.Time `json:"since,omitzero"`
	By       string    `json:"by,omitempty"`
	Problem  string    `json:"problem,omitempty"`
}

// Run lists.
func (l *flowListCmd) Run(ctx context.Context, c *cli) error {
	d, err := c.online(ctx)
	if err != nil {
		return err
	}
	defer d.shut(ctx)
	names, err := d.versions.Names(ctx)
	if err != nil {
		return err
	}
	if len(names) == 0 && !l.JSON {
		_, err := fmt.Fprintln(c.Stdout, "no workflows; a worker publishes those of workflows.dir, and `publisher workflows publish FILE` any other")
		return err
	}
	table := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	if !l.JSON {
		_, _ = fmt.Fprintln(table, "WORKFLOW\tVERSION\tON\tSINCE\tBY")
	}
	for _, name := range names {
		one, err := d.listed(ctx, name)
		if err != nil {
			return err
		}
		if l.JSON {
			if err := writeJSON(c.Stdout, one, ""); err != nil {
				return err
			}
			continue
		}
		version, on := fmt.Sprintf("%d of %d", one.Version, one.Versions), strings.Join(one.On, "; ")
		if one.Version == 0 {
			version = "off"
		}
		if one.Problem != "" {
			on = "cannot be read: " + one.Problem
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", one.Name, version, printable(on), one.Since.Local().Format(time.DateTime), orDash(one.By))
	}
	return table.Flush()
}

// listed returns what the list says of one workflow.
func (d *desk) listed(ctx context.Context, name string) (listed, error) {
	one := listed{Name: name}
	head, err := d.versions.Head(ctx, name)
	if err != nil {
		return one, err
	}
	known, err := d.versions.List(ctx, name)
	if err != nil {
		return one, err
	}
	one.Version, one.Versions = head.Current, len(known)
	if n := len(head.Moves); n > 0 {
		one.Since, one.By = head.Moves[n-1].At, head.Moves[n-1].Author
	}
	if head.Current == 0 {
		return one, nil
	}
	p, err := d.versions.Program(ctx, d.compiler, name, head.Current)
	if err != nil {
		one.Problem = firstLine(err.Error())
		return one, nil
	}
	for _, start := range p.Starts {
		one.On = append(one.On, start.Topic.String())
	}
	return one, nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// flowLintCmd checks files.
type flowLintCmd struct {
	Files  []string `arg:"" optional:"" placeholder:"FILE" help:"Workflow files, or folders of them. Default: those of the configuration."`
	Strict bool     `help:"Fail on warnings, too."`
}

// Run checks.
func (l *flowLintCmd) Run(_ context.Context, c *cli) error {
	d, err := c.desk()
	if err != nil {
		return err
	}
	set, err := d.files(l.Files)
	if err != nil {
		return err
	}
	for _, warning := range set.Warnings() {
		_, _ = fmt.Fprintln(c.Stdout, warning) // It says that it is one.
	}
	_, _ = fmt.Fprintf(c.Stdout, "%s without an error, %s\n", plural(set.Len(), "workflow"), plural(len(set.Warnings()), "warning"))
	if l.Strict && len(set.Warnings()) > 0 {
		return silentError{1}
	}
	return nil
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// flowPublishCmd publishes files.
type flowPublishCmd struct {
	Files []string `arg:"" placeholder:"FILE" help:"Workflow files, or folders of them."`
	Note  string   `placeholder:"TEXT" help:"Why; people see it beside the version."`
}

// Run publishes.
func (p *flowPublishCmd) Run(ctx context.Context, c *cli) error {
	d, err := c.online(ctx)
	if err != nil {
		return err
	}
	defer d.shut(ctx)
	set, err := d.files(p.Files)
	if err != nil {
		return err
	}
	for _, program := range set.Programs() {
		before, err := d.versions.Head(ctx, program.Name)
		if err != nil {
			return err
		}
		version, err := d.versions.Publish(ctx, program, d.by(p.Note))
		if err != nil {
			return err
		}
		as := ""
		if before.Current == version.Number {
			as = ", as before: the file says nothing new"
		}
		_, _ = fmt.Fprintf(c.Stdout, "%s is on, version %d%s\n", version.Name, version.Number, as)
	}
	return nil
}

// flowVersionsCmd lists versions.
type flowVersionsCmd struct {
	Name string `arg:"" help:"The workflow's name."`
}

// Run lists.
func (v *flowVersionsCmd) Run(ctx context.Context, c *cli) error {
	d, err := c.online(ctx)
	if err != nil {
		return err
	}
	defer d.shut(ctx)
	known, err := d.known(ctx, v.Name)
	if err != nil {
		return err
	}
	head, err := d.versions.Head(ctx, v.Name)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "VERSION\tPUBLISHED\tBY\tNOTE\t")
	for _, one := range slices.Backward(known) {
		on := ""
		if one.Number == head.Current {
			on = "on"
		}
		_, _ = fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\n", one.Number, one.At.Local().Format(time.DateTime), orDash(one.Author), orDash(printable(one.Note)), on)
	}
	return table.Flush()
}

// known returns the versions of the workflow, of which there is at least one.
func (d *desk) known(ctx context.Context, name string) ([]workflow.Version, error) {
	known, err := d.versions.List(ctx, name)
	if err == nil && len(known) == 0 {
		names, _ := d.versions.Names(ctx)
		e := fault.New(fault.BadRule, "there is no workflow %q", name).WithFix("`publisher workflows` lists them")
		if near := fault.Nearest(name, names); near != "" {
			e = e.WithFix("did you mean %q?", near)
		}
		return nil, e
	}
	return known, err
}

// flowRollbackCmd switches an old version on.
type flowRollbackCmd struct {
	Name    string `arg:"" help:"The workflow's name."`
	Version int    `arg:"" optional:"" help:"The version. Default: the one that was on before."`
	Note    string `placeholder:"TEXT" help:"Why."`
}

// Run switches.
func (r *flowRollbackCmd) Run(ctx context.Context, c *cli) error {
	d, err := c.online(ctx)
	if err != nil {
		return err
	}
	defer d.shut(ctx)
	if _, err := d.known(ctx, r.Name); err != nil {
		return err
	}
	to := r.Version
	if to == 0 {
		head, err := d.versions.Head(ctx, r.Name)
		if err != nil {
			return err
		}
		for _, move := range slices.Backward(head.Moves) {
			if move.To == head.Current && move.From > 0 {
				to = move.From
				break
			}
		}
		if to == 0 {
			return fault.New(fault.BadRule, "no other version of %s was on before", r.Name).WithFix("name one: `publisher workflows versions %s` lists them", r.Name)
		}
	}
	if err := d.versions.Rollback(ctx, r.Name, to, d.by(r.Note)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Stdout, "%s is on, version %d; runs under way keep theirs\n", r.Name, to)
	return err
}

// flowOffCmd switches a workflow off.
type flowOffCmd struct {
	Name string `arg:"" help:"The workflow's name."`
	Note string `placeholder:"TEXT" help:"Why."`
}

// Run switches off.
func (o *flowOffCmd) Run(ctx context.Context, c *cli) error {
	d, err := c.online(ctx)
	if err != nil {
		return err
	}
	defer d.shut(ctx)
	if _, err := d.known(ctx, o.Name); err != nil {
		return err
	}
	if err := d.versions.Off(ctx, o.Name, d.by(o.Note)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Stdout, "%s is off; runs under way go on. On again: publisher workflows rollback %s VERSION\n", o.Name, o.Name)
	return err
}
