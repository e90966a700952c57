//go:build browser

package browser

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// wantFault fails the test unless err is a fault of the reason.
func wantFault(t *testing.T, err error, reason fault.Reason) {
	t.Helper()
	if !errors.Is(err, fault.New(reason, "")) {
		t.Fatalf("the error is %v (%s), want the reason %s", err, fault.From(err).Reason, reason)
	}
}

func TestCallFails(t *testing.T) {
	t.Parallel()
	p := newPool(t, newSite(t, pages(nil)).options(t))
	tab := open(t, p, lightRequest(""))
	tests := []struct {
		name   string
		arg    any
		reason fault.Reason
	}{
		{"fail", nil, fault.WidgetFailed},
		{"odd", nil, fault.PageAnswerInvalid},
		{"notext", nil, fault.PageAnswerInvalid},
		{"noanswer", nil, fault.PageAnswerInvalid},
		{"big", maxAnswer, fault.PageAnswerInvalid},
		{"no such function", nil, fault.WidgetFailed},
	}
	for _, test := range tests {
		var out string
		err := tab.Call(within(t, 10*time.Second), test.name, test.arg, &out)
		wantFault(t, err, test.reason)
	}
	var number int
	wantFault(t, tab.Call(t.Context(), "echo", "text", &number), fault.PageAnswerInvalid)
	if got := ask[string](t, tab, "echo", "still here"); got != "still here" {
		t.Errorf("the tab answers %q", got)
	}
}

func TestCallOutlivedByItsContext(t *testing.T) {
	t.Parallel()
	p := newPool(t, newSite(t, pages(nil)).options(t))
	tab := open(t, p, lightRequest(""))
	err := tab.Call(within(t, 100*time.Millisecond), "wait", nil, nil)
	wantFault(t, err, fault.DeadlineExceeded)

	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("changed my mind")
	time.AfterFunc(50*time.Millisecond, func() { cancel(reason) })
	if err := tab.Call(ctx, "wait", nil, nil); !errors.Is(err, reason) {
		t.Errorf("the cancelled call returned %v", err)
	}
	if got := ask[int](t, tab, "echo", 7); got != 7 {
		t.Errorf("the tab answers %d", got)
	}
}

func TestCallsRunTogether(t *testing.T) {
	t.Parallel()
	p := newPool(t, newSite(t, pages(nil)).options(t))
	tab := open(t, p, lightRequest(""))
	ctx := within(t, 20*time.Second)
	var calls sync.WaitGroup
	for i := range 100 {
		calls.Go(func() {
			var out int
			if err := tab.Call(ctx, "echo", i, &out); err != nil || out != i {
				t.Errorf("call %d returned %d, %v", i, out, err)
			}
		})
	}
	calls.Wait()
}

