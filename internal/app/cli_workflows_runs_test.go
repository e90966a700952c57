package app

import (
	"context"
	"encoding/json"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/workflow/engine"
	"github.com/parley-chat/parley/internal/workflow/machine"
)

// serve runs a worker with the workflows of the configuration, and no browser.
// The test plays the browser.
func (b *bench) serve() *running {
	b.t.Helper()
	env := Env{"PARLEY_BUS_URL": b.url, "PARLEY_WORKER_NAME": "bench"}
	process := Process{Env: env, Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard}
	c, err := process.prepare(&common{Config: filepath.Join(b.dir, ConfigFile)})
	if err != nil {
		b.t.Fatal(err)
	}
	cfg, err := c.config()
	if err != nil {
		b.t.Fatal(err)
	}
	return (&example{b.t, b.dir, env, c, cfg}).run(nil, roleWorkflows)
}

// says runs the command, which has to succeed, and returns what it prints.
func (b *bench) says(args ...string) string {
	b.t.Helper()
	code, out, problem := b.types(b.t.Context(), nil, args...)
	if code != 0 {
		b.t.Fatalf("%v ends with %d: %s", args, code, problem)
	}
	return out
}

// list returns the runs of the status, the newest first.
func (b *bench) list(status machine.Status) []machine.Run {
	b.t.Helper()
	var all []machine.Run
	for line := range strings.Lines(b.says("runs", "--json", "--status", string(status))) {
		var run machine.Run
		if err := json.Unmarshal([]byte(line), &run); err != nil {
			b.t.Fatal(err)
		}
		all = append([]machine.Run{run}, all...)
	}
	return all
}

// TestWorkflowsRuns starts runs, looks at them, repeats and ends them, against a
// worker that runs the workflows.
func TestWorkflowsRuns(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("other.yaml", "name: other\non: {trigger: track, event: X}\nsteps: [{action: chat.widget.open}]\n")
	r := b.serve()
	bustest.Until(t, "the file is published", func() bool { return strings.Contains(b.says("list"), "pricing-help  1 of 1") })
	b.session(
		typed{"run pricing-hlep --site shop --visitor u-1", 1, []string{`did you mean "pricing-help"?`}},
		typed{"run pricing-help --site shop --visitor u-1 -p plan=pro -p seats:=3", 0, []string{"asked for", "runs -w pricing-help"}},
		typed{"publish FILE:other.yaml", 0, []string{"other is on, version 1"}},
		typed{"run other --site shop --visitor u-1", 1, []string{"nobody may start other by hand"}},
	)
	r.wantCommands(`shop widget.open {}`)
	r.wantRuns("pricing-help running")
	r.answer(nil, "botstar.widget.open")
	r.wantRuns("pricing-help failed")
	failed := b.list(machine.Failed)[0]
	short := failed.ID[:12]
	b.session(
		typed{"runs", 0, []string{"RUN", short, "pricing-help", "failed", "greet"}},
		typed{"runs --status running", 0, []string{"no runs"}},
		typed{"runs --site docs", 0, []string{"no runs"}},
		typed{"runs --since 1h -w pricing-help", 0, []string{short}},
		typed{"runs " + short, 0, []string{"run       " + failed.ID, "status    failed", "widget_not_ready", "greet"}},
		typed{"runs --json " + short, 0, []string{`"status": "failed"`, `"seats": 3`}},

		typed{"replay " + short + " --from failed --wait", 0, []string{"repeats   " + failed.ID, "status    running", "waits for a result"}},
		typed{"replay " + short + " --from gret", 1, []string{`the workflow pricing-help has no step "gret"`, `did you mean "greet"?`}},
	)
	r.wantCommands(`shop widget.open {}`, `shop widget.open {}`)
	r.answer(nil)
	r.wantRuns("pricing-help failed", "pricing-help succeeded")

	// A new version is on; the run is repeated on its own, and on the new one.
	b.write("two.yaml", helpTwo)
	b.session(
		typed{"publish FILE:two.yaml", 0, []string{"version 2"}},
		typed{"replay " + short + " --wait", 0, []string{"version " + failed.Version[:12]}},
	)
	r.wantCommands(`shop widget.open {}`, `shop widget.open {}`, `shop widget.open {}`)
	r.answer(nil)
	r.wantRuns("pricing-help failed", "pricing-help succeeded", "pricing-help succeeded")
	b.session(typed{"replay " + short + " --current -p plan=free --wait", 0, []string{"status    running", "waits until"}})
	waiting := b.list(machine.Running)
	if len(waiting) != 1 || waiting[0].Version == failed.Version || !strings.Contains(string(waiting[0].Trigger.Data), `"free"`) {
		t.Fatalf("under way are %+v", waiting)
	}
	b.session(typed{"cancel " + waiting[0].ID[:8], 0, []string{"asked for"}})
	r.wantRuns("pricing-help failed", "pricing-help succeeded", "pricing-help succeeded", "pricing-help cancelled")
	input := b.write("input.json", strings.Replace(string(failed.Trigger.Data), `"pro"`, `"none"`, 1))
	b.session(
		typed{"cancel " + waiting[0].ID[:8], 1, []string{"the run has ended: cancelled"}},
		typed{"replay " + short + " --input " + input + " --wait", 0, []string{"there is nothing to do"}},
		typed{"replay " + short + " --input FILE:two.yaml", 1, []string{"holds no JSON"}},
		typed{"replay " + short + " -p plan", 1, []string{"is no pair"}},
	)
	b.session(typed{"replay " + b.list(machine.Succeeded)[0].ID + " --from failed", 1, []string{"no step of the run", "leave --from out"}})
	if n := b.server.Messages(bus.StreamDead); n != 0 {
		t.Errorf("there are %d dead letters", n)
	}
}

