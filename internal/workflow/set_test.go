package workflow

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/event"
)

// TestStarting compares what the index finds with a look at every program.
func TestStarting(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ons := []string{
		"{trigger: track}", "{trigger: track, event: A}", "{trigger: track, event: A, sites: [shop]}",
		"{trigger: track, event: B, sites: [docs]}", "{trigger: track, sites: [docs, shop]}", "{trigger: page, event: A}",
		"{event: widget.closed}", "{event: botstar.widget.closed}", "{event: botstar.widget.closed, site: docs}",
		"[{trigger: track, event: A}, {trigger: track}, {event: widget.closed}]", "{manual: true}",
		"{schedule: '@daily', site: shop}", "[{trigger: track, event: A, sites: [shop]}, {trigger: track, event: A, sites: [docs]}]",
	}
	var files []string
	for i, on := range ons {
		files = append(files, fmt.Sprintf("w%02d.yaml", i), "on: "+on+"\nsteps: [{action: botstar.widget.open}]\n")
	}
	set := b.rules(t, files...)
	topics := []Topic{
		{Kind: "track", Name: "A"},
		{Kind: "track", Name: "B"},
		{Kind: "track", Name: "C"},
		{Kind: "page", Name: "A"},
		{Name: "widget.closed", Provider: "botstar"},
		{Name: "widget.closed", Provider: "other"},
		{Name: "widget.opened", Provider: "botstar"},
		{Kind: "manual", Name: "w10"},
		{Kind: "manual", Name: "w09"},
		{Kind: "schedule", Name: "w11"},
	}
	found := 0
	for _, topic := range topics {
		for _, site := range []string{"shop", "docs", "elsewhere"} {
			var want []string
			for _, p := range set.Programs() {
				if slices.ContainsFunc(p.Starts, func(s Start) bool { return s.Topic.Covers(topic) && s.On(site) }) {
					want = append(want, p.Name)
				}
			}
			var got []string
			for _, p := range set.Starting(topic, site) {
				got = append(got, p.Name)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s on %s (-want +got):\n%s", topic, site, diff)
			}
			found += len(got)
		}
	}
	if found < 40 {
		t.Errorf("only %d programs were found: the test does not look at much", found)
	}
}

func TestAwaited(t *testing.T) {
	t.Parallel()
	b := setup(t)
	set := b.rules(t, "a.yaml", `
on: {trigger: track}
limits: {cancel_on: [{trigger: track, event: Unsubscribed}]}
steps:
  - wait_for: {event: botstar.widget.closed, timeout: 1h}
  - parallel:
      - [{wait_for: {event: webview.responded, timeout: 1h}}]
      - [{wait_for: {trigger: identify, timeout: 1h}}]
`)
	for topic, want := range map[Topic]bool{
		{Name: "widget.closed", Provider: "botstar"}:     true,
		{Name: "widget.closed", Provider: "other"}:       false,
		{Name: "webview.responded", Provider: "botstar"}: true,
		{Name: "widget.opened", Provider: "botstar"}:     false,
		{Kind: "track", Name: "Unsubscribed"}:            true,
		{Kind: "track", Name: "Subscribed"}:              false,
		{Kind: "identify", Name: "anything"}:             true,
	} {
		if got := set.Awaited(topic); got != want {
			t.Errorf("Awaited(%s) = %t, want %t", topic, got, want)
		}
	}
	p, ok := set.Program("a")
	if _, none := set.Program("b"); !ok || none || len(p.Awaits()) != 4 {
		t.Errorf("the program is %v, %t", p, ok)
	}
	if op, ok := p.Op("2.1.1"); !ok || op.Wait == nil {
		t.Errorf("the op is %+v, %t", op, ok)
	}
}

// TestMatchingAlone shows that an event costs what the programs cost that it
// may start: 990 others add nothing that can be counted.
func TestMatchingAlone(t *testing.T) { //nolint:paralleltest // it counts allocations.
	b := setup(t)
	rules := func(others int) *Set {
		var files []string
		for i := range others + 10 {
			name := "Pricing Viewed"
			if i >= 10 {
				name = fmt.Sprintf("Other %d", i)
			}
			files = append(files, fmt.Sprintf("r%04d.yaml", i), "on: {trigger: track, event: "+name+"}\nif: visitor.email == 'none'\nsteps: [{action: botstar.widget.open}]\n")
		}
		return b.rules(t, files...)
	}
	trigger := track(t, "t", event.Trigger{Event: "Pricing Viewed"})
	cost := func(set *Set) float64 {
		return testing.AllocsPerRun(50, func() {
			if _, err := decide(set, trigger, b.site, b.schemas); err != nil {
				t.Fatal(err)
			}
		})
	}
	few, many := cost(rules(0)), cost(rules(990))
	if many > few*1.05+2 {
		t.Errorf("an event costs %.0f allocations beside 990 other rules, and %.0f without them", many, few)
	}
}

// TestLoadBudget holds what a rule costs when it is loaded, by its allocations:
// a thousand rules are loaded within a second or so. One that reads outcomes of
// steps has an environment of its own, which costs more.
func TestLoadBudget(t *testing.T) { //nolint:paralleltest // it counts allocations.
	b := setup(t)
	const plain, outcomes = 8_000, 20_000
	full := "on: {trigger: track}\nsteps:\n  - {name: a, action: botstar.widget.open}\n  - stop: {if: steps.a.verified}\n"
	for text, most := range map[string]float64{pricing: plain, full: outcomes} {
		got := testing.AllocsPerRun(20, func() {
			if _, err := b.compiler.Compile("a.yaml", []byte(text)); err != nil {
				t.Fatal(err)
			}
		})
		if got > most {
			t.Errorf("a rule costs %.0f allocations, the budget is %.0f:\n%s", got, most, text)
		}
	}
}

// BenchmarkLoad shows what a rule costs when it is loaded.
func BenchmarkLoad(b *testing.B) {
	bundle := setup(b)
	text := []byte(strings.TrimSpace(pricing))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bundle.compiler.Compile("pricing.yaml", text); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStarting looks an event up among a thousand rules of other events.
func BenchmarkStarting(b *testing.B) {
	bundle := setup(b)
	var files []string
	for i := range 1000 {
		files = append(files, fmt.Sprintf("r%d.yaml", i), fmt.Sprintf("on: {trigger: track, event: E%d}\nsteps: [{action: botstar.widget.open}]\n", i))
	}
	set := bundle.rules(b, files...)
	b.ReportAllocs()
	for b.Loop() {
		if len(set.Starting(Topic{Kind: "track", Name: "E500"}, "shop")) != 1 {
			b.Fatal("not found")
		}
	}
}
