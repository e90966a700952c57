package botstar_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
)

func TestListIDs(t *testing.T) {
	t.Parallel()
	const shop, docs = "s0a1b2c3d-0000-4000-8000-000000000001", "s0a1b2c3d-0000-4000-8000-000000000002"
	env := actions.Env{Now: time.Now, Sites: func() []actions.Site {
		return []actions.Site{
			{Name: "shop", Provider: "botstar", AppID: shop, BotID: "77", BotName: "Shop Bot"},
			{Name: "shop-two", Provider: "botstar", AppID: shop, BotID: "77", BotName: "Shop Bot"},
			{Name: "docs", Provider: "botstar", AppID: docs},
			{Name: "other", Provider: "tidio", AppID: "x"},
		}
	}}
	tests := []struct {
		params, want string
	}{
		{``, `{"app_ids":["` + shop + `","` + docs + `"],"bots":[{"appId":"` + shop + `","botId":"77","name":"Shop Bot"},{"appId":"` + docs + `","botId":"` + docs + `","name":"docs"}]}`},
		{`{"bot_id":"77","bot_name":"docs"}`, `{"app_ids":["` + shop + `"],"bots":[{"appId":"` + shop + `","botId":"77","name":"Shop Bot"}]}`},
		{`{"bot_id":77}`, `{"app_ids":["` + shop + `"],"bots":[{"appId":"` + shop + `","botId":"77","name":"Shop Bot"}]}`},
		{`{"bot_name":"SHOP bot"}`, `{"app_ids":["` + shop + `"],"bots":[{"appId":"` + shop + `","botId":"77","name":"Shop Bot"}]}`},
		{`{"bot_name":"nobody"}`, `{"app_ids":[],"bots":[]}`},
	}
	spec, _, err := catalog(t).Find("BOTSTAR_GET_BOT_APP_ID")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		outcome, err := spec.Run(t.Context(), env, json.RawMessage(tt.params))
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(outcome.Output)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, string(got)); diff != "" {
			t.Errorf("list_ids %s (-want +got):\n%s", tt.params, diff)
		}
		proof, err := spec.Verify(t.Context(), env, json.RawMessage(tt.params), outcome)
		if err != nil || proof.Verdict != event.Confirmed {
			t.Errorf("list_ids %s is %s (%v)", tt.params, proof.Verdict, err)
		}
	}
	if _, err := spec.Run(t.Context(), env, json.RawMessage(`{"bot_id":{}}`)); err == nil {
		t.Error("an object is no bot id")
	}
}
