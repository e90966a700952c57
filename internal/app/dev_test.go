//go:build browser

package app

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
)

// output is a writer that can be read while it is written.
type output struct {
	mu sync.Mutex // guards the field below
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// devRig is a running `worker dev`, and a publisher that finds it.
type devRig struct {
	t   *testing.T
	env Env
	out *output
}

// startRig runs `worker dev` until the test ends.
func startRig(t *testing.T) *devRig {
	t.Helper()
	r := &devRig{t: t, out: &output{}, env: Env{"PARLEY_BUS_DIR": t.TempDir(), "PARLEY_BUS_LISTEN": "127.0.0.1:0", "PARLEY_INGEST_LISTEN": "127.0.0.1:0"}}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan int, 1)
	var problems output
	go func() {
		ended <- Worker(ctx, Process{Args: []string{"dev"}, Env: r.env, Stdin: strings.NewReader(""), Stdout: r.out, Stderr: &problems})
	}()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != 0 {
			t.Errorf("worker dev ended with %d:\n%s", code, problems.String())
		}
		if _, err := os.Stat(filepath.Join(r.env["PARLEY_BUS_DIR"], "address")); err == nil {
			t.Error("the address of the server that has stopped is still there")
		}
	})
	bustest.Until(t, "worker dev is up", func() bool { return strings.Contains(r.out.String(), "Ctrl-C ends") })
	return r
}

// publisher runs the publisher's command line.
func (r *devRig) publisher(stdin string, args ...string) (code int, stdout, stderr string) {
	r.t.Helper()
	var out, problems output
	code = Publisher(r.t.Context(), Process{
		Args: args, Env: Env{"PARLEY_BUS_DIR": r.env["PARLEY_BUS_DIR"]}, Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &problems,
	})
	return code, out.String(), problems.String()
}

// send sends an action and waits for its result.
func (r *devRig) send(args ...string) (int, event.Result) {
	r.t.Helper()
	code, out, problems := r.publisher("", append([]string{"send", "--site", "shop", "--wait"}, args...)...)
	var result event.Result
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		r.t.Fatalf("send %v ended with %d: %v\n%s%s", args, code, err, out, problems)
	}
	return code, result
}

func TestDev(t *testing.T) {
	t.Parallel()
	r := startRig(t)

	code, result := r.send("botstar.widget.open", "--visitor", "u-42")
	if code != 0 || !result.Verified || len(result.Steps) != 2 || !result.Steps[0].Inserted {
		t.Errorf("open ended with %d, %+v", code, result)
	}
	// A hub's slug does the same, and hands back the hub's snippet as text.
	code, result = r.send("BOTSTAR_LIVECHAT_CLOSE", "--visitor", "u-42")
	if code != 0 || !strings.Contains(string(result.Output), `"js": "BotStarApi('close');"`) {
		t.Errorf("the slug ended with %d, %s", code, result.Output)
	}
	// A light page boots nothing by itself, and here Parley may not.
	code, result = r.send("botstar.widget.open", "--visitor", "u-43", "--no-auto-boot", "--site", "docs")
	if code != 1 || result.Problem == nil || result.Problem.Reason != "not_booted" {
		t.Errorf("open without boot ended with %d, %+v", code, result)
	}
	// The same id is the same command.
	_, first := r.send("botstar.session.get_state", "--visitor", "u-42", "--id", "c-1")
	_, second := r.send("botstar.session.get_state", "--visitor", "u-42", "--id", "c-1")
	if !first.StartedAt.Equal(second.StartedAt) {
		t.Errorf("the command c-1 was done twice: %s, %s", first.StartedAt, second.StartedAt)
	}
	// The dev's own tail has shown it all.
	bustest.Until(t, "the tail shows the close", func() bool { return strings.Contains(r.out.String(), "widget.closed") })
}

func TestDevMany(t *testing.T) {
	t.Parallel()
	r := startRig(t)
	lines := `{"action":"botstar.widget.open","visitor":{"user_id":"u-1"},"id":"c-1"}
{"action":"botstar.widget.close","visitor":{"user_id":"u-1"},"id":"c-2"}
{"action":"botstar.widget.set_mode","visitor":{"user_id":"u-1"},"params":{"mode":"liveschat"}}
{"action":"botstar.widget.open","visitor":{"user_id":"u-2"},"id":"c-4"}
`
	code, out, problems := r.publisher(lines, "send", "-", "--site", "shop", "--wait")
	if code != 1 {
		t.Errorf("send ended with %d: %s", code, problems)
	}
	got := map[int]answer{}
	for line := range strings.Lines(out) {
		var a answer
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		got[a.Line] = a
	}
	for _, line := range []int{1, 2, 4} {
		if a := got[line]; a.Result == nil || !a.Result.Verified {
			t.Errorf("line %d: %+v", line, a)
		}
	}
	if a := got[3]; a.Problem == nil || a.Problem.Reason != "schema_violation" {
		t.Errorf("line 3: %+v", a)
	}
	if first, second := got[1].Result, got[2].Result; first != nil && second != nil && !first.StartedAt.Before(second.StartedAt) {
		t.Errorf("the commands of one visitor were done out of order")
	}
}

