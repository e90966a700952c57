package app

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/vault"
)

// workersCmd lists the workers.
type workersCmd struct {
	JSON bool `name:"json" help:"Print JSON, one worker per line."`
}

// Help is the long help.
func (*workersCmd) Help() string {
	return `WAITING are the commands that are in the queue for the worker, or run. A drained worker owns nothing and is not listed: worker drain NAME --resume has it work again.`
}

// crew is a worker as the others see it, and what it says of itself.
type crew struct {
	Worker     string         `json:"worker"`
	State      string         `json:"state"`
	Since      time.Time      `json:"since"`
	Version    string         `json:"version"`
	Group      string         `json:"group"`
	Filters    []string       `json:"filters"`
	Partitions []int          `json:"partitions"`
	Pending    map[int]uint64 `json:"pending,omitempty"`
	Waiting    uint64         `json:"waiting"`
	// Status is nil when it did not answer.
	Status *status `json:"status,omitempty"`
}

// Run lists.
func (w *workersCmd) Run(ctx context.Context, c *cli) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	f, err := c.fleet(ctx, cfg)
	if err != nil {
		return err
	}
	defer c.close(ctx, f.bus)
	if _, err := f.needed(); err != nil {
		return err
	}
	all := f.crew(ctx)
	if w.JSON {
		for _, one := range all {
			if err := writeJSON(c.Stdout, one, ""); err != nil {
				return err
			}
		}
		return nil
	}
	_, err = fmt.Fprint(c.Stdout, view{colour: c.Terminal.Out}.crew(all, time.Now()))
	return err
}

// crew asks all workers how they are.
func (f *fleet) crew(ctx context.Context) []crew {
	all := make([]crew, 0, len(f.members))
	for i, r := range askAll[status](ctx, f, verbStatus, question{}) {
		m := f.members[i]
		one := crew{
			Worker: m.Worker, State: "works", Since: m.Since, Version: m.Version, Group: m.Group, Filters: m.Filters,
			Partitions: m.Partitions, Pending: m.Pending,
		}
		for _, n := range m.Pending {
			one.Waiting += n
		}
		if r.err == nil {
			one.Status = &r.answer
		}
		switch {
		case m.Leaving:
			one.State = "leaves"
		case r.err != nil:
			one.State = "no answer"
		}
		all = append(all, one)
	}
	return all
}

// crew shows the workers.
func (v view) crew(all []crew, now time.Time) string {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "WORKER\tSTATE\tSINCE\tPARTITIONS\tWAITING\tSESSIONS\tPAGES\tMEMORY\tVERSION")
	groups := map[string]bool{}
	for _, w := range all {
		groups[w.Group] = true
		sessions, pages, memory := "-", "-", "-"
		if s := w.Status; s != nil {
			sessions, pages = strconv.Itoa(s.Sessions), strconv.Itoa(s.Pages)
			if s.Memory > 0 {
				memory = showBytes(s.Memory)
			}
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\n", w.Worker, w.State, ago(w.Since, now),
			len(w.Partitions), w.Waiting, sessions, pages, memory, orDash(w.Version))
	}
	_ = table.Flush() // A strings.Builder takes all.
	if len(groups) > 1 {
		fmt.Fprintln(&b)
		for _, group := range slices.Sorted(maps.Keys(groups)) {
			var names, filters []string
			for _, w := range all {
				if w.Group == group {
					names, filters = append(names, w.Worker), w.Filters
				}
			}
			fmt.Fprintf(&b, "%s: %s\n", strings.Join(names, ", "), strings.Join(filters, ", "))
		}
	}
	return b.String()
}

// only returns the member of the name.
func (f *fleet) only(name string) ([]bus.Member, error) {
	var names []string
	for _, m := range f.members {
		if m.Worker == name {
			return []bus.Member{m}, nil
		}
		names = append(names, m.Worker)
	}
	unknown := fault.New(fault.NoWorker, "no worker %s takes commands", name)
	if near := fault.Nearest(name, names); near != "" {
		return nil, unknown.WithFix("did you mean %s?", near)
	}
	return nil, unknown.WithFix("`worker workers` lists them")
}

// drainCmd has a worker hand over everything.
type drainCmd struct {
	Name    string        `arg:"" optional:"" help:"The worker. May be left out when there is only one."`
	Resume  bool          `help:"Have a drained worker work again."`
	Timeout time.Duration `default:"60s" help:"Wait so long for the end: 60s."`
	JSON    bool          `name:"json" help:"Print JSON."`
}

// Help is the long help.
func (*drainCmd) Help() string {
	return `The worker ends the commands that run, stores its sessions, hands its partitions over, and stays up without work. Other workers go on with them at once; without another one, commands wait. SIGTERM does the same and ends the process.`
}

// Run drains, or resumes.
func (d *drainCmd) Run(ctx context.Context, c *cli) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	f, err := c.fleet(ctx, cfg)
	if err != nil {
		return err
	}
	defer c.close(ctx, f.bus)
	name := d.Name
	if name == "" {
		if name, err = f.single(d.Resume); err != nil {
			return err
		}
	}
	verb := verbDrain
	if d.Resume {
		verb = verbResume
	}
	at, err := ask[status](ctx, f.bus, name, verb, question{}, d.Timeout)
	if err != nil {
		return err
	}
	if d.JSON {
		return c.print(at)
	}
	if d.Resume {
		_, err = fmt.Fprintf(c.Stdout, "%s takes commands again\n", name)
		return err
	}
	_, err = fmt.Fprintf(c.Stdout, "%s has handed over everything, and takes no commands.\nHave it work again: worker drain %s --resume; end it: SIGTERM.\n", name, name)
	return err
}

// single returns the only worker.
func (f *fleet) single(resume bool) (string, error) {
	if resume {
		return "", fault.New(fault.NoWorker, "no worker is named").WithFix("name the drained one: worker drain NAME --resume")
	}
	members, err := f.needed()
	if err != nil {
		return "", err
	}
	if len(members) == 1 {
		return members[0].Worker, nil
	}
	var names []string
	for _, m := range members {
		names = append(names, m.Worker)
	}
	return "", fault.New(fault.NoWorker, "there are %d workers, and none is named", len(members)).
		WithFix("name one: worker drain %s", strings.Join(names, " or worker drain "))
}

// keysCmd prints a new key.
type keysCmd struct{}

// Help is the long help.
func (*keysCmd) Help() string {
	return `One line for the file that sessions.key names. The first line of the file seals, and all of them open: put a new key in front, restart the workers, and take the old one out when sessions.keep has passed.

  worker keys > sessions.key && chmod 600 sessions.key`
}

// Run prints it.
func (*keysCmd) Run(c *cli) error {
	_, err := fmt.Fprintln(c.Stdout, vault.Generate())
	return err
}
