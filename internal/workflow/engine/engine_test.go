package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/workflow"
	"github.com/parley-chat/parley/internal/workflow/machine"
	"github.com/parley-chat/parley/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, bustest.Leaks()...) }

// shop is the site of the tests.
var shop = actions.Site{Name: "shop", Provider: "botstar", Mode: "livechat", URL: "https://shop.example.test/"}

func sites(name string) (actions.Site, bool) { return shop, name == "shop" }

// compile compiles rule files, given as name and text.
func compile(tb testing.TB, files ...string) (*workflow.Set, *event.Schemas) {
	tb.Helper()
	catalog, err := actions.NewCatalog(botstar.Provider())
	if err != nil {
		tb.Fatal(err)
	}
	validators, err := event.NewSchemas(schemas.FS)
	if err != nil {
		tb.Fatal(err)
	}
	compiler, err := workflow.NewCompiler(catalog, validators, []actions.Site{shop})
	if err != nil {
		tb.Fatal(err)
	}
	tree := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		tree[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	set, err := compiler.Load(tree, "*.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	return set, validators
}

// start runs an engine with the rule files until the returned function is
// called.
func start(tb testing.TB, b *bus.Bus, files ...string) (e *Engine, stop func()) {
	tb.Helper()
	set, validators := compile(tb, files...)
	e = New(bustest.Log(tb), b, Options{
		Programs: func(context.Context) (*workflow.Set, error) { return set, nil }, Sites: sites, Schemas: validators,
	})
	return e, run(tb, e)
}

// run runs the engine until the returned function is called.
func run(tb testing.TB, e *Engine) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Errorf("Run = %v", err)
		}
	})
}

// visitor returns the visitor with the number.
func visitor(i int) event.Visitor { return event.Visitor{UserID: fmt.Sprintf("u-%d", i)} }

// track publishes a track call as a source would.
func track(tb testing.TB, b *bus.Bus, id, name string, v event.Visitor, properties map[string]any) {
	tb.Helper()
	publish(tb, b, id, event.KindTrack, event.Trigger{Site: "shop", Event: name, Visitor: v, Properties: properties})
}

func publish(tb testing.TB, b *bus.Bus, id, kind string, data event.Trigger) {
	tb.Helper()
	data.OccurredAt = time.Now().UTC()
	raw, err := json.Marshal(data)
	if err != nil {
		tb.Fatal(err)
	}
	e := event.Envelope{ID: id, Source: "/ingest/cli", Type: event.TriggerType(kind), Time: data.OccurredAt, Data: raw}
	if _, err := b.Publish(tb.Context(), event.TriggerSubject("cli", kind, data.Site, event.SessionKey(data.Site, data.Visitor)), e); err != nil {
		tb.Fatal(err)
	}
}

// commands returns the actions and causes of the workflows' commands, in the
// order of the log.
func commands(tb testing.TB, b *bus.Bus) []string {
	tb.Helper()
	var got []string
	for d, err := range b.Read(tb.Context(), bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{"go.*.*.*.*.*.*"}}) {
		if err != nil {
			tb.Fatal(err)
		}
		e, err := d.Envelope()
		if err != nil {
			tb.Fatal(err)
		}
		action, _ := event.ActionOfType(e.Type)
		got = append(got, action+" of "+e.Extension(event.ExtCausationID))
	}
	return got
}

const pricing = `
on: {trigger: track, event: Pricing Viewed}
if: trigger.properties.plan == "pro"
steps:
  - action: botstar.widget.boot
  - action: botstar.widget.open
`

// TestEngine shows that triggers become commands in their order, that what came
// while no engine ran is not lost, and that nothing is done again after a stop.
func TestEngine(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	_, stop := start(t, b, "pricing.yaml", pricing)
	track(t, b, "t-1", "Pricing Viewed", visitor(1), map[string]any{"plan": "pro"})
	track(t, b, "t-2", "Pricing Viewed", visitor(1), map[string]any{"plan": "free"})
	bustest.Until(t, "the commands are there", func() bool { return len(commands(t, b)) == 2 })
	stop()
	track(t, b, "t-3", "Pricing Viewed", visitor(1), map[string]any{"plan": "pro"})
	e, stop := start(t, b, "pricing.yaml", pricing)
	bustest.Until(t, "the commands are there", func() bool { return len(commands(t, b)) == 4 })
	if !e.Figures().Leads {
		t.Error("the only engine does not lead")
	}
	stop()
	want := []string{
		"botstar.widget.boot of t-1", "botstar.widget.open of t-1", "botstar.widget.boot of t-3", "botstar.widget.open of t-3",
	}
	if diff := cmp.Diff(want, commands(t, b)); diff != "" {
		t.Errorf("the commands differ (-want +got):\n%s", diff)
	}
}

