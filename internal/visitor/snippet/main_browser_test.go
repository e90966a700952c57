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
