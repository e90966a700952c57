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

// hearing is a whole system whose edge hears the stand-in's webhooks of its shop.
type hearing struct {
	t      *testing.T
	c      *cli
	dev    *devSystem
	sender *vendor.Webhooks
}

func startHearing(t *testing.T) *hearing {
	t.Helper()
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
	return &hearing{t, c, dev, vendor.NewWebhooks(vendor.WebhooksOptions{BotID: "b-1", Hooks: hooks, Copies: 1})}
}

// happen has the bot tell of something that happened to the visitor u-42, under
// its own id.
func (r *hearing) happen(what vendor.HookEvent, id string, at time.Time) {
	r.t.Helper()
	err := r.sender.Happen(r.t.Context(), vendor.Happening{
		Event: what, Environment: vendor.HookLive, At: at, Checkpoint: "c",
		User: vendor.HookUser{ID: id, Attributes: map[string]any{"user_id": "u-42"}},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if got := r.sender.Deliveries(); got[len(got)-1].Status != 200 {
		r.t.Fatalf("the webhook is answered with %+v", got[len(got)-1])
	}
}

// send sends a command of the visitor, and returns its result.
func (r *hearing) send(action, visitor, params string) event.Result {
	r.t.Helper()
	o, err := r.c.order(request{
		Action: action, Site: "shop", Visitor: event.Visitor{UserID: visitor}, Params: json.RawMessage(params),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	pending, err := r.c.send(r.t.Context(), r.dev.bus, o)
	if err != nil {
		r.t.Fatal(err)
	}
	result, err := pending.result(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return result
}

// A webhook that comes in over HTTP changes what get_state says of the visitor's
// session, and of nobody else's.
func TestStateTellsWhatWebhooksTold(t *testing.T) {
	t.Parallel()
	r := startHearing(t)
	needs := func(visitor, reason string) {
		t.Helper()
		result := r.send("botstar.session.get_state", visitor, `{"include":["takeover"]}`)
		if result.Problem != nil || !strings.Contains(string(result.Output), `"reason":"`+reason+`"`) {
			t.Errorf("of %s it says %s, %+v, want the reason %s", visitor, result.Output, result.Problem, reason)
		}
	}
	needs("u-42", "nothing_told")
	now := time.Now()
	for _, asked := range []struct {
		after time.Duration
		want  string
	}{{-3 * time.Hour, "session_expired"}, {-90 * time.Minute, "idle_clock"}, {-time.Minute, "requested"}} {
		r.happen(vendor.HookTakeover, "s-1", now.Add(asked.after))
		needs("u-42", asked.want)
	}
	needs("u-43", "nothing_told")
	r.happen(vendor.HookCheckpoint, "s-1", now)
	needs("u-42", "bot_at_work")
}

// A webhook tells BotStar's id of the visitor: from then on the page's updates
// are confirmed by the REST API, the state shows what BotStar keeps, and the
// other actions find the user, though no command has named it.
func TestWebhooksTellBotStarsID(t *testing.T) {
	t.Parallel()
	r := startHearing(t)
	api := r.dev.vendor.REST()
	bot := devBots(r.dev.cfg)[0].ID
	id := api.AddUser(bot, "", map[string]any{"user_id": "u-42", "first_name": "Ada", "plan": "free"})
	const update, state = "botstar.widget.update", "botstar.session.get_state"
	if before := r.send(update, "u-42", `{"plan":"pro"}`); before.Status != event.Succeeded || before.Verified {
		t.Fatalf("before anything was told the update is %s, verified: %t, %+v", before.Status, before.Verified, before.Problem)
	}
	if said := r.send(state, "u-42", `{"include":["remote"]}`); !strings.Contains(string(said.Output), `"status":"no_id"`) {
		t.Errorf("before anything was told it says %s", said.Output)
	}
	r.happen(vendor.HookTag, id, time.Now())
	confirmed := r.send(update, "u-42", `{"plan":"team"}`)
	if confirmed.Status != event.Succeeded || !confirmed.Verified || confirmed.Executor != "headless" {
		t.Fatalf("the update is %s, verified: %t, %+v", confirmed.Status, confirmed.Verified, confirmed.Problem)
	}
	said := r.send(state, "u-42", `{"include":["remote"]}`)
	for _, part := range []string{`"status":"read"`, `"botstar_user_id":"` + id + `"`, `"first_name":"Ada"`, `"plan":"team"`} {
		if !said.Verified || !strings.Contains(string(said.Output), part) {
			t.Errorf("it says %s, without %s", said.Output, part)
		}
	}
	for _, one := range []struct{ action, params string }{
		{"botstar.users.update", `{"attributes":{"first_name":"Grace"}}`},
		{"botstar.users.get", `{}`},
		{"botstar.user.clear_profile", `{"scope":"remote"}`},
	} {
		if done := r.send(one.action, "u-42", one.params); done.Status != event.Succeeded || !done.Verified {
			t.Errorf("%s is %s, verified: %t, %+v", one.action, done.Status, done.Verified, done.Problem)
		}
		if other := r.send(one.action, "u-43", one.params); other.Status == event.Succeeded {
			t.Errorf("%s of another visitor is %s: %s", one.action, other.Status, other.Output)
		}
	}
	if n := api.Effects(vendor.UpdateUser); n != 2 {
		t.Errorf("the REST API changed the user %d times, want 2", n)
	}
	// The browser has another user of BotStar from here on: what was told is old.
	if cleared := r.send("botstar.user.clear_profile", "u-42", `{"scope":"browser"}`); cleared.Status != event.Succeeded {
		t.Fatalf("the browser is cleared: %+v", cleared.Problem)
	}
	if said := r.send(state, "u-42", `{"include":["remote"]}`); !strings.Contains(string(said.Output), `"status":"no_id"`) {
		t.Errorf("after the clearing it says %s", said.Output)
	}
	r.happen(vendor.HookCheckpoint, id, time.Now())
	if said := r.send(state, "u-42", `{"include":["remote"]}`); !strings.Contains(string(said.Output), `"status":"read"`) {
		t.Errorf("after BotStar has told again it says %s", said.Output)
	}
}
