//go:build browser

package worker_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
)

// TestFaults lets vendor and page go wrong, one way after another. Each time
// the command has its result within its time, and the next command works.
func TestFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{},
		page("never", "/never"), page("loop", "/loop"), page("dialogs", "/dialogs"),
		page("moves-on", "/moves-on"), page("plain", "/plain"), page("unpublished", "/unpublished"),
		page("missing", "/no-such-page"))
	const ok = fault.Reason("")
	tests := []struct {
		name    string
		faults  botstar.Faults
		site    string
		reasons []fault.Reason
		buried  bool
	}{
		{"page never loads", botstar.Faults{}, "never", []fault.Reason{fault.PageLoadFailed, fault.DeadlineExceeded}, true},
		{"page is not there", botstar.Faults{}, "missing", []fault.Reason{fault.PageLoadFailed}, true},
		{"script is 404", botstar.Faults{Entry: botstar.Fault{Status: 404}}, "shop", []fault.Reason{fault.WidgetNotReady}, true},
		{"script is slow", botstar.Faults{Entry: botstar.Fault{Delay: time.Second}}, "shop", []fault.Reason{ok}, false},
		{"script never comes", botstar.Faults{Entry: botstar.Fault{Hang: true}}, "shop", []fault.Reason{fault.WidgetNotReady, fault.DeadlineExceeded}, true},
		{"script throws", botstar.Faults{Entry: botstar.Fault{Script: botstar.Throws}}, "shop", []fault.Reason{fault.WidgetNotReady, fault.WidgetFailed}, false},
		{"script does not parse", botstar.Faults{Entry: botstar.Fault{Script: botstar.SyntaxError}}, "shop", []fault.Reason{fault.WidgetNotReady, fault.WidgetFailed}, false},
		{"interface is 500", botstar.Faults{Chunk: botstar.Fault{Status: 500}}, "shop", []fault.Reason{fault.WidgetNotReady, fault.WidgetFailed}, false},
		{"frame is 500", botstar.Faults{Frame: botstar.Fault{Status: 500}}, "shop", nil, false},
		{"page loops", botstar.Faults{}, "loop", []fault.Reason{fault.PageHung, fault.PageLoadFailed, fault.WidgetNotReady, fault.DeadlineExceeded}, true},
		{"dialog on open", botstar.Faults{Dialog: "confirm"}, "shop", []fault.Reason{ok}, false},
		{"dialogs of the page", botstar.Faults{}, "dialogs", []fault.Reason{ok}, false},
		{"page moves on", botstar.Faults{}, "moves-on", []fault.Reason{ok}, false},
		{"page without the snippet", botstar.Faults{}, "plain", []fault.Reason{ok}, false},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := w.in(t)
			w.vendor.Set(test.faults)
			o := order{
				action: "botstar.widget.open", site: test.site, timeout: 4000,
				id: fmt.Sprintf("fault-%d", i), visitor: event.Visitor{UserID: fmt.Sprintf("visitor-%d", i)},
			}
			before := len(w.dead(0))
			began := time.Now()
			result := w.do(o)
			took := time.Since(began)
			if test.reasons != nil && !slices.Contains(test.reasons, fault.Reason(reasonOf(result))) {
				t.Errorf("%s %+v, want %v; steps %+v; evidence %+v", result.Status, result.Problem, test.reasons, result.Steps, result.Evidence)
			}
			if result.Status == event.Succeeded && !result.Verified {
				t.Errorf("succeeded, but not verified: %+v", result)
			}
			if took > 6500*time.Millisecond {
				t.Errorf("the result of a command with 4 s came after %s", took)
			}
			t.Logf("%s %s after %s, attempt %d", result.Status, reasonOf(result), took.Round(time.Millisecond), result.Attempt)
			if test.buried {
				w.dead(before + 1)
			}
			w.healthy(o)
		})
	}
}

