package app

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/vault"
)

// crmCmd is everything about CRMs.
type crmCmd struct {
	Status   crmStatusCmd   `cmd:"" default:"withargs" help:"Show how far each CRM is, and how it does."`
	Preview  crmPreviewCmd  `cmd:"" help:"Show what would be written, beside what is there; write nothing."`
	Dead     crmDeadCmd     `cmd:"" help:"List what a CRM rejected, and why."`
	Replay   crmReplayCmd   `cmd:"" help:"Try again what a CRM rejected, with other values if need be."`
	Backfill crmBackfillCmd `cmd:"" help:"Write every visitor again, slowly; with --since also what happened before the target began."`
	Schema   crmSchemaCmd   `cmd:"" help:"List the fields of a CRM, and check the mapping."`
	Setup    crmSetupCmd    `cmd:"" help:"Make what a target needs in the CRM, such as a field for keys, or tables."`
}

// crmDesk is what the commands about CRMs work with.
type crmDesk struct {
	*cli
	cfg *Config
	bus *bus.Bus
}

// crmDesk reads the configuration and opens the bus. Close it.
func (c *cli) crmDesk(ctx context.Context) (*crmDesk, error) {
	cfg, err := c.config()
	if err != nil {
		return nil, err
	}
	b, err := c.connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &crmDesk{c, cfg, b}, nil
}

func (d *crmDesk) shut(ctx context.Context) { d.close(ctx, d.bus) }

// target returns the name of the target that was meant.
func (d *crmDesk) target(named string) (string, error) {
	names := slices.Sorted(maps.Keys(d.cfg.CRM.Targets))
	switch {
	case named == "" && len(names) == 1:
		return names[0], nil
	case len(names) == 0:
		return "", fault.New(fault.BadConfig, "the configuration names no CRM").WithFix("add one under crm.targets in parley.yaml; see crm.md")
	case named == "":
		return "", fault.New(fault.BadConfig, "there are several targets").WithFix("name one of %s", strings.Join(names, ", "))
	case !slices.Contains(names, named):
		return "", fault.New(fault.BadConfig, "there is no target %q", named).WithFix("%s", nearest(named, names))
	}
	return named, nil
}

// open makes the target for commands that look into the CRM. Close them.
func (d *crmDesk) open(ctx context.Context, named string) (*targets, *crm.Target, error) {
	name, err := d.target(named)
	if err != nil {
		return nil, nil, err
	}
	var v *vault.Vault
	if of := d.cfg.CRM.Targets[name]; slices.Contains([]string{"hubspot", "salesforce", "pipedrive"}, of.Type) {
		if v, err = openVault(ctx, d.log, d.cfg, d.Env, d.bus, nil); err != nil {
			return nil, nil, err
		}
	}
	t, err := openTargets(ctx, d.log, d.cfg, d.Env, d.bus, v, way{}, name)
	if err != nil {
		return nil, nil, err
	}
	return t, t.list[0], nil
}

// crmStatusCmd shows how targets do.
type crmStatusCmd struct {
	Target string `arg:"" optional:"" help:"Only this target."`
	JSON   bool   `name:"json" help:"Print JSON, one target per line."`
}

// Run shows.
func (s *crmStatusCmd) Run(ctx context.Context, c *cli) error {
	d, err := c.crmDesk(ctx)
	if err != nil {
		return err
	}
	defer d.shut(ctx)
	names := slices.Sorted(maps.Keys(d.cfg.CRM.Targets))
	if s.Target != "" || len(names) == 0 {
		name, err := d.target(s.Target)
		if err != nil {
			return err
		}
		names = []string{name}
	}
	table := tabwriter.NewWriter(d.Stdout, 0, 0, 2, ' ', 0)
	if !s.JSON {
		_, _ = fmt.Fprintln(table, "TARGET\tTYPE\tREAD UNTIL\tUNREAD\tWAITING\tDEAD\tSTATE")
	}
	for _, name := range names {
		status, err := crm.StatusOf(ctx, d.bus, name)
		if err != nil {
			return err //nolint:wrapcheck // It names the target.
		}
		if s.JSON {
			if err := writeJSON(d.Stdout, status, ""); err != nil {
				return err
			}
			continue
		}
		until := "-"
		if at := status.Position.At; !at.IsZero() {
			until = at.Local().Format(time.DateTime)
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%d\t%s\n", name, d.cfg.CRM.Targets[name].Type, until,
			status.Unread, status.Waiting, status.Dead, printable(crmState(status)))
	}
	return table.Flush() //nolint:wrapcheck // It says all.
}

// crmState says how the target does, for a person.
func crmState(s crm.TargetStatus) string {
	h := s.Position.Health
	switch {
	case s.Position.Term == 0:
		return "nobody has served it yet: a worker with the role crm does"
	case h.Reason != "":
		return "stopped: " + h.Message + "; " + h.Fix
	case h.Open:
		return "left alone until " + h.Until.Local().Format(time.TimeOnly) + ", because it fails"
	case !h.Held.IsZero():
		return "asked for patience until " + h.Held.Local().Format(time.TimeOnly) + crmBudget(h)
	case s.Position.Backfill != nil:
		return "well, and filling in the past" + crmBudget(h)
	}
	return "well" + crmBudget(h)
}

