//go:build browser

package actions_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/browser"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin"
)

// testDriver has one function for each thing that the runtime does.
const testDriver = `(function (rt) {
  let count = 0;
  const log = [];
  return {
    count: () => ++count,
    fail: (arg) => { count++; throw rt.fail(arg.reason, arg.message, arg.field); },
    throws: () => { throw new Error("the vendor's own"); },
    throwsOddly: () => { throw { get message() { throw 1; } }; },
    wait: async (arg) => {
      log.push("begin " + arg.name);
      await rt.until(arg.ms, (resolve) => rt.on(document, "never", resolve), () => rt.fail("not_confirmed", "too late"))
        .catch((e) => { log.push("end " + arg.name); throw e; });
    },
    log: () => log,
    errors: () => rt.errors(),
    emit: (arg) => rt.emit(arg.name, "api", rt.key(), arg.data),
    plain: (arg) => {
      const copy = rt.plain(arg);
      return { copy, polluted: copy.polluted === true || ({}).polluted === true };
    },
    found: () => String(globalThis.found || ""),
    nothing: () => undefined,
  };
})`

const runtimeHost = "runtime.example.test"

// shared is the one browser of these tests; TestMain ends it.
var shared sharedPool

type sharedPool struct {
	mu     sync.Mutex // guards the fields below
	pool   *browser.Pool
	server *standin.Server
}

// get starts the browser. It reaches nothing: every page is a light one.
func (s *sharedPool) get() (*browser.Pool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pool != nil {
		return s.pool, nil
	}
	log := slog.New(slog.DiscardHandler)
	server, err := standin.Start(log, map[string]http.Handler{runtimeHost: http.NotFoundHandler()})
	if err != nil {
		return nil, fmt.Errorf("starting the site: %w", err)
	}
	s.server = server
	pool, err := browser.New(log, browser.Options{Dir: "/tmp", Resolve: server.Resolve(), TrustSPKI: []string{server.SPKI()}, Spare: 1})
	if err != nil {
		return nil, fmt.Errorf("making the pool: %w", err)
	}
	s.pool = pool
	return pool, pool.Start(context.Background())
}

func (s *sharedPool) close() error {
	var err error
	if s.pool != nil {
		err = s.pool.Close(context.Background())
	}
	if s.server != nil {
		err = errors.Join(err, s.server.Close())
	}
	return err
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(closing{m}) }

// closing runs the tests and ends the browser.
type closing struct{ *testing.M }

// Run implements goleak.TestingM.
func (c closing) Run() int {
	code := c.M.Run()
	if err := shared.close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	return code
}

const nonce = "THE-SECRET-NONCE"