func TestHostileStringsStayStrings(t *testing.T) {
	t.Parallel()
	p := newPool(t, newSite(t, pages(nil)).options(t))
	tab := open(t, p, lightRequest("<script>var ran = 0</script>"))
	breakouts := []string{
		`");ran=1;("`, `');ran=1;('`, "`;ran=1;`", `\");ran=1;//`, "${ran=1}", "\u2028ran=1\u2029", `</script><script>ran=1</script>`,
		`{"__proto__":{"ran":1}}`, `\u0022);ran=1;//`, "\x00ran=1", `"+(ran=1)+"`, `\`, `*/ran=1;/*`, strings.Repeat(`"`, 1000),
	}
	for _, text := range breakouts {
		for _, arg := range []any{text, map[string]string{text: text}, []string{text}} {
			if err := tab.Call(within(t, 5*time.Second), "echo", arg, nil); err != nil {
				t.Fatal(err)
			}
		}
		if got := ask[string](t, tab, "echo", text); got != text {
			t.Errorf("%q came back as %q", text, got)
		}
		// The name of a function is data too.
		wantFault(t, tab.Call(within(t, 5*time.Second), text, nil, nil), fault.WidgetFailed)
	}
	if got := ask[int](t, tab, "run", map[string]any{"name": "eval", "args": []string{"ran"}}); got != 0 {
		t.Error("a string ran as code")
	}
}

func TestForgedSignalsAreDropped(t *testing.T) {
	t.Parallel()
	p := newPool(t, newSite(t, pages(nil)).options(t))
	tab := open(t, p, lightRequest(`<script>
var reached = 0;
function forge(n) {
  for (let i = 0; i < n; i++) {
    for (const type of ["parley", "__parleyEmit", "__parley", ""]) document.dispatchEvent(new CustomEvent(type, { detail: '{"name":"forged"}' }));
    try { __parleyEmit('{"name":"forged"}'); reached++; } catch {}
    try { window["__parleyEmit"]('{"name":"forged"}'); reached++; } catch {}
  }
  const text = Function.prototype.toString.call(__parley.call) + JSON.stringify(Object.getOwnPropertyDescriptors(__parley));
  return { reached, text };
}</script>`))
	const forged = 10_000
	type outcome struct {
		Reached int
		Text    string
	}
	got := ask[outcome](t, tab, "run", map[string]any{"name": "forge", "args": []int{forged}})
	if got.Reached != 0 {
		t.Errorf("the page reached the binding %d times", got.Reached)
	}
	ask[int](t, tab, "emit", 1)
	for raw, err := range tab.Events(within(t, 5*time.Second)) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), "forged") {
			t.Fatal("a forged signal was accepted")
		}
		break
	}
}

func TestFloodLosesTheTab(t *testing.T) {
	t.Parallel()
	p := newPool(t, newSite(t, pages(nil)).options(t))
	other := open(t, p, lightRequest(""))
	tests := []struct {
		name, call string
		arg        any
	}{
		{"signals", "emit", 2 * maxQueued},
		{"console", "run", map[string]any{"name": "shout"}},
	}
	for _, test := range tests {
		tab := open(t, p, lightRequest(`<script>function shout() { for (let i = 0; i < 100000; i++) console.log("a"); }</script>`))
		_ = tab.Call(within(t, 20*time.Second), test.call, test.arg, nil)
		select {
		case <-tab.Done():
			wantFault(t, tab.Err(), fault.PageFlooded)
		case <-within(t, 10*time.Second).Done():
			t.Fatalf("%s: the tab is still there", test.name)
		}
	}
	if got := ask[int](t, other, "echo", 1); got != 1 {
		t.Error("another session was disturbed")
	}
}

func TestNavigationDuringACall(t *testing.T) {
	t.Parallel()
	s := newSite(t, pages(map[string]string{"/": "<title>first</title>", "/next": "<title>next</title>"}))
	p := newPool(t, s.options(t))
	for name, r := range map[string]Request{"light": lightRequest(""), "full": fullRequest("/")} {
		tab := open(t, p, r)
		answer := make(chan error, 1)
		go func() { answer <- tab.Call(within(t, 10*time.Second), "wait", nil, nil) }()
		ask[int](t, tab, "echo", 1) // calls are sent in order, so "wait" may be under way
		begun := time.Now()
		if err := tab.Navigate(within(t, 10*time.Second), "https://"+shopHost+"/next"); err != nil {
			t.Fatal(name, err)
		}
		wantFault(t, <-answer, fault.PageNavigated)
		t.Log(name, "the call ended after", time.Since(begun))
		if got := ask[string](t, tab, "where", nil); !strings.HasSuffix(got, "/next") {
			t.Errorf("%s: the page is at %s", name, got)
		}
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	s := newSite(t, pages(map[string]string{"/": "<title>real</title>"}))
	p := newPool(t, s.options(t))
	for name, r := range map[string]Request{"light": lightRequest(""), "real": fullRequest("/")} {
		tab := open(t, p, r)
		for range 3 {
			if err := tab.Reload(within(t, 10*time.Second)); err != nil {
				t.Fatal(name, err)
			}
			if look := ask[map[string]string](t, tab, "look.at", nil); look["title"] != name {
				t.Errorf("after the reload the page is %q, want %q", look["title"], name)
			}
		}
	}
}
