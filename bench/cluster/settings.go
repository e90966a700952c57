package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// mode says what the commands of a run do.
type mode string

// The modes.
const (
	// simulated actions take a set time and write into the ledger of the parent
	// process over HTTP. Bus, worker and sessions are the real ones; there is no
	// browser. It is for rates that Chromium cannot carry on a small machine.
	simulated mode = "simulated"
	// pages are real actions on real Chromium, against the vendor's stand-in.
	pages mode = "pages"
)

// kind is one way to hurt the cluster.
type kind string

// The kinds of faults.
const (
	addWorker   kind = "add"      // One more worker joins.
	killWorker  kind = "kill"     // SIGKILL of a worker; another one starts two seconds later.
	stopWorker  kind = "stop"     // SIGTERM of a worker; another one starts when it has ended.
	pauseWorker kind = "pause"    // SIGSTOP of a worker for five seconds, then SIGCONT.
	cutWorker   kind = "cut"      // A worker and all NATS servers cannot hear each other for four seconds.
	killNode    kind = "node"     // SIGKILL of a NATS server; it starts again three seconds later.
	killBrowser kind = "browser"  // SIGKILL of a browser of a worker.
	killPage    kind = "renderer" // SIGKILL of a renderer of a worker.
	hangSite    kind = "hang"     // A site whose every tab hangs gets commands.
)

// kindsOf returns the kinds that make sense in the mode.
func kindsOf(m mode) []kind {
	all := []kind{addWorker, killWorker, stopWorker, pauseWorker, cutWorker, killNode}
	if m == pages {
		all = append(all, killBrowser, killPage, hangSite)
	}
	return all
}

// settings shape one run. The same settings give the same load and the same
// faults in the same order; what the machine makes of them differs.
type settings struct {
	Mode mode   `json:"mode"`
	Seed uint64 `json:"seed"`
	// Workers are there at the start, and as many are kept.
	Workers int `json:"workers"`
	// Rate is commands per second, and Duration how long they are sent.
	Rate     int           `json:"rate"`
	Duration time.Duration `json:"duration_ns"`
	// Sessions get commands at the same time. A visitor who has had Span of them
	// leaves, and another one comes.
	Sessions int `json:"sessions"`
	Span     int `json:"span"`
	// Work is how long a simulated action takes.
	Work time.Duration `json:"work_ns"`
	// Faults are the kinds in use, each once before any comes twice. Calm is the
	// time from the end of one to the beginning of the next.
	Faults []kind        `json:"faults"`
	Calm   time.Duration `json:"calm_ns"`
	// Sync is sync_interval of the NATS servers.
	Sync string `json:"sync"`
	// Drain bounds the wait for the last results.
	Drain time.Duration `json:"drain_ns"`
	// JSON is a file for the results, and Dir holds logs and streams. Without a
	// Dir, they go with a run that finds nothing.
	JSON, Dir string `json:"-"`
}

// read reads the command line. Zero values get the defaults of the mode.
func (s *settings) read(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("cluster", flag.ContinueOnError)
	flags.SetOutput(out)
	text, faults := string(simulated), ""
	flags.StringVar(&text, "mode", text, "what commands do: simulated or pages")
	flags.Uint64Var(&s.Seed, "seed", 0, "the seed of load and faults; 0 chooses one, which is printed")
	flags.IntVar(&s.Workers, "workers", 3, "workers at the start")
	flags.IntVar(&s.Rate, "rate", 0, "commands per second; 0 is 500 simulated ones, or 8 on pages")
	flags.DurationVar(&s.Duration, "for", time.Minute, "how long commands are sent")
	flags.IntVar(&s.Sessions, "sessions", 0, "sessions with commands at the same time; 0 is 400, or 24 on pages")
	flags.IntVar(&s.Span, "span", 0, "commands of one visitor; 0 is 200, or 48 on pages")
	flags.DurationVar(&s.Work, "work", 20*time.Millisecond, "how long a simulated action takes")
	flags.StringVar(&faults, "faults", "all", "kinds of faults, with commas; all, or none")
	flags.DurationVar(&s.Calm, "calm", 6*time.Second, "time between two faults")
	flags.StringVar(&s.Sync, "sync", "always", "sync_interval of the NATS servers")
	flags.DurationVar(&s.Drain, "drain", 90*time.Second, "how long the last results may take")
	flags.StringVar(&s.JSON, "json", "", "write the results to this file, too")
	flags.StringVar(&s.Dir, "dir", "", "keep logs and streams here")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("reading the command line: %w", err)
	}
	if s.Mode = mode(text); s.Mode != simulated && s.Mode != pages {
		return fmt.Errorf("the mode %q is neither %s nor %s", text, simulated, pages)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is not a flag", flags.Arg(0))
	}
	return s.complete(faults)
}

// complete fills in what was left out, and refuses what makes no sense.
func (s *settings) complete(faults string) error {
	usual := settings{Rate: 500, Sessions: 400, Span: 200}
	if s.Mode == pages {
		// The vendor takes 20 updates of a visitor, which a third of 48 stays below.
		usual = settings{Rate: 8, Sessions: 24, Span: 48}
	}
	s.Rate = orElse(s.Rate, usual.Rate)
	s.Sessions = orElse(s.Sessions, usual.Sessions)
	s.Span = orElse(s.Span, usual.Span)
	s.Seed = orElse(s.Seed, rand.Uint64N(1_000_000)+1)
	switch faults {
	case "none":
		s.Faults = nil
	case "all":
		s.Faults = kindsOf(s.Mode)
	default:
		for name := range strings.SplitSeq(faults, ",") {
			if !slices.Contains(kindsOf(s.Mode), kind(name)) {
				return fmt.Errorf("the fault %q is none of %v", name, kindsOf(s.Mode))
			}
			s.Faults = append(s.Faults, kind(name))
		}
	}
	if s.Workers < 2 || s.Rate < 1 || s.Sessions < 1 || s.Span < 1 {
		return errors.New("a run needs two workers, and one of everything else")
	}
	return nil
}

func orElse[T comparable](value, usual T) T {
	if value == *new(T) {
		return usual
	}
	return value
}

// blow is one fault of the plan.
type blow struct {
	Kind kind
	// Pick chooses among the victims that are there, and Twist between two ways
	// to do it.
	Pick  uint64
	Twist bool
}

// plan yields the faults in order, for ever: every kind once in an order of
// chance, then again in another.
func (s *settings) plan() func(yield func(blow) bool) {
	return func(yield func(blow) bool) {
		rng := rand.New(rand.NewPCG(s.Seed, 1))
		for len(s.Faults) > 0 {
			for _, i := range rng.Perm(len(s.Faults)) {
				if !yield(blow{Kind: s.Faults[i], Pick: rng.Uint64(), Twist: rng.IntN(2) == 0}) {
					return
				}
			}
		}
	}
}
