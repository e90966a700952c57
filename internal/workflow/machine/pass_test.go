package machine

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parley-chat/parley/internal/event"
)

// plainly has no scanner: every trigger is validated and decoded, and every
// session copied, whether anybody has to do with it or not.
type plainly struct{ *event.Schemas }

// Scan accepts nothing.
func (plainly) Scan(string, []byte, func([]byte, event.Raw)) bool { return false }

// choosy is workflows that look at everything that an event tells.
func choosy() []string {
	conditions := []string{
		`trigger.properties.size > 10`, `trigger.properties.plan == "pro" && trigger.traits.vip == true`,
		`has(trigger.properties.page) && trigger.properties.page.depth >= 2`, `size(trigger.properties) == 2`,
		`"size" in trigger.properties`, `trigger.properties.list.exists(x, x == 2)`, `trigger.properties == {"size": 1}`,
		`trigger.url.contains("pricing")`, `trigger.group != ""`, `trigger.consent.functionality`, `!has(trigger.consent)`,
		`trigger.origin.provider == "segment" || trigger.source == "ingest/cli"`, `trigger.received_at > trigger.occurred_at`,
		`has(trigger.received_at)`, `visitor.identified && visitor.email != ""`, `run.now > trigger.occurred_at + duration("30s")`,
		`trigger.traits.all(k, k != "none")`, `trigger.id.endsWith("7")`, `trigger.kind == "page"`, `trigger.properties.note.size() > 3`,
		`event.properties.size < 5`, `trigger.properties.?size.orValue(0) == 3`, `trigger.site == "shop" && trigger.event == "A"`,
		`dyn(trigger.properties)["size"] == 1`, `trigger.properties.size + 1 == 2`, `trigger.properties.map(k, k).size() > 1`,
	}
	var files []string
	for i, condition := range conditions {
		files = append(files, fmt.Sprintf("choosy-%02d.yaml", i), fmt.Sprintf(`
on: [{trigger: track, event: %q}, {trigger: page}]
if: '%s'
limits: {once_per: 5m}
steps: [{action: botstar.widget.update, params: {nickname: "${ trigger.event }"}}]
`, []string{"A", "B", "C"}[i%3], condition))
	}
	return append(files,
		"else.yaml", "on: {trigger: track, event: D}\nif: trigger.properties.size > 10\nsteps: [{action: botstar.widget.open}]\nelse: [{action: botstar.widget.close}]\n",
		"waits.yaml", "on: {trigger: track, event: E}\nlimits: {cancel_on: [{trigger: page}]}\nsteps: [{wait_for: {trigger: track, event: F, if: 'event.properties.size > 3', timeout: 10m}}]\n")
}

// anything returns a trigger with a choice of everything that one may have.
func anything(random *rand.Rand, who event.Visitor, now time.Time) (kind string, data event.Trigger) {
	maybe := func(of func()) {
		if random.IntN(2) == 0 {
			of()
		}
	}
	data = event.Trigger{
		Site: "shop", Visitor: who, Event: []string{"A", "B", "C", "D", "E", "F", "G"}[random.IntN(7)],
		OccurredAt: now.Add(-time.Duration(random.IntN(90)) * time.Second).UTC(),
	}
	maybe(func() {
		data.Properties = map[string]any{}
		for _, name := range []string{"size", "plan", "page", "list", "note", "x"} {
			maybe(func() {
				data.Properties[name] = map[string][]any{
					"size": {1, 3, 20, "large", nil}, "plan": {"pro", "free", 7}, "page": {map[string]any{"depth": 2}, map[string]any{}, "none"},
					"list": {[]any{1, 2}, []any{}, []any{"a", nil}}, "note": {"größer \"als\"", "\n", ""}, "x": {1.5, true, -0.25},
				}[name][random.IntN(2)]
			})
		}
	})
	maybe(func() { data.Traits = map[string]any{"vip": random.IntN(2) == 0, "none": nil} })
	maybe(func() {
		data.URL = []string{"https://shop.example.test/pricing", "https://shop.example.test/"}[random.IntN(2)]
	})
	maybe(func() { data.Group = "acme" })
	maybe(func() { data.ReceivedAt = now.UTC() })
	maybe(func() { data.Consent = &event.Consent{Functionality: new(random.IntN(2) == 0)} })
	maybe(func() { data.Origin = &event.Origin{Provider: []string{"segment", "ga4"}[random.IntN(2)]} })
	return []string{event.KindTrack, event.KindTrack, event.KindPage}[random.IntN(3)], data
}

