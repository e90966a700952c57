//go:build browser

package app

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/event"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
)

// A webhook that comes in over HTTP changes what get_state says of the visitor's
// session, and of nobody else's.
func TestStateTellsWhatWebhooksTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, ConfigFile)
	config := `
bus: {dir: ` + dir + `, listen: "127.0.0.1:0"}
ingest:
  listen: 127.0.0.1:0
  sources: {bot: {type: botstar, site: shop, open: true}}
sites:
  shop: {app_id: ` + shop.AppID + `, domains: [` + shop.Host + `], takeover_idle: 1h, takeover_session: 2h}
`
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	process := Process{Env: Env{}, Stdin: strings.NewReader(""), Stdout: &output{}, Stderr: &output{}}
	c, err := process.prepare(&common{Config: file})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := c.config()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	dev, err := startDev(ctx, c, cfg, false, "", func(string, string) {})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- dev.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := dev.Close(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	var hooks []vendor.Hook
	for _, name := range vendor.HookEvents() {
		hooks = append(hooks, vendor.Hook{Event: name, Environment: vendor.HookLive, URL: "http://" + dev.edge.address() + "/in/bot"})
	}
	sender := vendor.NewWebhooks(vendor.WebhooksOptions{BotID: "b-1", Hooks: hooks, Copies: 1})
	happen := func(what vendor.HookEvent, at time.Time) {
		err := sender.Happen(t.Context(), vendor.Happening{
			Event: what, Environment: vendor.HookLive, At: at, Checkpoint: "c",
			User: vendor.HookUser{ID: "s-1", Attributes: map[string]any{"user_id": "u-42"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := sender.Deliveries(); got[len(got)-1].Status != 200 {
			t.Fatalf("the webhook is answered with %+v", got[len(got)-1])
		}
	}
	needs := func(visitor, reason string) {
		t.Helper()
		o, err := c.order(request{
			Action: "botstar.session.get_state", Site: "shop", Visitor: event.Visitor{UserID: visitor}, Params: json.RawMessage(`{"include":["takeover"]}`),
		})
		if err != nil {
			t.Fatal(err)
		}
		pending, err := c.send(t.Context(), dev.bus, o)
		if err != nil {
			t.Fatal(err)
		}
		result, err := pending.result(t.Context())
		if err != nil || result.Problem != nil {
			t.Fatalf("get_state gives %+v, %v", result.Problem, err)
		}
		if !strings.Contains(string(result.Output), `"reason":"`+reason+`"`) {
			t.Errorf("of %s it says %s, want the reason %s", visitor, result.Output, reason)
		}
	}
	needs("u-42", "nothing_told")
	now := time.Now()
	happen(vendor.HookTakeover, now.Add(-3*time.Hour))
	needs("u-42", "session_expired")
	happen(vendor.HookTakeover, now.Add(-90*time.Minute))
	needs("u-42", "idle_clock")
	happen(vendor.HookTakeover, now.Add(-time.Minute))
	needs("u-42", "requested")
	needs("u-43", "nothing_told")
	happen(vendor.HookCheckpoint, now)
	needs("u-42", "bot_at_work")
}
