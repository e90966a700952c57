//go:build browser

package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
	"github.com/parley-chat/parley/internal/visitor"
)

// A shopper is a visitor with a browser of his own, on a page of a whole system
// whose site listens to the page's analytics.
type shopper struct {
	t       *testing.T
	dev     *devSystem
	own     *browser.Tab
	session string
	life    string
}

// perMinute is how many events a page of the test's site may send.
const perMinute = 40

// shopping starts the system, and has the visitor come.
func shopping(t *testing.T) *shopper {
	t.Helper()
	dir := t.TempDir()
	file, rule := filepath.Join(dir, ConfigFile), filepath.Join(dir, "rules", "offer.yaml")
	config := `
bus: {dir: ` + dir + `, listen: "127.0.0.1:0"}
workflows: {dir: rules}
sites:
  shop:
    app_id: ` + shop.AppID + `
    domains: [` + shop.Host + `]
    visitor:
      analytics: {data_layer: true, per_minute: ` + strconv.Itoa(perMinute) + `, events: {view_pricing: Pricing Viewed}}
`
	workflow := "on: {trigger: track, event: Pricing Viewed}\nlimits: {once_per: 24h}\nsteps: [{action: chat.widget.open}]\n"
	write(t, file, config)
	write(t, rule, workflow)
	s := &shopper{t: t, session: event.SessionKey(demoSite, event.Visitor{UserID: demoUser})}
	s.start(file, dir)
	s.visit()
	return s
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *shopper) start(file, dir string) {
	s.t.Helper()
	process := Process{Env: Env{}, Stdin: strings.NewReader(""), Stdout: &output{}, Stderr: &output{}}
	c, err := process.prepare(&common{Config: file})
	s.must(err)
	cfg, err := c.config()
	s.must(err)
	identity, err := letIn(cfg, dir)
	s.must(err)
	ctx, stop := context.WithCancel(context.WithoutCancel(s.t.Context()))
	s.dev, err = startDev(ctx, c, cfg, false, identity, func(string, string) {})
	s.must(err)
	ended := make(chan error, 1)
	go func() { ended <- s.dev.Run(ctx) }()
	s.t.Cleanup(func() {
		stop()
		s.check(<-ended)
		s.check(s.dev.Close(context.WithoutCancel(ctx)))
	})
}

func (s *shopper) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *shopper) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Error(err)
	}
}

// visit opens the page in the visitor's own browser. The page can be told to push
// entries of its data layer, as its own scripts do.
func (s *shopper) visit() {
	s.t.Helper()
	pool, err := browser.New(bustest.Log(s.t), browser.Options{
		Dir: "/tmp", Processes: 1, Tabs: 2, Spare: -1, Resolve: s.dev.hosts.Resolve(), TrustSPKI: []string{s.dev.hosts.SPKI()},
	})
	s.must(err)
	s.t.Cleanup(func() { s.check(pool.Close(context.WithoutCancel(s.t.Context()))) })
	s.must(pool.Start(s.t.Context()))
	const page = `(function () { return { push: ({ from, many }) => {
		window.dataLayer = window.dataLayer || [];
		for (let i = from; i < from + many; i++) window.dataLayer.push({ event: "view_pricing", plan: "pro", number: i }, { event: "other", number: i });
		return many;
	} }; })`
	hosts := []string{shop.Host, chatHost}
	for host := range s.dev.hosts.Resolve() {
		hosts = append(hosts, host)
	}
	s.own, err = pool.Open(s.t.Context(), browser.Request{
		URL: demoPage, Hosts: hosts, Label: "a shopper", Main: actions.Script(actions.WorldMain, rand.Text(), page),
	})
	s.must(err)
	s.arrive()
}

// arrive waits until a new document of the visitor is connected.
func (s *shopper) arrive() {
	s.t.Helper()
	bustest.Until(s.t, "the page is connected", func() bool {
		here, there, err := visitor.Find(s.t.Context(), s.dev.bus, demoSite, s.session)
		if err != nil || !there || here.Life == s.life {
			return false
		}
		s.life = here.Life
		return true
	})
}

