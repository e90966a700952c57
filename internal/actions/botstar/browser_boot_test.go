//go:build browser

package botstar_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/actionstest"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
)

func bootOf(t *testing.T, output json.RawMessage) botstar.BootOut {
	t.Helper()
	var out botstar.BootOut
	if err := json.Unmarshal(output, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestBoot boots light and full pages.
func TestBoot(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})

	t.Run("settings", func(t *testing.T) {
		t.Parallel()
		s := w.open(t, site(), event.Visitor{UserID: "settings"})
		const block = "s00000000-0000-4000-8000-0000000000bb"
		first := map[string]any{
			"user": map[string]any{"first_name": "Ann", "tags": []string{"vip", "beta"}}, "variables": map[string]any{"seats": 3, "plan": "Team"}, "block": block,
		}
		s.must(event.Confirmed, "botstar.widget.boot", first)
		entry := w.reached(t, "settings", vendor.Booted, 1)[0]
		if diff := cmp.Diff([]string{"vip", "beta"}, entry.After.Tags); diff != "" {
			t.Errorf("tags (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]any{"seats": 3.0, "plan": "Team"}, entry.Variables); diff != "" || entry.Block != block {
			t.Errorf("block %s, variables (-want +got):\n%s", entry.Block, diff)
		}
		if out := bootOf(t, s.must(event.Confirmed, "botstar.widget.boot", first).Output); out.Changed {
			t.Error("the same settings changed something")
		}
		if out := bootOf(t, s.must(event.Confirmed, "botstar.widget.boot", map[string]any{"user": map[string]any{"plan": "pro"}}).Output); !out.Changed {
			t.Error("a new attribute changed nothing")
		}
		second := w.reached(t, "settings", vendor.Booted, 2)[1]
		if second.Attributes["plan"] != "pro" || second.Attributes["first_name"] != "Ann" {
			t.Errorf("the second boot sent %v", second.Attributes)
		}
		// The listeners survive a boot.
		s.must(event.Confirmed, "botstar.widget.open", nil)
		s.must(event.Confirmed, "botstar.widget.close", nil)
		if n := len(s.heard("widget.opened", 1)); n != 1 {
			t.Errorf("one open was heard %d times", n)
		}
		if n := len(s.heard("widget.ready", 1)); n != 1 {
			t.Errorf("one boot was heard %d times", n)
		}
	})

	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		s := w.open(t, site(), event.Visitor{UserID: "refused"})
		for _, tt := range []struct {
			params any
			reason fault.Reason
			field  string
		}{
			{map[string]any{"app_id": "nonsense"}, fault.SchemaViolation, "/params/app_id"},
			{map[string]any{"app_id": shop.AppID, "appId": shop.DocsAppID}, fault.SchemaViolation, "/params/appId"},
			{json.RawMessage(`{"user":{"__proto__":{"polluted":1}}}`), fault.SchemaViolation, "/params/user/__proto__"},
			{json.RawMessage(`{"variables":{"constructor":1}}`), fault.SchemaViolation, "/params/variables/constructor"},
		} {
			_, err := s.do("botstar.widget.boot", tt.params)
			if f := fault.From(err); f == nil || f.Reason != tt.reason || f.Field != tt.field {
				t.Errorf("%v gives %v", tt.params, err)
			}
		}
		for _, action := range []string{"open", "close", "update", "set_mode"} {
			_, err := s.do("botstar.widget."+action, map[string]any{"plan": "pro", "mode": "popup"})
			if f := fault.From(err); f == nil || f.Reason != fault.NotBooted {
				t.Errorf("%s before the boot gives %v", action, err)
			}
		}
		s.must(event.Confirmed, "botstar.widget.boot", map[string]any{"appId": shop.DocsAppID, "mode": "popup"})
		_, err := s.do("botstar.widget.boot", map[string]any{"mode": "livechat"})
		if f := fault.From(err); f == nil || f.Reason != fault.ModeConflict {
			t.Errorf("another mode gives %v", err)
		}
	})

	for path, want := range map[string]string{"/": "livechat", "/popup": "popup", "/fullpage": "fullpage", "/inline": "inline", "/captured": "livechat", "/white-label": "livechat"} {
		t.Run("full page "+path, func(t *testing.T) {
			t.Parallel()
			site := site()
			site.URL += strings.TrimPrefix(path, "/")
			s := w.visit(t, site, event.Visitor{UserID: "full " + path}, "")
			c := s.must(event.Confirmed, "botstar.widget.boot", nil)
			out := bootOf(t, c.Output)
			if out.InstalledBy != "page" || out.Mode != want || !out.Changed {
				t.Errorf("boot answers %s", c.Output)
			}
			w.reached(t, "full "+path, vendor.Booted, 1)
			if again := bootOf(t, s.must(event.Confirmed, "botstar.widget.boot", nil).Output); again.Changed {
				t.Error("the second boot changed something")
			}
			_, err := s.do("botstar.widget.open", nil)
			f := fault.From(err)
			if windowed := want == "livechat" || want == "popup"; windowed != (err == nil) || !windowed && f.Reason != fault.ModeNotSupported {
				t.Errorf("open in the mode %s gives %v", want, err)
			}
		})
	}

	t.Run("inline without a target", func(t *testing.T) {
		t.Parallel()
		s := w.visit(t, site(), event.Visitor{UserID: "no target"}, "<!doctype html><title>t</title><p>nothing")
		_, err := s.do("botstar.widget.boot", map[string]any{"mode": "inline"})
		if f := fault.From(err); f == nil || f.Reason != fault.NoInlineTarget {
			t.Errorf("boot gives %v", err)
		}
		s.must(event.Confirmed, "botstar.widget.boot", nil)
	})
}

