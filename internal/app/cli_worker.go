package app

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/telemetry"
)

// workerCLI is the command line of the worker.
type workerCLI struct {
	common
	Dev      devCmd      `cmd:"" help:"Run everything in one process, with stand-ins for the vendor: to try and to develop."`
	Run      runCmd      `cmd:"" help:"Run a worker."`
	Doctor   doctorCmd   `cmd:"" help:"Check the configuration, NATS, Chromium and the sites, and say what to do."`
	Workers  workersCmd  `cmd:"" help:"List the workers: what they own, and what waits for them."`
	Drain    drainCmd    `cmd:"" help:"Have a worker hand over everything, and stay up without work."`
	Sessions sessionsCmd `cmd:"" help:"List the visitors' sessions; show, store, pin or erase one."`
	Keys     keysCmd     `cmd:"" help:"Print a new key that seals stored sessions."`
}

// Worker runs the worker's command line and returns its exit code.
func Worker(ctx context.Context, p Process) int {
	var grammar workerCLI
	return run(ctx, p, "worker", "Performs chat actions in real browsers, proves them, and tells what happened.\n\n"+
		"Exit codes: 0 done or stopped as asked; 1 something is wrong; 2 wrong usage; 70 a bug; 75 try again later; "+
		"130 interrupted.", &grammar, &grammar.common)
}

// runCmd is the production worker.
type runCmd struct {
	Actions []string `placeholder:"PATTERN" help:"Take only these actions, such as 'botstar.widget.*'. Default: all. Workers that share a bus have the same patterns, or patterns that do not overlap."`
	Roles   []string `placeholder:"ROLE" help:"Do only this: actions, workflows, ingest, crm, gateway. Default: all."`
	Name    string   `placeholder:"NAME" help:"The worker's name in results and logs. Default: the host's, with the process's number."`
	Lanes   int      `placeholder:"N" help:"Work for so many sessions at the same time."`
}

// Run runs until the process is told to stop, and returns when what it ran has
// ended.
func (r *runCmd) Run(ctx context.Context, c *cli) error {
	file := Locate(c.flags.Config)
	if file == "" {
		return fault.New(fault.BadConfig, "there is no %s here", ConfigFile).
			WithFix("copy the example parley.yaml and name your sites in it, or try `worker dev`, which needs none")
	}
	r.override(c.Env)
	cfg, err := LoadConfig(file, c.Env, c.catalog)
	if err != nil {
		return err
	}
	log := c.logger(cfg.Telemetry)
	for _, warning := range cfg.Warnings {
		log.LogAttrs(ctx, slog.LevelWarn, "odd configuration", slog.String("text", warning))
	}
	rules, err := LoadRules(cfg, c.catalog, c.schemas)
	if err != nil {
		return err
	}
	return runSystem(ctx, log, cfg, Parts{Catalog: c.catalog, Schemas: c.schemas, Env: c.Env, Rules: rules})
}

// override lets the flags win over the environment, which wins over the file.
func (r *runCmd) override(env Env) {
	if len(r.Actions) > 0 {
		env[envPrefix+"WORKER_ACTIONS"] = joinComma(r.Actions)
	}
	if len(r.Roles) > 0 {
		env[envPrefix+"WORKER_ROLES"] = joinComma(r.Roles)
	}
	if r.Name != "" {
		env[envPrefix+"WORKER_NAME"] = r.Name
	}
	if r.Lanes > 0 {
		env[envPrefix+"WORKER_LANES"] = strconv.Itoa(r.Lanes)
	}
}

// runSystem starts a system, runs it until ctx ends, and closes it.
func runSystem(ctx context.Context, log *slog.Logger, cfg *Config, parts Parts) error {
	began := time.Now()
	system, err := Start(ctx, log, cfg, parts)
	if err != nil {
		return err
	}
	log.LogAttrs(ctx, slog.LevelInfo, "worker runs",
		slog.String(telemetry.AttrWorker, cfg.Worker.Name), slog.Int("sites", len(cfg.Sites)), slog.Int("rules", parts.Rules.Len()),
		slog.String("bus", redact(orNone(system.bus.URL()))), slog.Duration("took", time.Since(began)))
	err = system.Run(ctx)
	log.LogAttrs(context.WithoutCancel(ctx), slog.LevelInfo, "worker stops", slog.Any("cause", context.Cause(ctx)))
	return errors.Join(err, system.Close(ctx))
}

// processName is the worker's name where the configuration gives none: the
// host's, as far as it can be a worker's, and the process's number.
func processName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "worker"
	}
	name = strings.Map(func(r rune) rune {
		if isNameRune(r) {
			return r
		}
		return '-'
	}, name)
	return name[:min(len(name), 100)] + "-" + strconv.Itoa(os.Getpid())
}

// isNameRune reports whether the character can stand in a worker's name.
func isNameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
}