func TestDevTailAndReplay(t *testing.T) {
	t.Parallel()
	r := startRig(t)
	if code, _, problems := r.publisher("", "track", "Pricing Viewed", "--site", "shop", "--visitor", "u-42", "-p", "plan=pro"); code != 0 {
		t.Fatalf("track ended with %d: %s", code, problems)
	}
	bustest.Until(t, "the chat opened", func() bool { return strings.Contains(r.out.String(), "widget.opened") })
	code, out, problems := r.publisher("", "tail", "--all", "--no-wait")
	if code != 0 {
		t.Fatalf("tail ended with %d: %s", code, problems)
	}
	order := []string{"trigger", "command", "by rule pricing-viewed", "botstar.widget.boot", "botstar.widget.open"}
	rest := out
	for _, want := range order {
		_, after, found := strings.Cut(rest, want)
		if !found {
			t.Fatalf("the tail does not show, in this order, %s:\n%s", want, out)
		}
		rest = after
	}
	code, out, _ = r.publisher("", "tail", "--all", "--no-wait", "--json", "--subject", "evt.>")
	for line := range strings.Lines(out) {
		var e struct{ SpecVersion, Type string }
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.SpecVersion != "1.0" || !strings.HasPrefix(e.Type, "chat.parley.event.") {
			t.Errorf("the tail prints %s (%v)", line, err)
		}
	}
	if code != 0 || out == "" {
		t.Errorf("tail --json ended with %d", code)
	}

	// A site that the worker does not know: rejected, and kept as a dead letter.
	if code, _, _ := r.publisher("", "track", "Pricing Viewed", "--site", "elsewhere", "--visitor", "u-42"); code != 0 {
		t.Errorf("track for an unknown site ended with %d", code)
	}
	bustest.Until(t, "the trigger was buried", func() bool { return strings.Contains(r.out.String(), "dead") })
	code, out, _ = r.publisher("", "replay", "--reason", "unknown_site")
	if code != 0 || !strings.Contains(out, "unknown_site") || !strings.Contains(out, "trigger") {
		t.Errorf("replay ended with %d:\n%s", code, out)
	}
	code, out, _ = r.publisher("", "replay", "1")
	if code != 0 || !strings.Contains(out, "1: sent again as FLOW") {
		t.Errorf("replay 1 ended with %d:\n%s", code, out)
	}
	if code, out, _ = r.publisher("", "replay", "999"); code != 1 || !strings.Contains(out, "999: ") {
		t.Errorf("replay 999 ended with %d:\n%s", code, out)
	}
}

// TestDevDoctor shows what the doctor says of a running worker.
func TestDevDoctor(t *testing.T) {
	t.Parallel()
	r := startRig(t)
	bustest.Until(t, "the workflow is published", func() bool {
		_, out, _ := r.publisher("", "workflows")
		return strings.Contains(out, "pricing-viewed")
	})
	dir := t.TempDir()
	config := "sites:\n  shop:\n    app_id: s0a1b2c3d-0000-4000-8000-000000000001\n    domains: [localhost]\n"
	if err := os.WriteFile(filepath.Join(dir, ConfigFile), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var out output
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	code := Worker(ctx, Process{
		Args: []string{"doctor", "-c", filepath.Join(dir, ConfigFile)}, Env: Env{"PARLEY_BUS_DIR": r.env["PARLEY_BUS_DIR"]},
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: io.Discard,
	})
	for _, want := range []string{"✓ config", "✓ rules", "✓ nats", "✓ workflow  pricing-viewed is on, version 1, on track Pricing Viewed", "✓ sources   none", "✓ worker    dev answers", "✓ chromium", "All is well."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the doctor does not say %q:\n%s", want, out.String())
		}
	}
	if code != 0 {
		t.Errorf("the doctor ended with %d", code)
	}
}
