package engine

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/workflow"
)

// chain is what the fault tests run: a command at once, one after a timer, and
// an event that another workflow answers with a third.
func chain() []string {
	return []string{
		"chain.yaml", `
on: {trigger: track, event: Begin}
steps:
  - {name: first, action: botstar.widget.update, params: {nickname: "${ trigger.properties.number }"}}
  - after: 150ms
  - {name: second, action: botstar.widget.open}
  - emit: {event: chain.done}
`,
		"next.yaml", "on: {trigger: emitted, event: chain.done}\nsteps: [{name: third, action: botstar.widget.close}]\n",
	}
}

// ledger is what the stream of the workflows holds in the end.
type ledger struct {
	ids      map[string]int      // how often each command is there
	byAction map[string]int      // the number of commands by action
	order    map[string][]string // the numbers of a visitor's first commands, in the order of the log
	dead     map[string]int      // dead letters by the id of their trigger
}

func readLedger(t *testing.T, b *bus.Bus) ledger {
	t.Helper()
	l := ledger{map[string]int{}, map[string]int{}, map[string][]string{}, map[string]int{}}
	for d, err := range b.Read(t.Context(), bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{"go.*.*.*.*.*.*"}}) {
		if err != nil {
			t.Fatal(err)
		}
		e, err := d.Envelope()
		if err != nil {
			t.Fatal(err)
		}
		l.ids[e.ID]++
		action, _ := event.ActionOfType(e.Type)
		l.byAction[action]++
		if action == "botstar.widget.update" {
			_, number, _ := strings.Cut(string(e.Data), `"nickname":"`)
			number, _, _ = strings.Cut(number, `"`)
			l.order[e.Subject] = append(l.order[e.Subject], number)
		}
	}
	for dead, err := range b.DeadLetters(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		e, err := event.Decode(dead.Headers, dead.Body)
		if err != nil {
			t.Fatal(err)
		}
		l.dead[e.ID]++
	}
	return l
}

// check compares the ledger with what was asked for: so many chains begun, and
// these poisoned triggers.
func (l ledger) check(t *testing.T, chains int, poison []string) {
	t.Helper()
	lost, twice := 3*chains-len(l.ids), 0
	for _, n := range l.ids {
		twice += n - 1
	}
	inversions := 0
	for _, numbers := range l.order {
		if !slices.IsSorted(numbers) {
			inversions++
		}
	}
	wrong := len(l.dead) - len(poison)
	for _, id := range poison {
		if l.dead[id] != 1 {
			wrong++
		}
	}
	t.Logf("commands %d: lost %d, twice %d; order broken in %d of %d sessions; dead letters wrong %d of %d",
		len(l.ids), lost, twice, inversions, len(l.order), wrong, len(poison))
	if lost != 0 || twice != 0 || inversions != 0 || wrong != 0 {
		t.Errorf("by action: %v", l.byAction)
	}
}

// TestW4Kills kills the process that leads, at random instants under load, and
// has another one take over. Nothing is lost, nothing is done twice, the order of
// each session holds, and a poisoned trigger (I17) becomes one dead letter.
func TestW4Kills(t *testing.T) {
	t.Parallel()
	const seed, kills, visitors = 20261125, 12, 40
	random := rand.New(rand.NewPCG(seed, 0))
	s := bustest.Serve(t)
	b := s.Bus()
	processes := []*exec.Cmd{startProcess(t, s)}
	go answer(t, b)
	stop := make(chan struct{})
	published := make(chan int)
	var poison []string
	go func() {
		n := 0
		defer func() { published <- n }()
		tick := time.NewTicker(4 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-stop:
				return
			}
			n++
			track(t, b, fmt.Sprintf("t-%d", n), "Begin", visitor(n%visitors), map[string]any{"number": fmt.Sprintf("%06d", n)})
			if n%25 == 0 {
				id := fmt.Sprintf("poison-%d", n)
				poison = append(poison, id)
				publish(t, b, id, event.KindTrack, event.Trigger{Site: "shop", Visitor: visitor(n % visitors)}) // It names no event.
			}
		}
	}()
	term := uint64(0)
	for range kills {
		bustest.Until(t, "another one leads, and has stored something", func() bool {
			at, _, err := readPosition(t.Context(), b, time.Now())
			led := err == nil && at.Term > term
			term = max(term, at.Term)
			return led
		})
		processes = append(processes, startProcess(t, s)) // It waits for its turn.
		timer := time.NewTimer(time.Duration(random.Int64N(int64(300 * time.Millisecond))))
		<-timer.C
		if err := processes[0].Process.Kill(); err != nil { // It leads.
			t.Fatal(err)
		}
		_ = processes[0].Wait() // It was killed, and says so.
		processes = processes[1:]
	}
	close(stop)
	n := <-published
	defer func() {
		if t.Failed() {
			at, _, err := readPosition(context.WithoutCancel(t.Context()), b, time.Now())
			t.Logf("%d of %d commands, position %+v %v", count(t, b), 3*n, at, err)
		}
	}()
	bustest.Until(t, "everything is done", func() bool { return count(t, b) >= 3*n && waiting(t, b) == 0 })
	l := readLedger(t, b)
	l.check(t, n, poison)
}

// answer answers every command as a worker would, until the test ends.
func answer(t *testing.T, b *bus.Bus) {
	t.Helper()
	for d, err := range b.Read(t.Context(), bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{"go.*.*.*.*.*.*"}, Follow: true}) {
		if err != nil {
			return // The bus is closed.
		}
		command, err := d.Envelope()
		if err != nil {
			t.Error(err)
			return
		}
		action, _ := event.ActionOfType(command.Type)
		e, err := event.New("/workers/w1", event.ResultType(action), command.Subject, event.Result{
			CommandID: command.ID, CommandSource: command.Source, Action: action, Site: "shop", Session: command.Subject,
			Status: event.Succeeded, Verified: true,
		})
		if err != nil {
			t.Error(err)
			return
		}
		e.ID = event.DerivedID("result", command.ID)
		b.PublishAsync(event.ResultSubject(action, "shop", command.Subject), e)
	}
}

// count returns the number of commands of workflows.
func count(t *testing.T, b *bus.Bus) int {
	t.Helper()
	n := 0
	for _, err := range b.Read(t.Context(), bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{"go.*.*.*.*.*.*"}}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// startProcess starts a process with an engine.
func startProcess(t *testing.T, s *bustest.Server) *exec.Cmd {
	t.Helper()
	process := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], "-test.run=^TestEngineProcess$", "-test.timeout=120s", s.URL())
	process.Stderr = t.Output()
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Kill() // It may have been killed before.
		_ = process.Wait()
	})
	return process
}

// TestEngineProcess is what startProcess starts.
func TestEngineProcess(t *testing.T) { //nolint:paralleltest // It is a process of its own.
	if flag.NArg() != 1 {
		t.Skip("it is run by another test")
	}
	b := bustest.Connect(t, bus.Options{URL: flag.Arg(0)})
	set, validators := compile(t, append(chain(), quiet()...)...)
	e := New(bustest.Log(t), b, Options{
		Programs: func(context.Context) (*workflow.Set, error) { return set, nil }, Sites: sites, Schemas: validators,
	})
	if err := e.Run(t.Context()); err != nil {
		t.Error(err)
	}
}
