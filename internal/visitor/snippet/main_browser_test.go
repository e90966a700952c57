//go:build browser

package snippet_test

import (
	"encoding/json"
	"strings"
	"testing"

	vendor "github.com/parley-chat/parley/internal/standin/botstar"
)

// TestMainPath lets a gateway open the chat in a visitor's own tab, under the
// strict policy that the snippet publishes, and nothing else.
func TestMainPath(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.page("/", tag(t, nil), "")
	visitor := w.visitor("/")
	w.gateway.connected(1)
	if n := eval[int](visitor, `document.scripts.length`); n != 4 {
		t.Errorf("before a command the page has %d scripts, want 4: the watch, the stub, twice, and parley.js", n)
	}
	for _, step := range []struct{ key, name string }{{"k1/boot", "boot"}, {"k2/open", "open"}} {
		arg := waiting()
		if step.name == "boot" {
			arg = settings()
		}
		if answer := w.gateway.do(step.key, step.name, arg); !answer.OK {
			t.Fatalf("%s: %s", step.name, answer.JSON)
		}
	}
	look := w.gateway.do("", "look.widget", map[string]any{"want": "open", "wait_ms": 3000})
	var seen struct {
		Value struct {
			Visible bool   `json:"visible"`
			Loaded  bool   `json:"loaded"`
			Mode    string `json:"mode"`
		} `json:"value"`
	}
	if err := json.Unmarshal([]byte(look.JSON), &seen); err != nil || !seen.Value.Visible || !seen.Value.Loaded {
		t.Errorf("the widget is not seen: %s (%v)", look.JSON, err)
	}
	w.gateway.until("the facts of boot and open", func() bool {
		return w.gateway.named("page.started") == 1 && w.gateway.named("widget.ready") == 1 && w.gateway.named("widget.opened") == 1
	})
	if got := w.ledger(vendor.Opened, 1); got != 1 {
		t.Errorf("the vendor saw %d openings, want 1", got)
	}
	visitor.clean()
	if long := eval[noted](visitor, "noted").Long; len(long) > 0 {
		t.Logf("tasks above 50 ms in the page, the vendor's own among them: %v", long)
	}
	hello := get(w.gateway, func() string { return w.gateway.hellos[0].URL })
	if strings.ContainsAny(hello, "?#") || hello != site+"/" {
		t.Errorf("the hello tells the address %q", hello)
	}
}

// TestFurtherDriver runs two drivers of one provider in one document, each
// fetched when it is needed, under a policy that insists on Trusted Types.
func TestFurtherDriver(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.page("/", tag(t, nil), `<meta http-equiv="Content-Security-Policy" content="trusted-types parley; require-trusted-types-for 'script'">`)
	visitor := w.visitor("/")
	w.gateway.connected(1)
	const drivers = `performance.getEntriesByType("resource").filter((e) => /botstar/.test(e.name)).length`
	for i, step := range []struct{ name, want string }{
		{"webview/look.where", `{"ok":true,"value":{"url":"` + site + `/"}}`},
		{"look.kept", `{"ok":true,"value":{"kept":0}}`},
		{"webview/look.metas", `{"ok":true,"value":{"metas":[]}}`},
		{"webview/state", `"reason":"internal_error"`}, // It is the other one's.
		{"nobody/start", `"reason":"page_load_failed"`},
		{"constructor/start", `"reason":"page_load_failed"`},
	} {
		if answer := w.gateway.do("", step.name, nil); !strings.Contains(answer.JSON, step.want) {
			t.Errorf("%s: %s", step.name, answer.JSON)
		}
		if got, want := eval[int](visitor, drivers), min(i+1, 2); got != want {
			t.Errorf("after %s %d drivers were fetched, want %d", step.name, got, want)
		}
	}
	w.gateway.until("the document's beginning", func() bool { return w.gateway.named("page.started") == 1 })
	visitor.clean()
}

// TestFurtherDeadline abandons a call of a further driver when its time is over.
func TestFurtherDeadline(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.page("/", tag(t, nil), "")
	w.visitor("/")
	w.gateway.connected(1)
	w.gateway.set(func() { w.gateway.deadline = 300 })
	answer := w.gateway.do("k/webview/start", "webview/start", map[string]any{"wait_ms": 20_000})
	if !strings.Contains(answer.JSON, `"reason":"deadline_exceeded","message":"the caller gave up"`) {
		t.Errorf("the driver itself was not told: %s", answer.JSON)
	}
	if answer := w.gateway.do("", "webview/look.where", nil); !strings.HasPrefix(answer.JSON, `{"ok":true`) {
		t.Errorf("after that: %s", answer.JSON)
	}
}
