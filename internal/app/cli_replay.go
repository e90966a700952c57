package app

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// replayCmd lists dead letters and sends them again.
type replayCmd struct {
	Numbers []uint64 `arg:"" optional:"" help:"Send these dead letters again."`
	Site    string   `short:"s" help:"Only those of this site."`
	Reason  string   `placeholder:"REASON" help:"Only those with this reason, such as page_load_failed."`
	All     bool     `help:"Send all that fit --site and --reason again."`
	JSON    bool     `name:"json" help:"Print JSON, one dead letter per line."`
}

// Help is the long help.
func (*replayCmd) Help() string {
	return `Without numbers and without --all it only lists. A command that is sent again keeps its id and loses its expiry time.`
}

// Run lists, or sends again.
func (r *replayCmd) Run(ctx context.Context, c *cli) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	filter, err := r.filter(c, cfg)
	if err != nil {
		return err
	}
	b, err := c.connect(ctx, cfg)
	if err != nil {
		return err
	}
	defer c.close(ctx, b)
	numbers := r.Numbers
	if len(numbers) == 0 {
		letters, err := letters(ctx, b, filter)
		if err != nil || !r.All {
			if err == nil {
				err = r.list(c, letters)
			}
			return err
		}
		for _, letter := range letters {
			numbers = append(numbers, letter.Sequence)
		}
	}
	return r.again(ctx, c, b, numbers)
}

func (r *replayCmd) filter(c *cli, cfg *Config) (string, error) {
	site := ""
	if r.Site != "" {
		var err error
		if site, err = c.site(cfg, r.Site); err != nil {
			return "", err
		}
	}
	if r.Reason != "" && fault.Reason(r.Reason).Entry().Meaning == fault.Reason("").Entry().Meaning {
		var known []string
		for _, entry := range fault.Reasons() {
			known = append(known, string(entry.Reason))
		}
		return "", fault.New(fault.SchemaViolation, "there is no reason %q", r.Reason).WithFix("%s", nearest(r.Reason, known))
	}
	return event.DeadFilter(fault.Reason(r.Reason), site), nil
}

func letters(ctx context.Context, b *bus.Bus, filter string) ([]bus.Dead, error) {
	var all []bus.Dead
	for letter, err := range b.DeadLetters(ctx, filter) {
		if err != nil {
			return nil, fmt.Errorf("reading the dead letters: %w", err)
		}
		all = append(all, letter)
	}
	return all, nil
}

func (r *replayCmd) list(c *cli, all []bus.Dead) error {
	if r.JSON {
		for _, letter := range all {
			if err := writeJSON(c.Stdout, letter, ""); err != nil {
				return err
			}
		}
		return nil
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(c.Stdout, "no dead letters")
		return err
	}
	table := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "NUMBER\tDIED\tREASON\tWHAT\tWHOSE\tMESSAGE")
	for _, letter := range all {
		_, _ = fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\n", letter.Sequence, letter.DiedAt.Local().Format(time.DateTime),
			letter.Problem.Reason, what(letter.DeadLetter.Subject), whose(letter.DeadLetter.Subject), printable(letter.Problem.Message))
	}
	_, _ = fmt.Fprintln(table, "\nSend one again: publisher replay NUMBER; all: publisher replay --all.")
	return table.Flush()
}

// what names the message that died: a command's action, or a trigger.
func what(subject string) string {
	if address, err := event.ParseCommandSubject(subject); err == nil {
		return address.Action
	}
	word, _, _ := strings.Cut(subject, ".")
	if word == "in" {
		return "trigger"
	}
	return subject
}

func (r *replayCmd) again(ctx context.Context, c *cli, b *bus.Bus, numbers []uint64) error {
	failed := 0
	for _, number := range numbers {
		receipt, err := b.Replay(ctx, number)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		text := fmt.Sprintf("sent again as %s %d", receipt.Stream, receipt.Sequence)
		switch {
		case err != nil:
			failed++
			text = err.Error()
		case receipt.Duplicate:
			text = "was sent again a moment ago; nothing done"
		}
		_, _ = fmt.Fprintf(c.Stdout, "%d: %s\n", number, text)
	}
	if failed > 0 {
		return silentError{1}
	}
	return nil
}
