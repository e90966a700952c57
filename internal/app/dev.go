package app

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin"
	"github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
)

//go:embed demo
var demoFiles embed.FS

// devCmd runs everything in one process.
type devCmd struct {
	Demo bool `help:"Show the main job once, step by step, and end."`
	Keep bool `help:"With --demo: stay up afterwards, and say how to go on."`
}

// Help is the long help.
func (*devCmd) Help() string {
	return `An embedded NATS server that keeps its streams below .parley, a browser, the rules, a stand-in for BotStar on its real host names, and a demo shop. Without a parley.yaml the demo shop is the only site. The browsers reach the stand-in instead of BotStar; nothing leaves this machine unless you name sites of your own.`
}

// Run runs until it is interrupted, or until the demo is over.
func (d *devCmd) Run(ctx context.Context, c *cli) error {
	if d.Demo {
		return demo(ctx, c, d.Keep)
	}
	cfg, err := c.config()
	if err == nil && cfg.File == "" {
		cfg, err = builtIn(c.Env, c)
	}
	if err != nil {
		return err
	}
	if cfg.Bus.URL == "" && cfg.Bus.Listen != "" {
		cfg.Bus.Listen = freeAddress(ctx, cfg.Bus.Listen)
	}
	if cfg.Ingest.Listen != "" {
		cfg.Ingest.Listen = freeAddress(ctx, cfg.Ingest.Listen)
	}
	if cfg.Telemetry.Level == "info" && !c.flags.Verbose {
		cfg.Telemetry.Level = "error" // The tail tells what happens.
	}
	dev, err := startDev(ctx, c, cfg, false, "", func(string, string) {})
	if err != nil {
		return err
	}
	dev.banner(c)
	following, stop := context.WithCancel(ctx)
	defer stop()
	tail := launch(following, func(error) {}, func(ctx context.Context) error {
		return dev.follow(ctx, view{colour: c.Terminal.Out}, func(line string, _ string, _ event.Envelope) {
			_, _ = fmt.Fprintln(c.Stdout, line)
		})
	})
	err = dev.Run(ctx)
	return errors.Join(err, tail.stop(), dev.Close(ctx))
}

// builtIn returns the configuration of the demo shop.
func builtIn(env Env, c *cli) (*Config, error) {
	text, err := demoFiles.ReadFile("demo/parley.yaml")
	if err != nil {
		return nil, fault.New(fault.InternalError, "reading the built-in configuration").Because(err)
	}
	cfg, err := parseConfig("", text, env, c.catalog)
	if err != nil {
		return nil, err
	}
	if cfg.rules, err = fs.Sub(demoFiles, "demo/"+cfg.Workflows.Dir); err != nil {
		return nil, fault.New(fault.InternalError, "reading the built-in rules").Because(err)
	}
	return cfg, nil
}

// orDemo returns the configuration, or that of the demo shop where there is no
// file: `worker dev` runs with it then.
func (c *cli) orDemo(cfg *Config) (*Config, error) {
	if cfg.File != "" {
		return cfg, nil
	}
	return builtIn(c.Env, c)
}

// devSystem is a system and the stand-ins that it runs against.
type devSystem struct {
	*System
	vendor   *botstar.Standin
	hosts    *standin.Server
	entrance *entrance
}

// startDev starts the stand-ins and a system that is led to them. started is
// told of each part that is up. pictures and identity are for the demo: see Parts
// and tagged.
func startDev(ctx context.Context, c *cli, cfg *Config, pictures bool, identity string, started func(part, detail string)) (_ *devSystem, err error) {
	if cfg.Worker.Name == "" {
		cfg.Worker.Name = "dev"
	}
	rules, err := LoadRules(cfg, c.catalog, c.schemas)
	if err != nil {
		return nil, err
	}
	for name, site := range cfg.Sites {
		site.REST.BaseURL = "" // The stand-in is at the vendor's own address.
		cfg.Sites[name] = site
	}
	log := c.logger(cfg.Telemetry)
	dev := &devSystem{vendor: botstar.New(botstar.Options{Bots: devBots(cfg)}), entrance: &entrance{}}
	all := map[string]http.Handler{chatHost: dev.entrance}
	maps.Copy(all, dev.vendor.Hosts())
	maps.Copy(all, shop.New().Hosts())
	if identity != "" {
		if all[shop.Host], err = tagged(all[shop.Host], identity); err != nil {
			return nil, err
		}
	}
	accounts := newAccounts(cfg)
	maps.Copy(all, accounts.hosts())
	if dev.hosts, err = standin.Start(log, all); err != nil {
		return nil, fmt.Errorf("starting the stand-ins: %w", err)
	}
	if err := accounts.prepare(ctx, dev.hosts.Resolve(), dev.hosts.Roots()); err != nil {
		return nil, errors.Join(err, dev.hosts.Close())
	}
	started("BotStar's stand-in, a demo shop", shop.Origin+"/")
	dev.System, err = Start(ctx, log, cfg, Parts{
		Catalog: c.catalog, Schemas: c.schemas, Env: c.Env, Rules: rules, Started: started,
		Resolve: dev.hosts.Resolve(), TrustSPKI: []string{dev.hosts.SPKI()}, Pictures: pictures,
		Roots: dev.hosts.Roots(), CRMTokens: accounts.tokens(), Tokens: standinTokens{dev.vendor.REST().Token(), dev.vendor.REST().BotToken()},
	})
	if err != nil {
		return nil, errors.Join(err, dev.hosts.Close())
	}
	if dev.gateway != nil {
		dev.entrance.to.Store(dev.gateway.Gateway)
	}
	return dev, nil
}