// spelled returns all of a change as text.
func spelled(tb testing.TB, c Change, err error) string {
	tb.Helper()
	all, jsonErr := json.MarshalIndent(c, "", " ")
	if jsonErr != nil {
		tb.Fatal(jsonErr)
	}
	return fmt.Sprintf("%s\n%v\n%v", all, c.Refused, err)
}

// TestAGlanceDoesWhatDecodingDoes plays random histories through a machine that
// looks before it decodes, and through one that decodes everything, and compares
// what they do with each input. A seed that failed is to be kept here.
func TestAGlanceDoesWhatDecodingDoes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 20261125))
			s := simulate(t, append(choosy(), zoo()...)...)
			passed, acted := s.beside(random, 120)
			if passed < 10 || acted < 10 {
				t.Errorf("%d inputs passed and %d did not: the test tells little", passed, acted)
			}
		})
	}
}

// beside feeds so many inputs, each also to a machine that decodes everything,
// and returns how many triggers passed by at a glance.
func (s *sim) beside(random *rand.Rand, n int) (passed, acted int) {
	s.tb.Helper()
	glancing := s.machine
	plain := *glancing
	schemas, ok := glancing.schemas.(*event.Schemas)
	if !ok {
		s.tb.Fatal("the simulation has other schemas")
	}
	plain.schemas = plainly{schemas}
	visitors, later := people()
	answered := 0
	for i := range n {
		for range 8 { // As soon as workers would: runs do not heap up.
			answered = s.answerSome(random, answered)
		}
		who := visitors[random.IntN(len(visitors))]
		if random.IntN(40) == 0 {
			at := random.IntN(len(visitors))
			s.trigger(event.KindIdentify, event.Trigger{Event: "identify", Visitor: later[at], Previous: &visitors[at]})
			visitors[at] = later[at]
			continue
		}
		if random.IntN(6) == 0 {
			s.fact([]string{event.FactWidgetOpened, event.FactWidgetClosed}[random.IntN(2)], who, s.now)
		}
		kind, data := anything(random, who, s.now)
		in := s.input(fmt.Sprintf("any-%d", i), kind, data)
		fast, fastErr := glancing.Step(s.world(), in, s.now)
		slow, slowErr := plain.Step(s.world(), in, s.now)
		if want, got := spelled(s.tb, slow, slowErr), spelled(s.tb, fast, fastErr); got != want {
			s.tb.Fatalf("input %d, %s: other effects (-decoded +glanced):\n%s", i, in.Envelope.Data, cmp.Diff(want, got))
		}
		if f := (&fold{m: glancing, world: s.world(), in: in, now: s.now}); f.overAtOnce() {
			passed++
		} else {
			acted++
		}
		s.feed(in)
		s.pass(time.Duration(random.IntN(30)) * time.Second)
	}
	return passed, acted
}

// overAtOnce reports whether a glance is enough for the input.
func (f *fold) overAtOnce() bool {
	_, over, err := f.read()
	return over && err == nil
}

// input returns a trigger as the log has it.
func (s *sim) input(id, kind string, data event.Trigger) Input {
	s.tb.Helper()
	e, err := event.New("/ingest/cli", event.TriggerType(kind), "", data)
	if err != nil {
		s.tb.Fatal(err)
	}
	e.ID = id
	in, ok := ReadInput(event.TriggerSubject("cli", kind, data.Site, event.SessionKey(data.Site, data.Visitor)), e, s.now)
	if !ok {
		s.tb.Fatal("the trigger's subject is none of the log")
	}
	return in
}

