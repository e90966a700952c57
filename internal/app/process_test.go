//go:build browser

package app

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/standin"
	"github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
	"github.com/parley-chat/parley/internal/vault"
	"github.com/parley-chat/parley/schemas"
)

// world is the vendor and the shop, in the test's own process, so that they
// outlive the worker processes that act on them.
type world struct {
	t      *testing.T
	vendor *botstar.Standin
	hosts  *standin.Server
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, vendor: botstar.New(botstar.Options{})}
	all := map[string]http.Handler{}
	maps.Copy(all, w.vendor.Hosts())
	maps.Copy(all, shop.New().Hosts())
	var err error
	if w.hosts, err = standin.Start(bustest.Log(t), all); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.hosts.Close() })
	return w
}

// opened returns how often the visitor's window opened, as the vendor knows. It
// waits for the first time.
func (w *world) opened(visitor string) int {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	ledger, err := w.vendor.Ledger().Wait(ctx, func(s botstar.Snapshot) bool { return s.Count(visitor, botstar.Opened) > 0 })
	if err != nil {
		w.t.Errorf("the vendor knows nothing of %s: %v", visitor, err)
	}
	return ledger.Count(visitor, botstar.Opened)
}

// start starts a worker process with the configuration, and returns when it
// has started its parts.
func (w *world) start(config string) *proc {
	w.t.Helper()
	dir := w.t.TempDir()
	// The browsers run as another user, who must get to their scratch folder.
	scratch, err := os.MkdirTemp("", "parley-app-test-")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = os.RemoveAll(scratch) })
	if err := os.Chmod(scratch, 0o755); err != nil {
		w.t.Fatal(err)
	}
	config += fmt.Sprintf("\nbrowser: {dir: %s}\nsites: {shop: {app_id: %s, domains: [%s]}}\n", scratch, shop.AppID, shop.Host)
	if err := os.WriteFile(filepath.Join(dir, ConfigFile), []byte(config), 0o600); err != nil {
		w.t.Fatal(err)
	}
	p := startWorker(w.t, childConfig{Dir: dir, Resolve: w.hosts.Resolve(), TrustSPKI: []string{w.hosts.SPKI()}})
	p.scratch = scratch
	return p
}

