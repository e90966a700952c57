// Command cluster hurts a real cluster and counts what that does: three NATS
// servers, worker processes, and a load of commands, on the loopback interface
// of one machine. Workers, browsers and servers are killed, stopped, paused and
// cut off, from a seed; then ledgers that none of them can touch say whether a
// command was lost, done twice or out of order.
//
// It exits with 1 when anything was found. DESIGN.md explains what is measured.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // The second signal ends the process at once.
	os.Exit(do(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// do runs the command line and returns the exit code: 0 when nothing was found,
// 1 when something was, 2 for wrong usage.
func do(ctx context.Context, args []string, out, diagnostics io.Writer) int {
	if len(args) == 2 && args[0] == workerCommand {
		if err := work(ctx, args[1], out, diagnostics); err != nil {
			fmt.Fprintf(diagnostics, "worker: %v\n", err)
			return 1
		}
		return 0
	}
	var s settings
	if err := s.read(args, diagnostics); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		fmt.Fprintf(diagnostics, "cluster: %v\n", err)
		return 2
	}
	exe, err := os.Executable()
	if err != nil {
		fmt.Fprintf(diagnostics, "cluster: %v\n", err)
		return 1
	}
	fmt.Fprintf(out, "cluster: mode %s, seed %d, %s\n", s.Mode, s.Seed, s.Duration)
	began := time.Now()
	r, err := execute(ctx, s, exe, func(text string) {
		fmt.Fprintf(out, "%7.1fs  %s\n", time.Since(began).Seconds(), text)
	})
	if err != nil {
		fmt.Fprintf(diagnostics, "cluster: %v\n", err)
		return 1
	}
	r.show(out)
	if s.JSON != "" {
		if err := r.save(s.JSON); err != nil {
			fmt.Fprintf(diagnostics, "cluster: %v\n", err)
			return 1
		}
	}
	if !r.Verdict.clean() {
		fmt.Fprintf(out, "\nFOUND. The same load and faults again: -mode %s -seed %d -for %s\n", s.Mode, s.Seed, s.Duration)
		return 1
	}
	fmt.Fprintln(out, "\nnothing was found")
	return 0
}
