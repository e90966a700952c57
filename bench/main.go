// Command bench measures Parley's figures, each beside its references in the
// same run. It is run by `make bench`, from the root of the repository.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/crowd"
	"github.com/parley-chat/parley/bench/ours"
	"github.com/parley-chat/parley/bench/report"
)

const (
	resultsFile = "bench/results.json"
	faultsDir   = "bench/faults"
	docsDir     = "docs"
)

// errShort says that a figure is short of its bar. The lines tell which.
var errShort = errors.New("short of a bar")

// options are the flags.
type options struct {
	only    string
	repeats int
	smoke   bool
	record  bool
	page    bool
}

func main() {
	if slices.Equal(os.Args[1:], []string{"contend"}) {
		os.Exit(exit(contend.Serve(os.Stdin, os.Stdout, ours.Start)))
	}
	if len(os.Args) == 3 && os.Args[1] == ours.WorkCommand {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		err := ours.Work(ctx, os.Args[2], os.Stdout, os.Stderr)
		stop()
		os.Exit(exit(err))
	}
	if len(os.Args) == 3 && os.Args[1] == crowd.Command {
		os.Exit(exit(crowd.Run(os.Args[2], os.Stdin, os.Stdout)))
	}
	var o options
	flag.StringVar(&o.only, "only", "", "measure only the benchmark of this `name`")
	flag.IntVar(&o.repeats, "repeats", 0, "how many `rounds` count; 0 means as many as the benchmark asks for")
	flag.BoolVar(&o.smoke, "smoke", false, "run each benchmark once and small, and hold it against no bar")
	flag.BoolVar(&o.record, "record", false, "with -only: write the results and the page too")
	flag.BoolVar(&o.page, "page", false, "measure nothing; write the page from the results")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, os.Stderr, o)
	stop()
	os.Exit(exit(err))
}

// exit says what went wrong, and returns the exit code.
func exit(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	return 1
}

// run measures what the options ask for, and writes the lines to out.
func run(ctx context.Context, out, progress io.Writer, o options) error {
	results, err := report.Load(resultsFile)
	if err != nil {
		return err
	}
	if results.Faults, err = report.LoadFaults(os.DirFS(faultsDir)); err != nil {
		return err
	}
	if o.page {
		return results.Write(docsDir)
	}
	chosen, names, err := choose(o.only)
	if err != nil {
		return err
	}
	short := false
	for _, b := range chosen {
		if o.smoke {
			b = b.small()
		}
		if o.repeats > 0 {
			b.repeats = o.repeats
		}
		measured, err := b.measure(ctx, progress)
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		if o.smoke {
			fmt.Fprintf(out, "%s ran\n", b.name)
			continue
		}
		fmt.Fprint(progress, measured.Table())
		short = tell(out, measured) || short
		if o.only == "" || o.record {
			results = results.With(measured, names)
			if err := errors.Join(results.Save(resultsFile), results.Write(docsDir)); err != nil {
				return err
			}
		}
	}
	if short {
		return errShort
	}
	return nil
}

// choose returns the benchmark of the name, or all, and the names of all.
func choose(only string) ([]benchmark, []string, error) {
	all := suite()
	names := make([]string, len(all))
	for i, b := range all {
		names[i] = b.name
	}
	if only == "" {
		return all, names, nil
	}
	i := slices.Index(names, only)
	if i < 0 {
		return nil, nil, fmt.Errorf("no benchmark is called %q; there are %v", only, names)
	}
	return all[i : i+1], names, nil
}

// tell writes the lines of a benchmark, and last the one that stands for it. It
// reports whether one of them is short.
func tell(out io.Writer, b report.Benchmark) bool {
	for _, line := range b.Lines {
		if len(b.Lines) > 1 {
			fmt.Fprintln(out, line)
		}
	}
	fmt.Fprintln(out, b.Closest())
	return !b.Closest().OK()
}

// today is the date of a result.
func today() string { return time.Now().UTC().Format(time.DateOnly) }
