package worker_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/standin"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
)

// standinToken is the token of the stand-in.
type standinToken string

func (s standinToken) Token(ctx context.Context, _ string, _ actions.TokenKind) (context.Context, actions.Token, func(), error) {
	return ctx, actions.NewToken(string(s)), func() {}, nil
}

func (standinToken) Refused(context.Context, string, actions.TokenKind, actions.Token) (actions.Token, error) {
	return actions.Token{}, fault.New(fault.TokenRefused, "there is no other token")
}

// restRig is a rig whose worker reaches the stand-in's REST API, and no page.
func restRig(t testing.TB, timeout time.Duration) (*rig, *vendor.REST) {
	t.Helper()
	v := vendor.New(vendor.Options{Bots: []vendor.Bot{{ID: "bot-1", AppID: shop.AppID, Name: "Shop bot"}}})
	server, err := standin.Start(bustest.Log(t), v.Hosts())
	must(t, err)
	t.Cleanup(func() { must(t, server.Close()) })
	p := plan{}
	p.worker.REST = restOf(t, v, server, timeout)
	return setup(t, p), v.REST()
}

// restOf returns a client that reaches the stand-in.
func restOf(t testing.TB, v *vendor.Standin, server *standin.Server, timeout time.Duration) *actions.RESTClient {
	t.Helper()
	client := actions.NewREST(bustest.Log(t), actions.RESTOptions{
		Tokens: standinToken(v.REST().Token()), Resolve: server.Resolve(), Roots: server.Roots(), Timeout: timeout, Pause: time.Millisecond,
	})
	t.Cleanup(client.Close)
	return client
}

func TestRESTActions(t *testing.T) {
	t.Parallel()
	r, api := restRig(t, 0)
	result := r.succeed(order{action: "botstar.bots.list"})
	if !result.Verified || result.Executor != "rest" || !strings.Contains(string(result.Output), `"bot-1"`) || len(result.Steps) != 1 {
		t.Errorf("bots.list: %+v, %s", result, result.Output)
	}
	made := order{action: "botstar.bots.create", params: `{"name":"Nova"}`, id: "make-1"}
	first := r.succeed(made)
	again := r.succeed(made)
	if !first.Verified || string(first.Output) != string(again.Output) || api.Effects(vendor.CreateBot) != 1 {
		t.Errorf("the same command twice: %s and %s, with %d effects", first.Output, again.Output, api.Effects(vendor.CreateBot))
	}
	for _, o := range []order{
		{action: "botstar.bots.get", params: `{"bot_id":"nobody"}`},
		{action: "botstar.cms_items.create", params: `{"entity_id":"e","name":"n","data":{"name":"x"}}`},
	} {
		if refused := r.do(o); refused.Status != event.Rejected || refused.Problem == nil {
			t.Errorf("%s: %s %+v", o.action, refused.Status, refused.Problem)
		}
	}
	if stats := r.sessions.Stats(); stats.Opened != 0 {
		t.Errorf("actions of the REST API opened %d pages", stats.Opened)
	}
}

// TestRESTIsDoneOnce: an answer that gets lost is no reason to do it twice, nor
// is a repeated command.
func TestRESTIsDoneOnce(t *testing.T) {
	t.Parallel()
	r, api := restRig(t, 300*time.Millisecond)
	id := api.AddUser("bot-1", "facebook", nil)
	api.Set(vendor.RESTFaults{Plan: map[vendor.Operation][]vendor.RESTFault{
		vendor.CreateBot: {{Lost: true}}, vendor.SendMessage: {{Lost: true}},
	}})
	if made := r.succeed(order{action: "botstar.bots.create", params: `{"name":"Nova"}`}); !made.Verified {
		t.Errorf("bots.create: %+v", made)
	}
	message := order{action: "botstar.messages.send", params: fmt.Sprintf(`{"recipient_id":%q,"message":{"text":"Hello"}}`, id), id: "m-1"}
	for range 2 {
		if sent := r.do(message); sent.Status != event.Failed || sent.Problem.Reason != string(fault.EffectUnknown) || sent.Problem.Retryable {
			t.Errorf("messages.send: %s %+v", sent.Status, sent.Problem)
		}
	}
	if bots, messages := api.Effects(vendor.CreateBot), api.Effects(vendor.SendMessage); bots != 1 || messages != 1 {
		t.Errorf("%d bots and %d messages were made", bots, messages)
	}
}

func TestRESTIsNotThere(t *testing.T) {
	t.Parallel()
	r := setup(t, plan{})
	if result := r.do(order{action: "botstar.bots.list"}); result.Status != event.Rejected || result.Problem.Reason != string(fault.UnsupportedExecutor) {
		t.Errorf("without REST: %s %+v", result.Status, result.Problem)
	}
}
