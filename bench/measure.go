package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/report"
)

// measure runs the contenders in turns, and compares them.
func (b benchmark) measure(ctx context.Context, progress io.Writer) (report.Benchmark, error) {
	measured := report.Benchmark{
		Name: b.name, Title: b.title, Method: b.method, Date: today(),
		Machine: machine(ctx, b), Repeats: b.repeats, Jobs: b.jobs,
	}
	dir, err := os.MkdirTemp("", "parley-bench-")
	if err != nil {
		return measured, fmt.Errorf("making a scratch folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()     // A folder in /tmp that stays harms nobody.
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // contenders that are not root pass it.
		return measured, fmt.Errorf("opening the scratch folder: %w", err)
	}
	setup := contend.Setup{Sessions: b.sessions, Window: b.window}
	if b.pages {
		stage, err := b.raise(ctx, &setup, dir)
		if err != nil {
			return measured, err
		}
		defer func() { _ = stage.Close() }() // The stand-ins hold nothing.
	}
	measured.Contenders, err = b.rounds(ctx, progress, setup, dir)
	if err != nil {
		return measured, err
	}
	for _, p := range b.promises {
		line, err := p.hold(measured)
		if err != nil {
			return measured, err
		}
		measured.Lines = append(measured.Lines, line)
	}
	return measured, nil
}

// hold holds what was measured against the promise.
func (p promise) hold(b report.Benchmark) (report.Line, error) {
	line := report.Line{Name: b.Name, Measure: p.measure, Against: p.against, Bar: p.bar, AtLeast: p.atLeast}
	if p.suffix != "" {
		line.Name += "/" + p.suffix
	}
	who, than := p.who, p.than
	if who == "" {
		who = b.Contenders[0].Name
	}
	if than == "" {
		than = p.measure
	}
	mine := valuesOf(b, who, p.measure)
	reference := valuesOf(b, p.against, than)
	if p.limit > 0 {
		reference = slices.Repeat([]float64{p.limit}, len(mine))
	}
	return report.Compare(line, mine, reference) //nolint:wrapcheck // it says all that there is to say.
}

// rounds has every contender do the same rounds. The order turns around from
// round to round, so that none profits from a machine that gets warm or tired.
func (b benchmark) rounds(ctx context.Context, progress io.Writer, s contend.Setup, dir string) (_ []report.Contender, err error) {
	running := make([]*contend.Process, 0, len(b.contenders))
	defer func() {
		for _, p := range running {
			err = errors.Join(err, p.Close())
		}
	}()
	reached := make([]report.Contender, len(b.contenders))
	for i, c := range b.contenders {
		say(progress, "%s: starting %s", b.name, c.name)
		own := s
		own.Job, own.Dir = c.job, filepath.Join(dir, c.name)
		if err := os.Mkdir(own.Dir, 0o755); err != nil { //nolint:gosec // the browser's user enters it.
			return nil, fmt.Errorf("making the contender's folder: %w", err)
		}
		if c.binary != "" {
			own.Binary = c.binary
		}
		p, err := contend.Start(ctx, c.command, own, c.humble)
		if err != nil {
			return nil, fmt.Errorf("starting %s: %w", c.name, err)
		}
		running = append(running, p)
		reached[i] = report.Contender{Name: c.name, What: c.what, Values: map[report.Measure][]float64{}}
	}
	for round := range b.repeats + 1 {
		order := contend.Order{Round: round, Jobs: b.jobs, Picks: picks(round, b.jobs, b.sessions)}
		for at := range running {
			i := at
			if round%2 == 1 {
				i = len(running) - 1 - at
			}
			say(progress, "%s: round %d of %d, %s", b.name, round, b.repeats, b.contenders[i].name)
			rep, cost, err := b.round(ctx, running[i], order)
			if err != nil {
				return nil, fmt.Errorf("round %d of %s: %w", round, b.contenders[i].name, err)
			}
			if round > 0 {
				keep(reached[i].Values, rep, cost)
			}
		}
	}
	say(progress, "")
	return reached, nil
}

// round has the contender do one round, with what is to be done before and after
// it.
func (b benchmark) round(ctx context.Context, p *contend.Process, order contend.Order) (contend.Report, contend.Cost, error) {
	if b.prepare {
		if err := p.Prepare(order); err != nil {
			return contend.Report{}, contend.Cost{}, fmt.Errorf("preparing it: %w", err)
		}
	}
	if !b.memory {
		rep, cost, err := p.Round(ctx, order)
		if b.counted {
			cost = contend.Cost{}
		}
		return rep, cost, err //nolint:wrapcheck // it is the contender's word.
	}
	empty, err := p.Memory(ctx)
	if err != nil {
		return contend.Report{}, contend.Cost{}, fmt.Errorf("measuring the memory of none: %w", err)
	}
	rep, _, err := p.Round(ctx, order)
	if err != nil {
		return rep, contend.Cost{}, err //nolint:wrapcheck // it is the contender's word.
	}
	full, err := p.Memory(ctx)
	if err != nil {
		return rep, contend.Cost{}, fmt.Errorf("measuring the memory of %d sessions: %w", b.sessions, err)
	}
	if rep.Values == nil {
		rep.Values = map[string]float64{}
	}
	rep.Values[contend.MemoryHeld] = float64(full-empty) / float64(b.sessions)
	if err := p.Clear(order); err != nil {
		return rep, contend.Cost{}, fmt.Errorf("clearing up: %w", err)
	}
	return rep, contend.Cost{}, nil
}

// keep adds what one round measured.
func keep(values map[report.Measure][]float64, r contend.Report, c contend.Cost) {
	jobs := float64(r.Jobs)
	add := func(m report.Measure, v float64) { values[m] = append(values[m], v) }
	for name, v := range r.Values {
		add(report.Measure(name), v)
	}
	if len(r.LatenciesUS) > 0 {
		add(report.P50, report.Median(r.LatenciesUS))
		add(report.P99, contend.Percentile(r.LatenciesUS, 99))
	}
	if r.WallUS > 0 {
		add(report.PerSecond, jobs/r.WallUS*1e6)
	}
	if all := c.Client + c.Browser; all > 0 {
		add(report.PerCPU, jobs/all.Seconds())
		add(report.CPU, all.Seconds()*1e6/jobs)
	}
	if c != (contend.Cost{}) {
		add(report.ClientCPU, c.Client.Seconds()*1e6/jobs)
		add(report.BrowserCPU, c.Browser.Seconds()*1e6/jobs)
	}
}

// picks chooses a session for every job: each as often as the others, in an
// order that depends on the round alone.
func picks(round, jobs, sessions int) []int {
	if sessions == 0 {
		return nil
	}
	chosen := make([]int, jobs)
	for i := range chosen {
		chosen[i] = i % sessions
	}
	dice := rand.New(rand.NewPCG(uint64(round), 2)) //nolint:gosec // a round is small and not negative.
	dice.Shuffle(jobs, func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	return chosen
}

func valuesOf(b report.Benchmark, contender string, m report.Measure) []float64 {
	i := slices.IndexFunc(b.Contenders, func(c report.Contender) bool { return c.Name == contender })
	if i < 0 {
		return nil
	}
	return b.Contenders[i].Values[m]
}

// say shows where the run is: one line that is written over on a terminal, and
// a line each elsewhere.
func say(to io.Writer, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if terminal(to) {
		fmt.Fprintf(to, "\r\x1b[K%s", text)
	} else if text != "" {
		fmt.Fprintln(to, text)
	}
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
