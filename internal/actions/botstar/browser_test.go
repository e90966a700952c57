//go:build browser

package botstar_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/event"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
)

// TestMainJob boots, opens and closes on a light page, and hears of it.
func TestMainJob(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	s := w.open(t, site(), event.Visitor{UserID: "u-42", Email: "ann@example.test"})

	facts, err := botstar.Provider().Observe(t.Context(), s.env)
	if err != nil || facts["booted"] {
		t.Fatalf("before the boot: %v, %v", facts, err)
	}
	boot := s.must(event.Confirmed, "botstar.widget.boot", nil)
	var booted botstar.BootOut
	if err := json.Unmarshal(boot.Output, &booted); err != nil {
		t.Fatal(err)
	}
	if !booted.Booted || !booted.Changed || booted.Mode != "livechat" || booted.AppID != shop.AppID || booted.InstalledBy != "parley" {
		t.Errorf("boot answers %s", boot.Output)
	}
	entry := w.reached(t, "u-42", vendor.Booted, 1)[0]
	if diff := cmp.Diff(map[string]any{"user_id": "u-42", "email": "ann@example.test"}, entry.Attributes); diff != "" {
		t.Errorf("the vendor got (-want +got):\n%s", diff)
	}
	if facts, err = botstar.Provider().Observe(t.Context(), s.env); err != nil || !facts["booted"] || !facts["windowed"] || !facts["closed"] {
		t.Errorf("after the boot: %v, %v", facts, err)
	}

	for i, step := range []struct{ action, output string }{
		{"open", `{"open":true,"changed":true}`},
		{"open", `{"open":true,"changed":false}`},
		{"close", `{"open":false,"changed":true}`},
		{"close", `{"open":false,"changed":false}`},
		{"open", `{"open":true,"changed":true}`},
		{"close", `{"open":false,"changed":true}`},
	} {
		c := s.must(event.Confirmed, "botstar.widget."+step.action, nil)
		if string(c.Output) != step.output {
			t.Errorf("step %d, %s answers %s, want %s", i, step.action, c.Output, step.output)
		}
	}
	w.reached(t, "u-42", vendor.Opened, 2)
	w.reached(t, "u-42", vendor.Closed, 2)
	for _, name := range []string{"widget.opened", "widget.closed"} {
		for _, signal := range s.heard(name, 2) {
			if signal.Cause != "api" || signal.Key == "" {
				t.Errorf("%s has the cause %s and the key %q", name, signal.Cause, signal.Key)
			}
		}
	}
	if ready := s.heard("widget.ready", 1); len(ready) != 1 || ready[0].Cause != "api" {
		t.Errorf("ready: %+v", ready)
	}
}