// TestBootOnce boots a page whose own snippet still loads: the frame loads
// once, for the visitor, and never for one whom nobody knows.
// There is one vendor, whose ledger is counted: its parts run one after another.
func TestBootOnce(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	w.vendor.Set(vendor.Faults{Chunk: vendor.Fault{Delay: 500 * time.Millisecond}})
	for i, path := range []string{"", "popup", "captured"} {
		t.Run("/"+path, func(t *testing.T) {
			site := site()
			site.URL += path
			s := w.visit(t, site, event.Visitor{UserID: "once " + path}, "")
			params := map[string]any{"user": map[string]any{"plan": "pro", "tags": []string{"vip"}}, "variables": map[string]any{"seats": 3}}
			c := s.must(event.Confirmed, "botstar.widget.boot", params)
			if out := bootOf(t, c.Output); !out.Changed || out.InstalledBy != "page" {
				t.Errorf("boot answers %s", c.Output)
			}
			entry := w.reached(t, "once "+path, vendor.Booted, 1)[0]
			if entry.Attributes["plan"] != "pro" || entry.Variables["seats"] != 3.0 {
				t.Errorf("the vendor got %v and %v", entry.Attributes, entry.Variables)
			}
			if again := bootOf(t, s.must(event.Confirmed, "botstar.widget.boot", params).Output); again.Changed {
				t.Error("the second boot changed something")
			}
			if all := w.reached(t, "", vendor.Booted, i+1); len(all) != i+1 {
				t.Errorf("after %d boots the frame has loaded %d times: %+v", i+1, len(all), all)
			}
			s.must(event.Confirmed, "botstar.widget.open", nil)
			s.must(event.Confirmed, "botstar.widget.close", nil)
		})
	}

	t.Run("a boot of the page's own", func(t *testing.T) {
		s := w.visit(t, site(), event.Visitor{UserID: "ours"}, "")
		s.act("boot", map[string]any{"user": map[string]any{"user_id": "theirs"}}, nil)
		if out := bootOf(t, s.must(event.Confirmed, "botstar.widget.boot", nil).Output); !out.Changed {
			t.Error("the boot over the page's own changed nothing")
		}
		w.reached(t, "ours", vendor.Booted, 1)
	})

	t.Run("a link's parameter", func(t *testing.T) {
		site := site()
		site.URL += "?bs_ref=user:plan:linked"
		s := w.visit(t, site, event.Visitor{UserID: "linked"}, "")
		s.must(event.Confirmed, "botstar.widget.boot", nil)
		if entry := w.reached(t, "linked", vendor.Booted, 1)[0]; entry.Attributes["plan"] != "linked" {
			t.Errorf("the vendor got %v", entry.Attributes)
		}
	})
}