// crmBudget says what is left of the vendor's budget of the day, if it tells that.
func crmBudget(h crm.Health) string {
	if h.DailyOf == 0 {
		return ""
	}
	return fmt.Sprintf("; %d of %d left today", h.Daily, h.DailyOf)
}

// crmPreviewCmd shows what would be written.
type crmPreviewCmd struct {
	Target  string `arg:"" optional:"" help:"The target; not needed when there is one."`
	Site    string `short:"s" help:"Only visitors of this site."`
	Session string `placeholder:"KEY" help:"Only this visitor, by the session's key."`
	Most    int    `default:"20" help:"Show so many visitors."`
	All     bool   `help:"Show also visitors for whom nothing would change."`
	JSON    bool   `name:"json" help:"Print JSON, one visitor per line."`
}

// Run shows.
func (p *crmPreviewCmd) Run(ctx context.Context, c *cli) error {
	d, err := c.crmDesk(ctx)
	if err != nil {
		return err
	}
	defer d.shut(ctx)
	opened, target, err := d.open(ctx, p.Target)
	if err != nil {
		return err
	}
	defer func() { _ = opened.close() }() // Nothing was written.
	shown := 0
	for v, err := range target.Preview(ctx, p.Site, p.Session) {
		if err != nil {
			return err //nolint:wrapcheck // It says all.
		}
		if !p.All && v.Problem == nil && len(v.Fields) == 0 && len(v.Chats) == 0 {
			continue
		}
		if shown++; shown > p.Most {
			break
		}
		if p.JSON {
			if err := writeJSON(d.Stdout, v, ""); err != nil {
				return err
			}
			continue
		}
		d.previewed(v)
	}
	if shown == 0 && !p.JSON {
		_, _ = fmt.Fprintln(d.Stdout, "nothing would change")
	}
	return nil
}

// previewed prints one visitor.
func (d *crmDesk) previewed(v crm.Preview) {
	head := "contact is new"
	switch {
	case v.Kept != "":
		head = "not told: " + v.Kept
	case v.Problem != nil:
		head = "cannot be written: " + v.Problem.Error()
	case v.Exists:
		head = "contact exists"
	}
	_, _ = fmt.Fprintf(d.Stdout, "%s/%s  %s\n", v.Site, v.Session, printable(head))
	for _, f := range v.Fields {
		_, _ = fmt.Fprintf(d.Stdout, "  %-20s %s -> %s  (%s)\n", f.Name, shownValue(f.Is), shownValue(f.Gets), f.Rule)
	}
	for _, a := range v.Chats {
		_, _ = fmt.Fprintf(d.Stdout, "  chat %s  %s, %d s\n", a.At.Local().Format(time.DateTime), printable(a.Subject), int(a.Record.Seconds))
	}
}

// shownValue writes a value of a field for a person.
func shownValue(value any) string {
	switch value := value.(type) {
	case nil:
		return "(empty)"
	case time.Time:
		return value.Local().Format(time.DateTime)
	}
	return printable(fmt.Sprintf("%v", value))
}

// crmDeadCmd lists what was rejected.
type crmDeadCmd struct {
	Target string `arg:"" optional:"" help:"The target; not needed when there is one."`
	Reason string `help:"Only this reason, such as vendor_rejects."`
	JSON   bool   `name:"json" help:"Print JSON, one item per line."`
}

