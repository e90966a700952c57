package workflow

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/schemas"
)

// program compiles one workflow.
func (b testBundle) program(tb testing.TB, text string) *Program {
	tb.Helper()
	p, err := b.compiler.Compile("test.yaml", []byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// dump prints the ops of a program as a person would draw them.
func dump(p *Program) string {
	name := func(i int) string {
		if i == End {
			return "end"
		}
		return p.Ops[i].ID
	}
	var b strings.Builder
	fmt.Fprintf(&b, "first: %s\notherwise: %s\n", name(p.First), name(p.Otherwise))
	for _, op := range p.Ops {
		fmt.Fprintf(&b, "%d %s: %s, line %d, depth %d, event of %s", op.Index, op.ID, op.Kind, op.Line, op.Depth, name(op.Event))
		switch {
		case op.Action != nil:
			fmt.Fprintf(&b, ", await %t, go on %t", op.Action.Await, op.Action.GoOn)
		case op.Wait != nil:
			fmt.Fprintf(&b, ", for %s, then %s, after %s %s", op.Wait.Topic, name(op.Wait.Then), op.Wait.Timeout, name(op.Wait.OnTimeout))
		case op.Arms != nil:
			for _, arm := range op.Arms {
				fmt.Fprintf(&b, ", if %t %s", arm.If != nil, name(arm.Then))
			}
		case op.Parallel != nil:
			for _, arm := range op.Parallel.Arms {
				fmt.Fprintf(&b, ", arm %s", name(arm))
			}
			fmt.Fprintf(&b, ", meeting at %s", name(op.Parallel.Join))
		case op.Join != nil:
			fmt.Fprintf(&b, ", of %d arms of %s", op.Join.Arms, name(op.Join.Of))
		case op.HTTP != nil:
			fmt.Fprintf(&b, ", await %t, %s within %s, %d retries", op.HTTP.Await, op.HTTP.Method, op.HTTP.Timeout, op.HTTP.Retries)
		}
		fmt.Fprintf(&b, ", next %s\n", name(op.Next))
	}
	return b.String()
}

// TestProgram compiles a workflow that uses everything, and shows what comes
// out.
func TestProgram(t *testing.T) {
	t.Parallel()
	b := setup(t)
	text, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p := b.program(t, string(text))
	golden(t, "testdata/full.ops.txt", dump(p))
	if len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0].Message, "a machine answers") {
		t.Errorf("warnings: %v", p.Warnings)
	}
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	bounds := p.Bounds
	if bounds.Key == nil || len(bounds.CancelOn) != 2 || bounds.CancelOn[0].If == nil || bounds.CancelOn[1].If != nil {
		t.Errorf("the bounds are %+v", bounds)
	}
	if bounds.CancelOn[1].Topic != (Topic{Kind: "track", Name: "Unsubscribed"}) {
		t.Errorf("the run is cancelled by %s", bounds.CancelOn[1].Topic)
	}
	bounds.Key, bounds.CancelOn = nil, nil
	want := Bounds{
		OncePer: 24 * time.Hour, PerSite: Rate{100, time.Hour}, Debounce: 30 * time.Second,
		Quiet: &Quiet{22 * 60, 8 * 60, zone, true}, Exclusive: true, OnConflict: "replace",
	}
	if diff := cmp.Diff(want, bounds, cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })); diff != "" {
		t.Errorf("the bounds differ (-want +got):\n%s", diff)
	}
	var topics []string
	for _, start := range p.Starts {
		topics = append(topics, start.Topic.String())
	}
	if diff := cmp.Diff([]string{"track Pricing Viewed", "widget.closed", "schedule full", "manual full"}, topics); diff != "" {
		t.Errorf("the starts differ (-want +got):\n%s", diff)
	}
	clock := p.Starts[2].Schedule
	friday := time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC)
	if got, monday := clock.Next(friday), time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC); !got.Equal(monday) || clock.Site != "shop" {
		t.Errorf("after %s comes %s, want %s", friday, got, monday)
	}
	if got := clock.Visitor; got != (event.Visitor{AnonymousID: "workflow-full"}) {
		t.Errorf("the schedule's visitor is %+v", got)
	}
}