// push has the page push so many entries, numbered from the first one on.
func (s *shopper) push(from, many int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 15*time.Second)
	defer cancel()
	s.must(s.own.Call(ctx, "push", map[string]any{"key": "", "fence": 1, "arg": map[string]int{"from": from, "many": many}}, nil))
}

// stored returns how often each number was stored.
func (s *shopper) stored() map[int]int {
	s.t.Helper()
	numbers := map[int]int{}
	for d, err := range s.dev.bus.Read(s.t.Context(), bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{event.TriggerFilter()}}) {
		s.must(err)
		e, err := d.Envelope()
		s.must(err)
		var one event.Trigger
		s.must(json.Unmarshal(e.Data, &one))
		number, _ := one.Properties["number"].(float64)
		numbers[int(number)]++
		if one.Event != "Pricing Viewed" || one.Visitor.UserID != demoUser || one.Properties["plan"] != "pro" || one.Consent == nil ||
			one.Consent.Analytics == nil || !*one.Consent.Analytics || strings.Contains(one.URL, "?") {
			s.t.Errorf("the event is %+v", one)
		}
	}
	return numbers
}

// What the page tells its analytics goes the whole way: over the visitor's
// connection and the edge onto the bus, into a workflow, and back into the same
// tab as an action. Each event is stored once, also when the page is loaded again
// while it is on its way, and the page cannot send more than its site allows.
func TestPageEventsComeBack(t *testing.T) {
	t.Parallel()
	s := shopping(t)
	s.push(0, 1)
	result := bustest.NextOn[event.Result](t, s.dev.bus, event.ResultSubject("botstar.widget.open", demoSite, s.session))
	if result.Status != event.Succeeded || !result.Verified || result.Executor != "visitor" {
		t.Errorf("the command is %s in %q: %+v", result.Status, result.Executor, result.Problem)
	}
	openings := func() int { return s.dev.vendor.Ledger().Snapshot().Count(demoUser, vendor.Opened) }
	bustest.Until(t, "the vendor has heard of it", func() bool { return openings() == 1 }) // A reload might cut it off.
	const reloads, each = 6, 3
	next := 1
	for range reloads {
		s.push(next, each)
		next += each
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		s.must(s.own.Reload(ctx))
		cancel()
		s.arrive()
	}
	bustest.Until(t, "all events are stored", func() bool { return len(s.stored()) == next })
	begun := time.Now()
	s.push(next, 10*perMinute)
	s.push(next+10*perMinute, 1)
	settled, numbers := s.dev.gateway.Stats().Frames, s.stored()
	bustest.Until(t, "the gateway has taken what came", func() bool {
		before := settled
		settled = s.dev.gateway.Stats().Frames
		numbers = s.stored()
		return len(numbers) >= next+perMinute-1 && before == settled
	})
	for number, n := range numbers {
		if n != 1 {
			t.Errorf("the event %d is stored %d times", number, n)
		}
	}
	most := next + perMinute + int(time.Since(begun).Minutes()*perMinute) + 1
	if len(numbers) > most {
		t.Errorf("%d events are stored, and %d are allowed", len(numbers), most)
	}
	if n := openings(); n != 1 {
		t.Errorf("the window opened %d times", n)
	}
	stats := s.dev.gateway.Stats()
	seen := httptest.NewRecorder()
	s.dev.metrics.Handler().ServeHTTP(seen, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	for name, value := range map[string]int64{
		"parley_gateway_connections": 1, "parley_gateway_welcomed_total": stats.Opened, "parley_gateway_reconnects_total": stats.Returned,
		"parley_gateway_tracks_total": stats.Tracks, "parley_gateway_facts_total": stats.Facts, `parley_gateway_refused_total{reason="origin"}`: 0,
		`parley_gateway_closed_total{code="4401"}`: 0, "parley_gateway_answers_total": stats.Calls,
	} {
		if line := name + " " + strconv.FormatInt(value, 10) + "\n"; !strings.Contains(seen.Body.String(), line) {
			t.Errorf("/metrics has no line %q", line)
		}
	}
	t.Logf("%d events pushed, %d sent and taken, %d stored once, 1 run, 1 opening; %d connections welcomed, %d of them again",
		next+10*perMinute+1, stats.Tracks, len(numbers), stats.Opened, stats.Returned)
}