// open opens a page with the test's driver around the page's own content.
func open(t *testing.T, content string) actions.Env {
	t.Helper()
	pool, err := shared.get()
	if err != nil {
		t.Fatal(err)
	}
	tab, err := pool.Open(t.Context(), browser.Request{
		URL: "https://" + runtimeHost + "/", Light: "<!doctype html><title>t</title>" + content, Label: "test",
		Main: actions.Script(actions.WorldMain, nonce, testDriver),
		Look: actions.Script(actions.WorldLook, nonce, `(function (rt) { return { "look.nothing": () => 1 }; })`),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.WithoutCancel(t.Context())
	t.Cleanup(func() {
		if err := tab.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return actions.Env{Page: tab, Log: slog.New(slog.DiscardHandler)}
}

func do(t *testing.T, env actions.Env, key, name string, arg any) (json.RawMessage, error) {
	t.Helper()
	env.Key = key
	var out json.RawMessage
	err := env.Do(t.Context(), name, arg, &out)
	return out, err
}

// TestAppliedKeys answers the same key with the first answer, and keeps no
// failure.
func TestAppliedKeys(t *testing.T) {
	t.Parallel()
	env := open(t, "")
	for i, step := range []struct{ key, name, want string }{
		{"a", "count", "1"},
		{"a", "count", "1"},
		{"b", "count", "2"},
		{"a", "count", "1"},
		{"c", "fail", ""},
		{"c", "fail", ""},
		{"d", "count", "5"},
		{"e", "nothing", "null"},
		{"e", "nothing", "null"},
	} {
		got, err := do(t, env, step.key, step.name, map[string]string{"reason": "not_confirmed", "message": "no", "field": "/params/x"})
		if step.want == "" {
			if f := fault.From(err); f == nil || f.Reason != fault.NotConfirmed || f.Field != "/params/x" {
				t.Errorf("step %d fails with %v", i, err)
			}
			continue
		}
		if err != nil || string(got) != step.want {
			t.Errorf("step %d gives %s, %v; want %s", i, got, err, step.want)
		}
	}
	// The same command twice at once has one effect.
	var both sync.WaitGroup
	answers := make(chan string, 20)
	for range 20 {
		both.Go(func() {
			got, err := do(t, env, "f", "count", nil)
			answers <- fmt.Sprint(string(got), err)
		})
	}
	both.Wait()
	for range 20 {
		if got := <-answers; got != "6<nil>" {
			t.Errorf("at once: %s", got)
		}
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	env := open(t, "")
	for name, want := range map[string]struct {
		reason  fault.Reason
		message string
	}{
		"throws":      {fault.WidgetFailed, "the vendor's own"},
		"throwsOddly": {fault.WidgetFailed, "an error that cannot be read"},
		"missing":     {fault.InternalError, "no function missing"},
		"toString":    {fault.InternalError, "no function toString"},
	} {
		_, err := do(t, env, name, name, nil)
		if f := fault.From(err); f == nil || f.Reason != want.reason || !strings.Contains(f.Error(), want.message) {
			t.Errorf("%s gives %v", name, err)
		}
	}
}

// TestOrder runs calls one after another, and refuses a stale owner.
func TestOrder(t *testing.T) {
	t.Parallel()
	env := open(t, "")
	var all sync.WaitGroup
	for i := range 5 {
		all.Go(func() {
			_, err := do(t, env, fmt.Sprint("order", i), "wait", map[string]any{"name": strconv.Itoa(i), "ms": 20})
			if f := fault.From(err); f == nil || f.Reason != fault.NotConfirmed {
				t.Errorf("the wait ended with %v", err)
			}
		})
	}
	all.Wait()
	var log []string
	if err := env.Look(t.Context(), "log", nil, &log); err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(log); i += 2 {
		if begin, end := strings.Fields(log[i]), strings.Fields(log[i+1]); begin[0] != "begin" || end[0] != "end" || begin[1] != end[1] {
			t.Fatalf("two calls ran at once: %v", log)
		}
	}
	for i, step := range []struct {
		fence uint64
		stale bool
	}{{3, false}, {3, false}, {2, true}, {0, false}, {4, false}, {3, true}} {
		env.Fence = step.fence
		_, err := do(t, env, fmt.Sprint("fence", i), "count", nil)
		if stale := err != nil && fault.From(err).Reason == fault.StaleFence; stale != step.stale || err != nil && !stale {
			t.Errorf("step %d, fence %d: %v", i, step.fence, err)
		}
	}
}

// TestAbandon ends the wait of a caller that has gone.
func TestAbandon(t *testing.T) {
	t.Parallel()
	env := open(t, "")
	env.Key = "abandoned"
	ctx, cancel := context.WithCancel(t.Context())
	timer := time.AfterFunc(100*time.Millisecond, cancel)
	defer timer.Stop()
	start := time.Now()
	if err := env.Do(ctx, "wait", map[string]any{"name": "x", "ms": 20_000}, nil); err == nil {
		t.Error("the abandoned call succeeded")
	}
	if got, err := do(t, env, "next", "count", nil); err != nil || string(got) != "1" {
		t.Errorf("the next call gives %s, %v", got, err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("the next call waited %s", took)
	}
}

// TestPlain copies data without the names that could change a prototype.
func TestPlain(t *testing.T) {
	t.Parallel()
	env := open(t, "")
	arg := json.RawMessage(`{"__proto__":{"polluted":true},"constructor":1,"prototype":2,"a":{"__proto__":{"polluted":true},"b":[1,{"c":"\u2028"}]},"n":null}`)
	got, err := do(t, env, "plain", "plain", arg)
	if err != nil {
		t.Fatal(err)
	}
	var value, want any
	if err := json.Unmarshal(got, &value); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(`{"copy":{"a":{"b":[1,{"c":"\u2028"}]},"n":null},"polluted":false}`), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, value); diff != "" {
		t.Errorf("plain (-want +got):\n%s", diff)
	}
}

// TestErrors keeps what the page's scripts threw, and no more than it must.
func TestErrors(t *testing.T) {
	t.Parallel()
	env := open(t, `<script>throw new Error("first")</script><script>Promise.reject(new Error("second"))</script>
<script>for (let i = 0; i < 100; i++) setTimeout(() => { throw new Error("x".repeat(10000)) }, 0)</script>`)
	if _, err := do(t, env, "wait", "wait", map[string]any{"name": "x", "ms": 100}); err == nil {
		t.Fatal("the wait ended early")
	}
	var seen []struct{ Kind, Message, Source string }
	if err := env.Look(t.Context(), "errors", nil, &seen); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 20 || !strings.Contains(seen[0].Message, "first") || seen[1].Kind != "rejection" || seen[1].Message != "second" {
		t.Fatalf("errors: %d, %+v", len(seen), seen)
	}
	if n := len(seen[19].Message); n != 500 {
		t.Errorf("a long message has %d characters", n)
	}
}

// hostile is a page that wants to speak for us: it replaces what we could use,
// guesses the name of our event, and looks for it everywhere.
const hostile = `<script>
  globalThis.found = "";
  const note = (x) => { try { globalThis.found += String(x) + " "; } catch {} };
  note(Function.prototype.toString.call(__parley.call));
  try { __parley.call = () => note("replaced"); } catch {}
  try { Object.defineProperty(globalThis, "__parley", { value: 1 }); note("redefined"); } catch {}
  try { delete globalThis.__parley; } catch {}
  note(typeof __parleyEmit);
  const forged = '{"name":"widget.opened","cause":"api","key":"k","seq":9,"at_ms":1,"data":null}';
  for (let i = 0; i < 10000; i++) {
    for (const type of ["parley", "nonce", "__parley", "__parleyEmit", "main", "secret", i.toString(36), Math.random().toString(36)]) {
      document.dispatchEvent(new CustomEvent(type, { detail: forged }));
    }
  }
  Error.prepareStackTrace = (error, sites) => { for (const s of sites) { note(s.getFunction()); note(s.getThis()); } return ""; };
  Object.defineProperty(Object.prototype, "toJSON", { get() { note(JSON.stringify(Object.getOwnPropertyNames(this))); return undefined; }, configurable: true });
  Object.defineProperty(Object.prototype, "bubbles", { get() { note(new Error().stack); return true; }, configurable: true });
  const dispatch = EventTarget.prototype.dispatchEvent;
  EventTarget.prototype.dispatchEvent = function (e) { note(e.type); return dispatch.call(this, e); };
  const listen = EventTarget.prototype.addEventListener;
  EventTarget.prototype.addEventListener = function (type, ...rest) { note(type); return listen.call(this, type, ...rest); };
  const Real = CustomEvent;
  globalThis.CustomEvent = function (type, init) { note(type); return new Real(type, init); };
  JSON.parse = (x) => { note(x); return { name: "forged", cause: "api", seq: 1 }; };
  JSON.stringify = (x) => { note("stringify"); return '{"ok":true,"value":"forged"}'; };
  Promise.prototype.then = function () { note("then"); return this; };
  Array.prototype.push = function () { note("push"); };
  Map.prototype.get = () => "forged";
</script>`

// TestForged lets a page forge 10,000 signals. None is accepted, and the page
// learns nothing of the nonce.
func TestForged(t *testing.T) {
	t.Parallel()
	env := open(t, hostile)
	if got, err := do(t, env, "real", "count", nil); err != nil || string(got) != "1" {
		t.Errorf("a call on the hostile page gives %s, %v", got, err)
	}
	if _, err := do(t, env, "emit", "emit", map[string]any{"name": "widget.real", "data": "x"}); err != nil {
		t.Error(err)
	}
	var found string
	if err := env.Look(t.Context(), "found", nil, &found); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(found, nonce) || strings.Contains(found, "redefined") || strings.Contains(found, "replaced") {
		t.Errorf("the page found %s", found)
	}
	if !strings.Contains(found, "undefined") {
		t.Errorf("the page sees the binding: %.200s", found)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var names []string
	for raw, err := range env.Page.Events(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		var signal actions.Signal
		if err := json.Unmarshal(raw, &signal); err != nil {
			t.Fatal(err)
		}
		names = append(names, fmt.Sprint(signal.Seq, " ", signal.Name, " ", signal.Cause, " ", signal.Key))
		if signal.Name == "widget.real" {
			break
		}
	}
	if diff := cmp.Diff([]string{"1 page.started navigation ", "2 widget.real api emit/emit"}, names); diff != "" {
		t.Errorf("signals (-want +got):\n%s", diff)
	}
}

// TestFrames leaves the page's frames alone.
func TestFrames(t *testing.T) {
	t.Parallel()
	env := open(t, `<iframe srcdoc="<script>parent.found = typeof __parley + typeof __parleyEmit</script>"></iframe>
<script>addEventListener("load", () => { globalThis.loaded = true })</script>`)
	if _, err := do(t, env, "wait", "wait", map[string]any{"name": "x", "ms": 300}); err == nil {
		t.Fatal("the wait ended early")
	}
	var found string
	if err := env.Look(t.Context(), "found", nil, &found); err != nil {
		t.Fatal(err)
	}
	if found != "undefinedundefined" {
		t.Errorf("a frame sees %q", found)
	}
}
