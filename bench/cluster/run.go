package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/telemetry"
)

// settleLimit is how long the queue may take to empty when every command has its
// result. An acknowledgement that got lost with a server is said again only when
// the command is delivered again, after the 30 s that it is waited for.
const settleLimit = time.Minute

// rig is everything that one run is made of.
type rig struct {
	s       settings
	log     *slog.Logger
	dir     string
	nats    *nats
	bus     *bus.Bus
	ledger  *ledger // of simulated actions
	world   *world  // nil without pages
	crew    *crew
	load    *load
	history *history
}

// execute does one run and judges it. exe is this program, which is also the
// worker. say is told of what goes on. An error means that there is no verdict.
func execute(ctx context.Context, s settings, exe string, say func(string)) (r report, err error) {
	if err := adopt(); err != nil {
		return r, err
	}
	x := &rig{s: s}
	if err := x.folder(); err != nil {
		return r, err
	}
	file, err := os.Create(filepath.Join(x.dir, "harness.log"))
	if err != nil {
		return r, fmt.Errorf("making the log: %w", err)
	}
	defer file.Close() //nolint:errcheck // A log.
	x.log = telemetry.NewLogger(file, telemetry.LogOptions{Level: slog.LevelInfo, Format: "json"})
	defer func() {
		if x.crew != nil {
			x.crew.kill()
		}
		x.close(context.WithoutCancel(ctx))
		if err == nil && r.Verdict.clean() && s.Dir == "" {
			_ = os.RemoveAll(x.dir)
			return
		}
		say("logs and streams stay in " + x.dir)
	}()
	began := time.Now()
	if err := x.start(ctx, exe); err != nil {
		return r, err
	}
	say(fmt.Sprintf("3 NATS servers and %d workers run after %s", s.Workers, time.Since(began).Round(time.Millisecond)))
	return x.run(ctx, say)
}

// folder makes the folder of the run. The browsers run as another user, who must
// reach what is below it.
func (x *rig) folder() error {
	dir := x.s.Dir
	if dir == "" {
		made, err := os.MkdirTemp("", "parley-cluster-")
		if err != nil {
			return fmt.Errorf("making the folder of the run: %w", err)
		}
		dir = made
	}
	var err error
	if x.dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("naming the folder of the run: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(x.dir, "browsers"), 0o755); err != nil { //nolint:gosec // As said.
		return fmt.Errorf("making the folder of the run: %w", err)
	}
	if err := os.Chmod(x.dir, 0o755); err != nil { //nolint:gosec // As said.
		return fmt.Errorf("opening the folder of the run: %w", err)
	}
	return nil
}

// start starts everything but the load.
func (x *rig) start(ctx context.Context, exe string) error {
	var err error
	if x.nats, err = startNATS(ctx, x.log, x.dir, x.s.Sync); err != nil {
		return err
	}
	if x.bus, err = bus.Open(ctx, x.log, bus.Options{URL: x.nats.url(), Name: "cluster", Replicas: 3}); err != nil {
		return fmt.Errorf("opening the bus: %w", err)
	}
	// The servers answer before they have chosen who leads.
	err = until(ctx, time.Minute, func(ctx context.Context) bool {
		err = x.bus.EnsureTopology(ctx)
		return err == nil
	})
	if err != nil {
		return fmt.Errorf("making the streams: %w", err)
	}
	if x.s.Mode == pages {
		x.world, err = startWorld(x.log)
	} else {
		x.ledger, err = startLedger(ctx)
	}
	if err != nil {
		return err
	}
	x.crew = &crew{
		s: x.s, dir: x.dir, scratch: filepath.Join(x.dir, "browsers"), exe: exe,
		nats: x.nats, ledger: x.ledger, world: x.world,
	}
	var together sync.WaitGroup
	errs := make([]error, x.s.Workers)
	for i := range errs {
		name := x.crew.name()
		together.Go(func() { errs[i] = x.crew.add(ctx, name) })
	}
	together.Wait()
	return errors.Join(errs...)
}

// close ends what the run was made of, but for the workers.
func (x *rig) close(ctx context.Context) {
	if x.bus != nil {
		_ = x.bus.Close(ctx)
	}
	if x.nats != nil {
		x.nats.stop(ctx)
	}
	if x.world != nil {
		_ = x.world.hosts.Close()
	}
	if x.ledger != nil {
		_ = x.ledger.close()
	}
}

