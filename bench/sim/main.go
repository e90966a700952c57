// Command sim plays 200 workers and 100,000 sessions in virtual time, with the
// product's own code for who owns which partition and which sessions keep a tab,
// and prints a report. The same seed gives the same report. See
// docs/simulation.md.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/parley-chat/parley/bench/model"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run plays what the arguments ask for, and returns the exit code: 1 when the
// verdict is not ok.
func run(args []string, out, progress io.Writer) int {
	flags := flag.NewFlagSet("sim", flag.ContinueOnError)
	flags.SetOutput(progress)
	seed := flags.Uint64("seed", 0, "play this `seed`; 0 means a new one, which is printed")
	quick := flags.Bool("quick", false, "play 20 workers and 10,000 sessions for 5 minutes")
	length := flags.Duration("length", 0, "play this much virtual `time`")
	load := flags.Float64("load", 0, "`commands` per second, of all sites together")
	workers := flags.Int("workers", 0, "how many `workers` there are")
	places := flags.Int("tabs", 0, "how many `tabs` a worker holds at most")
	faults := flags.Float64("faults", -1, "how often in a `minute` a worker joins, leaves, is killed or is paused")
	flags.Usage = func() {
		fmt.Fprintf(progress, "Plays workers and sessions in virtual time, and prints a report.\n\n  go run ./bench/sim [flags]\n\n")
		flags.PrintDefaults()
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	for *seed == 0 {
		*seed = rand.Uint64() >> 32 // Short enough to be typed again.
	}
	c := model.Large(*seed)
	if *quick {
		c = model.Quick(*seed)
	}
	if *length > 0 {
		c.Length, c.Day = *length, *length
	}
	if *load > 0 {
		c.PerSecond = *load
	}
	if *workers > 0 {
		c.Workers = *workers
	}
	if *places > 0 {
		c.Places = *places
	}
	if *faults >= 0 {
		c.Faults = *faults
	}
	return play(c, out, progress)
}

// play plays it, and prints the report.
func play(c model.Config, out, progress io.Writer) int {
	fmt.Fprintf(progress, "seed %d\n", c.Seed)
	begun := time.Now()
	c.Progress = func(at, of time.Duration) {
		fmt.Fprintf(progress, "\r%s of %s, after %s ", at.Round(time.Second), of, time.Since(begun).Round(time.Second))
	}
	r, err := model.Run(c)
	fmt.Fprintln(progress)
	if err != nil {
		fmt.Fprintln(progress, "sim:", err)
		return 2
	}
	fmt.Fprint(out, r)
	if !r.OK() {
		fmt.Fprintf(progress, "sim: the verdict is not ok; the run comes again with -seed %d\n", c.Seed)
		return 1
	}
	return 0
}
