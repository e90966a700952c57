package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/telemetry"
	"github.com/parley-chat/parley/internal/workflow"
	"github.com/parley-chat/parley/internal/workflow/engine"
	"github.com/parley-chat/parley/internal/workflow/machine"
)

// byFiles is the author of the versions that come from workflow files.
const byFiles = "files"

// flows is the part of a worker that runs workflows.
type flows struct {
	log      *slog.Logger
	engine   *engine.Engine
	caller   *engine.Caller
	bucket   *bus.KV
	versions *workflow.Versions
	compiler *workflow.Compiler
	files    *workflow.Set // nil without files
	metrics  *telemetry.Metrics

	compiled sync.Map // programs, by name and number

	ended, skipped map[string]*atomic.Uint64
}

// openFlows makes the engine of the workflows. Nothing runs yet.
func openFlows(ctx context.Context, log *slog.Logger, cfg *Config, parts Parts, b *bus.Bus, metrics *telemetry.Metrics) (*flows, error) {
	compiler, err := workflow.NewCompiler(parts.Catalog, parts.Schemas, cfg.AllSites())
	if err != nil {
		return nil, fmt.Errorf("preparing the workflows: %w", err)
	}
	bucket, err := b.KV(ctx, bus.BucketFlows)
	if err != nil {
		return nil, fmt.Errorf("opening the versions of workflows: %w", err)
	}
	f := &flows{
		log: log, bucket: bucket, versions: workflow.NewVersions(bucket), compiler: compiler, files: parts.Rules, metrics: metrics,
		ended: map[string]*atomic.Uint64{}, skipped: map[string]*atomic.Uint64{},
	}
	f.engine = engine.New(log, b, engine.Options{
		Programs: f.current, Older: f.older, Sites: cfg.Site, Schemas: parts.Schemas, Told: f.told,
	})
	f.caller = engine.NewCaller(log, b, engine.CallerOptions{
		Secret:  func(ref string) (string, error) { return readSecret(Secret(ref), parts.Env) },
		Allowed: func(a netip.Addr) bool { return cfg.Workflows.Private || browser.Public(a) }, Grace: cfg.Worker.Grace,
	})
	metrics.Watch(f.figures()...)
	return f, nil
}

// readSecret returns what the file of the reference holds.
func readSecret(ref Secret, env Env) (string, error) {
	path, err := ref.Path(env)
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(path) //nolint:gosec // Whoever writes workflows names it, and only signatures come of it.
	if err != nil {
		return "", fault.New(fault.BadConfig, "reading the secret %s", ref).Because(err)
	}
	return strings.TrimSpace(string(text)), nil
}

// run runs workflows until ctx ends.
func (f *flows) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return f.engine.Run(ctx) })
	group.Go(func() error { return f.caller.Run(ctx) })
	group.Go(func() error { return f.watch(ctx) })
	return group.Wait()
}

