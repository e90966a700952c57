package app

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/crm"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/session"
	"github.com/parley-chat/parley/internal/telemetry"
	"github.com/parley-chat/parley/internal/vault"
	"github.com/parley-chat/parley/internal/worker"
	"github.com/parley-chat/parley/internal/workflow"
)

const (
	// startTimeout bounds the start of the bus and of the first browser.
	startTimeout = 60 * time.Second
	// closeTimeout bounds each part's close, after the worker's grace.
	closeTimeout = 15 * time.Second
)

// System is the parts of one worker process, joined and started. Close it once.
type System struct {
	cfg      *Config
	log      *slog.Logger
	bus      *bus.Bus
	pool     *browser.Pool
	sessions *session.Manager
	rest     *actions.RESTClient
	worker   *worker.Worker
	flows    *flows   // nil when others run the workflows
	crms     *targets // nil when others serve the CRMs
	rules    *workflow.Set
	metrics  *telemetry.Metrics
	vault    *vault.Vault // nil without a master key
	listener net.Listener // nil without an address
	edge     *edge        // nil when events come in elsewhere
	gateway  *gateway     // nil when visitors connect elsewhere
	pending  atomic.Int64 // commands that wait in our partitions
	// processes is how many processes the browsers had when they were measured.
	processes atomic.Int64
	withdraw  func()
}

// Parts are what a system is built with beside its configuration.
type Parts struct {
	Catalog *actions.Catalog
	Schemas *event.Schemas
	Env     Env
	// Rules are the workflow rules. Nil means none.
	Rules *workflow.Set
	// Started, if set, is told of each part that is up.
	Started func(part, detail string)
	// Resolve and TrustSPKI lead the browsers to stand-ins: see browser.Options.
	// They are for `worker dev` and tests only.
	Resolve   map[string]string
	TrustSPKI []string
	// Roots and Tokens lead the clients of REST APIs to stand-ins, as the browsers
	// are led. Nil means the system's authorities, and the tokens of the
	// configuration and of connections.
	Roots  *x509.CertPool
	Tokens actions.TokenSource
	// CRMTokens, if set, are those of stand-ins, in place of connections.
	CRMTokens crm.Tokens
	// Pictures makes the pages as large as a desk's screen, with images, for the
	// picture of the demo. It costs time and memory.
	Pictures bool
	// Pageless starts no browser, for a catalogue whose actions need no page. An
	// action that wants one fails.
	Pageless bool
	// Failing, if set, says that things have failed that were done. It is for
	// tests.
	Failing *Failing
}

// Start starts everything that the system runs on, in this order: bus, streams,
// browsers, sessions. It takes no work yet: see Run. ctx bounds the start only.
func Start(ctx context.Context, log *slog.Logger, cfg *Config, parts Parts) (_ *System, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fault.New(fault.DeadlineExceeded, "the start took longer than %s", startTimeout))
	defer cancel()
	s := &System{cfg: cfg, log: log, metrics: telemetry.NewMetrics(), rules: parts.Rules, withdraw: func() {}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(ctx))
		}
	}()
	if cfg.Worker.Name == "" {
		cfg.Worker.Name = processName()
	}
	if parts.Started == nil {
		parts.Started = func(string, string) {}
	}
	limitMemory(cfg, parts.Env)
	if err := s.openBus(ctx, parts); err != nil {
		return nil, err
	}
	parts.Started("NATS with JetStream", orNone(redact(s.bus.URL())))
	if s.vault, err = openVault(ctx, log, cfg, parts.Env, s.bus, nil); err != nil {
		return nil, fmt.Errorf("opening the vault: %w", err)
	}
	if err := s.startBrowsers(ctx, parts); err != nil {
		return nil, err
	}
	if s.cfg.does(roleActions) {
		parts.Started("Chromium", "headless, a context of its own for each visitor")
	}
	if err := s.join(ctx, parts); err != nil {
		return nil, err
	}
	if cfg.Telemetry.Listen != "" {
		var config net.ListenConfig
		if s.listener, err = config.Listen(ctx, "tcp", cfg.Telemetry.Listen); err != nil {
			return nil, fault.New(fault.BadConfig, "listening on telemetry.listen").Because(err).WithFix("choose a free address, or leave it out")
		}
	}
	if cfg.Gateway.Listen != "" && cfg.does(roleGateway) {
		if s.gateway, err = openGateway(ctx, log, cfg, parts, s.bus, s.metrics, parts.Failing.publish(s.publish)); err != nil {
			return nil, err
		}
		parts.Started("The gateway", "http://"+s.gateway.address()+", for visitors' tabs")
	}
	if cfg.Ingest.Listen != "" && cfg.does(roleIngest) {
		if s.edge, err = openEdge(ctx, log, cfg, parts.Env, s.bus, parts.Schemas, s.metrics); err != nil {
			return nil, err
		}
		parts.Started("The edge", "http://"+s.edge.address()+", for events")
	}
	return s, nil
}