// devBots are the bots of the sites, for the stand-in of the REST API.
func devBots(cfg *Config) []botstar.Bot {
	var bots []botstar.Bot
	for _, site := range cfg.AllSites() {
		id, name := site.BotID, site.BotName
		if id == "" {
			id = site.AppID
		}
		if name == "" {
			name = site.Name
		}
		known := func(b botstar.Bot) bool { return b.ID == id }
		if site.Provider == "botstar" && !slices.ContainsFunc(bots, known) {
			bots = append(bots, botstar.Bot{ID: id, AppID: site.AppID, Name: name, Team: "Stand-in"})
		}
	}
	return bots
}

// Close closes the system, then what it ran against.
func (d *devSystem) Close(ctx context.Context) error {
	return errors.Join(d.System.Close(ctx), d.hosts.Close())
}

// follow gives every message of the bus from now on to the function, with its
// line. It returns when ctx ends.
func (d *devSystem) follow(ctx context.Context, view view, show func(line, subject string, e event.Envelope)) error {
	for m, err := range d.bus.Tail(ctx, bus.TailOptions{Subjects: event.SiteFilters("")}) {
		if err != nil {
			return fmt.Errorf("following the bus: %w", err)
		}
		e, err := m.Envelope()
		if err != nil {
			d.log.LogAttrs(ctx, slog.LevelWarn, "message is no event", slog.String("subject", m.Subject), slog.Any("err", err))
			continue
		}
		show(view.line(m.Subject, m.StoredAt, e), m.Subject, e)
	}
	return nil
}

// banner says what runs, and what to try.
func (d *devSystem) banner(c *cli) {
	var b strings.Builder
	row := func(name, value string) { fmt.Fprintf(&b, "  %-8s %s\n", name, value) }
	fmt.Fprintln(&b, view{colour: c.Terminal.Out}.paint(bold, "Parley is up"))
	row("bus", orNone(redact(d.bus.URL())))
	if d.cfg.Bus.URL == "" {
		row("streams", d.cfg.Path(d.cfg.Bus.Dir))
	}
	row("vendor", "BotStar's stand-in, on "+botstar.WidgetHost+" inside the browser, and its REST API")
	for _, site := range d.cfg.AllSites() {
		row("site", site.Name+"  "+site.URL)
	}
	for _, rule := range d.rules.Rules() {
		row("rule", rule.Name)
	}
	if d.edge != nil {
		row("events", "http://"+d.edge.address()+", from "+strings.Join(slices.Sorted(maps.Keys(d.cfg.Ingest.Sources)), ", "))
	}
	fmt.Fprintln(&b, "\nTry, in another terminal:")
	for _, line := range tryOut(d.cfg) {
		fmt.Fprintln(&b, "  "+line)
	}
	if from, ok := d.cfg.Ingest.Sources["try"]; ok && d.edge != nil && from.Open {
		fmt.Fprintf(&b, "  curl -H 'Content-Type: application/json' -d '{\"event\": \"Pricing Viewed\", \"user_id\": \"u-43\"}' http://%s%s\n",
			d.edge.address(), from.Path)
	}
	fmt.Fprintln(&b, "\nWhat happens is shown here; Ctrl-C ends.")
	_, _ = fmt.Fprintln(c.Stdout, b.String())
}

// tryOut returns commands that work on the first site.
func tryOut(cfg *Config) []string {
	site := "shop"
	if names := cfg.SiteNames(); len(names) > 0 && cfg.Sites[site].AppID == "" {
		site = names[0]
	}
	publisher := publisherPath()
	if rel, err := filepath.Rel(mustGetwd(), publisher); err == nil && !strings.HasPrefix(rel, "..") {
		publisher = rel
	}
	return []string{
		publisher + " send botstar.widget.open --site " + site + " --visitor u-42 --wait",
		publisher + " track 'Pricing Viewed' --site " + site + " --visitor u-42 --email ada@example.test -p plan=pro",
		publisher + " send botstar.bots.list --site " + site + " --wait",
		publisher + " tail",
	}
}

// publisherPath returns the publisher that lies beside this binary.
func publisherPath() string {
	self, err := os.Executable()
	if err != nil {
		return "publisher"
	}
	return filepath.Join(filepath.Dir(self), "publisher")
}

func mustGetwd() string {
	dir, err := os.Getwd()
	if err != nil {
		return "/"
	}
	return dir
}