// watch tells the engine of every change of the current versions.
func (f *flows) watch(ctx context.Context) error {
	for {
		err := f.bucket.Watch(ctx, []string{"*.head"}, func(bus.Change) error {
			f.engine.Changed()
			return nil
		})
		if ctx.Err() != nil {
			return nil //nolint:nilerr // It was told to stop.
		}
		f.log.LogAttrs(ctx, slog.LevelWarn, "changes of workflows are not heard of", slog.Any("err", err))
		timer := time.NewTimer(time.Second)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// current returns the programs that are switched on. Files that nobody has
// published in this form become versions first. A version that cannot be
// compiled any more, because a site or an action is gone, is left out.
func (f *flows) current(ctx context.Context) (*workflow.Set, error) {
	if err := f.adopt(ctx); err != nil {
		if ctx.Err() != nil || fault.Retryable(err) {
			return nil, err
		}
		f.log.LogAttrs(ctx, slog.LevelError, "workflow files are not all published", slog.Any("err", err))
	}
	names, err := f.versions.Names(ctx)
	if err != nil {
		return nil, err
	}
	var programs []*workflow.Program
	for _, name := range names {
		head, err := f.versions.Head(ctx, name)
		if err == nil && head.Current == 0 {
			continue
		}
		var p *workflow.Program
		if err == nil {
			p, err = f.program(ctx, name, head.Current)
		}
		switch {
		case err == nil:
			programs = append(programs, p)
		case fault.Retryable(err), ctx.Err() != nil:
			return nil, err
		default:
			f.log.LogAttrs(ctx, slog.LevelError, "workflow left out", slog.String(telemetry.AttrRule, name), slog.Any("err", err))
		}
	}
	set, err := workflow.NewSet(programs...)
	if err != nil {
		f.log.LogAttrs(ctx, slog.LevelError, "workflows start one another for ever", slog.Any("err", err))
	}
	return set, nil
}

// program returns the version, compiled once. Only the leader asks.
func (f *flows) program(ctx context.Context, name string, number int) (*workflow.Program, error) {
	key := fmt.Sprintf("%s@%d", name, number)
	if p, ok := f.compiled.Load(key); ok {
		return p.(*workflow.Program), nil //nolint:forcetypeassert // Nothing else is put there.
	}
	p, err := f.versions.Program(ctx, f.compiler, name, number)
	if err == nil {
		f.compiled.Store(key, p)
	}
	return p, err
}

// adopt publishes the files whose text is no version yet, and switches those off
// whose file is gone. A text that was published before stays as people switched
// it.
func (f *flows) adopt(ctx context.Context) error {
	if f.files == nil || f.files.Len() == 0 {
		return nil
	}
	now := time.Now()
	for _, p := range f.files.Programs() {
		known, err := f.versions.List(ctx, p.Name)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(known, func(v workflow.Version) bool { return v.Digest == p.Digest }) {
			continue
		}
		version, err := f.versions.Publish(ctx, p, workflow.Change{Author: byFiles, Note: p.File, At: now})
		if err != nil {
			return err
		}
		f.log.LogAttrs(ctx, slog.LevelInfo, "workflow published", slog.String(telemetry.AttrRule, p.Name), slog.Int("version", version.Number))
	}
	names, err := f.versions.Names(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, there := f.files.Program(name); there {
			continue
		}
		head, err := f.versions.Head(ctx, name)
		if err != nil || head.Current == 0 {
			if err != nil {
				return err
			}
			continue
		}
		version, err := f.versions.Get(ctx, name, head.Current)
		if err != nil {
			return err
		}
		if version.Author == byFiles {
			if err := f.versions.Off(ctx, name, workflow.Change{Author: byFiles, Note: "its file is gone", At: now}); err != nil {
				return err
			}
		}
	}
	return nil
}

// older returns a version of long ago.
func (f *flows) older(ctx context.Context, name, digest string) (*workflow.Program, bool, error) {
	known, err := f.versions.List(ctx, name)
	if err != nil {
		return nil, false, err
	}
	for _, v := range known {
		if v.Digest != digest {
			continue
		}
		p, err := f.program(ctx, name, v.Number)
		if err != nil && ctx.Err() == nil && !fault.Retryable(err) {
			f.log.LogAttrs(ctx, slog.LevelError, "an old version of a workflow cannot be read any more",
				slog.String(telemetry.AttrRule, name), slog.Int("version", v.Number), slog.Any("err", err))
			return nil, false, nil
		}
		return p, err == nil, err
	}
	return nil, false, nil
}

// limits are the marks of starts that were skipped.
func limits() []string {
	return []string{"once_per", "per_site", "quiet_hours", "concurrency", "runs"}
}

// told counts what happened.
func (f *flows) told(mark machine.Mark) {
	switch mark.What {
	case machine.MarkMatched, machine.MarkIgnored:
		f.metrics.Trigger(mark.What)
	case machine.MarkRefused:
		f.metrics.Trigger("failed")
	case machine.MarkEnded:
		if n := f.ended[mark.Detail]; n != nil {
			n.Add(1)
		}
	case machine.MarkSkipped:
		if n := f.skipped[mark.Detail]; n != nil {
			n.Add(1)
		}
	}
}

// figures are those of the workflows. Only the leader's rise.
func (f *flows) figures() []telemetry.Figure {
	now := f.engine.Figures
	all := []telemetry.Figure{
		gauge("parley_workflows_leading", "1 where the workflows are run, 0 where a worker waits to take over.", func() int {
			if now().Leads {
				return 1
			}
			return 0
		}),
		counter("parley_workflow_inputs_total", "Triggers, facts, results and timers that workflows have handled.", func() uint64 { return now().Folded }),
		counter("parley_workflow_commits_total", "Batches in which workflows stored what they did.", func() uint64 { return now().Commits }),
		counter("parley_workflow_messages_total", "Messages of those batches.", func() uint64 { return now().Messages }),
		gauge("parley_workflow_batch_max", "Messages of the largest batch.", func() int64 { return now().Largest }),
		counter("parley_workflow_timers_total", "Timers that workflows set or took back.", func() uint64 { return now().Timers }),
		counter("parley_workflow_timers_held_total", "Timers that fired too early, and were set again.", func() uint64 { return now().Jumped }),
		counter("parley_workflow_commits_refused_total", "Batches that were refused because another worker runs the workflows.", func() uint64 { return now().Refused }),
		gauge("parley_workflow_waiting", "Inputs that were read and not handled yet.", func() int64 { return now().Waiting }),
		{Name: "parley_workflow_lag_seconds", Help: "How old the last input was when what it led to was stored.", Read: func() float64 { return now().Behind.Seconds() }},
		{Name: "parley_workflow_clock_jump_seconds", Help: "How far the wall clock jumped since the start; timers are held while it is ahead.", Read: func() float64 { return now().ClockJump.Seconds() }},
	}
	for _, status := range machine.Statuses() {
		if status == machine.Running {
			continue
		}
		n := &atomic.Uint64{}
		f.ended[string(status)] = n
		all = append(all, labelled(counter("parley_runs_ended_total", "Runs of workflows that ended, by status.", n.Load), "status", string(status)))
	}
	for _, limit := range limits() {
		n := &atomic.Uint64{}
		f.skipped[limit] = n
		all = append(all, labelled(counter("parley_runs_skipped_total", "Starts of workflows that a limit refused, by limit.", n.Load), "limit", limit))
	}
	return all
}