// Run lists.
func (l *crmDeadCmd) Run(ctx context.Context, c *cli) error {
	d, err := c.crmDesk(ctx)
	if err != nil {
		return err
	}
	defer d.shut(ctx)
	name, err := d.target(l.Target)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(d.Stdout, 0, 0, 2, ' ', 0)
	n := 0
	for r, err := range crm.DeadLetters(ctx, d.bus, name) {
		if err != nil {
			return err //nolint:wrapcheck // It names the target.
		}
		if l.Reason != "" && string(r.Reason) != l.Reason {
			continue
		}
		if l.JSON {
			if err := writeJSON(d.Stdout, r, ""); err != nil {
				return err
			}
			continue
		}
		if n++; n == 1 {
			_, _ = fmt.Fprintln(table, "DIED\tSITE\tSESSION\tKIND\tREASON\tWHAT")
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", r.At.Local().Format(time.DateTime), r.Site, r.Session, r.Kind, r.Reason, printable(r.Message))
	}
	switch {
	case l.JSON:
	case n == 0:
		_, _ = fmt.Fprintln(table, "nothing was rejected")
	default:
		_, _ = fmt.Fprintf(table, "\nAfter mending the cause: publisher crm replay %s\n", name)
	}
	return table.Flush() //nolint:wrapcheck // It says all.
}

// crmReplayCmd has rejected items tried again.
type crmReplayCmd struct {
	Target  string            `arg:"" optional:"" help:"The target; not needed when there is one."`
	Site    string            `short:"s" help:"Only of this site."`
	Session string            `placeholder:"KEY" help:"Only of this visitor, by the session's key; needs --site."`
	Reason  string            `help:"Only this reason, such as vendor_rejects."`
	Set     map[string]string `placeholder:"FIELD=VALUE" help:"Give a field of the contact this value instead of the mapping's; needs --session. An empty value takes it back."`
}

// Run asks for it.
func (r *crmReplayCmd) Run(ctx context.Context, c *cli) error {
	d, err := c.crmDesk(ctx)
	if err != nil {
		return err
	}
	defer d.shut(ctx)
	name, err := d.target(r.Target)
	if err != nil {
		return err
	}
	if (r.Session == "") != (r.Site == "") && r.Session != "" || len(r.Set) > 0 && r.Session == "" {
		return fault.New(fault.SchemaViolation, "a visitor is named by both").WithFix("add --site and --session; `publisher crm dead` shows them")
	}
	a := crm.Ask{Kind: crm.AskReplay, Site: r.Site, Session: r.Session, Reason: fault.Reason(r.Reason)}
	for field, value := range r.Set {
		if a.Edits == nil {
			a.Edits = map[string]any{}
		}
		a.Edits[field] = nil
		if value != "" {
			a.Edits[field] = value
		}
	}
	if err := crm.Tell(ctx, d.bus, name, a); err != nil {
		return err //nolint:wrapcheck // It names the target.
	}
	_, _ = fmt.Fprintf(d.Stdout, "%s tries them again; publisher crm dead %s shows what is left\n", name, name)
	return nil
}

// crmBackfillCmd has everything written again.
type crmBackfillCmd struct {
	Target string        `arg:"" optional:"" help:"The target; not needed when there is one."`
	Site   string        `short:"s" help:"Only visitors of this site."`
	Rate   float64       `default:"50" help:"Visitors per second."`
	Since  time.Duration `placeholder:"SPAN" help:"Fold also what happened within the span, such as 720h, of visitors whom the target does not know."`
}

// Run asks for it.
func (f *crmBackfillCmd) Run(ctx context.Context, c *cli) error {
	d, err := c.crmDesk(ctx)
	if err != nil {
		return err
	}
	defer d.shut(ctx)
	name, err := d.target(f.Target)
	if err != nil {
		return err
	}
	a := crm.Ask{Kind: crm.AskBackfill, Site: f.Site, Rate: f.Rate}
	if f.Since > 0 {
		a.Since = time.Now().Add(-f.Since).UTC().Format(time.RFC3339)
	}
	if err := crm.Tell(ctx, d.bus, name, a); err != nil {
		return err //nolint:wrapcheck // It names the target.
	}
	_, _ = fmt.Fprintf(d.Stdout, "%s writes everything again, %g visitors per second; publisher crm status %s shows it\n", name, f.Rate, name)
	return nil
}

// crmSchemaCmd lists the fields of a CRM.
type crmSchemaCmd struct {
	Target string `arg:"" optional:"" help:"The target; not needed when there is one."`
}

// Run lists.
func (s *crmSchemaCmd) Run(ctx context.Context, c *cli) error {
	d, err := c.crmDesk(ctx)
	if err != nil {
		return err
	}
	defer d.shut(ctx)
	opened, target, err := d.open(ctx, s.Target)
	if err != nil {
		return err
	}
	defer func() { _ = opened.close() }() // Nothing was written.
	_, schema, problem := target.Program(ctx)
	table := tabwriter.NewWriter(d.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "OF\tFIELD\tTYPE\tWRITABLE\tVALUES")
	for _, of := range []struct {
		name string
		list []crm.FieldSchema
	}{{"contact", schema.Contact}, {"activity", schema.Activity}} {
		for _, f := range of.list {
			_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%t\t%s\n", of.name, f.Name, f.Type, !f.ReadOnly, strings.Join(f.Options, ", "))
		}
	}
	_ = table.Flush() // The problem matters more.
	return problem    //nolint:wrapcheck // It says all.
}

// crmSetupCmd makes what a target needs.
type crmSetupCmd struct {
	Target string `arg:"" optional:"" help:"The target; not needed when there is one."`
	Yes    bool   `short:"y" help:"Make it. Without this, only show what would be made."`
}

// Run makes it, or shows it.
func (s *crmSetupCmd) Run(ctx context.Context, c *cli) error {
	d, err := c.crmDesk(ctx)
	if err != nil {
		return err
	}
	defer d.shut(ctx)
	opened, target, err := d.open(ctx, s.Target)
	if err != nil {
		return err
	}
	defer func() { _ = opened.close() }() // What was made stays.
	list, err := target.Prepare(ctx, !s.Yes)
	for _, p := range list {
		state := "would be made"
		switch {
		case p.There:
			state = "is there"
		case p.Made:
			state = "was made"
		}
		_, _ = fmt.Fprintf(d.Stdout, "%s: %s\n", state, p.What)
	}
	if err == nil && !s.Yes {
		_, _ = fmt.Fprintln(d.Stdout, "\nNothing was made: add --yes.")
	}
	return err //nolint:wrapcheck // It says all.
}