// TestFlow follows the ways through small workflows: what comes after what.
func TestFlow(t *testing.T) {
	t.Parallel()
	const open, shut = "{action: botstar.widget.open}", "{action: botstar.widget.close}"
	tests := []struct{ name, steps, want string }{
		{"one after another", "[" + open + "," + shut + "]", "1→2 2→end"},
		{
			"an arm joins what follows", "[{branch: [{if: visitor.identified, steps: [" + open + "]}, {else: true, steps: [" + shut + "]}]}, " + open + "]",
			"1→end 1?1.1.1 1?1.2.1 1.1.1→2 1.2.1→2 2→end",
		},
		{
			"an empty arm goes on", "[{branch: [{if: visitor.identified, steps: [" + open + "]}, {else: true}]}, " + open + "]",
			"1→2 1?1.1.1 1?2 1.1.1→2 2→end",
		},
		{
			"no arm goes on", "[{branch: [{if: visitor.identified, steps: [" + open + "]}]}, " + open + "]",
			"1→2 1?1.1.1 1.1.1→2 2→end",
		},
		{"a wait without steps", "[{wait_for: {event: widget.closed, timeout: 1h}}, " + open + "]", "1→2 1?2 1?2 2→end"},
		{
			"a wait with both", "[{wait_for: {event: widget.closed, timeout: 1h, steps: [" + open + "], on_timeout: [" + shut + "]}}, " + open + "]",
			"1→end 1?1.then.1 1?1.on_timeout.1 1.then.1→2 1.on_timeout.1→2 2→end",
		},
		{
			"a stop ends its arm", "[{branch: [{if: visitor.identified, steps: [{stop: {}}]}, {else: true, steps: [" + open + "]}]}, " + shut + "]",
			"1→end 1?1.1.1 1?1.2.1 1.1.1→end 1.2.1→2 2→end",
		},
		{
			"arms meet", "[{parallel: [[" + open + "], [" + shut + ", {stop: {if: visitor.identified}}]]}, " + open + "]",
			"1→1.join 1?1.1.1 1?1.2.1 1.1.1→1.join 1.2.1→1.2.2 1.2.2→1.join 1.join→2 2→end",
		},
	}
	b := setup(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := b.program(t, "on: {trigger: track}\nsteps: "+test.steps+"\n")
			var got []string
			name := func(i int) string {
				if i == End {
					return "end"
				}
				return p.Ops[i].ID
			}
			for _, op := range p.Ops {
				got = append(got, op.ID+"→"+name(op.Next))
				for _, arm := range op.Arms {
					got = append(got, op.ID+"?"+name(arm.Then))
				}
				if op.Wait != nil {
					got = append(got, op.ID+"?"+name(op.Wait.Then), op.ID+"?"+name(op.Wait.OnTimeout))
				}
				if op.Parallel != nil {
					for _, arm := range op.Parallel.Arms {
						got = append(got, op.ID+"?"+name(arm))
					}
				}
			}
			if diff := cmp.Diff(strings.Fields(test.want), got); diff != "" {
				t.Errorf("the ways differ (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWarnings shows what is accepted, and said all the same.
func TestWarnings(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, rest, want string }{
		{"a wait for ever", "steps: [{wait_for: {event: widget.closed}}]", "the run waits for ever"},
		{"a branch without else", "steps: [{branch: [{if: visitor.identified, steps: [{stop: {}}]}]}]", "nothing is done when no condition holds"},
		{"a step after the end", "steps: [{stop: {}}, {action: botstar.widget.open}]", "this step is never reached"},
		{"a promise that nobody gives", "requires: [disclosure]\nsteps: [{action: botstar.widget.open}]", "so it never starts"},
		{"a call in the clear", "steps: [{http: {url: 'http://crm.example.test/'}}]", "the call travels unencrypted"},
		{
			"a costly condition", "if: trigger.properties.a.all(a, trigger.properties.b.all(b, trigger.properties.c.all(c, a + b + c > 0)))\nsteps: [{action: botstar.widget.open}]",
			"may cost more than the limit",
		},
	}
	b := setup(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := b.program(t, "on: {trigger: track}\n"+test.rest+"\n")
			if len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0].Message, test.want) || !p.Warnings[0].Warning || p.Warnings[0].Line == 0 {
				t.Errorf("the warnings are %v, want %q", p.Warnings, test.want)
			}
		})
	}
}