// orphans returns the command lines of the process's browsers that still run.
func (p *proc) orphans() []string {
	var left []string
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(text), p.scratch) {
			left = append(left, strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return left
}

// noOrphans waits until the browsers of the ended process are gone.
func (p *proc) noOrphans() {
	p.t.Helper()
	bustest.Until(p.t, "no browser of the worker is left", func() bool { return len(p.orphans()) == 0 })
}

// client sends commands on a bus.
func client(t *testing.T, url string) (*cli, *bus.Bus) {
	t.Helper()
	validators, err := event.NewSchemas(schemas.FS)
	if err != nil {
		t.Fatal(err)
	}
	return &cli{catalog: catalogue(t), schemas: validators}, bustest.Connect(t, bus.Options{URL: url})
}

// open returns a command that opens the visitor's window.
func open(t *testing.T, c *cli, visitor string) order {
	t.Helper()
	o, err := c.order(request{Action: "botstar.widget.open", Site: "shop", Visitor: event.Visitor{UserID: visitor}})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// slow holds the vendor's script back, so that a command that boots is long in
// its middle.
func (w *world) slow(d time.Duration) { w.vendor.Set(botstar.Faults{Entry: botstar.Fault{Delay: d}}) }

// TestKilledWorker kills a worker in the middle of a command. The next one on
// the same streams gets the command once, and its effect happens once.
func TestKilledWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	config := fmt.Sprintf("bus: {dir: %s, listen: '127.0.0.1:0'}\nworker: {name: %%s}\n", t.TempDir())
	first := w.start(fmt.Sprintf(config, "first"))
	w.slow(5 * time.Second)
	c, on := client(t, first.url)
	command := open(t, c, "u-killed")
	if _, err := on.Publish(t.Context(), command.Subject, command.Envelope); err != nil {
		t.Fatal(err)
	}
	begun(t, on)
	bustest.Close(t, on)
	first.end(syscall.SIGKILL)
	first.noOrphans()
	w.vendor.Set(botstar.Faults{})

	second := w.start(fmt.Sprintf(config, "second"))
	_, on = client(t, second.url)
	result := bustest.Next[event.Result](t, on, command.Envelope)
	if result.Status != event.Succeeded || !result.Verified || result.Worker != "second" {
		t.Errorf("the result is %+v", result)
	}
	// The same command again changes nothing, and gets the same result.
	reply, err := on.Send(t.Context(), command.Subject, command.Envelope)
	if err != nil {
		t.Fatal(err)
	}
	again, err := reply.Wait(t.Context())
	if err == nil {
		var repeated event.Result
		if err = json.Unmarshal(again.Data, &repeated); err == nil && !repeated.StartedAt.Equal(result.StartedAt) {
			t.Errorf("the command was done again: %+v", repeated)
		}
	}
	reply.Close()
	if err != nil && !reply.Receipt.Duplicate {
		t.Errorf("asking again: %v", err)
	}
	if n := w.opened("u-killed"); n != 1 {
		t.Errorf("the window opened %d times, want once", n)
	}
	bustest.Close(t, on)
	if code := second.end(syscall.SIGTERM); code != 0 {
		t.Errorf("the second worker ended with %d", code)
	}
	second.noOrphans()
}

// begun waits until an effect record exists: somebody has begun a command.
func begun(t *testing.T, on *bus.Bus) {
	t.Helper()
	bustest.Raw(t, on, event.EffectSubject("*", "*", "*"))
}

// TestStoppedWorker stops a worker in the middle of a command, on an outside
// NATS server: it ends the command, and leaves what it has not begun to the
// next worker.
func TestStoppedWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := bustest.Serve(t)
	config := "bus: {url: '" + server.URL() + "'}\nworker: {name: %s, lanes: 1}\n"
	first := w.start(fmt.Sprintf(config, "first"))
	w.slow(3 * time.Second)
	c, on := client(t, server.URL())
	running, waiting := open(t, c, "u-running"), open(t, c, "u-waiting")
	for _, command := range []order{running, waiting} {
		if _, err := on.Publish(t.Context(), command.Subject, command.Envelope); err != nil {
			t.Fatal(err)
		}
	}
	begun(t, on)
	if code := first.end(syscall.SIGTERM); code != 0 {
		t.Errorf("the first worker ended with %d", code)
	}
	first.noOrphans()
	if result := bustest.Next[event.Result](t, on, running.Envelope); result.Worker != "first" || !result.Verified {
		t.Errorf("the running command ended with %+v", result)
	}
	w.vendor.Set(botstar.Faults{})
	second := w.start(fmt.Sprintf(config, "second"))
	if result := bustest.Next[event.Result](t, on, waiting.Envelope); result.Worker != "second" || !result.Verified {
		t.Errorf("the waiting command ended with %+v", result)
	}
	if n := w.opened("u-waiting"); n != 1 {
		t.Errorf("the window of the waiting command opened %d times, want once", n)
	}
	// The first worker closed its page right after the command, so that the
	// page's own report to the vendor may be lost.
	if n := w.vendor.Ledger().Snapshot().Count("u-running", botstar.Opened); n > 1 {
		t.Errorf("the window of the running command opened %d times, want once", n)
	}
	bustest.Close(t, on)
	if code := second.end(syscall.SIGTERM); code != 0 {
		t.Errorf("the second worker ended with %d", code)
	}
}

