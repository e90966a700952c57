//go:build browser

package worker_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/parley-chat/parley/internal/event"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
)

// TestDetour updates a visitor by the REST API when no page can be reached, and
// BotStar's id of the visitor is known: told by the command, or by one before.
func TestDetour(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{rest: true})
	r, api := w.rig, w.vendor.REST()
	w.vendor.Set(vendor.Faults{Entry: vendor.Fault{Status: 503}})
	id := api.AddUser("bot-1", "", map[string]any{"user_id": "u-42", "plan": "free"})
	update := func(params string) event.Result {
		t.Helper()
		return r.do(order{action: "botstar.widget.update", params: params, timeout: 5000})
	}
	if unknown := update(`{"plan":"pro"}`); unknown.Status != event.Failed {
		t.Errorf("without the id: %s %+v", unknown.Status, unknown.Problem)
	}
	told := update(fmt.Sprintf(`{"plan":"pro","first_name":"Ada","user_id":"u-42","botstar_user_id":%q}`, id))
	if told.Status != event.Succeeded || !told.Verified || told.Executor != "rest" || told.Steps[len(told.Steps)-1].Action != "botstar.users.update" {
		t.Errorf("with the id: %s %+v %+v", told.Status, told.Problem, told)
	}
	var out struct {
		Applied    bool     `json:"applied"`
		Persisted  bool     `json:"persisted"`
		Attributes []string `json:"attributes"`
	}
	must(t, json.Unmarshal(told.Output, &out))
	if !out.Applied || !out.Persisted || strings.Join(out.Attributes, " ") != "first_name plan user_id" {
		t.Errorf("the output is %s", told.Output)
	}
	if known := update(`{"plan":"team"}`); known.Status != event.Succeeded || !known.Verified {
		t.Errorf("with the id of before: %s %+v", known.Status, known.Problem)
	}
	if n := api.Effects(vendor.UpdateUser); n != 2 {
		t.Errorf("the user was changed %d times, want 2", n)
	}
	for _, params := range []string{`{"tags":["vip"]}`, `{"avatar":"https://x.test/a.png"}`, `{"user_id":"somebody-else","plan":"x"}`} {
		if result := update(params); result.Status != event.Failed || result.Executor == "rest" {
			t.Errorf("%s, which the REST API cannot do: %s %+v", params, result.Status, result.Problem)
		}
	}
	if n := api.Effects(vendor.UpdateUser); n != 2 {
		t.Errorf("the user was changed %d times in the end, want 2", n)
	}
	w.vendor.Set(vendor.Faults{})
	if page := update(`{"plan":"page"}`); page.Status != event.Succeeded || page.Executor != "headless" || !page.Verified {
		t.Errorf("with a page: %s %+v", page.Status, page)
	}
	if n := api.Effects(vendor.UpdateUser); n != 2 {
		t.Errorf("with a page, the user was changed %d times by REST, want 2", n)
	}
	filter := event.FactSubject("botstar", event.FactUserUpdated, "shop", event.SessionKey("shop", event.Visitor{UserID: "u-42"}))
	if facts := r.history(filter, 3); len(facts) != 3 {
		t.Errorf("%d facts tell of the updates", len(facts))
	}
}
