package app

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/workflow"
)

// flowDiffCmd compares two versions.
type flowDiffCmd struct {
	Name string `arg:"" help:"The workflow's name."`
	A    string `arg:"" optional:"" help:"A version's number, or a file. Default: the version that is on."`
	B    string `arg:"" optional:"" help:"A version's number, or a file. Default: the workflow's file in the configuration."`
	Text bool   `help:"Compare the texts, line by line."`
}

// Help is the long help.
func (*flowDiffCmd) Help() string {
	return `Says what the second version does differently from the first one; comments and layout do not count. Examples:

  publisher workflows diff pricing-help                 # what is on, and the file
  publisher workflows diff pricing-help 3 5
  publisher workflows diff pricing-help 3 new.yaml --text`
}

// Run compares. The exit code is 1 when there is a difference.
func (f *flowDiffCmd) Run(ctx context.Context, c *cli) error {
	d, err := c.online(ctx)
	if err != nil {
		return err
	}
	defer d.shut(ctx)
	a, nameA, err := d.version(ctx, f.Name, f.A, true)
	if err != nil {
		return err
	}
	b, nameB, err := d.version(ctx, f.Name, f.B, false)
	if err != nil {
		return err
	}
	if f.Text {
		text := workflow.DiffText(nameA, string(a.Source), nameB, string(b.Source))
		if text == "" {
			return nil
		}
		_, _ = fmt.Fprint(c.Stdout, text)
		return silentError{1}
	}
	differences := workflow.Diff(a, b)
	for _, one := range differences {
		_, _ = fmt.Fprintln(c.Stdout, printable(one.String()))
	}
	if len(differences) == 0 {
		_, err := fmt.Fprintf(c.Stdout, "%s and %s do the same\n", nameA, nameB)
		return err
	}
	return silentError{1}
}

// version returns the version that a person named, and what to call it: a
// number, a file, or nothing for the one that is on or the one in the
// configuration.
func (d *desk) version(ctx context.Context, name, which string, on bool) (*workflow.Program, string, error) {
	if which == "" && !on {
		set, err := d.files(nil)
		if err != nil {
			return nil, "", err
		}
		p, ok := set.Program(name)
		if !ok {
			return nil, "", fault.New(fault.BadRule, "the configuration has no file of the workflow %q", name).WithFix("name a version or a file")
		}
		return p, p.File, nil
	}
	if _, err := os.Stat(which); which != "" && err == nil {
		set, err := d.files([]string{which})
		if err != nil {
			return nil, "", err
		}
		return set.Programs()[0], which, nil
	}
	number, err := d.number(ctx, name, which)
	if err != nil {
		return nil, "", err
	}
	p, err := d.versions.Program(ctx, d.compiler, name, number)
	return p, fmt.Sprintf("%s, version %d", name, number), err
}

// number returns the number of the version: "" and "current" are the one that is
// on.
func (d *desk) number(ctx context.Context, name, which string) (int, error) {
	if _, err := d.known(ctx, name); err != nil {
		return 0, err
	}
	if which != "" && which != "current" {
		number, err := strconv.Atoi(which)
		if err != nil || number < 1 {
			return 0, fault.New(fault.BadRule, "%q is neither a version's number nor a file", which).
				WithFix("`publisher workflows versions %s` lists the versions", name)
		}
		return number, nil
	}
	head, err := d.versions.Head(ctx, name)
	if err == nil && head.Current == 0 {
		return 0, fault.New(fault.BadRule, "the workflow %s is off", name).
			WithFix("`publisher workflows rollback %s` switches it on again, and `publisher workflows versions %s` lists its versions", name, name)
	}
	return head.Current, err
}
