package app

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// rejectedCmd shows the events that could not be taken.
type rejectedCmd struct {
	List   rejectedListCmd   `cmd:"" default:"withargs" help:"List the events that could not be taken."`
	Show   rejectedShowCmd   `cmd:"" help:"Show one: what is wrong with it, and the event as it came."`
	Replay rejectedReplayCmd `cmd:"" help:"Take some of them once more, as they were or corrected."`
}

// rejected is an event of the rejected list, with its number and site.
type rejected struct {
	Number uint64 `json:"number"`
	Site   string `json:"site,omitempty"`
	event.RejectedEvent
}

// rejectedEvents reads the list. An empty filter is all.
func rejectedEvents(ctx context.Context, b *bus.Bus, filter string, from uint64) ([]rejected, error) {
	var all []rejected
	o := bus.TailOptions{Subjects: []string{filter}, All: from == 0, Sequence: from, ToEnd: true}
	for d, err := range b.Tail(ctx, o) {
		if err != nil {
			return nil, fmt.Errorf("reading the rejected events: %w", err)
		}
		e, err := d.Envelope()
		if err != nil || e.Type != event.RejectedType {
			continue // A dead letter: `publisher replay` has those.
		}
		one := rejected{Number: d.Sequence}
		if err := json.Unmarshal(e.Data, &one.RejectedEvent); err != nil {
			return nil, fmt.Errorf("reading the rejected event %d: %w", d.Sequence, err)
		}
		if tokens := strings.Split(d.Subject, "."); len(tokens) == 4 && tokens[2] != "-" {
			one.Site = tokens[2]
		}
		all = append(all, one)
		if from > 0 {
			break
		}
	}
	return all, nil
}

// rejectedEvent returns the one of the number.
func rejectedEvent(ctx context.Context, b *bus.Bus, number uint64) (rejected, error) {
	all, err := rejectedEvents(ctx, b, "dead.>", number)
	if err != nil {
		return rejected{}, err
	}
	if len(all) == 0 || all[0].Number != number {
		return rejected{}, fault.New(fault.Malformed, "there is no rejected event %d", number).WithFix("`publisher rejected` lists them")
	}
	return all[0], nil
}

// rejectedListCmd lists.
type rejectedListCmd struct {
	Site   string `short:"s" help:"Only those of this site."`
	Source string `placeholder:"NAME" help:"Only those of this source."`
	Reason string `placeholder:"REASON" help:"Only those with this reason, such as schema_violation."`
	JSON   bool   `name:"json" help:"Print JSON, one event per line."`
}

// Run lists.
func (r *rejectedListCmd) Run(ctx context.Context, c *cli) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	filter, err := (&replayCmd{Site: r.Site, Reason: r.Reason}).filter(c, cfg)
	if err != nil {
		return err
	}
	b, err := c.connect(ctx, cfg)
	if err != nil {
		return err
	}
	defer c.close(ctx, b)
	all, err := rejectedEvents(ctx, b, filter, 0)
	if err != nil {
		return err
	}
	table, n := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0), 0
	for _, one := range all {
		if r.Source != "" && one.Source != r.Source {
			continue
		}
		if r.JSON {
			if err := writeJSON(c.Stdout, one, ""); err != nil {
				return err
			}
			continue
		}
		if n++; n == 1 {
			_, _ = fmt.Fprintln(table, "NUMBER\tCAME\tSOURCE\tSITE\tREASON\tWHAT IS WRONG")
		}
		_, _ = fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\n", one.Number, one.ReceivedAt.Local().Format(time.DateTime),
			one.Source, orDash(one.Site), one.Problem.Reason, printable(one.Problem.Message))
	}
	switch {
	case r.JSON:
		return nil
	case n == 0:
		_, _ = fmt.Fprintln(table, "no rejected events")
	default:
		_, _ = fmt.Fprintln(table, "\nShow one: publisher rejected show NUMBER. Take one again: publisher rejected replay NUMBER.")
	}
	return table.Flush()
}

// rejectedShowCmd shows one.
type rejectedShowCmd struct {
	Number uint64 `arg:"" help:"The number in the list."`
	Body   bool   `help:"Print only the event as it came, byte by byte: to correct it, and to send it to its source again."`
}

// Run shows.
func (r *rejectedShowCmd) Run(ctx context.Context, c *cli) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	b, err := c.connect(ctx, cfg)
	if err != nil {
		return err
	}
	defer c.close(ctx, b)
	one, err := rejectedEvent(ctx, b, r.Number)
	if err != nil {
		return err
	}
	if r.Body {
		_, err := c.Stdout.Write(one.Body)
		return err
	}
	row := func(name, value string) {
		if value != "" {
			_, _ = fmt.Fprintf(c.Stdout, "%-8s %s\n", name, printable(value))
		}
	}
	row("number", strconv.FormatUint(one.Number, 10))
	row("came", one.ReceivedAt.Local().Format(time.RFC3339))
	row("source", one.Source+" ("+one.Provider+") "+one.Path)
	row("site", one.Site)
	row("id", one.MessageID)
	row("kind", one.Kind)
	row("reason", one.Problem.Reason)
	row("at", one.Problem.Field)
	row("wrong", one.Problem.Message)
	row("fix", one.Problem.Fix)
	if one.Bytes > len(one.Body) {
		row("bytes", fmt.Sprintf("%d, of which the first %d are kept", one.Bytes, len(one.Body)))
	}
	_, err = fmt.Fprintf(c.Stdout, "\n%s\n", printable(string(one.Body)))
	return err
}
