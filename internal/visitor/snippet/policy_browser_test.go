//go:build browser

package snippet_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	vendor "github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/visitor/snippet"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

// TestPolicies opens the chat under every kind of policy that a site may have.
func TestPolicies(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	for _, test := range []struct {
		name   string
		nonce  string
		change func(snippet.Policy)
	}{
		{"a nonce and addresses", "n0nce", func(snippet.Policy) {}},
		{"a hash and addresses", "", func(snippet.Policy) {}},
		{"a nonce and strict-dynamic", "n0nce", func(p snippet.Policy) { p["script-src"] = []string{"'nonce-n0nce'", "'strict-dynamic'"} }},
		{"trusted types", "n0nce", func(p snippet.Policy) { p["trusted-types"] = []string{"parley"} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := tag(t, func(s *snippet.Site) { s.Nonce = test.nonce })
			policy, err := snippet.CSP(s)
			if err != nil {
				t.Fatal(err)
			}
			test.change(policy)
			policy["default-src"] = []string{"'none'"}
			script, err := snippet.Tag(s)
			if err != nil {
				t.Fatal(err)
			}
			w.put("/", func(out http.ResponseWriter, _ *http.Request) {
				out.Header().Set("Content-Type", "text/html; charset=utf-8")
				out.Header().Set("Content-Security-Policy", policy.String())
				_, _ = io.WriteString(out, "<!doctype html><title>t</title>"+script)
			})
			visitor := w.visitor("/")
			w.gateway.connected(1)
			for _, step := range []string{"boot", "open"} {
				if answer := w.gateway.do(t.Name()+step, step, settings()); !answer.OK {
					t.Errorf("%s: %s", step, answer.JSON)
				}
			}
			visitor.end()
			w.gateway.connected(0)
		})
	}
}

// TestIntegrity lets no file run whose content is not what the tag vouches for.
func TestIntegrity(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	m, err := snippet.Load()
	if err != nil {
		t.Fatal(err)
	}
	w.put("/driver.js", nil)
	s := tag(t, nil)
	w.page("/", s, "")
	w.gateway.tamper(func(name string, body []byte) []byte {
		if name == m.Drivers["botstar"].Name {
			return append(bytes.Clone(body), "\nwindow.evil = 1;"...)
		}
		return body
	})
	visitor := w.visitor("/")
	w.gateway.connected(1)
	answer := w.gateway.do("k/boot", "boot", settings())
	if answer.OK || !strings.Contains(answer.JSON, "page_load_failed") {
		t.Errorf("a driver with another content: %s", answer.JSON)
	}
	if eval[bool](visitor, `"evil" in window`) {
		t.Error("it ran")
	}
	w.gateway.tamper(nil)
	if answer := w.gateway.do("k/boot", "boot", settings()); !answer.OK {
		t.Errorf("the driver is not asked for again: %s", answer.JSON)
	}
	visitor.end()
	w.gateway.connected(0)
	w.gateway.tamper(func(_ string, body []byte) []byte { return append(bytes.Clone(body), "\nwindow.evil = 1;"...) })
	visitor = w.visitor("/")
	w.gateway.never("a connection", 500*time.Millisecond, func() bool { return len(w.gateway.live) > 0 })
	if eval[bool](visitor, `"evil" in window || !!parley.loaded`) {
		t.Error("a parley.js with another content ran")
	}
}

// TestKillSwitch stops the page by the configuration, at the beginning and
// later, and lets it do nothing more.
func TestKillSwitch(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.page("/", tag(t, nil), "")
	for _, test := range []struct {
		name       string
		off, later func()
	}{
		{"before", func() { w.gateway.config.Enabled = false }, nil},
		{"unknown key", func() { w.gateway.status = 404 }, nil},
		{"config", func() {}, func() { w.gateway.tell(wire.ConfigFrame{T: wire.KindConfig, Config: wire.Config{}}) }},
		{"stop", func() {}, func() { w.gateway.tell(wire.Stop{T: wire.KindStop, Reason: "abuse"}) }},
		{"4403", func() { w.gateway.refuse = wire.CloseRefused }, nil},
	} {
		t.Run(test.name, func(*testing.T) {
			w.gateway.set(func() { w.gateway.config.Enabled, w.gateway.status, w.gateway.refuse = true, 0, 0; test.off() })
			hellos := get(w.gateway, func() int { return len(w.gateway.hellos) })
			asked := get(w.gateway, func() int { return w.gateway.configs })
			visitor := w.visitor("/")
			w.gateway.until("the configuration", func() bool { return w.gateway.configs > asked })
			if test.later != nil {
				w.gateway.connected(1)
				test.later()
			}
			w.gateway.connected(0)
			visitor.run(`parley.track("Late"); parley.consent({ functionality: true, analytics: true }); parley.identify("jwt")`)
			want := hellos
			if test.later != nil || test.name == "4403" {
				want++
			}
			w.gateway.until("the hello", func() bool { return len(w.gateway.hellos) >= want })
			w.gateway.never("another connection", 700*time.Millisecond, func() bool { return len(w.gateway.hellos) > want || len(w.gateway.live) > 0 })
			visitor.clean()
			visitor.end()
		})
	}
}

// TestHarmless throws nothing into a page that is hostile, and survives a
// gateway that is.
func TestHarmless(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.gateway.config.Analytics = &wire.Analytics{DataLayer: true, Segment: true, Events: map[string]string{"a": "A"}}
	w.page("/", tag(t, nil), `<script nonce="n0nce">
const cyclic = { event: "a" }; cyclic.self = cyclic;
const getter = {}; Object.defineProperty(getter, "event", { enumerable: true, get() { throw new Error("the page's"); } });
window.dataLayer = [cyclic, getter, null, 1, "a", [], { event: "__proto__" }, { event: "constructor" }, { event: "a", ok: 1 }];
window.analytics = { get on() { return undefined; }, track() { return "theirs"; } };
for (const bad of [undefined, null, 1, "x", {}, [], () => 1]) { parley(bad); parley.consent(bad); parley.track(bad, bad); parley.identify(bad); }
parley("toString"); parley("__proto__", 1); parley("constructor");
</script>`)
	visitor := w.visitor("/")
	w.gateway.connected(1)
	w.gateway.until("the one event that can be told", func() bool { return len(w.gateway.tracks) > 0 })
	for _, raw := range []string{`{}`, `[]`, `null`, `{"t":"toString"}`, `{"t":"ack"}`, `nonsense`, `{"t":"drain"}`} {
		w.gateway.raw(raw)
	}
	visitor.run(`for (const bad of [undefined, null, 1, {}, [], () => { throw 1 }]) { parley(bad, bad); parley.track(bad, bad); parley.consent(bad); }`)
	if got := eval[string](visitor, `analytics.track("a", cyclic)`); got != "theirs" {
		t.Errorf("the page's own track returns %q", got)
	}
	visitor.run(`dataLayer.push(getter, cyclic); history.pushState({}, "", "/other"); dispatchEvent(new Event("pageshow")); dispatchEvent(new Event("online"))`)
	w.gateway.connected(1)
	if answer := w.gateway.do("k/boot", "boot", settings()); !answer.OK {
		t.Errorf("boot: %s", answer.JSON)
	}
	names := get(w.gateway, func() []string {
		var names []string
		for _, one := range w.gateway.tracks {
			names = append(names, one.Name+string(one.Properties))
		}
		return names
	})
	if diff := cmp.Diff([]string{`A{"ok":1}`, `x"x"`}, names); diff != "" {
		t.Errorf("the tracks differ (-want +got):\n%s", diff)
	}
	visitor.clean()
}
