package app

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/parley-chat/parley/internal/workflow/backtest"
)

// buffer is where a test that was stopped is written.
type buffer struct{ bytes.Buffer }

func newReader(text []byte) io.Reader { return bytes.NewReader(text) }

// report prints what a back-test found.
func (d *desk) report(r backtest.Report, took time.Duration) error {
	if r.Events == 0 {
		_, err := fmt.Fprintln(d.Stdout, "there is no event in that time; `publisher backfill` stores events of the past")
		return err
	}
	_, _ = fmt.Fprintf(d.Stdout, "%s, from %s to %s, in %s; %d did not count, because commands or workflows had caused them\n\n",
		plural(int(r.Events), "event"), r.From.Local().Format(time.DateTime), r.To.Local().Format(time.DateTime),
		took.Round(time.Millisecond), r.Passed)
	d.found("", r.Tested)
	if r.Versus == nil {
		return nil
	}
	_, _ = fmt.Fprintln(d.Stdout, "\nThe other version:")
	d.found("", *r.Versus)
	x := r.Differences
	_, _ = fmt.Fprintf(d.Stdout, "\nBoth begin with %s, only the tested one with %d, only the other one with %d.\n",
		plural(int(x.Both), "event"), x.OnlyTested, x.OnlyVersus)
	if len(x.Examples) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(d.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "\nONLY\tWORKFLOW\tEVENT\tSTORED\tSESSION")
	for _, e := range x.Examples {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s/%s\n", e.Only, e.Workflow, printable(e.Event), e.At.Local().Format(time.DateTime), e.Site, e.Session)
	}
	return table.Flush()
}

// found prints what one version would have done.
func (d *desk) found(indent string, f backtest.Found) {
	table := tabwriter.NewWriter(d.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, indent+"WORKFLOW\tFIRES\tVISITORS\tNO CONSENT\tHELD OUT\tSKIPPED\tFAILED\tCOMMANDS")
	for _, w := range f.Workflows {
		_, _ = fmt.Fprintf(table, "%s%s\t%d\t%d\t%d\t%d\t%s\t%d\t%s\n", indent, w.Name, w.Fired, w.Visitors, w.ConsentMissing, w.HeldOut,
			counts(w.Skipped), w.Ended["failed"], counts(w.Commands))
	}
	_ = table.Flush() // The writer's own error comes with the next line.
	for _, w := range f.Workflows {
		for _, why := range slices.Sorted(maps.Keys(w.Failures)) {
			_, _ = fmt.Fprintf(d.Stdout, "%s%s failed %d times: %s\n", indent, w.Name, w.Failures[why], printable(why))
		}
	}
	for _, pair := range f.Overlapping() {
		_, _ = fmt.Fprintf(d.Stdout, "%s%s begin with the same event %d times\n", indent, pair, f.Overlaps[pair])
	}
	for _, why := range slices.Sorted(maps.Keys(f.Refused)) {
		_, _ = fmt.Fprintf(d.Stdout, "%swould be a dead letter, %d times: %s\n", indent, f.Refused[why], printable(why))
	}
	if f.Waiting > 0 {
		_, _ = fmt.Fprintf(d.Stdout, "%s%s still wait at the end\n", indent, plural(f.Waiting, "run"))
	}
}

// counts writes counts by name, the name's last parts only.
func counts(by map[string]int64) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(by)) {
		short := name
		if parts := strings.SplitN(name, ".", 2); len(parts) == 2 {
			short = parts[1]
		}
		all = append(all, fmt.Sprintf("%s %d", short, by[name]))
	}
	return orDash(strings.Join(all, ", "))
}