// TestEngineBuries shows that a trigger that a rule cannot evaluate becomes one
// dead letter, beside the commands of the other rules, and that others go on.
func TestEngineBuries(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	_, stop := start(t, b,
		"a.yaml", "on: {trigger: track}\nsteps: [{action: botstar.widget.open}]\n",
		"b.yaml", "on: {trigger: track}\nsteps: [{action: botstar.widget.update, params: {email: '${ trigger.traits.email }'}}]\n",
	)
	defer stop()
	track(t, b, "t-1", "Any", visitor(1), nil)
	dead := bustest.NextOn[event.DeadLetter](t, b, "dead.bad_rule.shop.*")
	if dead.Problem.Reason != string(fault.BadRule) {
		t.Errorf("the dead letter is %+v", dead.Problem)
	}
	publish(t, b, "t-2", event.KindTrack, event.Trigger{Event: "Any", Site: "elsewhere", Visitor: visitor(1)})
	if dead := bustest.NextOn[event.DeadLetter](t, b, "dead.unknown_site.*.*"); dead.Problem.Field != "/site" {
		t.Errorf("the dead letter is %+v", dead.Problem)
	}
	track(t, b, "t-3", "Any", visitor(2), nil)
	bustest.Until(t, "the others go on", func() bool {
		return cmp.Equal(commands(t, b), []string{"botstar.widget.open of t-1", "botstar.widget.open of t-3"})
	})
}

// TestEngineTimers shows a wait that times out on the bus, and one that is ended
// by a fact.
func TestEngineTimers(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	_, stop := start(t, b, "wait.yaml", `
on: {trigger: track}
steps:
  - wait_for:
      event: widget.opened
      timeout: 2s
      steps: [{action: botstar.widget.update, params: {nickname: "came"}}]
      on_timeout: [{action: botstar.widget.open}]
`)
	defer stop()
	begun := time.Now()
	track(t, b, "t-1", "Any", visitor(1), nil)
	track(t, b, "t-2", "Any", visitor(2), nil)
	bustest.Until(t, "both wait", func() bool { return waiting(t, b) == 2 })
	opened(t, b, visitor(2))
	bustest.Until(t, "both go on", func() bool { return len(commands(t, b)) == 2 })
	if took := time.Since(begun); took < 2*time.Second {
		t.Errorf("it took %s, and the time-out is 2 s", took)
	}
	got := commands(t, b)
	slices.Sort(got)
	if diff := cmp.Diff([]string{"botstar.widget.open of t-1", "botstar.widget.update of t-2"}, got); diff != "" {
		t.Errorf("the commands differ (-want +got):\n%s", diff)
	}
}

// waiting returns how many runs are under way.
func waiting(tb testing.TB, b *bus.Bus) int {
	tb.Helper()
	n := 0
	for d, err := range b.LastEach(tb.Context(), "run.shop.*") {
		if err != nil {
			tb.Fatal(err)
		}
		var s machine.Session
		if err := json.Unmarshal(d.Body, &s); err != nil {
			tb.Fatal(err)
		}
		n += len(s.Runs)
	}
	return n
}

// opened publishes the fact that the visitor's chat was opened.
func opened(tb testing.TB, b *bus.Bus, v event.Visitor) {
	tb.Helper()
	session := event.SessionKey("shop", v)
	e, err := event.New("/workers/w1", event.FactType("botstar", event.FactWidgetOpened), session, event.WidgetOpened{
		Occurrence: event.Occurrence{Site: "shop", Session: session, Provider: "botstar", At: time.Now().UTC(), Cause: event.CauseVisitor},
	})
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := b.Publish(tb.Context(), event.FactSubject("botstar", event.FactWidgetOpened, "shop", session), e); err != nil {
		tb.Fatal(err)
	}
}

// replaceWait returns the rule with the time-out in it.
func replaceWait(rule string, d time.Duration) string {
	return strings.ReplaceAll(rule, "WAIT", d.String())
}
