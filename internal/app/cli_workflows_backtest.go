package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/workflow"
	"github.com/parley-chat/parley/internal/workflow/backtest"
)

// The logs of a back-test.
const (
	logTriggers = "triggers"
	logFacts    = "facts"
	logPast     = "past" // What was filled in.
)

// flowBacktestCmd lets workflows run over the past.
type flowBacktestCmd struct {
	Files  []string      `arg:"" optional:"" placeholder:"FILE" help:"Workflow files to test. Default: those of the configuration."`
	Since  workflow.Span `default:"14d" placeholder:"SPAN" help:"How far back the test begins."`
	Until  workflow.Span `default:"0s" placeholder:"SPAN" help:"How far back it ends."`
	Versus string        `placeholder:"VERSION" help:"Compare with what is on (current), or with a version's number when one workflow is tested."`
	Site   string        `short:"s" help:"Only events of this site."`
	State  string        `default:".parley/backtest.json" placeholder:"FILE" help:"Keep a test here that was stopped."`
	Resume bool          `help:"Go on with the test that was stopped."`
	JSON   bool          `name:"json" help:"Print the report as JSON."`
}

// Help is the long help.
func (*flowBacktestCmd) Help() string {
	return `Nothing is done: the test supposes that every command would have succeeded. Facts that commands of that time caused are left out, and so are events that other workflows emitted. Examples:

  publisher workflows backtest new.yaml --since 14d
  publisher workflows backtest new.yaml --versus current
  publisher workflows backtest --since 90d        # Ctrl-C stops it; --resume goes on`
}

// backtestState is a test that was stopped: its window, and what it remembers.
type backtestState struct {
	Since time.Time       `json:"since"`
	Until time.Time       `json:"until"`
	Site  string          `json:"site,omitempty"`
	Test  json.RawMessage `json:"test"`
}

// Run tests.
func (f *flowBacktestCmd) Run(ctx context.Context, c *cli) error {
	d, err := c.online(ctx)
	if err != nil {
		return err
	}
	defer d.shut(ctx)
	options, err := f.options(ctx, d)
	if err != nil {
		return err
	}
	window := backtestState{
		Since: time.Now().Add(-time.Duration(f.Since)).UTC(), Until: time.Now().Add(-time.Duration(f.Until)).UTC(),
	}
	if f.Site != "" {
		if window.Site, err = d.site(d.cfg, f.Site); err != nil {
			return err
		}
	}
	var resume []byte
	if f.Resume {
		if resume, err = f.load(&window); err != nil {
			return err
		}
	}
	options.Until = window.Until
	begun, shown := time.Now(), time.Time{}
	options.Tell = func(p backtest.Progress) {
		if c.Terminal.Err && time.Since(shown) > 200*time.Millisecond {
			shown = time.Now()
			all, done := window.Until.Sub(window.Since), p.At.Sub(window.Since)
			_, _ = fmt.Fprintf(c.Stderr, "\r\x1b[K%d %%: %s, %d events, %.0f/s", int(100*max(0, done.Seconds())/all.Seconds()),
				p.At.Local().Format(time.DateTime), p.Events, float64(p.Events)/max(time.Since(begun).Seconds(), 0.001))
		}
	}
	test := backtest.New(options)
	if resume != nil {
		if test, err = backtest.Resume(newReader(resume), options); err != nil {
			return err
		}
	}
	err = test.Run(ctx, d.events(ctx, window, test))
	if !shown.IsZero() {
		_, _ = fmt.Fprint(c.Stderr, "\r\x1b[K")
	}
	if ctx.Err() != nil { // The history may have ended early without an error.
		return f.stop(c, window, test)
	}
	if err != nil {
		return err
	}
	report := test.Report()
	if f.Resume {
		_ = os.Remove(f.State) // It is done.
	}
	if f.JSON {
		return writeJSON(c.Stdout, report, "  ")
	}
	return d.report(report, time.Since(begun))
}

