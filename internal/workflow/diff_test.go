package workflow

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDiff shows what people are told of a change.
func TestDiff(t *testing.T) {
	t.Parallel()
	const base = `
on: {trigger: track, event: Pricing Viewed}
if: visitor.identified
limits: {once_per: 24h}
steps:
  - action: botstar.widget.open
  - {name: tell, action: botstar.widget.update, params: {plan: pro, tags: [a, b]}}
  - wait_for:
      event: widget.closed
      timeout: 30m
      steps: [{after: 5m}]
      on_timeout: [{stop: {reason: slow}}]
`
	tests := []struct {
		name     string
		from, to string
		want     []string
	}{
		{"layout", "limits: {once_per: 24h}", "# A comment.\nlimits:\n  once_per: 1d", nil},
		{"the condition", "if: visitor.identified", "if: trigger.properties.plan == 'pro'", []string{"~ if: visitor.identified → trigger.properties.plan == 'pro'"}},
		{"a limit", "{once_per: 24h}", "{once_per: 7d, per_site: 10/h}", []string{"~ limits.once_per: 24h → 168h", "+ limits.per_site: 10/h"}},
		{"no limit", "limits: {once_per: 24h}\n", "", []string{"- limits.once_per: 24h"}},
		{"a start", "event: Pricing Viewed}", "event: Cart Viewed, sites: [shop]}", []string{"~ on.event: Pricing Viewed → Cart Viewed", "+ on.sites[0]: shop"}},
		{"a parameter", "plan: pro, tags: [a, b]", "plan: free, tags: [a, c]", []string{"~ step tell: params.plan: pro → free", "~ step tell: params.tags[1]: b → c"}},
		{"a step more in front", "steps:\n  - action", "steps:\n  - action: botstar.widget.close\n  - action", []string{"+ step botstar.widget.close: botstar.widget.close"}},
		{"a step less", "  - action: botstar.widget.open\n", "", []string{"- step botstar.widget.open: botstar.widget.open"}},
		{"a name", "name: tell, ", "name: told, ", []string{"- step tell: botstar.widget.update", "+ step told: botstar.widget.update"}},
		{"an inner step", "{after: 5m}", "{after: 10m}", []string{"~ step wait_for widget.closed › step after: after: 5m → 10m"}},
		{"a timeout", "timeout: 30m", "timeout: 1h", []string{"~ step wait_for widget.closed: wait_for.timeout: 30m → 1h"}},
		{
			"the order", "  - action: botstar.widget.open\n  - {name: tell, action: botstar.widget.update, params: {plan: pro, tags: [a, b]}}\n",
			"  - {name: tell, action: botstar.widget.update, params: {plan: pro, tags: [a, b]}}\n  - action: botstar.widget.open\n",
			[]string{"~ step botstar.widget.open moved from steps[0] to steps[1]"},
		},
		{"else", "steps:\n  - action", "else: [{stop: {reason: no}}]\nsteps:\n  - action", []string{"+ else step stop: stop"}},
	}
	b := setup(t)
	before := b.program(t, base)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(base, test.from) {
				t.Fatalf("the base has no %q", test.from)
			}
			var got []string
			for _, d := range Diff(before, b.program(t, strings.Replace(base, test.from, test.to, 1))) {
				got = append(got, d.String())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("the differences differ (-want +got):\n%s", diff)
			}
		})
	}
	if got := Diff(before, before); got != nil {
		t.Errorf("a workflow differs from itself: %v", got)
	}
}

func TestDiffText(t *testing.T) {
	t.Parallel()
	numbers := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "%d\n", i)
		}
		return b.String()
	}
	long := numbers(20)
	changed := strings.Replace(strings.Replace(long, "3\n", "three\n", 1), "\n16\n", "\n", 1)
	for _, test := range []struct{ name, a, b, want string }{
		{"nothing", long, long, ""},
		{"from nothing", "", "a\n", "--- a\n+++ b\n@@ -1,0 +1,1 @@\n+a\n"},
		{"to nothing", "a\n", "", "--- a\n+++ b\n@@ -1,1 +1,0 @@\n-a\n"},
		{"two places", long, changed, "--- a\n+++ b\n@@ -2,5 +2,5 @@\n 1\n 2\n-3\n+three\n 4\n 5\n@@ -15,5 +15,4 @@\n 14\n 15\n-16\n 17\n 18\n"},
		{"neighbours", "a\nb\nc\nd\n", "a\nB\nc\nD\n", "--- a\n+++ b\n@@ -1,4 +1,4 @@\n a\n-b\n+B\n c\n-d\n+D\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, DiffText("a", test.a, "b", test.b)); diff != "" {
				t.Errorf("the text differs (-want +got):\n%s", diff)
			}
		})
	}
	if edits := script(strings.Fields(numbers(3000)), strings.Fields("x "+numbers(2999)+" y")); len(edits) != 3000+3001 {
		t.Errorf("a large comparison has %d edits", len(edits))
	}
}

// FuzzDiffText applies every difference: it leads from the one text to the
// other.
func FuzzDiffText(f *testing.F) {
	f.Add("a\nb\nc", "a\nc\nd")
	f.Add("", "x")
	f.Add("a\na\na\nb", "b\na\na")
	f.Fuzz(func(t *testing.T, a, b string) {
		if len(a)+len(b) > 2000 {
			t.Skip("too long")
		}
		var before, after []string
		for _, e := range script(lines(a), lines(b)) {
			if e.op != '+' {
				before = append(before, e.text)
			}
			if e.op != '-' {
				after = append(after, e.text)
			}
		}
		if !cmp.Equal(before, lines(a)) || !cmp.Equal(after, lines(b)) {
			t.Errorf("%q to %q: the script leads from %q to %q", a, b, before, after)
		}
	})
}
