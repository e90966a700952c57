package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/telemetry"
)

// doctorCmd checks everything that a worker needs.
type doctorCmd struct {
	Quiet bool `short:"q" help:"Print only what is not well."`
}

// Help is the long help.
func (*doctorCmd) Help() string {
	return `It prints the effective configuration, in which secrets stand as references only, then one line for each check. It changes nothing on a running system, and exits with 1 when something is wrong.`
}

// mood is how a check ended.
type mood int

const (
	well mood = iota
	odd       // It works, and the operator should know.
	ill
)

// doctor runs the checks and prints their findings.
type doctor struct {
	*cli
	quiet bool
	view  view
	odds  int
	ills  int
}

// Run checks.
func (d *doctorCmd) Run(ctx context.Context, c *cli) error {
	doc := &doctor{cli: c, quiet: d.Quiet, view: view{colour: c.Terminal.Out}}
	cfg, err := LoadConfig(Locate(c.flags.Config), c.Env, c.catalog)
	if err != nil {
		doc.found(ill, "config", err.Error(), "")
		return doc.end()
	}
	if !d.Quiet {
		if err := doc.show(cfg); err != nil {
			return err
		}
	}
	doc.config(cfg)
	doc.rules(cfg)
	doc.sites(ctx, cfg)
	doc.sources(cfg)
	doc.nats(ctx, cfg)
	doc.chromium(ctx, cfg)
	return doc.end()
}

// found prints one finding.
func (d *doctor) found(m mood, what, text, fix string) {
	mark, colour := "✓", green
	switch m {
	case well:
		if d.quiet {
			return
		}
	case odd:
		mark, colour = "!", yellow
		d.odds++
	case ill:
		mark, colour = "✗", red
		d.ills++
	}
	_, _ = fmt.Fprintf(d.Stdout, "%s %s %s\n", d.view.paint(colour, mark), pad(what, 9), text)
	if fix != "" && !containsFix(text) {
		_, _ = fmt.Fprintf(d.Stdout, "            fix: %s\n", fix)
	}
}

// wrong prints an error as a finding.
func (d *doctor) wrong(what string, err error) { d.found(ill, what, err.Error(), fault.From(err).Fix) }

func (d *doctor) end() error {
	if d.ills == 0 {
		text := "All is well."
		if d.odds > 0 {
			text = "Nothing is wrong; the lines with ! are worth a look."
		}
		_, err := fmt.Fprintln(d.Stdout, d.view.paint(green, text))
		return err
	}
	_, _ = fmt.Fprintln(d.Stdout, d.view.paint(red, fmt.Sprintf("%d of the checks failed.", d.ills)))
	return silentError{1}
}

// show prints the effective configuration.
func (d *doctor) show(cfg *Config) error {
	shown := *cfg
	var servers []string
	for server := range strings.SplitSeq(cfg.Bus.URL, ",") {
		servers = append(servers, redact(server))
	}
	shown.Bus.URL = strings.Join(servers, ",")
	text, err := yaml.MarshalWithOptions(shown, yaml.IndentSequence(true))
	if err != nil {
		return fmt.Errorf("printing the configuration: %w", err)
	}
	_, err = fmt.Fprintf(d.Stdout, "# The effective configuration: %s, the environment, and the defaults.\n%s\n", cfg.name(), text)
	return err
}

func (d *doctor) config(cfg *Config) {
	if cfg.File == "" {
		d.found(odd, "config", "there is no "+ConfigFile+" here; these are the defaults", "copy the example parley.yaml and name your sites in it")
	} else {
		d.found(well, "config", cfg.File+" is correct", "")
	}
	for _, warning := range cfg.Warnings {
		d.found(odd, "config", warning, "")
	}
}

