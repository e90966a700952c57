package botstar_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/actionstest"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
)

// TestChaos makes items while BotStar fails in every way, and compares what the
// commands say with what is there: an item for each success, none for each
// failure that says so, and never two for one command.
func TestChaos(t *testing.T) {
	t.Parallel()
	const commands, lanes = 240, 8
	a := connect(t, actions.RESTOptions{Timeout: 150 * time.Millisecond})
	ids := a.furnish()
	a.api.Set(vendor.RESTFaults{Seed: 11, Shares: []vendor.RESTShare{
		{Share: 0.05, Fault: vendor.RESTFault{Lost: true}},
		{Share: 0.05, Fault: vendor.RESTFault{Cut: true}},
		{Share: 0.05, Fault: vendor.RESTFault{Late: 500}},
		{Share: 0.05, Fault: vendor.RESTFault{Body: `{"nonsense`}},
		{Share: 0.10, Fault: vendor.RESTFault{Status: 429}},
		{Share: 0.10, Fault: vendor.RESTFault{Status: 503}},
		{Share: 0.02, Fault: vendor.RESTFault{Silent: true}},
	}})
	var mu sync.Mutex
	said := map[string]error{}
	var group sync.WaitGroup
	for lane := range lanes {
		group.Go(func() {
			for i := lane; i < commands; i += lanes {
				name := fmt.Sprintf("Item %d", i)
				params := map[string]any{"entity_id": ids["entity"], "name": name, "data": map[string]any{"price": strconv.Itoa(i)}}
				_, err := actionstest.Do(t.Context(), a.env, botstar.Provider(), "botstar.cms_items.create", rand.Text(), params)
				mu.Lock()
				said[name] = err
				mu.Unlock()
			}
		})
	}
	group.Wait()
	a.api.Set(vendor.RESTFaults{})
	there := map[string]int{}
	for page := 1; ; page++ {
		c, err := a.do("cms_items.list", map[string]any{"entity_id": ids["entity"], "page": page})
		if err != nil {
			t.Fatal(err)
		}
		var out botstar.ListItemsOut
		if err := json.Unmarshal(c.Output, &out); err != nil {
			t.Fatal(err)
		}
		for _, item := range out.Items {
			there[fmt.Sprint(item["name"])]++
		}
		if !out.More {
			break
		}
	}
	counts := map[fault.Reason]int{}
	for name, err := range said {
		reason := fault.Reason("")
		if err != nil {
			reason = fault.From(err).Reason
		}
		counts[reason]++
		switch n := there[name]; {
		case n > 1:
			t.Errorf("%s is there %d times: %v", name, n, err)
		case err == nil && n != 1:
			t.Errorf("%s was made, and is not there", name)
		case err != nil && n == 1 && reason != fault.EffectUnknown:
			t.Errorf("%s was not made, and is there: %v", name, err)
		}
	}
	if counts[""] < commands*3/4 {
		t.Errorf("only %d of %d commands succeeded: %v", counts[""], commands, counts)
	}
	t.Logf("%d commands, %d calls: %v", commands, len(a.api.Calls("")), counts)
}

// TestListIDsOfTheAccount asks BotStar where there is a token, and the
// configuration where BotStar does not answer.
func TestListIDsOfTheAccount(t *testing.T) {
	t.Parallel()
	a := connect(t, actions.RESTOptions{})
	other := a.api.Add(vendor.Bot{ID: "s0a1b2c3d-0000-4000-8000-0000000000ff", Name: "Docs"})
	out := a.must(event.Confirmed, "app.list_ids", nil)
	if got, want := fmt.Sprint(out["app_ids"]), fmt.Sprint([]string{restAppID, other}); got != want {
		t.Errorf("the app ids are %s, want %s", got, want)
	}
	one := a.must(event.Confirmed, "app.list_ids", map[string]any{"bot_name": "NOVA"})
	if got, want := fmt.Sprint(one["bots"]), fmt.Sprintf("[map[appId:%s botId:%s name:Nova]]", restAppID, restBot); got != want {
		t.Errorf("the bot is %s, want %s", got, want)
	}
	a.api.Set(vendor.RESTFaults{Shares: []vendor.RESTShare{{Share: 1, Fault: vendor.RESTFault{Status: 403}}}})
	c, err := a.do("app.list_ids", nil)
	if err != nil || c.Outcome.Advice == "" || string(c.Output) != fmt.Sprintf(`{"app_ids":[%q],"bots":[{"appId":%q,"botId":%q,"name":"Nova"}]}`, restAppID, restAppID, restBot) {
		t.Errorf("without BotStar: %s, %q, %v", c.Output, c.Outcome.Advice, err)
	}
}

// TestUserIsRecognised: a user with the visitor's e-mail address is the visitor.
func TestUserIsRecognised(t *testing.T) {
	t.Parallel()
	a := connect(t, actions.RESTOptions{})
	ids := a.furnish()
	a.must(event.Confirmed, "users.get", map[string]any{"user_id": ids["friend"]})
	if a.env.Profile.VendorID != "" {
		t.Errorf("another user is taken for the visitor: %s", a.env.Profile.VendorID)
	}
	a.must(event.Confirmed, "users.get", map[string]any{"user_id": ids["user"]})
	if a.env.Profile.VendorID != ids["user"] {
		t.Errorf("the visitor's user is %q, want %q", a.env.Profile.VendorID, ids["user"])
	}
	if out := a.must(event.Confirmed, "users.update", map[string]any{"attributes": map[string]any{"plan": "pro"}}); out["user_id"] != ids["user"] {
		t.Errorf("the update without a user went to %v", out["user_id"])
	}
}

// TestRotatedToken: the vendor refuses a token, and the source has a newer one.
func TestRotatedToken(t *testing.T) {
	t.Parallel()
	a := connect(t, actions.RESTOptions{})
	a.api.Revoke("the next account token")
	if _, err := a.do("bots.list", nil); fault.From(err).Reason != fault.TokenRefused {
		t.Errorf("with the token that was revoked: %v", err)
	}
	a.tokens.next = "the next account token"
	a.must(event.Confirmed, "bots.create", map[string]any{"name": "Nova"})
	if n := a.api.Effects(vendor.CreateBot); n != 1 {
		t.Errorf("%d bots were made", n)
	}
}

// TestRevokedToken ends what is under way, and nobody takes it for a failure of
// the vendor.
func TestRevokedToken(t *testing.T) {
	t.Parallel()
	a := connect(t, actions.RESTOptions{})
	a.api.Set(vendor.RESTFaults{Plan: map[vendor.Operation][]vendor.RESTFault{vendor.ListBots: {{Silent: true}}}})
	ended := make(chan error, 1)
	go func() {
		_, err := actionstest.Do(t.Context(), a.env, botstar.Provider(), "botstar.bots.list", "k", nil)
		ended <- err
	}()
	for len(a.api.Calls(vendor.ListBots)) == 0 {
		select {
		case err := <-ended:
			t.Fatalf("the call ended before it was revoked: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	a.tokens.end()
	if err := <-ended; fault.From(err).Reason != fault.ConnectionRevoked {
		t.Errorf("the revoked call ended with %v", err)
	}
}