// openBus opens the bus, makes its streams, and tells where it listens.
func (s *System) openBus(ctx context.Context, parts Parts) error {
	options, err := s.cfg.busOptions(parts.Env, s.cfg.Worker.Name)
	if err != nil {
		return err
	}
	options.Unheard = parts.Failing.unheard()
	if s.bus, err = bus.Open(ctx, s.log, options); err != nil {
		return fmt.Errorf("opening the bus: %w", err)
	}
	if err := s.bus.EnsureTopology(ctx); err != nil {
		return fmt.Errorf("making the streams: %w", err)
	}
	if s.cfg.Bus.URL == "" {
		if s.withdraw, err = announce(s.cfg, s.bus.URL()); err != nil {
			return err
		}
	}
	return nil
}

// busOptions returns the options of the bus that the configuration names.
func (c *Config) busOptions(env Env, name string) (bus.Options, error) {
	credentials, err := c.Bus.Credentials.Path(env)
	if err != nil {
		return bus.Options{}, err
	}
	o := bus.Options{
		URL: c.Bus.URL, Name: name, Durability: c.Bus.Durability, Replicas: c.Bus.Replicas,
		Credentials: credentials, CA: c.Path(c.Bus.CA),
	}
	if o.URL == "" {
		o.Dir, o.Listen = c.Path(c.Bus.Dir), c.Bus.Listen
	}
	return o, nil
}

// browserOptions returns the options of the browsers.
func (c *Config) browserOptions(parts Parts) (browser.Options, error) {
	most, err := c.Browser.MaxMemory.Bytes()
	if err != nil {
		return browser.Options{}, fault.New(fault.BadConfig, "browser.max_memory: %s", err)
	}
	spare := c.Browser.Spare
	if spare == 0 {
		spare = -1 // The pool's own word for none.
	}
	options := browser.Options{
		Binary: c.Browser.Binary, Dir: c.Path(c.Browser.Dir), Processes: c.Browser.Processes,
		// A webview is a tab of its own beside the session's.
		Tabs: 2 * c.Browser.Tabs, Spare: spare, LoadTimeout: c.Browser.LoadTimeout, Fresh: c.Browser.Fresh,
		MaxAge: c.Browser.MaxAge, MaxMemory: most,
		Resolve: parts.Resolve, TrustSPKI: parts.TrustSPKI,
	}
	if parts.Pictures {
		options.Window.Width, options.Window.Height, options.Images = 1280, 800, true
	}
	return options, nil
}

func (s *System) startBrowsers(ctx context.Context, parts Parts) error {
	options, err := s.cfg.browserOptions(parts)
	if err != nil {
		return err
	}
	if s.pool, err = browser.New(s.log, options); err != nil {
		return fmt.Errorf("preparing the browsers: %w", err)
	}
	if parts.Pageless || !s.cfg.does(roleActions) {
		return nil
	}
	if err := s.pool.Start(ctx); err != nil {
		return fmt.Errorf("starting the browsers: %w", err)
	}
	return nil
}