// options compiles what is tested, and what it is compared with.
func (f *flowBacktestCmd) options(ctx context.Context, d *desk) (backtest.Options, error) {
	options := backtest.Options{Sites: d.cfg.Site, Schemas: d.schemas}
	var err error
	if options.Rules, err = d.files(f.Files); err != nil {
		return options, err
	}
	switch {
	case options.Rules.Len() == 0:
		return options, fault.New(fault.BadRule, "there is no workflow to test").WithFix("name a file, or set workflows.dir")
	case f.Versus == "":
	case f.Versus == "current":
		options.Versus, err = d.versions.Load(ctx, d.compiler)
	case options.Rules.Len() > 1:
		err = fault.New(fault.BadRule, "several workflows have no common version %s", f.Versus).WithFix("name one file, or --versus current")
	default:
		var p *workflow.Program
		if p, _, err = d.version(ctx, options.Rules.Programs()[0].Name, f.Versus, true); err == nil {
			options.Versus, err = workflow.NewSet(p)
		}
	}
	return options, err
}

// load reads the test that was stopped.
func (f *flowBacktestCmd) load(window *backtestState) ([]byte, error) {
	text, err := os.ReadFile(f.State)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fault.New(fault.BadConfig, "no test was stopped: there is no file %s", f.State).WithFix("leave --resume out")
	}
	if err == nil {
		err = json.Unmarshal(text, window)
	}
	if err != nil {
		return nil, fault.New(fault.BadConfig, "reading the test that was stopped, %s", f.State).Because(err).WithFix("leave --resume out")
	}
	return window.Test, nil
}

// stop keeps the test.
func (f *flowBacktestCmd) stop(c *cli, window backtestState, test *backtest.Test) error {
	var saved buffer
	if err := test.Save(&saved); err != nil {
		return err
	}
	window.Test = saved.Bytes()
	text, err := json.Marshal(window)
	if err == nil {
		err = dirOf(filepath.Dir(f.State))
	}
	if err == nil {
		err = os.WriteFile(f.State, text, 0o600)
	}
	if err != nil {
		return fault.New(fault.BadConfig, "keeping the test in %s", f.State).Because(err)
	}
	_, _ = fmt.Fprintln(c.Stderr, "stopped; the same command with --resume goes on")
	return silentError{130}
}

// events yields the history of the window behind what the test has read.
func (d *desk) events(ctx context.Context, window backtestState, test *backtest.Test) iter.Seq2[backtest.Event, error] {
	site := window.Site
	if site == "" {
		site = "*"
	}
	stream := func(log, stream, filter string) iter.Seq2[backtest.Event, error] {
		o := bus.ReadOptions{Stream: stream, Filters: []string{filter}, Since: window.Since, Until: window.Until}
		if at := test.Place(log); at.Sequence > 0 {
			o.Since, o.FromSequence = time.Time{}, at.Sequence+1
		}
		return func(yield func(backtest.Event, error) bool) {
			for delivery, err := range d.bus.Read(ctx, o) {
				var e backtest.Event
				if err == nil {
					e = backtest.Event{Subject: delivery.Subject, At: delivery.StoredAt, Log: log, Sequence: delivery.Sequence}
					if e.Envelope, err = delivery.Envelope(); err != nil {
						continue // Not an event of ours: nothing acted on it either.
					}
				}
				if !yield(e, err) {
					return
				}
			}
		}
	}
	past := func(yield func(backtest.Event, error) bool) {
		skip := test.Place(logPast).Events
		for e, err := range pastEvents(ctx, d.bus, window.Site, window.Since, window.Until) {
			if skip > 0 && err == nil {
				skip--
				continue
			}
			if !yield(backtest.Event{Subject: e.Subject, Envelope: e.Envelope, At: e.At, Log: logPast, Sequence: e.Sequence}, err) {
				return
			}
		}
	}
	live := backtest.Merge(
		stream(logTriggers, bus.StreamFlow, "in.*.*."+site+".*"), stream(logFacts, bus.StreamEvents, "evt.*.*.*."+site+".*"))
	return backtest.Merge(past, live)
}