// TestMovedSession drains a worker: another one goes on with its session, as it
// was.
func TestMovedSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := bustest.Serve(t)
	key := filepath.Join(t.TempDir(), "sessions.key")
	if err := os.WriteFile(key, []byte(vault.Generate()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := "bus: {url: '" + server.URL() + "'}\nsessions: {key: 'file:" + key + "'}\nworker: {name: %s}\n"
	first := w.start(fmt.Sprintf(config, "first"))
	c, on := client(t, server.URL())
	do := func(action string) event.Result {
		t.Helper()
		o, err := c.order(request{Action: action, Site: "shop", Visitor: event.Visitor{UserID: "u-moved"}})
		if err != nil {
			t.Fatal(err)
		}
		result, err := c.await(t.Context(), on, o)
		if err != nil || result.Status != event.Succeeded {
			t.Fatalf("%s: %+v, %v", action, result, err)
		}
		return result
	}
	do("botstar.widget.on_open")
	opened := do("botstar.widget.open")
	second := w.start(fmt.Sprintf(config, "second"))
	operator := func(args ...string) string {
		t.Helper()
		var out, problems strings.Builder
		args = append(args, "--nats", server.URL())
		if code := Worker(t.Context(), Process{Args: args, Env: Env{}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &problems}); code != 0 {
			t.Fatalf("worker %v ended with %d: %s", args, code, problems.String())
		}
		return out.String()
	}
	operator("drain", "first")
	if list := operator("workers"); strings.Contains(list, "first") || !strings.Contains(list, "second") {
		t.Errorf("after the drain the workers are\n%s", list)
	}
	closed := do("botstar.widget.close")
	if opened.Worker != "first" || closed.Worker != "second" || closed.Fence <= opened.Fence {
		t.Errorf("opened by %s with the fence %d, closed by %s with %d", opened.Worker, opened.Fence, closed.Worker, closed.Fence)
	}
	// The window was open on the new page too: nothing had to be booted for it.
	if !closed.Verified || len(closed.Steps) != 1 || !strings.Contains(string(closed.Output), `"changed":true`) {
		t.Errorf("the window was closed by %+v: %s", closed.Steps, closed.Output)
	}
	if again := do("botstar.widget.open"); again.Worker != "second" {
		t.Errorf("opened again by %s", again.Worker)
	}
	// To bring a page back is no fact; the subscription has come along.
	facts := await(t, on, "evt.botstar.widget.opened.>", 2)
	for _, fact := range facts {
		var opened event.WidgetOpened
		if err := json.Unmarshal(fact.Data, &opened); err != nil || len(opened.Subscriptions) != 1 {
			t.Errorf("a fact without its subscription: %+v, %v", opened, err)
		}
	}
	if n := stored(t, on, "evt.botstar.widget.opened.>"); n != 2 {
		t.Errorf("%d facts say that the window was opened, want 2", n)
	}
	operator("drain", "first", "--resume")
	bustest.Close(t, on)
	for _, p := range []*proc{second, first} {
		if code := p.end(syscall.SIGTERM); code != 0 {
			t.Errorf("a worker ended with %d", code)
		}
		p.noOrphans()
	}
}

// TestTwoKindsOfWorkers splits the actions over two workers on one NATS server.
func TestTwoKindsOfWorkers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := bustest.Serve(t)
	config := "bus: {url: '" + server.URL() + "'}\nworker: {name: %s, actions: [%s]}\n"
	widgets := w.start(fmt.Sprintf(config, "widgets", "botstar.widget.*"))
	others := w.start(fmt.Sprintf(config, "others", "botstar.session.*, botstar.app.*"))
	c, on := client(t, server.URL())
	for action, worker := range map[string]string{
		"botstar.widget.open": "widgets", "botstar.session.get_state": "others", "botstar.app.list_ids": "others",
	} {
		o, err := c.order(request{Action: action, Site: "shop", Visitor: event.Visitor{UserID: "u-" + worker}})
		if err != nil {
			t.Fatal(err)
		}
		result, err := c.await(t.Context(), on, o)
		if err != nil || result.Status != event.Succeeded || result.Worker != worker {
			t.Errorf("%s: %+v, %v; want it done by %s", action, result, err, worker)
		}
	}
	bustest.Close(t, on)
	for _, p := range []*proc{widgets, others} {
		if code := p.end(syscall.SIGTERM); code != 0 {
			t.Errorf("a worker ended with %d", code)
		}
		p.noOrphans()
	}
}
