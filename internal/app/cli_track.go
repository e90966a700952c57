package app

import (
	"context"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

// trackCmd publishes a trigger, as an analytics tool's webhook would.
type trackCmd struct {
	Event string `arg:"" help:"The event's name, as the analytics tool writes it."`
	Site  string `short:"s" help:"The site's name, or a page of it. Default: the site of --url, or the only one."`
	who
	Property []string  `short:"p" sep:"none" placeholder:"NAME=TEXT" help:"A property of the event; NAME:=JSON for a number, true, a list. Repeat it."`
	Trait    []string  `sep:"none" placeholder:"NAME=TEXT" help:"Something known of the visitor. Repeat it."`
	URL      string    `placeholder:"URL" help:"The page where it happened."`
	ID       string    `placeholder:"ID" help:"The source's own id of the event. The same id again is the same event."`
	At       time.Time `placeholder:"TIME" help:"When it happened, as 2026-11-25T12:00:00Z. Default: now."`
	DryRun   bool      `help:"Check everything, print the CloudEvent, and publish nothing."`
}

// Help is the long help.
func (*trackCmd) Help() string {
	return `Example:

  publisher track "Pricing Viewed" --site shop --visitor u-42 -p plan=pro -p seats:=12`
}

// Run publishes the trigger.
func (t *trackCmd) Run(ctx context.Context, c *cli) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	data, err := t.trigger(c, cfg)
	if err != nil {
		return err
	}
	subject, e, err := ingest.Trigger("cli", t.ID, data)
	if err != nil {
		return fault.From(err).WithFix("name a visitor: --visitor ID, --email ADDRESS or --anonymous ID")
	}
	if err := c.schemas.Validate(e.Type, e.Data); err != nil {
		return err
	}
	if t.DryRun {
		return c.printEvent(e)
	}
	b, err := c.connect(ctx, cfg)
	if err != nil {
		return err
	}
	defer c.close(ctx, b)
	receipt, err := b.Publish(ctx, subject, e)
	if err != nil {
		return err
	}
	return c.print(sent{e.ID, receipt.Stream, receipt.Sequence, receipt.Duplicate})
}

// trigger makes the trigger of the flags.
func (t *trackCmd) trigger(c *cli, cfg *Config) (event.Trigger, error) {
	data := event.Trigger{
		Visitor: t.visitor(), Event: t.Event, URL: t.URL, OccurredAt: t.At,
		Properties: map[string]any{}, Traits: map[string]any{},
	}
	if err := addPairs(data.Properties, t.Property, "--property"); err != nil {
		return data, err
	}
	if err := addPairs(data.Traits, t.Trait, "--trait"); err != nil {
		return data, err
	}
	named := t.Site
	if named == "" && t.URL != "" {
		named = t.URL
	}
	var err error
	data.Site, err = c.site(cfg, named)
	return data, err
}