// join makes the sessions, the worker and the workflow engine.
func (s *System) join(ctx context.Context, parts Parts) error {
	profiles, err := s.bus.KV(ctx, bus.BucketProfiles)
	if err != nil {
		return fmt.Errorf("opening the profiles: %w", err)
	}
	snapshots, err := s.openSnapshots(ctx, parts)
	if err != nil {
		return err
	}
	if snapshots == nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "sessions are not stored, and end with their page",
			slog.String("fix", "name a key file in sessions.key, the same for all workers: `worker keys` makes a key"))
	}
	memory, err := s.cfg.Browser.Memory.Bytes()
	if err != nil {
		return fault.New(fault.BadConfig, "browser.memory: %s", err)
	}
	var far session.Visitors
	if s.cfg.visited() {
		far = visitors{s.bus}
	}
	s.sessions = session.New(s.log, session.Options{
		Visitors: far, Executor: s.cfg.executor,
		Pool: parts.Failing.pages(session.Chromium(s.pool)), Catalog: parts.Catalog, Profiles: profiles, Publish: parts.Failing.publish(s.publish),
		Snapshots: snapshots, Held: s.cfg.Browser.Tabs, Idle: s.cfg.Browser.Idle, Memory: memory, Used: s.memory, Measure: measureEvery,
	})
	if parts.Tokens == nil {
		parts.Tokens = siteTokens(newFileTokens(s.cfg, parts.Env), s.vault)
	}
	s.rest = newREST(s.log, s.cfg.Worker, parts.Tokens, parts.Resolve, parts.Roots)
	s.worker = worker.New(s.log, worker.Options{
		REST: s.rest,
		Bus:  s.bus, Catalog: parts.Catalog, Schemas: parts.Schemas, Sessions: s.sessions,
		Records: parts.Failing.records(worker.OnBus(s.bus)),
		Site:    s.cfg.Site, Sites: s.cfg.AllSites, Name: s.cfg.Worker.Name, Version: telemetry.Version(),
		Actions: s.cfg.Worker.Actions, Lanes: s.cfg.Worker.Lanes, Grace: s.cfg.Worker.Grace,
		HandOver: s.sessions.HandOver, Lost: s.sessions.Lose, Refused: s.metrics.Refused,
		Takeover: takeovers{s.bus}.told, VendorUser: takeovers{s.bus}.user,
		Done: func(_ context.Context, r event.Result) {
			s.metrics.Command(r.Action, string(r.Status), time.Duration(r.DurationUS)*time.Microsecond)
		},
	})
	s.watch()
	if s.cfg.does(roleWorkflows) {
		if s.flows, err = openFlows(ctx, s.log, s.cfg, parts, s.bus, s.metrics); err != nil {
			return err
		}
	}
	if !s.cfg.does(roleCRM) || len(s.cfg.CRM.Targets) == 0 {
		return nil
	}
	if s.crms, err = openTargets(ctx, s.log, s.cfg, parts.Env, s.bus, s.vault, way{parts.Resolve, parts.Roots, parts.CRMTokens, s.updates(parts)}, ""); err == nil {
		s.metrics.Watch(s.crms.figures()...)
	}
	return err
}

// publish stores a fact of a session.
func (s *System) publish(ctx context.Context, subject string, e event.Envelope) error {
	if _, err := s.bus.Publish(ctx, subject, e); err != nil {
		return fmt.Errorf("publishing a fact: %w", err)
	}
	s.metrics.Fact(e.Type)
	return nil
}