// TestLies lets the vendor's widget lie about opening. A widget keeps its lies
// as long as its page lives, and learns of them shortly after it has booted.
func TestLies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{})
	const tries = 10
	tests := []struct {
		name    string
		faults  botstar.Faults
		reasons []fault.Reason
	}{
		// After the navigation another attempt finds a new widget, which may open
		// before it has learnt to lie.
		{"navigates away", botstar.Faults{Navigate: shop.Origin + "/pricing"}, []fault.Reason{fault.PageNavigated, ""}},
		{"loops", botstar.Faults{Loop: true}, []fault.Reason{fault.PageHung, fault.DeadlineExceeded, ""}},
		{"is ignored", botstar.Faults{Open: botstar.LieIgnored}, []fault.Reason{fault.NotConfirmed}},
		{"throws", botstar.Faults{Open: botstar.LieThrows}, []fault.Reason{fault.WidgetFailed}},
		{"is hollow", botstar.Faults{Open: botstar.LieHollow}, []fault.Reason{fault.NotConfirmed}},
		{"is silent", botstar.Faults{Open: botstar.LieSilent}, []fault.Reason{fault.NotConfirmed}},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := w.in(t)
			for try := range tries {
				w.vendor.Set(test.faults)
				visitor := event.Visitor{UserID: fmt.Sprintf("lied-to-%d-%d", i, try)}
				result, met := w.lied(visitor)
				w.healthy(order{visitor: event.Visitor{UserID: visitor.UserID + "-next"}})
				if !met {
					continue
				}
				if !slices.Contains(test.reasons, fault.Reason(reasonOf(result))) {
					t.Errorf("%s %+v, want %v; steps %+v; evidence %+v", result.Status, result.Problem, test.reasons, result.Steps, result.Evidence)
				}
				return
			}
			t.Errorf("no widget of %d has learnt to lie", tries)
		})
	}
}

// lied boots the widget, gives it time to learn how to lie, and opens it. It is
// false when the widget opened before it had learnt.
func (w *world) lied(visitor event.Visitor) (result event.Result, met bool) {
	w.t.Helper()
	w.succeed(order{action: "botstar.widget.boot", visitor: visitor})
	w.count(visitor.UserID, botstar.Booted, 1)
	looked := w.do(order{action: "botstar.session.get_state", visitor: visitor, timeout: 1000})
	result = w.do(order{action: "botstar.widget.open", visitor: visitor, timeout: 4000})
	return result, result.Status != event.Succeeded || result.Attempt > 1 || looked.Status != event.Succeeded
}

// processes returns the processes of the world's browser whose command line
// holds the text.
func (w *world) processes(text string) []int {
	w.t.Helper()
	entries, err := os.ReadDir("/proc")
	must(w.t, err)
	var found []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || !w.ours(pid) {
			continue
		}
		line, err := os.ReadFile("/proc/" + entry.Name() + "/cmdline")
		if err == nil && strings.Contains(string(line), text) {
			found = append(found, pid)
		}
	}
	return found
}

// ours reports whether the process descends from this test's browser, whose
// command line holds the world's folder.
func (w *world) ours(pid int) bool {
	for pid > 1 {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			return false
		}
		if strings.Contains(string(line), w.dir) {
			return true
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return false
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if pid, err = strconv.Atoi(fields[1]); err != nil {
			return false
		}
	}
	return false
}

// kill ends the processes with SIGKILL. There is at least one.
func (w *world) kill(text string) {
	w.t.Helper()
	pids := w.processes(text)
	if len(pids) == 0 {
		w.t.Fatalf("no process of the browser has %q in its command line", text)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			w.t.Fatal(err)
		}
	}
}