// sites looks up the sites' hosts.
func (d *doctor) sites(ctx context.Context, cfg *Config) {
	if len(cfg.Sites) == 0 {
		d.found(odd, "sites", "there are none, so every command is rejected", "add one under `sites:`")
	}
	for _, site := range cfg.AllSites() {
		text := fmt.Sprintf("%s: %s at %s, app id %s", site.Name, site.Provider, site.URL, site.AppID)
		u, err := url.Parse(site.URL)
		if err == nil {
			ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
			_, err = net.DefaultResolver.LookupHost(ctx, u.Hostname())
			cancel()
		}
		if err != nil {
			d.found(odd, "site", text+"; its host does not resolve here",
				"check the name; the demo's own hosts exist inside `worker dev` only")
			continue
		}
		d.found(well, "site", text, "")
	}
}

// nats reaches the bus. With an embedded server, that is the one of a running
// worker, or one in a directory of its own, to see that it starts.
func (d *doctor) nats(ctx context.Context, cfg *Config) {
	ctx, cancel := context.WithTimeoutCause(ctx, 15*time.Second, fault.New(fault.BusUnavailable, "it did not answer within 15s"))
	defer cancel()
	if cfg.Bus.URL == "" {
		if _, err := os.Stat(addressFile(cfg)); err != nil {
			d.embedded(ctx)
			return
		}
	}
	b, err := d.connect(ctx, cfg)
	if err != nil {
		d.wrong("nats", err)
		return
	}
	defer d.close(ctx, b)
	if err := b.Healthy(ctx); err != nil {
		d.wrong("nats", err)
		return
	}
	d.found(well, "nats", redact(b.URL())+" answers", "")
	d.published(ctx, b, cfg)
	d.worker(ctx, b, cfg)
}

func (d *doctor) embedded(ctx context.Context) {
	dir, err := os.MkdirTemp("", "parley-doctor-")
	if err != nil {
		d.wrong("nats", fault.New(fault.BadConfig, "making a directory to try NATS in").Because(err))
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b, err := bus.Open(ctx, d.log, bus.Options{Dir: dir})
	if err != nil {
		d.wrong("nats", err)
		return
	}
	defer d.close(ctx, b)
	if err := b.EnsureTopology(ctx); err != nil {
		d.wrong("streams", err)
		return
	}
	d.found(well, "nats", "the embedded server starts, and takes the streams; no worker runs with it now", "")
}

// worker asks for something that only a worker can answer, and that touches no
// page.
func (d *doctor) worker(ctx context.Context, b *bus.Bus, cfg *Config) {
	if len(cfg.Sites) == 0 {
		return
	}
	const patience = 3 * time.Second
	order, err := d.order(request{
		Action: "botstar.app.list_ids", Site: cfg.SiteNames()[0], Visitor: event.Visitor{AnonymousID: "doctor"}, expires: patience,
	})
	if err != nil {
		d.wrong("worker", err)
		return
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	result, err := d.await(ctx, b, order)
	switch {
	case err == nil && result.Problem != nil:
		d.found(ill, "worker", fmt.Sprintf("%s answers: %s", result.Worker, result.Problem.Message), result.Problem.Fix)
	case err == nil:
		d.found(well, "worker", fmt.Sprintf("%s answers, in %s", result.Worker, time.Since(began).Round(time.Millisecond)), "")
	case fault.From(err).Reason == fault.NoWorker, errors.Is(err, context.DeadlineExceeded):
		d.found(odd, "worker", "no worker answered botstar.app.list_ids within 3s", "start one with `worker run`, or look at the --actions of yours")
	default:
		d.wrong("streams", err)
	}
}

// chromium starts a browser for real.
func (d *doctor) chromium(ctx context.Context, cfg *Config) {
	began := time.Now()
	level := d.log
	if !d.flags.Verbose {
		level = telemetry.NewLogger(d.Stderr, telemetry.LogOptions{Level: 12})
	}
	options, err := cfg.browserOptions(Parts{})
	if err != nil {
		d.wrong("chromium", err)
		return
	}
	pool, err := browser.New(level, options)
	if err == nil {
		starting, cancel := context.WithTimeout(ctx, 30*time.Second)
		err = pool.Start(starting)
		cancel()
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		err = errors.Join(err, pool.Close(closing))
		cancel()
	}
	if err != nil {
		d.wrong("chromium", err)
		return
	}
	d.found(well, "chromium", fmt.Sprintf("starts and stops, in %s", time.Since(began).Round(10*time.Millisecond)), "")
}
