package app

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
)

// tailCmd shows what happens on the bus.
type tailCmd struct {
	Site    string        `short:"s" help:"Only this site."`
	Subject []string      `placeholder:"PATTERN" help:"Only these subjects, such as 'evt.>' or 'res.botstar.>'. Repeat it."`
	Since   time.Duration `placeholder:"AGO" help:"Begin so long ago: 10m. Default: now."`
	All     bool          `help:"Begin with the oldest that is kept."`
	NoWait  bool          `help:"End with the newest, instead of waiting for more."`
	JSON    bool          `name:"json" help:"Print each event as CloudEvents JSON, one per line."`
}

// Help is the long help.
func (*tailCmd) Help() string {
	return `A visitor is shown by the first letters of the session's key, never by name.`
}

// Run follows the bus until it is interrupted.
func (t *tailCmd) Run(ctx context.Context, c *cli) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	o := bus.TailOptions{Subjects: t.Subject, All: t.All, ToEnd: t.NoWait}
	if t.Since > 0 {
		o.Since = time.Now().Add(-t.Since)
	}
	if len(o.Subjects) == 0 {
		site := ""
		if t.Site != "" {
			if site, err = c.site(cfg, t.Site); err != nil {
				return err
			}
		}
		o.Subjects = event.SiteFilters(site)
	}
	b, err := c.connect(ctx, cfg)
	if err != nil {
		return err
	}
	defer c.close(ctx, b)
	if !t.JSON && !t.NoWait {
		_, _ = fmt.Fprintln(c.Stderr, "watching; Ctrl-C ends")
	}
	view := view{colour: c.Terminal.Out}
	var history []*bus.Delivery
	for d, err := range b.Tail(ctx, o) {
		if err != nil {
			return err
		}
		if t.NoWait { // It ends, so it can be shown in the order of time.
			history = append(history, d)
			continue
		}
		if err := t.show(c, view, d); err != nil {
			return err
		}
	}
	slices.SortStableFunc(history, func(a, b *bus.Delivery) int { return a.StoredAt.Compare(b.StoredAt) })
	for _, d := range history {
		if err := t.show(c, view, d); err != nil {
			return err
		}
	}
	return nil // Ctrl-C is how a tail ends.
}

func (t *tailCmd) show(c *cli, view view, d *bus.Delivery) error {
	e, err := d.Envelope()
	if err != nil {
		_, err = fmt.Fprintf(c.Stdout, "%s  %s: %s\n", d.StoredAt.Local().Format(clock), d.Subject, err)
		return err
	}
	if t.JSON {
		_, body := event.EncodeStructured(e)
		_, err = c.Stdout.Write(append(body, '\n'))
		return err
	}
	_, err = fmt.Fprintln(c.Stdout, view.line(d.Subject, d.StoredAt, e))
	return err
}
