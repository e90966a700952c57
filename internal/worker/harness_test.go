package worker_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/session"
	"github.com/parley-chat/parley/internal/standin/shop"
	"github.com/parley-chat/parley/internal/vault"
	"github.com/parley-chat/parley/internal/worker"
	"github.com/parley-chat/parley/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, bustest.Leaks()...) }

// patience bounds what a test waits for.
const patience = 30 * time.Second

// A rig is one worker on a bus of its own.
type rig struct {
	t        testing.TB
	bus      *bus.Bus
	worker   *worker.Worker
	sessions *session.Manager
	catalog  *actions.Catalog
	schemas  *event.Schemas
	sites    []actions.Site
	reports  *reports
	options  worker.Options
	log      *slog.Logger
	end      *func() error // stops the worker
}

// reports are the results that the worker has reported.
type reports struct {
	repeated chan event.Result

	mu  sync.Mutex // guards the field below
	all []event.Result
}

// in returns the rig for a subtest.
func (r *rig) in(t testing.TB) *rig {
	t.Helper()
	inner := *r
	inner.t = t
	return &inner
}

// A plan is what a rig is made of. The zero value has no browser.
type plan struct {
	bus     *bus.Bus
	pool    *browser.Pool
	spare   int // tabs that the browser keeps prepared, as in browser.Options
	sites   []actions.Site
	catalog *actions.Catalog
	schemas *event.Schemas
	session session.Options
	worker  worker.Options
	log     *slog.Logger
	// rest, in a world, lets the worker reach the stand-in's REST API.
	rest bool
	// keys, if set, has sessions stored, and moved with their partitions.
	keys *vault.Keyring
}

func demoSites() []actions.Site {
	return []actions.Site{
		{
			Name: "shop", Provider: "botstar", AppID: shop.AppID, Mode: "livechat", URL: shop.Origin + "/",
			Domains: []string{shop.Host}, Webviews: []string{shop.Origin}, BotID: "bot-1", BotName: "Shop bot",
		},
		{
			Name: "docs", Provider: "botstar", AppID: shop.DocsAppID, Mode: "popup",
			URL: "https://" + shop.DocsHost + "/", Domains: []string{shop.DocsHost},
		},
		{Name: "elsewhere", Provider: "tidio", AppID: "x", URL: "https://elsewhere.example.test/"},
	}
}

// setup starts a rig, which ends with the test.
func setup(t testing.TB, p plan) *rig {
	t.Helper()
	r := &rig{t: t, bus: p.bus, sites: p.sites, reports: &reports{repeated: make(chan event.Result, 100)}, end: new(func() error)}
	if r.bus == nil {
		r.bus = bustest.Start(t)
	}
	if r.sites == nil {
		r.sites = demoSites()
	}
	if p.log == nil {
		p.log = bustest.Log(t)
	}
	if p.pool == nil {
		idle, err := browser.New(p.log, browser.Options{})
		must(t, err)
		p.pool = idle
	}
	var err error
	if r.catalog, r.schemas = p.catalog, p.schemas; r.catalog == nil {
		r.catalog, err = actions.NewCatalog(botstar.Provider())
		must(t, err)
		r.schemas, err = event.NewSchemas(schemas.FS)
		must(t, err)
	}
	profiles, err := r.bus.KV(t.Context(), bus.BucketProfiles)
	must(t, err)
	p.session.Pool, p.session.Catalog, p.session.Profiles = session.Chromium(p.pool), r.catalog, profiles
	p.session.Publish = func(ctx context.Context, subject string, e event.Envelope) error {
		_, err := r.bus.Publish(ctx, subject, e)
		return err
	}
	if p.keys != nil {
		kv, err := r.bus.KV(t.Context(), bus.BucketSessions)
		must(t, err)
		p.session.Snapshots = session.NewStore(kv, p.keys, time.Hour)
	}
	r.sessions = session.New(p.log, p.session)
	p.worker.HandOver, p.worker.Lost = r.sessions.HandOver, r.sessions.Lose
	p.worker.Bus, p.worker.Catalog, p.worker.Schemas, p.worker.Sessions = r.bus, r.catalog, r.schemas, r.sessions
	p.worker.Site, p.worker.Sites = r.site, func() []actions.Site { return r.sites }
	p.worker.Repeated = func(_ context.Context, result event.Result) { r.reports.repeated <- result }
	p.worker.Done = func(_ context.Context, result event.Result) {
		r.reports.mu.Lock()
		defer r.reports.mu.Unlock()
		r.reports.all = append(r.reports.all, result)
	}
	r.options, r.log = p.worker, p.log
	r.start()
	t.Cleanup(func() {
		r.stop()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if err := r.sessions.Close(ctx); err != nil {
			t.Errorf("closing the sessions: %v", err)
		}
	})
	return r
}