// Run takes work until ctx ends, or until a part fails. Then it stops in this
// order: events that come in, workflows, worker, and returns when what they ran has ended and the
// worker has handed over its partitions with their sessions. Close does the
// rest.
func (s *System) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var parts []*part
	if s.listener != nil {
		parts = append(parts, launch(ctx, cancel, func(ctx context.Context) error {
			return telemetry.Serve(ctx, s.log, s.listener, s.metrics, s.bus.Healthy)
		}))
	}
	parts = append(parts,
		launch(ctx, cancel, s.watchLag),
		launch(ctx, cancel, func(ctx context.Context) error { return s.bus.Serve(ctx, s.cfg.Worker.Name, s.answer) }))
	if s.gateway != nil { // It stops after those who reach visitors through it.
		parts = append(parts, launch(ctx, cancel, s.gateway.serve))
	}
	if s.cfg.does(roleActions) {
		parts = append(parts, launch(ctx, cancel, s.worker.Run))
	}
	if s.flows != nil {
		parts = append(parts, launch(ctx, cancel, s.flows.run))
	}
	if s.vault != nil {
		parts = append(parts, launch(ctx, cancel, s.vault.Run))
	}
	if s.crms != nil {
		parts = append(parts, launch(ctx, cancel, s.crms.run))
	}
	if s.edge != nil {
		parts = append(parts, launch(ctx, cancel, s.edge.serve))
	}
	<-ctx.Done()
	var errs []error
	for _, part := range slices.Backward(parts) { // the last one started stops first
		errs = append(errs, part.stop())
	}
	return errors.Join(errs...)
}

// part is a part of the system that runs.
type part struct {
	cancel context.CancelFunc
	ended  chan error
}

// launch runs the function until stop. Its context does not end with ctx, so
// that the parts end one after another; when the function ends with an error by
// itself, it ends everything.
func launch(ctx context.Context, failed context.CancelCauseFunc, f func(context.Context) error) *part {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &part{cancel, make(chan error, 1)}
	go func() {
		err := f(ctx)
		if err != nil {
			failed(err)
		}
		p.ended <- err
	}()
	return p
}

// stop ends the part and waits until it has ended.
func (p *part) stop() error {
	p.cancel()
	return <-p.ended
}

// Close closes what Start opened: sessions, which are stored, then browsers, then
// the bus. Each has a time
// limit of its own; ctx may have ended already.
func (s *System) Close(ctx context.Context) error {
	bounded := func(closing func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		return closing(ctx)
	}
	var errs []error
	if s.sessions != nil {
		errs = append(errs, bounded(s.sessions.Close))
	}
	if s.rest != nil {
		s.rest.Close()
	}
	if s.pool != nil {
		errs = append(errs, bounded(s.pool.Close))
	}
	s.withdraw()
	if s.listener != nil {
		_ = s.listener.Close() // Serve has closed it already, unless Run was never called.
	}
	if s.edge != nil {
		_ = s.edge.listener.Close() // As above.
	}
	if s.gateway != nil {
		_ = s.gateway.listener.Close() // As above.
	}
	if s.crms != nil {
		errs = append(errs, s.crms.close())
	}
	if s.bus != nil {
		errs = append(errs, bounded(s.bus.Close))
	}
	return errors.Join(errs...)
}

// LoadRules compiles the rule files that the configuration names.
func LoadRules(cfg *Config, catalog *actions.Catalog, schemas *event.Schemas) (*workflow.Set, error) {
	compiler, err := workflow.NewCompiler(catalog, schemas, cfg.AllSites())
	if err != nil {
		return nil, fmt.Errorf("preparing the rules: %w", err)
	}
	if cfg.rules != nil {
		return compiler.Load(cfg.rules, "*.yaml")
	}
	var patterns []string
	if dir := cfg.Workflows.Dir; dir != "" {
		if info, err := os.Stat(cfg.Path(dir)); err != nil || !info.IsDir() {
			return nil, fault.New(fault.BadConfig, "workflows.dir: there is no directory %s", cfg.Path(dir)).
				WithFix("make it, or correct or leave out workflows.dir")
		}
		patterns = append(patterns, dir+"/*.yaml", dir+"/*.yml")
	}
	patterns = append(patterns, cfg.Workflows.Files...)
	return compiler.Load(ruleFiles{cfg}, patterns...)
}

// ruleFiles opens rule files by the paths of the configuration, which may be
// absolute or lead out of its directory.
type ruleFiles struct{ cfg *Config }

// Open opens the file.
func (f ruleFiles) Open(name string) (fs.File, error) { return os.Open(f.cfg.Path(name)) }
