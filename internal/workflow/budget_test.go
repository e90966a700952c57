package workflow

import (
	"fmt"
	"testing"

	"github.com/parley-chat/parley/internal/event"
)

// thousand returns a thousand rules that look at every trigger; one holds.
func thousand(tb testing.TB, b testBundle) *Set {
	tb.Helper()
	var files []string
	for i := range 1000 {
		files = append(files, fmt.Sprintf("rule-%d.yaml", i), fmt.Sprintf(`
on: {trigger: track}
if: visitor.user_id != "" && trigger.properties.plan == "plan-%d" && trigger.url.startsWith("https://shop.example.test/")
steps: [{action: botstar.widget.open}]
`, i))
	}
	return b.rules(tb, files...)
}

func look(tb testing.TB, b testBundle, set *Set) int {
	tb.Helper()
	trigger := track(tb, "t", event.Trigger{
		Event: "Pricing Viewed", URL: "https://shop.example.test/pricing", Properties: map[string]any{"plan": "plan-999"},
	})
	orders, err := decide(set, trigger, b.site, b.schemas)
	if err != nil {
		tb.Fatal(err)
	}
	return len(orders)
}

// TestThousandRules holds the cost of a condition by what does not depend on
// the machine: its allocations. BenchmarkThousandRules shows the time, whose
// budget is 5 ms.
func TestThousandRules(t *testing.T) { //nolint:paralleltest // it counts allocations.
	b := setup(t)
	set := thousand(t, b)
	if n := look(t, b, set); n != 1 {
		t.Fatalf("%d rules held, want 1", n)
	}
	const most = 20
	if got := testing.AllocsPerRun(10, func() { look(t, b, set) }) / 1000; got > most {
		t.Errorf("a condition costs %.1f allocations, the budget is %d", got, most)
	}
}

func BenchmarkThousandRules(b *testing.B) {
	bundle := setup(b)
	set := thousand(b, bundle)
	b.ReportAllocs()
	for b.Loop() {
		look(b, bundle, set)
	}
}
