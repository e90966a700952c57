package machine

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/event"
)

// told is an event of a trace: what was told, and when it had happened.
type told struct {
	fact string
	at   time.Time
}

// trace is a history of a chat that is opened and closed in turns, as it was
// told: in any order.
func trace(random *rand.Rand) []told {
	facts := []string{event.FactWidgetOpened, event.FactWidgetClosed}
	var all []told
	for i := range 2 + random.IntN(8) {
		all = append(all, told{facts[i%2], noon.Add(time.Duration(i+1) * time.Second)})
	}
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// lawful returns what must become of a run that waits for the chat to be closed,
// and after that for it to be opened: how many of the waits end, and how many
// events are late. It knows one rule: what had happened before the newest that
// was known when the wait began, ends nothing.
func lawful(trace []told) (ends, late int) {
	var newest, since time.Time // known, and known when the wait began
	for _, e := range trace {
		waitsFor := []string{event.FactWidgetClosed, event.FactWidgetOpened, ""}[ends]
		if e.fact == waitsFor {
			if e.at.Before(since) {
				late++
			} else {
				ends++
				since = newest
				if e.at.After(since) {
					since = e.at
				}
			}
		}
		if e.at.After(newest) {
			newest = e.at
		}
		if ends == 2 {
			return ends, late
		}
	}
	return ends, late
}

// TestI4Permuted tells traces in any order. What was overtaken is noted and ends
// no wait, and everything else does.
func TestI4Permuted(t *testing.T) {
	t.Parallel()
	const traces = 1000
	random := rand.New(rand.NewPCG(4, traces))
	s := simulate(t, "order.yaml", `
on: {trigger: track, event: Begin}
steps:
  - wait_for: {event: widget.closed, timeout: 1h}
  - wait_for: {event: widget.opened, timeout: 1h}
`)
	illegal, overtaken := 0, 0
	for i := range traces {
		who := event.Visitor{UserID: fmt.Sprintf("u-%d", i)}
		s.trigger(event.KindTrack, event.Trigger{Event: "Begin", Visitor: who})
		id := s.session(who).Runs[0].ID
		all := trace(random)
		for _, e := range all {
			s.fact(e.fact, who, e.at)
		}
		run := s.ended[id]
		if run == nil {
			run = s.session(who).Runs[0]
		}
		what := map[string]int{}
		for _, entry := range run.History {
			what[entry.What]++
		}
		ends, late := lawful(all)
		overtaken += late
		if what["woken"] != ends || what["late"] != late || (ends == 2) != (run.Status == Succeeded) {
			illegal++
			t.Errorf("trace %d, %v: %d waits ended and %d events were late, want %d and %d: %s", i, all, what["woken"], what["late"], ends, late, run.Status)
		}
	}
	t.Logf("%d traces: %d events overtaken, %d illegal", traces, overtaken, illegal)
	if overtaken < traces/20 {
		t.Error("nothing was overtaken")
	}
}