// TestRings shows when workflows that start each other are refused.
func TestRings(t *testing.T) {
	t.Parallel()
	ping := func(on, emits, more string) string {
		return "on: {trigger: emitted, event: " + on + "}\n" + more + "\nsteps: [{emit: {event: " + emits + "}}]\n"
	}
	b := setup(t)
	for _, test := range []struct {
		name          string
		files         []string
		refused, warn string
	}{
		{"a ring of two", []string{"a.yaml", ping("A", "B", ""), "b.yaml", ping("B", "A", "")}, "a.yaml: the workflow starts itself: a → b → a", ""},
		{"a ring that waits", []string{"a.yaml", ping("A", "B", "limits: {once_per: 1h}"), "b.yaml", ping("B", "A", "")}, "", "the workflow starts itself: a → b → a"},
		{"a chain", []string{"a.yaml", ping("A", "B", ""), "b.yaml", ping("B", "C", "")}, "", ""},
		{"who hears everything", []string{"a.yaml", "on: {trigger: emitted}\nsteps: [{emit: {event: X}}]\n"}, "a.yaml: the workflow starts itself: a → a", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			set, err := b.load(test.files...)
			if got := fmt.Sprint(err); test.refused != "" && (!strings.Contains(got, test.refused) || strings.Count(got, "starts itself") != 1) || test.refused == "" && err != nil {
				t.Errorf("Load = %v, want %q", err, test.refused)
			}
			if err == nil && test.warn != "" && (len(set.Warnings()) != 1 || set.Warnings()[0].Message != test.warn) {
				t.Errorf("the warnings are %v, want %q", set.Warnings(), test.warn)
			}
		})
	}
}

// TestPortable resolves portable verbs by the provider of each site.
func TestPortable(t *testing.T) {
	t.Parallel()
	bounds := actions.Bounds{Min: time.Second, Default: time.Second, Max: time.Minute}
	spec := func(name string) actions.Spec { return actions.Spec{Name: name, Timeout: bounds} }
	catalog, err := actions.NewCatalog(
		actions.Provider{Name: "acme", Actions: []actions.Spec{spec("acme.widget.open"), spec("acme.widget.show")}},
		actions.Provider{Name: "other", Actions: []actions.Spec{spec("other.widget.open"), spec("other.widget.shown")}},
	)
	if err != nil {
		t.Fatal(err)
	}
	validators, err := event.NewSchemas(schemas.FS)
	if err != nil {
		t.Fatal(err)
	}
	compiler, err := NewCompiler(catalog, openSchemas{validators}, []actions.Site{{Name: "one", Provider: "acme"}, {Name: "two", Provider: "other"}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := compiler.Compile("a.yaml", []byte("on: {trigger: track}\nsteps: [{action: chat.widget.open}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	for provider, want := range map[string]string{"acme": "acme.widget.open", "other": "other.widget.open"} {
		if got, err := p.Ops[0].Action.Spec(provider); err != nil || got.Name != want {
			t.Errorf("%s: Spec = %s, %v", provider, got.Name, err)
		}
	}
	if _, err := p.Ops[0].Action.Spec("third"); fault.From(err).Reason != fault.UnsupportedProvider {
		t.Errorf("an unknown provider: %v", err)
	}
	p, err = compiler.Compile("a.yaml", []byte("on: {trigger: track}\nsteps: [{action: acme.widget.open}]\n"))
	if err != nil || len(p.Warnings) != 1 {
		t.Fatalf("an action of one provider: %v, %v", p, err)
	}
	golden(t, "testdata/stranger.warning.txt", p.Warnings[0].String()+"\n")
	_, err = compiler.Compile("a.yaml", []byte("on: {trigger: track}\nsteps: [{action: chat.widget.show}]\n"))
	want := "the site two has the provider other, which has no widget.show (unsupported_by_provider)"
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "fix: use other.widget.shown there") {
		t.Errorf("got %v\nwant %s", err, want)
	}
	if _, err := compiler.Compile("a.yaml", []byte("on: {trigger: track, sites: [one]}\nsteps: [{action: chat.widget.show}]\n")); err != nil {
		t.Errorf("a workflow that keeps the site out: %v", err)
	}
}

// openSchemas have a schema for any command of the test's providers.
type openSchemas struct{ *event.Schemas }

func (openSchemas) Validate(string, []byte) error { return nil }

// TestDigest changes with the text and the name, and with nothing else.
func TestDigest(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const text = "on: {trigger: track}\nsteps: [{action: botstar.widget.open}]\n"
	digest := func(file, text string) string {
		p, err := b.compiler.Compile(file, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return p.Digest
	}
	if digest("a.yaml", text) != digest("other/a.yml", text) {
		t.Error("the folder changes the digest")
	}
	if digest("a.yaml", text) == digest("b.yaml", text) || digest("a.yaml", text) == digest("a.yaml", text+"# more\n") {
		t.Error("another name or text has the same digest")
	}
}
