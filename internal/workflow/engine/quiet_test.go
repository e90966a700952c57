package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
)

// quiet is workflows of which most events are nobody's.
func quiet() []string {
	return []string{
		"quiet.yaml", "on: {trigger: track, event: Quiet}\nif: trigger.properties.number >= 0\nsteps: [{action: botstar.widget.update, params: {nickname: x}}]\n",
		"once.yaml", "on: {trigger: track, event: Once}\nlimits: {once_per: 1d}\nsteps: [{action: botstar.widget.boot}]\n",
	}
}

// TestQuietEventsAcrossKills kills the process that leads while most of what it
// folds has no effect, so that the stored position lags far behind. One event in
// ten has a command, and a workflow acts once per visitor, which the next leader
// knows from the record alone. Nothing is lost, and nothing is done twice.
func TestQuietEventsAcrossKills(t *testing.T) {
	t.Parallel()
	kills, events, visitors := bustest.Count(3, 12), bustest.Count(3_000, 30_000), bustest.Count(151, 1_501)
	random := rand.New(rand.NewPCG(20261125, 1))
	s := bustest.Serve(t)
	b := s.Bus()
	last := flood(t, b, "quiet", events, func(i int) event.Trigger {
		data := event.Trigger{Event: "Nobody's", Visitor: visitor(i % visitors), Properties: map[string]any{"number": i}}
		switch i % 10 {
		case 0:
			data.Event = "Quiet"
		case 5:
			data.Event = "Once"
		}
		return data
	})
	position := func() position {
		at, _, err := readPosition(t.Context(), b, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	for kill := range kills {
		process := startProcess(t, s)
		share := last * uint64(kill+1) / uint64(kills+2)
		bustest.Until(t, "it is on its way", func() bool { return position().Flow >= share })
		timer := time.NewTimer(time.Duration(random.Int64N(int64(20 * time.Millisecond))))
		<-timer.C
		if err := process.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = process.Wait() // It was killed, and says so.
	}
	startProcess(t, s)
	bustest.Until(t, "everything is folded", func() bool { return position().Flow >= last })
	ids, once := quietLedger(t, b)
	t.Logf("%d events of %d visitors, %d kills: %d commands of events, %d of visitors", events, visitors, kills, len(ids), len(once))
	for i := 0; i < events; i += 10 {
		if n := ids[fmt.Sprintf("quiet-%d", i)]; n != 1 {
			t.Errorf("the event %d has %d commands", i, n)
		}
	}
	for session, n := range once {
		if n != 1 {
			t.Errorf("the visitor of %s has %d commands, and should have one", session, n)
		}
	}
	if len(ids) != events/10 || len(once) != len(onceVisitors(events, visitors)) {
		t.Errorf("%d events and %d visitors have commands, want %d and %d", len(ids), len(once), events/10, len(onceVisitors(events, visitors)))
	}
}

// onceVisitors are the visitors of the events Once.
func onceVisitors(events, visitors int) map[int]bool {
	all := map[int]bool{}
	for i := 5; i < events; i += 10 {
		all[i%visitors] = true
	}
	return all
}

// quietLedger counts the commands by event, and those of the workflow that acts
// once per visitor by session.
func quietLedger(t *testing.T, b *bus.Bus) (events, once map[string]int) {
	t.Helper()
	events, once = map[string]int{}, map[string]int{}
	for d, err := range b.Read(context.WithoutCancel(t.Context()), bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{"go.*.*.*.*.*.*"}}) {
		if err != nil {
			t.Fatal(err)
		}
		e, err := d.Envelope()
		if err != nil {
			t.Fatal(err)
		}
		switch action, _ := event.ActionOfType(e.Type); action {
		case "botstar.widget.update":
			events[e.Extension(event.ExtCausationID)]++
		case "botstar.widget.boot":
			once[e.Subject]++
		}
	}
	return events, once
}
