package botstar_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/ingest"
	"github.com/parley-chat/parley/internal/ingest/botstar"
	"github.com/parley-chat/parley/internal/ingest/ingesttest"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
)

// All seven events, of both environments, signed, three times each and out of
// order, over real connections: each is stored once, as its kind.
func TestLedger(t *testing.T) {
	t.Parallel()
	secret := []byte("s3cret-of-the-bot")
	settings := ingest.Settings{Name: "bot", Type: "botstar", Secrets: [][]byte{secret}}
	edge := ingesttest.Serve(t, ingest.Mount{
		Settings: settings, Source: source(t, settings), Path: "/in/bot", Site: "shop", Token: [][]byte{[]byte("t0ken-of-the-bot")},
	})
	var hooks []vendor.Hook
	for _, name := range vendor.HookEvents() {
		for _, environment := range []string{vendor.HookLive, vendor.HookTest} {
			hooks = append(hooks, vendor.Hook{Event: name, Environment: environment, URL: edge.URL + "/in/bot/t0ken-of-the-bot"})
		}
	}
	sender := vendor.NewWebhooks(vendor.WebhooksOptions{BotID: "b-1", Hooks: hooks, Secret: secret, Copies: 2, Hold: 50})
	const rounds = 12
	sent := 0
	for i := range rounds {
		for _, hook := range hooks {
			sent++
			err := sender.Happen(t.Context(), vendor.Happening{
				Event: hook.Event, Environment: hook.Environment, At: time.Now(), User: vendor.HookUser{ID: fmt.Sprint("s-", i)},
				Checkpoint: "paid", Attribute: "tier", Value: i, Tag: "vip", Entity: "e", Item: "i", Block: "b", Response: "yes",
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := sender.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, d := range sender.Deliveries() {
		if d.Err != nil || d.Status != 200 {
			t.Fatalf("the webhook %s of %s is answered with %d, %v", d.ID, d.Event, d.Status, d.Err)
		}
	}
	stored, kinds, test := map[string]int{}, map[string]int{}, 0
	for _, e := range edge.Events() {
		stored[e.ID]++
		kinds[e.Kind]++
		if e.Trigger.Properties[botstar.PropEnvironment] == "test" {
			test++
		}
		if e.Trigger.Origin == nil || e.Trigger.Origin.Authenticated != event.AuthenticFull {
			t.Errorf("the origin is %+v", e.Trigger.Origin)
		}
	}
	if len(stored) != sent || len(sender.Deliveries()) != 3*sent || test != sent/2 || len(kinds) != 7 {
		t.Errorf("%d events are stored, %d of them tests, as %v, want %d", len(stored), test, kinds, sent)
	}
	for id, n := range stored {
		if n != 1 {
			t.Errorf("the event %s is stored %d times", id, n)
		}
	}
	if rejected := edge.Rejected(); len(rejected) != 0 {
		t.Errorf("the rejected list holds %+v", rejected)
	}
}