// TestWhatDoesNotPass holds back from passing what a glance cannot judge.
func TestWhatDoesNotPass(t *testing.T) {
	t.Parallel()
	const rules = `
on: {trigger: track, event: A}
if: trigger.properties.size > 10
steps: [{wait_for: {trigger: track, event: B}}]
`
	size := func(n any) map[string]any { return map[string]any{"size": n} }
	for _, test := range []struct {
		name   string
		prior  string // an event that comes before
		data   event.Trigger
		kind   string
		passes bool
	}{
		{name: "nobody's event", data: event.Trigger{Event: "X"}, passes: true},
		{name: "a condition that does not hold", data: event.Trigger{Event: "A", Properties: size(3)}, passes: true},
		{name: "a condition without its property", data: event.Trigger{Event: "A"}, passes: true},
		{name: "a condition that holds", data: event.Trigger{Event: "A", Properties: size(11)}},
		{name: "a condition that fails", data: event.Trigger{Event: "A", Properties: size("x")}},
		{name: "an event that a run waits for", prior: "A", data: event.Trigger{Event: "B"}},
		{name: "an event that no run waits for", prior: "A", data: event.Trigger{Event: "X"}, passes: true},
		{name: "an event that tells more of a visitor with runs", prior: "A", data: event.Trigger{Event: "X", Visitor: event.Visitor{UserID: "u-42", Email: "new@example.test"}}},
		{name: "a visitor who was another one", data: event.Trigger{Event: "X", Previous: &event.Visitor{AnonymousID: "a"}}},
		{name: "a person's word", kind: event.KindManual, data: event.Trigger{Event: "X"}},
		{name: "an unknown site", data: event.Trigger{Site: "nowhere", Event: "X"}},
		{name: "an event that is not correct", data: event.Trigger{Event: strings.Repeat("x", 257)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := simulate(t, "rule.yaml", rules)
			if test.prior != "" {
				s.trigger(event.KindTrack, event.Trigger{Event: test.prior, Properties: size(11)})
			}
			data := test.data
			if data.Site == "" {
				data.Site = "shop"
			}
			if data.Visitor == (event.Visitor{}) {
				data.Visitor = ada
			}
			data.OccurredAt = s.now
			kind := test.kind
			if kind == "" {
				kind = event.KindTrack
			}
			f := &fold{m: s.machine, world: s.world(), in: s.input("x", kind, data), now: s.now}
			if got := f.overAtOnce(); got != test.passes {
				t.Errorf("passes = %v", got)
			}
		})
	}
}

// TestANoticeIsNoCopy shows that what passes a session by leaves its runs as they
// are, and tells when its source was heard last.
func TestANoticeIsNoCopy(t *testing.T) {
	t.Parallel()
	s := simulate(t, "rule.yaml", "on: {trigger: track, event: A}\nsteps: [{wait_for: {trigger: track, event: B}}]\n")
	s.track("A")
	s.now = s.now.Add(time.Minute)
	in := s.input("x", event.KindTrack, event.Trigger{Site: "shop", Visitor: ada, Event: "X", OccurredAt: s.now})
	key := "shop." + event.SessionKey("shop", ada)
	before := s.sessions[key]
	was := through(t, before)
	change, err := s.machine.Step(s.world(), in, s.now)
	if err != nil || len(change.Noticed) != 1 || len(change.Sessions) > 0 {
		t.Fatalf("the change is %+v, %v", change, err)
	}
	noticed := change.Noticed[0]
	if noticed.Runs[0] != before.Runs[0] {
		t.Error("the run was copied")
	}
	if !noticed.Seen["/ingest/cli"].Equal(s.now) {
		t.Errorf("the source was heard last at %v", noticed.Seen)
	}
	if diff := cmp.Diff(was, before, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the session that was there changed:\n%s", diff)
	}
}