// TestKilledInMidCommand kills the renderer, and the whole browser, while a
// command runs: it is done again, on a new page.
func TestKilledInMidCommand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{})
	for _, victim := range []string{"--type=renderer", "--user-data-dir"} {
		t.Run(victim, func(t *testing.T) {
			w := w.in(t)
			visitor := event.Visitor{UserID: "killed" + victim}
			w.vendor.Set(botstar.Faults{Chunk: botstar.Fault{Delay: 1500 * time.Millisecond}})
			opened := w.sessions.Stats().Opened
			done := make(chan event.Result, 1)
			go func() { done <- w.do(order{action: "botstar.widget.open", visitor: visitor, id: victim}) }()
			bustest.Until(t, "the page is open", func() bool { return w.sessions.Stats().Opened > opened })
			w.kill(victim)
			result := <-done
			if result.Status != event.Succeeded || !result.Verified || result.Attempt < 2 {
				t.Errorf("%s %+v, attempt %d", result.Status, result.Problem, result.Attempt)
			}
			w.count(visitor.UserID, botstar.Opened, 1)
			ended := facts[event.SessionEnded](w, order{visitor: visitor}, event.FactSessionEnded, 1)
			if ended[0].Why != "crash" {
				t.Errorf("the session ended by %q", ended[0].Why)
			}
			w.healthy(order{visitor: visitor})
		})
	}
}

// TestCrashBetweenCommands kills the renderer of a session that waits. The next
// command finds the same widget again: mode, identity and subscriptions.
func TestCrashBetweenCommands(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{spare: -1}) // So the session's renderer is the only one, and a spare tab cannot die with it.
	visitor := event.Visitor{UserID: "survivor"}
	w.succeed(order{action: "botstar.widget.on_open", visitor: visitor})
	w.succeed(order{action: "botstar.widget.boot", visitor: visitor, params: `{"user":{"city":"London"}}`})
	w.succeed(order{action: "botstar.widget.set_mode", visitor: visitor, params: `{"mode":"popup"}`})
	w.kill("--type=renderer")
	ended := facts[event.SessionEnded](w, order{visitor: visitor}, event.FactSessionEnded, 1)
	if ended[0].Why != "crash" {
		t.Errorf("the session ended by %q", ended[0].Why)
	}
	result := w.succeed(order{action: "botstar.widget.open", visitor: visitor, id: "after"})
	if len(result.Steps) != 2 || result.Attempt != 1 {
		t.Errorf("steps %+v, attempt %d", result.Steps, result.Attempt)
	}
	open := facts[event.WidgetOpened](w, order{visitor: visitor}, event.FactWidgetOpened, 1)
	if len(open[0].Subscriptions) != 1 {
		t.Errorf("the subscription did not survive: %+v", open[0])
	}
	boots := w.vendor.Ledger().Snapshot().Kind(botstar.Booted)
	last := boots[len(boots)-1]
	if last.Mode != "popup" || last.Attributes["city"] != "London" || last.Visitor != "survivor" {
		t.Errorf("booted again as %s in mode %s with %+v", last.Visitor, last.Mode, last.Attributes)
	}
}

// TestServerRestartsInMidCommand stops NATS while a command runs, and starts it
// again: nothing is done while nobody knows whose the session is, then the
// effect happens once, and the result and the facts are stored.
func TestServerRestartsInMidCommand(t *testing.T) {
	t.Parallel()
	server := bustest.Serve(t)
	w := newWorld(t, plan{bus: server.Bus()})
	visitor := event.Visitor{UserID: "restart"}
	w.vendor.Set(botstar.Faults{Chunk: botstar.Fault{Delay: time.Second}})
	subject, e := w.command(order{action: "botstar.widget.open", visitor: visitor})
	_, err := w.bus.Publish(t.Context(), subject, e)
	must(t, err)
	bustest.Until(t, "the page is open", func() bool { return w.sessions.Stats().Opened == 1 })
	server.Stop()
	w.count("restart", botstar.Booted, 1) // What had begun goes on while the server is away.
	if opened := w.vendor.Ledger().Snapshot().Count("restart", botstar.Opened); opened != 0 {
		t.Errorf("the window was opened %d times while the session may have been another worker's", opened)
	}
	server.Start()
	result := bustest.Next[event.Result](t, w.bus, e)
	if result.Status != event.Succeeded || !result.Verified {
		t.Errorf("%s %+v", result.Status, result.Problem)
	}
	facts[event.WidgetOpened](w, order{visitor: visitor}, event.FactWidgetOpened, 1)
	bustest.Until(t, "the command is settled", func() bool { return server.Messages("CMD") == 0 })
	w.succeed(order{action: "botstar.widget.close", visitor: visitor})
	w.count("restart", botstar.Opened, 1)
}