// run sends the load while faults happen, waits for the last result, and judges.
func (x *rig) run(ctx context.Context, say func(string)) (report, error) {
	hearing, deafen := context.WithCancel(ctx)
	defer deafen()
	x.history = newHistory(x.log, x.bus)
	var listening sync.WaitGroup
	listening.Go(func() { x.history.run(hearing) })
	defer listening.Wait()
	defer deafen()

	began := time.Now()
	hurts, broken, err := x.storm(ctx, say)
	if err != nil {
		return report{}, err
	}
	broken = append(broken, x.drain(ctx)...)
	took := time.Since(began)
	say(fmt.Sprintf("all is quiet after %s", took.Round(time.Second)))
	left, err := x.nats.queued(ctx)
	if err != nil {
		return report{}, fmt.Errorf("counting the queue: %w", err)
	}
	broken = append(broken, x.crew.stop(ctx)...)
	if ctx.Err() != nil {
		return report{}, context.Cause(ctx)
	}
	e, r := x.collect(hurts)
	e.Broken, e.Queued, e.Orphans = broken, left, x.orphans(ctx)
	r.Took, r.Verdict = took, judge(e)
	if r.Verdict.clean() {
		return r, nil
	}
	file, err := os.Create(filepath.Join(x.dir, "found.txt"))
	if err != nil {
		return r, fmt.Errorf("explaining what was found: %w", err)
	}
	defer file.Close() //nolint:errcheck // It is for people.
	explain(file, e, r.Verdict)
	return r, nil
}

// storm sends the load, and does the faults meanwhile. It returns the faults,
// and what went wrong with the run.
func (x *rig) storm(ctx context.Context, say func(string)) ([]hurt, []string, error) {
	x.load = newLoad(x.log, x.bus, x.s)
	sending, calm := context.WithTimeout(ctx, x.s.Duration)
	defer calm()
	limit, cancel := context.WithTimeout(ctx, x.s.Duration+x.s.Drain)
	defer cancel()
	var work sync.WaitGroup
	work.Go(func() { x.load.run(sending, limit) })
	s := &surgeon{log: x.log, s: x.s, crew: x.crew, nats: x.nats, load: x.load, say: say}
	hurts, err := s.operate(sending)
	var broken []string
	if err != nil {
		calm()
		broken = append(broken, err.Error())
	}
	work.Wait()
	return hurts, broken, ctx.Err()
}

// drain waits for the results of all that was stored, and for the queue to be
// empty. It returns what did not come.
func (x *rig) drain(ctx context.Context) []string {
	commands, _ := x.load.ledger()
	if err := until(ctx, x.s.Drain, func(context.Context) bool { return x.history.open(commands) == 0 }); err != nil {
		problem := fmt.Sprintf("%d commands have no result: %v", x.history.open(commands), err)
		x.dump(ctx)
		x.nats.dump(ctx)
		x.crew.dump()
		return []string{problem}
	}
	err := until(ctx, settleLimit, func(ctx context.Context) bool {
		left, err := x.nats.queued(ctx)
		return err == nil && left == 0
	})
	if err != nil {
		return []string{"the queue is not empty: " + err.Error()}
	}
	return nil
}

// collect puts together what is known at the end.
func (x *rig) collect(hurts []hurt) (evidence, report) {
	commands, resent := x.load.ledger()
	results, dead, facts := x.history.all()
	e := evidence{Sent: commands, Results: results, Dead: dead, Closed: x.s.Mode == pages}
	deeds := deedsOf(results)
	if x.s.Mode == pages {
		ids := map[string]string{}
		for _, c := range commands {
			ids[place(c.Session, c.Seq)] = c.ID
		}
		entries := x.world.vendor.Ledger().Snapshot().Entries
		e.Effects = marks(entries, ids)
		e.Unsteady = unsteady(entries)
	} else {
		e.Effects, e.Refused = x.ledger.all()
		deeds = nil
		for _, one := range e.Effects {
			deeds = append(deeds, deed{ID: one.ID, Worker: one.Worker, At: one.At})
		}
	}
	r := summarize(x.s, e, resent, facts)
	r.Latency, r.Recovery, r.Hurts = latencies(commands, deeds), recoveries(hurts, commands, deeds), hurts
	return e, r
}

// orphans returns the processes that outlived their workers. A browser has a
// moment to die.
func (x *rig) orphans(ctx context.Context) []string {
	var left []task
	var keep []*process
	for _, at := range x.nats.nodes {
		keep = append(keep, at.process)
	}
	_ = until(ctx, 5*time.Second, func(context.Context) bool {
		left = orphans(keep...)
		return len(left) == 0
	})
	var lines []string
	for _, t := range left {
		line := t.line
		if len(line) > 120 {
			line = line[:120] + "…"
		}
		lines = append(lines, fmt.Sprintf("%d %s", t.pid, strings.TrimSpace(line)))
		_ = hit(t.pid)
	}
	return lines
}