// start starts the worker, and stop stops it as SIGTERM does.
func (r *rig) start() {
	r.worker = worker.New(r.log, r.options)
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- r.worker.Run(ctx) }()
	*r.end = func() error {
		cancel()
		return <-ended
	}
}

func (r *rig) stop() {
	r.t.Helper()
	if err := (*r.end)(); err != nil {
		r.t.Errorf("running the worker: %v", err)
	}
}

func (r *rig) site(name string) (actions.Site, bool) {
	for _, site := range r.sites {
		if site.Name == name {
			return site, true
		}
	}
	return actions.Site{}, false
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// An order is a command to be sent.
type order struct {
	action  string
	site    string // "" is shop
	visitor event.Visitor
	params  string // "" is {}
	alias   string
	id      string
	noBoot  bool
	timeout int // ms; 0 leaves it out
	expiry  time.Time
}

func (o order) filled() order {
	if o.site == "" {
		o.site = "shop"
	}
	if o.visitor == (event.Visitor{}) {
		o.visitor = event.Visitor{UserID: "u-42"}
	}
	if o.params == "" {
		o.params = "{}"
	}
	return o
}

// command makes the command of the order and its subject.
func (r *rig) command(o order) (subject string, e event.Envelope) {
	r.t.Helper()
	o = o.filled()
	c := event.Command{Site: o.site, Visitor: o.visitor, Params: json.RawMessage(o.params), Alias: o.alias}
	if o.noBoot {
		c.AutoBoot = new(false)
	}
	if o.timeout != 0 {
		c.TimeoutMS = &o.timeout
	}
	e, err := event.New("/test", event.CommandType(o.action), o.site, c)
	must(r.t, err)
	if o.id != "" {
		e.ID = o.id
	}
	if !o.expiry.IsZero() {
		e.Extensions[event.ExtExpiryTime] = o.expiry.UTC().Format(time.RFC3339Nano)
	}
	class := event.ClassWrite
	if spec, _, err := r.catalog.Find(o.action); err == nil {
		class = spec.Scope
	}
	return event.CommandSubject(class, o.action, o.site, event.SessionKey(o.site, o.visitor)), e
}

// do sends the command and returns its result.
func (r *rig) do(o order) event.Result {
	r.t.Helper()
	subject, e := r.command(o)
	return r.send(subject, e)
}

func (r *rig) send(subject string, e event.Envelope) event.Result {
	r.t.Helper()
	result, err := r.trySend(subject, e)
	must(r.t, err)
	return result
}

func (r *rig) trySend(subject string, e event.Envelope) (event.Result, error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	var result event.Result
	reply, err := r.bus.Send(ctx, subject, e)
	if err != nil {
		return result, err
	}
	defer reply.Close()
	answer, err := reply.Wait(ctx)
	if err != nil {
		return result, err
	}
	must(r.t, json.Unmarshal(answer.Data, &result))
	if err := r.schemas.Validate(answer.Type, answer.Data); err != nil && !isUnknownType(err) {
		r.t.Errorf("the result of %s does not fit its schema: %v\n%s", result.Action, err, answer.Data)
	}
	return result, nil
}

// succeed fails the test unless the command succeeded.
func (r *rig) succeed(o order) event.Result {
	r.t.Helper()
	result := r.do(o)
	if result.Status != event.Succeeded {
		r.t.Fatalf("%s: %s %+v", o.action, result.Status, result.Problem)
	}
	return result
}

// healthy proves that the next command works.
func (r *rig) healthy(o order) {
	r.t.Helper()
	o.action, o.id, o.params, o.timeout = "botstar.app.list_ids", "", "", 0
	r.succeed(o)
}

// dead returns the dead letters, waiting for at least the number.
func (r *rig) dead(atLeast int) []bus.Dead {
	r.t.Helper()
	r.await("dead.>", atLeast)
	var all []bus.Dead
	for letter, err := range r.bus.DeadLetters(r.t.Context(), "") {
		must(r.t, err)
		all = append(all, letter)
	}
	return all
}

// await waits until the number of messages is stored whose subjects fit.
func (r *rig) await(filter string, atLeast int) {
	r.t.Helper()
	if atLeast == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	seen := 0
	for _, err := range r.bus.Tail(ctx, bus.TailOptions{Subjects: []string{filter}, All: true}) {
		if err != nil {
			r.t.Fatalf("waiting for %d messages on %s, after %d: %v", atLeast, filter, seen, err)
		}
		if seen++; seen == atLeast {
			return
		}
	}
	r.t.Fatalf("%d messages came on %s, want %d", seen, filter, atLeast)
}

// history returns the results and facts of the subject filter that are stored,
// waiting for at least the number.
func (r *rig) history(filter string, atLeast int) []event.Envelope {
	r.t.Helper()
	r.await(filter, atLeast)
	var all []event.Envelope
	for d, err := range r.bus.Tail(r.t.Context(), bus.TailOptions{Subjects: []string{filter}, All: true, ToEnd: true}) {
		must(r.t, err)
		e, err := d.Envelope()
		must(r.t, err)
		all = append(all, e)
	}
	return all
}

// ran returns the results that the worker has reported of the command.
func (r *rig) ran(id string) []event.Result {
	r.reports.mu.Lock()
	defer r.reports.mu.Unlock()
	var all []event.Result
	for _, result := range r.reports.all {
		if result.CommandID == id {
			all = append(all, result)
		}
	}
	return all
}

func reasonOf(r event.Result) string {
	if r.Problem == nil {
		return ""
	}
	return r.Problem.Reason
}

// again sends the command past the queue's memory of ids, as a timer does, and
// returns when it is on its way.
func (r *rig) again(o order) {
	r.t.Helper()
	subject, e := r.command(o)
	address, err := event.ParseCommandSubject(subject)
	must(r.t, err)
	must(r.t, r.bus.Schedule(r.t.Context(), event.TimerSubject(address.Site, address.Session, "again"), time.Now(),
		event.DueCommandSubject(address.Class, address.Action, address.Site, address.Session), e))
}

// repeated returns the next result that the worker gave once more.
func (r *rig) repeated() event.Result {
	r.t.Helper()
	select {
	case result := <-r.reports.repeated:
		return result
	case <-time.After(patience):
		r.t.Fatal("no command was recognised as done before")
		return event.Result{}
	}
}

// restart replaces the worker by another one, which remembers nothing.
func (r *rig) restart() {
	r.t.Helper()
	r.stop()
	r.start()
}

// A stopped clock shows one time until it is let run.
type stopped struct {
	at      time.Time
	running atomic.Bool
}

func (c *stopped) now() time.Time {
	if c.running.Load() {
		return time.Now()
	}
	return c.at
}

func (c *stopped) run() { c.running.Store(true) }