// TestBootFaults boots a vendor that is ill, and boots again when it is well.
// There is one vendor, whose faults change: its parts run one after another.
func TestBootFaults(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	for _, tt := range []struct {
		name   string
		faults vendor.Faults
		reason fault.Reason
		says   string
	}{
		{"no script", vendor.Faults{Entry: vendor.Fault{Status: 404}}, fault.WidgetNotReady, "did not load"},
		{"a script that throws", vendor.Faults{Entry: vendor.Fault{Script: vendor.Throws}}, fault.WidgetFailed, "error"},
		{"a script that does not parse", vendor.Faults{Entry: vendor.Fault{Script: vendor.SyntaxError}}, fault.WidgetFailed, "error"},
		{"no chunk", vendor.Faults{Chunk: vendor.Fault{Status: 500}}, fault.WidgetNotReady, "did not load"},
		{"a chunk that throws", vendor.Faults{Chunk: vendor.Fault{Script: vendor.Throws}}, fault.WidgetFailed, "error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.vendor.Set(tt.faults)
			s := w.open(t, site(), event.Visitor{UserID: tt.name})
			_, err := s.do("botstar.widget.boot", nil)
			f := fault.From(err)
			if f == nil || f.Reason != tt.reason || !strings.Contains(strings.ToLower(f.Error()), tt.says) {
				t.Errorf("boot gives %v", err)
			}
			w.vendor.Set(vendor.Faults{})
			s.must(event.Confirmed, "botstar.widget.boot", nil)
		})
	}
}

// TestSlowScript fails after the boot has given up, and the next boot puts the
// snippet in anew. On a full page the page's own snippet may have failed.
// There is one vendor, whose faults change: its parts run one after another.
func TestSlowScript(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	gone := vendor.Fault{Status: 404, Delay: 300 * time.Millisecond}
	for name, light := range map[string]string{"light": botstar.Provider().Light(site()), "full": ""} {
		t.Run(name, func(t *testing.T) {
			w.vendor.Set(vendor.Faults{Entry: gone})
			s := w.visit(t, site(), event.Visitor{UserID: name}, light)
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			_, err := actionstest.Do(ctx, s.env, botstar.Provider(), "botstar.widget.boot", "first", nil)
			if f := fault.From(err); f == nil || f.Code != fault.Unavailable && f.Code != fault.Expired {
				t.Errorf("a boot without time gives %v", err)
			}
			if _, err := s.do("botstar.widget.boot", nil); fault.From(err) == nil || fault.From(err).Reason != fault.WidgetNotReady {
				t.Errorf("the boot that sees the script fail gives %v", err)
			}
			w.vendor.Set(vendor.Faults{})
			start := time.Now()
			s.must(event.Confirmed, "botstar.widget.boot", nil)
			s.must(event.Confirmed, "botstar.widget.open", nil)
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("it took %s to recover", took)
			}
		})
	}
}

// TestCauses tells who opened and closed the window: a command, a person, the
// page's own script, or a navigation.
func TestCauses(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	s := w.visit(t, site(), event.Visitor{UserID: "causes"}, "")
	s.must(event.Confirmed, "botstar.widget.boot", nil)
	s.act("click", nil, nil)
	s.heard("widget.opened", 1)
	if c := s.must(event.Confirmed, "botstar.widget.open", nil); string(c.Output) != `{"open":true,"changed":false}` {
		t.Errorf("the window that a person opened: %s", c.Output)
	}
	s.must(event.Confirmed, "botstar.widget.close", nil)
	s.act("open", nil, nil)
	s.heard("widget.opened", 2)
	s.act("click", nil, nil)
	s.heard("widget.closed", 2)
	s.must(event.Confirmed, "botstar.widget.open", nil)
	s.act("go", map[string]string{"to": "/pricing"}, nil)
	s.heard("page.started", 2)

	var got []string
	state := &actions.State{}
	for _, signal := range s.all() {
		if notice, publish := botstar.Provider().Digest(state, signal); publish && strings.HasPrefix(notice.Name, "widget.") {
			got = append(got, notice.Name+" "+signal.Cause)
		}
	}
	want := []string{
		"widget.booted visitor",
		"widget.opened visitor", "widget.closed api", "widget.opened visitor", "widget.closed visitor",
		"widget.opened api", "widget.closed navigation",
	}
	if len(got) > len(want) { // The new page may have booted already.
		got = got[:len(want)]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("causes (-want +got):\n%s", diff)
	}
	s.must(event.Confirmed, "botstar.widget.boot", nil)
	s.must(event.Confirmed, "botstar.widget.open", nil)
}