// TestRunIDs shows that the beginning of an id names one run, or none.
func TestRunIDs(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for i, id := range []string{"aaaaaa1", "aaaaaa2", "bbbbbb1"} {
		raw, err := json.Marshal(machine.Run{ID: id, Workflow: "w", Version: "v", Site: "shop", Session: "s", Status: machine.Succeeded})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.bus.Commit(t.Context(), []bus.FlowMsg{{Subject: event.RunSubject("shop", "s", id), Data: raw}}); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if _, err := engine.GetRun(t.Context(), b.bus, "aaaaaa1"); err != nil {
		t.Fatal(err)
	}
	b.session(
		typed{"runs aaaaaa", 1, []string{"several runs begin with aaaaaa", "write more of it"}},
		typed{"runs aaaaaa2", 0, []string{"run       aaaaaa2"}},
		typed{"runs bbbbbb", 0, []string{"run       bbbbbb1"}},
		typed{"runs bbbbbb2", 1, []string{"no run begins with"}},
	)
}

// history stores so many events of the past: every third of the Pro plan, one
// of ten without consent, of so many visitors.
func (b *bench) history(n, visitors int) {
	b.t.Helper()
	futures := make([]*bus.Future, 0, n)
	no := false
	for i := range n {
		data := event.Trigger{
			Site: "shop", Visitor: event.Visitor{UserID: "u-" + strconv.Itoa(i%visitors)}, Event: "Pricing Viewed",
			Properties: map[string]any{"plan": []string{"pro", "free", ""}[i%3]},
		}
		if i%10 == 0 {
			data.Consent = &event.Consent{Functionality: &no}
		}
		session := event.SessionKey("shop", data.Visitor)
		e, err := event.New("/ingest/test", event.TriggerType(event.KindTrack), session, data)
		if err != nil {
			b.t.Fatal(err)
		}
		futures = append(futures, b.bus.PublishAsync(event.TriggerSubject("test", event.KindTrack, "shop", session), e))
	}
	for _, future := range futures {
		if _, err := future.Wait(b.t.Context()); err != nil {
			b.t.Fatal(err)
		}
	}
}

// TestWorkflowsBacktest lets versions run over the past, stops and goes on, and
// compares.
func TestWorkflowsBacktest(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("two.yaml", helpTwo)
	b.write("promise.yaml", "name: promise\nrequires: [consent]\n"+strings.TrimPrefix(helpOne, "name: pricing-help\n"))
	const n = 6000
	b.history(n, 301)
	b.says("publish", "FILE:flows/pricing-help.yaml")

	b.session(
		typed{"backtest", 0, []string{"6000 events, from", "WORKFLOW", "pricing-help  2000   301"}},
		typed{"backtest FILE:two.yaml --versus current", 0, []string{"The other version:", "Both begin with 2000 events, only the tested one with 2000, only the other one with 0."}},
		typed{"backtest FILE:two.yaml --versus 1", 0, []string{"only the tested one with 2000"}},
		typed{"backtest FILE:two.yaml FILE:promise.yaml --versus 1", 1, []string{"no common version", "--versus current"}},
		typed{"backtest FILE:two.yaml FILE:promise.yaml", 0, []string{"pricing-help  4000", "promise       1800", "begin with the same event"}},
		typed{"backtest --site docs", 0, []string{"there is no event"}},
		typed{"backtest --until 1h", 0, []string{"there is no event"}},
	)
	whole := b.says("backtest", "--json", "FILE:two.yaml", "--versus", "current")
	var report struct {
		Events int64 `json:"events"`
		Tested struct {
			Workflows []struct {
				Fired int64 `json:"fired"`
			} `json:"workflows"`
		} `json:"tested"`
		Differences struct {
			OnlyTested int64 `json:"only_tested"`
		} `json:"differences"`
	}
	if err := json.Unmarshal([]byte(whole), &report); err != nil {
		t.Fatal(err)
	}
	if report.Events != n || report.Tested.Workflows[0].Fired != 4000 || report.Differences.OnlyTested != 2000 {
		t.Errorf("the report is %s", whole)
	}

	// The same, stopped with Ctrl-C at every sign of progress.
	args := []string{"backtest", "--json", "FILE:two.yaml", "--versus", "current", "--state", "FILE:deep/down/state.json"}
	stops := 0
	for {
		ctx, cancel := context.WithCancelCause(t.Context())
		terminal := &stopper{stop: cancel, after: 1}
		code, out, _ := b.types(ctx, terminal, args...)
		cancel(nil)
		if code == 0 {
			if out != whole {
				t.Errorf("after %d stops the report is\n%swant\n%s", stops, out, whole)
			}
			break
		}
		if stops++; code != 130 || !strings.Contains(terminal.shown.String(), "the same command with --resume goes on") || stops > 20 {
			t.Fatalf("the stop %d ends with %d:\n%s", stops, code, terminal.shown.String())
		}
		if stops == 1 {
			args = append(args, "--resume")
		}
		if stops == 2 { // Other files cannot go on with it.
			b.session(typed{"backtest FILE:promise.yaml --versus current --resume --state FILE:deep/down/state.json", 1, []string{"had other workflows", "begin it anew"}})
		}
	}
	if stops < 2 {
		t.Errorf("it was stopped %d times", stops)
	}
	b.session(typed{"backtest --resume --state FILE:deep/down/state.json", 1, []string{"no test was stopped"}})
}
